"""What the Kafka engine promises beyond the contract: fences, places that count records, whatever stands on a topic."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from qpubus.kafka.access import Access
from qpubus.kafka.broker import Broker
from schemas.admission import Stored
from schemas.envelope import Record, Stray, headers_of
from streams.log.kafka.batches import Kept, Line
from streams.log.kafka.log import KafkaLog
from streams.log.kafka.reading import KafkaReader
from streams.log.kafka.settings import MESSAGE_BYTES_MAX
from streams.log.kafka.wire import FETCH_BYTES
from streams.log.port import AppendFenced, AppendUnknown, LogError, LogIncomplete, Place, partition_of
from tests.kafka.ledgers import renew
from tests.support.records import record

PARTITIONS = 4
SITE = partition_of(b"site-a", PARTITIONS)


@pytest.fixture
async def operator(own_broker: Broker) -> Access:
    """How the operator reaches a broker with a fresh ledger."""
    return await renew(own_broker, PARTITIONS)


async def opened(access: Access, name: str = "one") -> KafkaLog:
    return await KafkaLog.open(access.aiokafka(), f"operator.{name}")


async def stored(access: Access, topic: str = "intents") -> list[Stored]:
    reader = await KafkaReader.open(access.aiokafka())
    try:
        await reader.settle(SITE)
        return await reader.read(topic, SITE, 0, 1_000)
    finally:
        await reader.close()


async def test_who_opens_a_log_second_fences_the_first(operator: Access) -> None:
    first = await opened(operator)
    await first.append([record(number=1)])
    second = await opened(operator)
    with pytest.raises(AppendFenced, match=r"operator\.one"):
        await first.append([record(number=2)])
    await second.append([record(number=3)])
    await first.close()
    await second.close()
    assert [each.record.sequence for each in await stored(operator) if isinstance(each.record, Record)] == ["1", "3"]


async def test_a_fenced_log_stays_fenced(operator: Access) -> None:
    first = await opened(operator)
    second = await opened(operator)
    for _ in range(2):
        with pytest.raises(AppendFenced):
            await first.append([record()])
    await first.close()
    await second.close()


async def test_what_a_killed_writer_left_undecided_is_gone_when_the_next_one_opens(operator: Access) -> None:
    killed = AIOKafkaProducer(**operator.aiokafka(), transactional_id="operator.one")
    await killed.start()
    await killed.begin_transaction()
    await killed.send_and_wait("intents", b"half", key=b"site-a", partition=SITE)
    following = await opened(operator)
    await following.append([record(number=7)])
    await following.close()
    with pytest.raises(Exception, match=r"fenced|epoch|transactional"):
        await killed.commit_transaction()
    await killed.stop()
    assert [each.record for each in await stored(operator)] == [record(number=7)]


async def test_places_count_records_and_neither_markers_nor_what_was_aborted(operator: Access) -> None:
    log = await opened(operator)
    await log.append([record(number=1)])
    other = AIOKafkaProducer(**operator.aiokafka(), transactional_id="operator.other")
    await other.start()
    await other.begin_transaction()
    await other.send_and_wait("intents", b"never", key=b"site-a", partition=SITE)
    await other.abort_transaction()
    await other.stop()
    assert await log.append([record(number=2), record(number=3)]) == [Place("intents", SITE, at) for at in (1, 2)]
    assert (await log.ends(SITE))["intents"] == 3
    assert [each.offset for each in await log.read("intents", SITE, 1, 10)] == [1, 2]
    await log.close()
    assert [each.offset for each in await stored(operator)] == [0, 1, 2]


async def test_what_a_log_has_appended_it_reads_as_everyone_does(operator: Access) -> None:
    log = await opened(operator)
    await log.append([record(number=1)])
    assert len(await log.read("intents", SITE, 0, 10)) == 1
    await log.append([record(number=2), Stray("intents", b"site-a", None, (("name", b"text"),))])
    await log.append([record(number=3)])
    own = await log.read("intents", SITE, 1, 10)
    await log.close()
    assert own == (await stored(operator))[1:]
    assert len(own) == 3


async def test_who_reads_on_sees_what_was_appended_meanwhile(operator: Access) -> None:
    writer, reader = await opened(operator), await KafkaReader.open(operator.aiokafka())
    large = FETCH_BYTES // 2
    await writer.append([record(number=number, size=large) for number in (1, 2, 3)])
    assert len(await reader.read("intents", SITE, 0, 1)) == 1
    await writer.append([record(number=4)])
    seen = [each.record for each in await reader.read("intents", SITE, 1, 10)]
    await reader.close()
    await writer.close()
    assert seen == [*(record(number=number, size=large) for number in (2, 3)), record(number=4)]


async def test_an_open_transaction_is_not_read_and_settle_waits_for_it(operator: Access) -> None:
    reader = await KafkaReader.open(operator.aiokafka())
    other = AIOKafkaProducer(**operator.aiokafka(), transactional_id="operator.other")
    await other.start()
    await other.begin_transaction()
    await other.send_and_wait("intents", b"soon", key=b"site-a", partition=SITE)
    settling = asyncio.create_task(reader.settle(SITE))
    await asyncio.sleep(0.2)
    assert not settling.done()
    assert await reader.read("intents", SITE, 0, 10) == []
    await other.commit_transaction()
    await asyncio.wait_for(settling, 10)
    assert [each.record.value for each in await reader.read("intents", SITE, 0, 10)] == [b"soon"]
    await other.stop()
    await reader.close()


async def test_who_takes_over_sees_what_the_last_holder_committed_behind_anothers_open_transaction(
    operator: Access,
) -> None:
    first = await opened(operator)
    other = AIOKafkaProducer(**operator.aiokafka(), transactional_id="operator.other")
    await other.start()
    await other.begin_transaction()
    await other.send_and_wait("intents", b"open", key=b"site-a", partition=SITE)
    appending = asyncio.create_task(first.append([record(number=1)]))
    while (await first.reader.written_ends(SITE))["intents"] < 3:  # noqa: ASYNC110 (two records and a marker)
        await asyncio.sleep(0.01)
    second = await opened(operator)
    looking = asyncio.create_task(second.read("intents", SITE, 0, 10))
    await asyncio.wait([looking], timeout=0.2)
    await other.abort_transaction()
    assert [each.record for each in await looking] == [record(number=1)]
    assert await appending == [Place("intents", SITE, 0)]
    for log in (first, second):
        await log.close()
    await other.stop()


class _Blind(KafkaReader):
    """A reader whose broker goes away between a commit and the look at what was committed."""

    async def places(self, line: Line, written: Sequence[Kept]) -> list[int]:
        raise LogError(f"{line.topic}: nobody answers for the {len(written)} records")


async def test_a_committed_append_whose_places_cannot_be_read_is_not_said_to_have_failed(operator: Access) -> None:
    reader = await _Blind.open(operator.aiokafka())
    log = await KafkaLog.open(operator.aiokafka(), "operator.one", reader=reader)
    with pytest.raises(AppendUnknown, match="nobody answers"):
        await log.append([record(number=1)])
    assert log.is_lost
    await log.close()
    await reader.close()
    assert [each.record for each in await stored(operator)] == [record(number=1)]


async def test_what_was_once_shown_is_shown_while_appends_to_several_topics_are_under_way(operator: Access) -> None:
    log = await opened(operator)
    ends = dict(await log.ends(SITE))

    async def appended() -> None:
        for number in range(1, 120):
            await log.append([record(number=number), record(topic="results", number=number)])

    appending = asyncio.create_task(appended())
    while not appending.done():
        now = dict(await log.ends(SITE))
        assert all(now[topic] >= ends[topic] for topic in ends), (ends, now)
        for topic in ("intents", "results"):
            read = await log.read(topic, SITE, 0, now[topic] + 1)
            assert len(read) >= now[topic]
        ends = now
    await appending
    await log.close()


class _Slow(KafkaReader):
    """A reader that lets nobody know what was committed before it is told to."""

    told: asyncio.Event

    async def places(self, line: Line, written: Sequence[Kept]) -> list[int]:
        await self.told.wait()
        return await super().places(line, written)


async def test_an_append_of_ones_own_that_is_not_shown_yet_is_waited_for_by_settle(operator: Access) -> None:
    reader = await _Slow.open(operator.aiokafka())
    assert isinstance(reader, _Slow)
    reader.told = asyncio.Event()
    log = await KafkaLog.open(operator.aiokafka(), "operator.one", reader=reader)
    assert await log.read("intents", SITE, 0, 10) == []
    appending = asyncio.create_task(log.append([record(number=1)]))
    while not await stored(operator):  # noqa: ASYNC110 (another process sees it)
        await asyncio.sleep(0.05)
    settling = asyncio.create_task(log.settle(SITE))
    await asyncio.wait([settling], timeout=0.3)
    assert not settling.done()
    reader.told.set()
    await asyncio.wait_for(settling, 10)
    assert [each.record for each in await log.read("intents", SITE, 0, 10)] == [record(number=1)]
    await appending
    await log.close()
    await reader.close()


async def test_a_topic_whose_beginning_was_deleted_is_refused_and_named(operator: Access) -> None:
    log = await opened(operator)
    await log.append([record(number=1), record(number=2)])
    await log.close()
    admin = AIOKafkaAdminClient(**operator.aiokafka())
    await admin.start()
    await admin.delete_records({TopicPartition("intents", SITE): RecordsToDelete(1)})
    await admin.close()
    with pytest.raises(LogIncomplete, match=f"intents partition {SITE} offset 0: all before 1 was deleted"):
        await opened(operator)


async def test_whatever_stands_on_a_topic_is_read_byte_for_byte(operator: Access) -> None:
    said = record(number=1)
    strays: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
        (b"site-a", None, []),
        (None, b"no key", []),
        (b"\xff\x00", b"", [("a", b"1"), ("a", b"2")]),
        (b"site-a", b"x" * 2_000_000, [("qb_seal", b"\xff")]),
    ]
    producer = AIOKafkaProducer(**operator.aiokafka(), max_request_size=MESSAGE_BYTES_MAX)
    await producer.start()
    for key, value, headers in strays:
        await producer.send_and_wait("intents", value, key=key, headers=headers, partition=SITE)
    await producer.send_and_wait("intents", said.value, key=b"site-a", headers=[*headers_of(said)], partition=SITE)
    await producer.stop()
    assert [each.record for each in await stored(operator)] == [
        *(Stray("intents", key, value, tuple(headers)) for key, value, headers in strays),
        said,
    ]


async def test_a_header_without_a_value_makes_a_record_a_stray_one(operator: Access) -> None:
    said = record()
    headers = [(name, None if name == "traceparent" else text) for name, text in headers_of(said)]
    producer = AIOKafkaProducer(**operator.aiokafka())
    await producer.start()
    await producer.send_and_wait("intents", said.value, key=b"site-a", headers=headers, partition=SITE)
    await producer.stop()
    (found,) = await stored(operator)
    assert isinstance(found.record, Stray)


async def test_a_batch_that_unpacks_to_more_than_a_reader_can_hold_is_refused_by_the_broker(operator: Access) -> None:
    producer = AIOKafkaProducer(
        **operator.aiokafka(), compression_type="gzip", max_request_size=100 << 20, max_batch_size=100 << 20
    )
    await producer.start()
    with pytest.raises(Exception, match=r"[Tt]oo ?[Ll]arge"):
        await producer.send_and_wait("intents", bytes(50 << 20), key=b"site-a", partition=SITE)
    await producer.stop()


async def test_the_next_process_finds_a_place_by_the_index_without_counting_again(
    operator: Access, tmp_path: Path
) -> None:
    log = await opened(operator)
    for number in range(1, 21):
        await log.append([record(number=number)])
    await log.close()
    first = await KafkaReader.open(operator.aiokafka(), index=tmp_path / "index.json")
    await first.ends(SITE)
    await first.close()
    second = await KafkaReader.open(operator.aiokafka(), index=tmp_path / "index.json")
    assert await second.read("intents", SITE, 20, 10) == []
    assert [each.offset for each in await second.read("intents", SITE, 18, 10)] == [18, 19]
    await second.close()


async def test_the_index_of_another_ledger_is_not_believed(
    own_broker: Broker, operator: Access, tmp_path: Path
) -> None:
    log = await opened(operator)
    await log.append([record(number=number) for number in range(1, 6)])
    await log.close()
    first = await KafkaReader.open(operator.aiokafka(), index=tmp_path / "index.json")
    await first.ends(SITE)
    await first.close()
    await renew(own_broker, PARTITIONS)
    log = await opened(operator)
    await log.append([record(number=9) for _ in range(9)])
    await log.close()
    second = await KafkaReader.open(operator.aiokafka(), index=tmp_path / "index.json")
    assert (await second.ends(SITE))["intents"] == 9
    await second.close()


async def test_a_broker_that_is_not_there_is_named(operator: Access) -> None:
    with pytest.raises(LogError, match="localhost:1"):
        await KafkaReader.open({**operator.aiokafka(), "bootstrap_servers": "localhost:1"})
