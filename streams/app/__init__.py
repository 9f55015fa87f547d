"""The host of workers on Kafka: a Faust App around our own loop, one desk for each partition number."""
