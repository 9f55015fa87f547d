"""The Kafka engine keeps the promises of the port, over TLS and SCRAM on a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from streams.log.kafka.log import KafkaLog
from streams.log.port import Log
from tests.contract.log_contract import PARTITIONS, LogContract
from tests.kafka.ledgers import renew


class TestKafka(LogContract):
    _broker: Broker

    @pytest.fixture(autouse=True)
    def _fresh(self, own_broker: Broker) -> None:
        asyncio.run(renew(own_broker, PARTITIONS))
        self._broker = own_broker

    def opened(self, directory: Path) -> AbstractAsyncContextManager[Log]:  # noqa: ARG002 (a broker keeps its own)
        return _opened(self._broker)


@asynccontextmanager
async def _opened(broker: Broker) -> AsyncIterator[Log]:
    log = await KafkaLog.open(broker.access(OPERATOR).aiokafka(), "operator.contract")
    try:
        yield log
    finally:
        await log.close()
