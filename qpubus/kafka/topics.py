"""The topics of the ledger on a cluster: made once, with the settings that keep all history."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from qpubus.kafka.access import Access
from schemas.topics import TOPICS
from streams.log.kafka.settings import LEDGER

DEFAULT_PARTITIONS = 8


async def create_topics(
    access: Access, partitions: int = DEFAULT_PARTITIONS, *, replicas: int = 1, replicas_in_sync_min: int = 1
) -> list[str]:
    """Make the topics that are not there yet, all with the same number of partitions; those that were made.

    One that is there stays as it is: whoever opens the log checks it.
    """
    settings = {**LEDGER, "min.insync.replicas": str(replicas_in_sync_min)}
    admin = AIOKafkaAdminClient(**access.aiokafka())
    try:
        await admin.start()
        answer = await admin.create_topics(
            [NewTopic(topic, partitions, replicas, topic_configs=settings) for topic in TOPICS]
        )
    finally:
        await admin.close()
    made = []
    for topic, code, message in (each[:3] for each in answer.topic_errors):
        error = for_code(code)
        if not code:
            made.append(topic)
        elif error is not TopicAlreadyExistsError:
            raise error(f"cannot make the topic {topic}: {message or error.description}")
    return made
