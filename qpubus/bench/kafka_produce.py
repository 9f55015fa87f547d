"""How fast sealed records get onto Kafka, against aiokafka's own `send` of the same keys, headers and values.

Ours writes and seals records from encoded bodies, `BATCH` to an append, each append a transaction that is acknowledged
when all of it can be read; its author has one on its way at a time. The reference sends the same records one by one,
`acks=all` and no transaction, and waits for all of them at the end. Both run in turn, each on a partition of its own,
as our log would first have to count what the reference has written; each rate is the median. The process collects
garbage as a worker does.
"""

import asyncio
import statistics
import time
from typing import Any

from aiokafka import AIOKafkaProducer

from qpubus.bench.intents import Declarations
from qpubus.bench.kafka_ground import Ground, ground
from qpubus.kafka.settings import OPERATOR
from schemas.codec import encode, own_schemas
from schemas.envelope import Record, headers_of
from schemas.events import ShotsMeasured
from streams.app.host import collect_seldom
from streams.author import Draft, Scribe, seal_all
from streams.log.kafka.log import KafkaLog

RECORDS = 20_000
BATCH = 1_000
ROUNDS = 5
_DEVICE = "ion-1"
_OURS, _THEIRS = 0, 1


def measure() -> list[dict[str, Any]]:
    """The figure `kafka.produce_sealed`, in events a second."""
    collect_seldom()
    with ground(2) as here:
        return [asyncio.run(_figure(here))]


async def _figure(here: Ground) -> dict[str, Any]:
    log = await here.writing()
    raw = AIOKafkaProducer(**here.broker.access(OPERATOR).aiokafka(), acks="all", max_batch_size=1 << 20)
    await raw.start()
    site = here.site(_OURS)
    ours, reference = [], []
    for number in range(ROUNDS):
        rate, records = await _sealed(log, site, number)
        ours.append(rate)
        reference.append(await _sent(raw, records))
    await raw.stop()
    await log.close()
    value, reference_value = statistics.median(ours), statistics.median(reference)
    return {
        "name": "kafka.produce_sealed",
        "value": round(value),
        "unit": "events/s",
        "reference": "aiokafka send of the same records, acks=all",
        "reference_value": round(reference_value),
        "ratio": round(value / reference_value, 3),
    }


async def _sealed(log: KafkaLog, site: Declarations, number: int) -> tuple[float, list[Record]]:
    """Events a second, and the records as they were sealed."""
    schemas = {schema.event_type: schema for schema in own_schemas()}
    scribe = Scribe(f"device:{_DEVICE}", site.site, schemas)
    event = ShotsMeasured(
        job_id=f"job-{number}", step=1, circuit=0, chunk=0, device=_DEVICE, shots=100, counts={"00": 51, "11": 49},
        started_us=0, ended_us=1,
    )  # fmt: skip
    drafts = [Draft("results", event, "job", at) for at in range(RECORDS)]
    bodies = [encode(event) for _ in drafts]
    key = site.stage("policy").key
    said: list[Record] = []
    began = time.perf_counter()
    for at in range(0, RECORDS, BATCH):
        sealed = seal_all(scribe.write_all(drafts[at : at + BATCH], bodies[at : at + BATCH]), key)
        await log.append(sealed)
        said += sealed
    return RECORDS / (time.perf_counter() - began), said


async def _sent(producer: AIOKafkaProducer, records: list[Record]) -> float:
    """Records a second."""
    ready = [(each.topic, each.key.encode(), each.value, [*headers_of(each)]) for each in records]
    began = time.perf_counter()
    waiting = [
        await producer.send(topic, value, key=key, partition=_THEIRS, headers=headers)
        for topic, key, value, headers in ready
    ]
    await asyncio.gather(*waiting)
    return len(ready) / (time.perf_counter() - began)
