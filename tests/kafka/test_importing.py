from contextlib import AsyncExitStack

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, TransactionalIdAuthorizationFailed
from aiokafka.protocol.transaction import InitProducerIdRequest

from qpubus.kafka.access import Access
from qpubus.kafka.acls import IMPORTER, declared
from qpubus.kafka.broker import Broker
from qpubus.kafka.cluster import allowed, ask, connected
from qpubus.kafka.importing import importer
from qpubus.kafka.settings import OPERATOR

REFUSED = TransactionalIdAuthorizationFailed.errno


async def producer_of(access: Access) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(**access.aiokafka(), transactional_id="importer.trial")
    try:
        await producer.start()
    except KafkaConnectionError:
        await producer.stop()
        raise
    return producer


async def test_an_importer_may_write_while_it_imports_and_is_gone_afterwards(broker: Broker) -> None:
    operator = broker.access(OPERATOR)
    async with AsyncExitStack() as stack:
        async with importer(operator) as access:
            left_open = await stack.enter_async_context(connected(access))
            producer = await producer_of(access)
            try:
                await producer.begin_transaction()
                await (await producer.send("governance", b"a try", key=b"nobody"))
                await producer.abort_transaction()
            finally:
                await producer.stop()
            assert (await ask(left_open, InitProducerIdRequest("importer.other", 1_000))).error_code != REFUSED
        assert (await ask(left_open, InitProducerIdRequest("importer.other", 1_000))).error_code == REFUSED
    with pytest.raises(KafkaConnectionError):
        await producer_of(access)
    async with connected(operator) as client:
        assert await allowed(client) == declared()


async def test_an_import_that_fails_leaves_no_importer_either(broker: Broker) -> None:
    operator = broker.access(OPERATOR)
    with pytest.raises(RuntimeError, match="broken off"):
        async with importer(operator):
            raise RuntimeError("broken off")
    async with connected(operator) as client:
        assert {acl for acl in await allowed(client) if acl.principal == IMPORTER} == set()


async def test_what_an_importer_may_do_is_in_no_file(broker: Broker) -> None:
    async with importer(broker.access(OPERATOR)) as access:
        files = [path for path in broker.directory.rglob("*") if path.is_file() and "index" not in path.suffix]
        assert not any(access.password.encode() in path.read_bytes() for path in files)
