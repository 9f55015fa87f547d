"""Kafka around the bus: a broker where there is none, its topics, its users and what each of them may do."""
