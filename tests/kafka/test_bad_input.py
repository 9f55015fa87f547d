"""What is written straight to Kafka: workers hosted by Faust reject it with a reason and go on."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer

from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from schemas.codec import frame
from schemas.envelope import RawHeaders, Record, headers_of
from schemas.events import EventRejected, IntentAdmitted
from schemas.topics import TOPICS
from streams.log.kafka.settings import MESSAGE_BYTES_MAX
from streams.reader import Reader
from streams.stage import Heard
from tests.support.kafka_site import KafkaSite
from tests.support.worker_processes import Workforce

STAGES = ("policy", "scheduler")
TOPIC_OF = {"policy": "intents", "scheduler": "snapshots"}
"""For each stage, a topic whose refused records it answers for."""
Raw = tuple[bytes | None, bytes | None, RawHeaders]


def raw(record: Record) -> Raw:
    return record.key.encode(), record.value, headers_of(record)


def bad_ones(said: Record, elsewhere: Record) -> dict[str, Raw]:
    """By reason: what was done to a record that is sound, and one that was signed for another topic."""
    key, value, headers = raw(said)
    unsigned = tuple((name, b"" if name == "qb_seal" else text) for name, text in headers)
    return {
        "header_missing": (key, value, ()),
        "seal_malformed": (key, value, unsigned),
        "seal_broken": raw(said._replace(subject="another job")),
        "seal_broken ": raw(elsewhere),
        "schema_unknown": raw(said._replace(value=frame(9_999, said.value[5:]))),
        "frame_malformed": raw(said._replace(value=said.value[:3])),
        "tombstone": (key, None, headers),
        "header_repeated": (key, value, (*headers, headers[-1])),
        "value_oversized": raw(said._replace(value=said.value + bytes(2_000_000))),
    }


async def write(broker: Broker, topic: str, partition: int, raws: Sequence[Raw]) -> None:
    """Write straight to a topic, as anyone with a broker's password could."""
    producer = AIOKafkaProducer(**broker.access(OPERATOR).aiokafka(), max_request_size=MESSAGE_BYTES_MAX)
    await producer.start()
    for key, value, headers in raws:
        await producer.send_and_wait(topic, value, key=key, headers=[*headers], partition=partition)
    await producer.stop()


async def rejections(site: KafkaSite) -> dict[tuple[str, int], EventRejected]:
    """What stages say they have refused, by topic and place."""
    reader = Reader(site.log, site.partition, TOPICS, site.roots)
    found: dict[tuple[str, int], EventRejected] = {}
    while items := await reader.read():
        for item in items:
            if isinstance(item, Heard) and isinstance(item.event, EventRejected):
                assert (item.event.topic, item.event.offset) not in found
                found[item.event.topic, item.event.offset] = item.event
    return found


async def test_each_bad_record_ends_in_deadletters_with_a_reason_and_the_stages_go_on(
    broker: Broker, tmp_path: Path
) -> None:
    site = await KafkaSite.found(broker, "bad-input", tmp_path / "site")
    [[said], [next_one]] = site.declarations.batches(2, 1)
    signed_for_governance = (await site.log.read("governance", site.partition, 0, 1_000))[-1].record
    assert isinstance(signed_for_governance, Record)
    bad = bad_ones(said, signed_for_governance)
    first = {topic: (await site.log.ends(site.partition))[topic] for topic in TOPIC_OF.values()}
    for topic in TOPIC_OF.values():
        await write(broker, topic, site.partition, [*bad.values()])
    with Workforce(tmp_path / "work", broker.directory / "access", [site.directory]) as workforce:
        worker = workforce.hire("one", *STAGES)
        await site.heard(EventRejected, len(bad) * len(TOPIC_OF))
        await site.log.append([said])
        await site.log.append([next_one])
        await site.decided(2)
        assert await asyncio.to_thread(worker.stop) == 0
    assert worker.starts == 1
    assert await site.heard(IntentAdmitted, 2) == 2
    rejected = await rejections(site)
    for topic, begin in first.items():
        reasons = [rejected.pop((topic, place)) for place in range(begin, begin + len(bad))]
        assert [each.reason for each in reasons] == [reason.strip() for reason in bad]
        assert all(each.detail for each in reasons)
    assert rejected == {}
    await site.log.close()
