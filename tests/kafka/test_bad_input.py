"""What is written straight to Kafka: a stage rejects it with a reason and goes on; it stops where bytes are corrupt."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer

from qpubus.bench.intents import Declarations
from qpubus.kafka.access import Access
from qpubus.kafka.broker import Broker
from schemas.codec import frame
from schemas.envelope import RawHeaders, Record, headers_of
from schemas.events import EventRejected, IntentAdmitted
from schemas.topics import TOPICS
from streams.log.kafka.log import KafkaLog
from streams.log.kafka.settings import MESSAGE_BYTES_MAX
from streams.log.port import LogCorrupt
from streams.policy import POLICY
from streams.reader import Reader
from streams.stage import Heard
from streams.worker import Worker
from tests.kafka.ledgers import renew
from tests.kafka.segments import flip

SITE = "site-a"
Raw = tuple[bytes | None, bytes | None, RawHeaders]


class Bench:
    """A founded site, and a policy worker over its log."""

    def __init__(self, access: Access, log: KafkaLog) -> None:
        self.declarations = Declarations(SITE, time.time_ns() // 1_000)
        self.founding = self.declarations.founding()
        self.log = log
        self._access = access
        self.worker = Worker(POLICY, log, 0, {SITE: self.declarations.stage("policy")})

    @classmethod
    async def open(cls, access: Access) -> "Bench":
        bench = cls(access, await KafkaLog.open(access.aiokafka(), "operator.policy"))
        await bench.log.append(bench.founding)
        return bench

    def declared(self) -> Record:
        """The next job's declaration, signed."""
        ((record,),) = self.declarations.batches(1)
        return record

    async def write(self, topic: str, raws: Sequence[Raw]) -> None:
        """Write straight to a topic, as anyone with a broker's password could."""
        producer = AIOKafkaProducer(**self._access.aiokafka(), max_request_size=MESSAGE_BYTES_MAX)
        await producer.start()
        for key, value, headers in raws:
            await producer.send_and_wait(topic, value, key=key, headers=[*headers], partition=0)
        await producer.stop()

    async def settle(self) -> list[Heard]:
        """Let the stage read all there is; everything that may be believed afterwards."""
        await until_nothing_is_left(self.worker)
        reader = Reader(self.log, 0, TOPICS, {SITE: self.declarations.root_public_key})
        found: list[Heard] = []
        while items := await reader.read():
            found += [item for item in items if isinstance(item, Heard)]
        return found


@pytest.fixture
async def access(own_broker: Broker) -> Access:
    """How the operator reaches a fresh ledger."""
    return await renew(own_broker, 1)


async def until_nothing_is_left(worker: Worker) -> None:
    while await worker.step():
        pass


def raw(record: Record) -> Raw:
    return record.key.encode(), record.value, headers_of(record)


async def test_each_bad_record_ends_in_deadletters_with_a_reason_and_the_stage_goes_on(access: Access) -> None:
    bench = await Bench.open(access)
    said = bench.declared()
    key, value, headers = raw(said)
    unsigned = tuple((name, b"" if name == "qb_seal" else text) for name, text in headers)
    bad = {
        "seal_malformed": (key, value, unsigned),
        "seal_broken": raw(said._replace(subject="another job")),
        "schema_unknown": raw(said._replace(value=frame(9_999, said.value[5:]))),
        "frame_malformed": raw(said._replace(value=said.value[:3])),
        "tombstone": (key, None, headers),
        "header_repeated": (key, value, (*headers, headers[-1])),
        "value_oversized": raw(said._replace(value=said.value + bytes(2_000_000))),
    }
    moved = raw(bench.founding[-1])  # it was signed for governance
    await bench.write("intents", [*bad.values(), moved])
    await bench.log.append([said])
    heard = await bench.settle()
    rejected = {each.event.offset: each.event for each in heard if isinstance(each.event, EventRejected)}
    assert [rejected[place].reason for place in sorted(rejected)] == [*bad, "seal_broken"]
    assert all(each.detail for each in rejected.values())
    assert sum(isinstance(each.event, IntentAdmitted) for each in heard) == 1
    await bench.log.close()


async def test_a_corrupt_segment_stops_the_stage_and_changes_no_decision(own_broker: Broker, access: Access) -> None:
    bench = await Bench.open(access)
    await bench.log.append([bench.declared()])
    before = await bench.settle()
    marked = bench.declared()
    await bench.log.append([marked])
    await bench.log.append([bench.declared()])
    await bench.log.close()
    await asyncio.to_thread(own_broker.stop)
    flip(own_broker.directory / "data" / "intents-0", marked.value)
    await asyncio.to_thread(own_broker.start)
    log = await KafkaLog.open(own_broker.access("operator").aiokafka(), "operator.policy")
    worker = Worker(POLICY, log, 0, {SITE: bench.declarations.stage("policy")})
    with pytest.raises(LogCorrupt, match=r"intents partition 0 offset \d+: its batch is not the one that was written"):
        await until_nothing_is_left(worker)
    decided = [each for each in before if each.source == POLICY.source]
    assert len(await log.read("approvals", 0, 0, 100)) == sum(each.cause.topic == "approvals" for each in decided)
    await log.close()
