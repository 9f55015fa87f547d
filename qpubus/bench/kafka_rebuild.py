"""How fast all views are made anew from a log on Kafka that was verified apart, against the bare Avro decode loop.

The loop has its bodies in memory; we fetch ours from the broker over TLS, check the checksum of each batch and fold.
Both run in turn, each round with a reader that has read nothing yet; each rate is the median of its rounds.
"""

import asyncio
import gc
import io
import statistics
import time
from typing import Any

import fastavro
import orjson

from projections.refold import refold
from projections.runner import Runner
from qpubus.bench.history import SITE, Historian
from qpubus.bench.kafka_ground import Ground, ground
from schemas.codec import FRAME_BYTES, own_schemas
from schemas.topics import TOPICS
from streams.log.port import Bare, partition_of

JOBS = 40
ROUNDS = 7


def measure() -> list[dict[str, Any]]:
    """The figure `kafka.rebuild`, in events a second."""
    with ground() as here:
        return [asyncio.run(_figure(here))]


async def _figure(here: Ground) -> dict[str, Any]:
    log = await here.writing()
    historian = Historian(log)
    await historian.found()
    for number in range(JOBS):
        await historian.tell(number)
    partition = partition_of(SITE.encode(), log.partitions)
    runner = Runner(log, partition, historian.roots)
    while await runner.step():
        pass
    parsed = {e.schema_id.to_bytes(4, "big"): fastavro.parse_schema(orjson.loads(e.text)) for e in own_schemas()}
    records: list[Bare] = []
    for topic in TOPICS:
        records += await log.read_bare(topic, partition, 0, 1 << 30)
    bodies = [(parsed[each.value[1:FRAME_BYTES]], each.value[FRAME_BYTES:]) for each in records]
    await log.close()
    ours, reference = [], []
    for _ in range(ROUNDS):
        gc.collect()
        gc.disable()
        began = time.perf_counter()
        for schema, body in bodies:
            fastavro.schemaless_reader(io.BytesIO(body), schema, None)
        reference.append(len(bodies) / (time.perf_counter() - began))
        gc.enable()
        reader = await here.reading(TOPICS)
        began = time.perf_counter()
        views = await refold(reader, partition, [SITE], ())
        ours.append(len(bodies) / (time.perf_counter() - began))
        await reader.close()
        if views[SITE].to_bytes() != runner.views[SITE].to_bytes():
            raise RuntimeError("the views made anew are not those of the bus")
    value, reference_value = statistics.median(ours), statistics.median(reference)
    return {
        "name": "kafka.rebuild",
        "value": round(value),
        "unit": "events/s",
        "reference": "fastavro.schemaless_reader over the same bodies in memory",
        "reference_value": round(reference_value),
        "ratio": round(value / reference_value, 3),
    }
