"""How many signed intents a second the policy stage decides on Kafka, against peers that pass the same bytes through.

Each is one process on the same broker, takes turns with the others, and is measured by the broker's own append times of
what it wrote, once it has come up to speed; nobody reads that before it is done. Ours verifies the gateway's seals and
each agent's proof, decides, signs and commits; theirs copy, as their documentation shows it and with their settings.
"""

import asyncio
import statistics
from collections.abc import Collection
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from qpubus.bench.intents import BATCH
from qpubus.bench.kafka_ground import Ground, Slow, ground
from qpubus.bench.kafka_peers import PEERS
from qpubus.bench.story import DEVICES
from qpubus.kafka.settings import OPERATOR
from qpubus.policy_set import built_in
from schemas.envelope import Record
from schemas.events import IntentAdmitted, IntentRefused, PolicyPublished
from schemas.topics import TOPICS
from schemas.words import wire_name
from streams.log.kafka.reading import KafkaReader

JOBS = 8_000
ROUNDS = 3
FULL = "qpubus-full"
WARM = 0.2
"""This part of the records is let by before time is taken."""
_VERDICTS = frozenset({wire_name(IntentAdmitted), wire_name(IntentRefused)})
"""Each intent gets one of them."""
_PATIENCE_S = 180.0
_QUIET_S = 1.0


def measure() -> list[dict[str, Any]]:
    """Let each of the three work off the same intents, turn by turn; compare the medians."""
    with ground(2 * ROUNDS) as here:
        rates = asyncio.run(_rates(here))
    ours, full, faust, quix = (statistics.median(rates[name]) for name in ("qpubus", FULL, *PEERS))
    return [
        _figure("kafka.policy_stage_vs_faust", ours, "a Faust agent, bytes unsigned and unread", faust),
        _figure("kafka.policy_stage_vs_quixstreams", ours, "quixstreams, bytes unsigned and unread", quix),
        _figure("kafka.policy_stage_full", full, "the same stage under plain limits", ours),
    ]


async def _rates(here: Ground) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in ("qpubus", FULL, *PEERS)}
    for number in range(ROUNDS):
        rates["qpubus"].append(await _ours(here, number, None))
        for name in PEERS:
            sink = f"{name}-{number}"
            await _make_topic(here, sink)
            access = here.broker.access_file(OPERATOR)
            peer = here.process("-m", "qpubus.bench.kafka_peers", name, str(access), "intents", sink)
            rates[name].append(await _rate(await here.reading([sink]), sink, 0))
            peer.kill()
    for number in range(ROUNDS, 2 * ROUNDS):  # after the peers, which read everything that is on the topic
        rates[FULL].append(await _ours(here, number, built_in("first-poc").event(DEVICES)))
    return rates


async def _ours(here: Ground, partition: int, policy: PolicyPublished | None) -> float:
    site = here.site(partition)
    log = await here.writing()
    await log.append(site.founding(policy))
    for batch in list(site.batches(JOBS, BATCH)):
        await log.append(batch)
    await log.close()
    worker = here.worker(site, "policy")
    rate = await _rate(await here.reading(TOPICS), "approvals", partition, _VERDICTS)
    worker.kill()
    return rate


async def _make_topic(here: Ground, name: str) -> None:
    admin = AIOKafkaAdminClient(**here.broker.access(OPERATOR).aiokafka())
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
    await admin.close()


async def _rate(log: KafkaReader, topic: str, partition: int, event_types: Collection[str] = ()) -> float:
    """How many records a second were written to a topic, of these event types if any, until there are `JOBS`."""
    times: list[int] = []
    place = 0
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while len(times) < JOBS:
                await _quiet(log, topic, partition)
                while records := await log.read(topic, partition, place, 1_000):
                    place = records[-1].offset + 1
                    times += (each.append_time_us for each in records if _is_of(each.record, event_types))
    except TimeoutError:
        raise Slow(f"{topic} has {len(times)} of {JOBS} records after {_PATIENCE_S:g} s") from None
    finally:
        await log.close()
    begun, ended = int(JOBS * WARM), JOBS - 1
    return (ended - begun) * 1_000_000 / (times[ended] - times[begun])


async def _quiet(log: KafkaReader, topic: str, partition: int) -> None:
    """Return when nothing is written any more: to read along would take from what is measured."""
    before = -1
    while (end := (await log.written_ends(partition))[topic]) < JOBS or end != before:
        before = end
        await asyncio.sleep(_QUIET_S)


def _is_of(record: object, event_types: Collection[str]) -> bool:
    return not event_types or (isinstance(record, Record) and record.type in event_types)


def _figure(name: str, value: float, reference: str, reference_value: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value),
        "unit": "intents/s",
        "reference": reference,
        "reference_value": round(reference_value),
        "ratio": round(value / reference_value, 3),
    }
