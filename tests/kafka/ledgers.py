"""Fresh ledgers on a broker that is there: all topics made anew, empty."""

import asyncio

from aiokafka.admin import AIOKafkaAdminClient

from qpubus.kafka.access import Access
from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from qpubus.kafka.topics import create_topics
from schemas.topics import TOPICS
from streams.log.kafka.reading import KafkaReader
from streams.log.port import LogError

PATIENCE_S = 60


async def renew(broker: Broker, partitions: int) -> Access:
    """Delete all topics of the ledger and make them anew; how the operator reaches them."""
    operator = broker.access(OPERATOR)
    admin = AIOKafkaAdminClient(**operator.aiokafka())
    await admin.start()
    try:
        await admin.delete_topics(list(TOPICS))
    finally:
        await admin.close()
    async with asyncio.timeout(PATIENCE_S):  # a broker tells of what its controller did a moment later
        await _until_known(operator, is_known=False)
        await create_topics(operator, partitions)
        await _until_known(operator, is_known=True)
    return operator


async def _until_known(operator: Access, *, is_known: bool) -> None:
    while is_known != await _is_known(operator):  # noqa: ASYNC110 (the broker tells nobody when)
        await asyncio.sleep(0.05)


async def _is_known(operator: Access) -> bool:
    try:
        reader = await KafkaReader.open(operator.aiokafka())
    except LogError:
        return False
    await reader.close()
    return True
