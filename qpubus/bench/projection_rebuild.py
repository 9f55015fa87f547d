"""How fast `replay rebuild` folds all views from a log it has audited, against the bare Avro decode loop.

The audit is not timed. The views must be those of the bus, which verifies each record as it folds it.
Both loops run in turn without garbage collection; each rate is the median of its rounds.
"""

import asyncio
import gc
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import fastavro
import orjson

from projections.refold import refold
from projections.runner import Runner
from qpubus.bench.history import EPOCH_US, JOB_US, SITE, Historian
from replay.audit import verify_log
from replay.verdict import Audit
from schemas.codec import FRAME_BYTES, own_schemas
from streams.log.embedded import EmbeddedLog, create

JOBS = 40
ROUNDS = 7


def measure() -> list[dict[str, Any]]:
    """The figure `projection.rebuild`, in events a second."""
    return asyncio.run(_measured())


UNSIGNED = frozenset({"agent_proof_invalid", "gateway_proof_invalid", "approval_proof_invalid", "grant_absent"})
"""What an audit finds in the story that is told here, and nothing else."""


async def _measured() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="qpubus-bench-") as name:
        create(Path(name))
        log = EmbeddedLog(Path(name), lambda: EPOCH_US + JOBS * JOB_US)
        try:
            historian = Historian(log)
            await historian.found()
            for number in range(JOBS):
                await historian.tell(number)
            audit = await verify_log(log, historian.roots)
            await _check(log, historian, audit)
            return [await _figure(log, audit)]
        finally:
            await log.close()


async def _check(log: EmbeddedLog, historian: Historian, audit: Audit) -> None:
    runner = Runner(log, 0, historian.roots)
    while await runner.step():
        pass
    views = await refold(log, 0, [SITE], audit.passed_over)
    # the story's agents and persons have placeholders for signatures, on which no view rests
    broken = [each for each in audit.findings if each.reason not in UNSIGNED]
    if broken or runner.refused or runner.views[SITE].to_bytes() != views[SITE].to_bytes():
        raise RuntimeError(f"the views are not those of the bus; {broken[:1]}, refused: {runner.refused}")


async def _figure(log: EmbeddedLog, audit: Audit) -> dict[str, Any]:
    parsed = {
        schema.schema_id.to_bytes(4, "big"): fastavro.parse_schema(orjson.loads(schema.text))
        for schema in own_schemas()
    }
    bodies = [
        (parsed[bare.value[1:FRAME_BYTES]], bare.value[FRAME_BYTES:])
        for topic in log.topics
        for bare in await log.read_bare(topic, 0, 0, -1)
    ]
    ours, reference = [], []
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            for schema, body in bodies:
                fastavro.schemaless_reader(io.BytesIO(body), schema, None)
            reference.append(len(bodies) / (time.perf_counter() - began))
            began = time.perf_counter()
            await refold(log, 0, [SITE], audit.passed_over)
            ours.append(len(bodies) / (time.perf_counter() - began))
    finally:
        gc.enable()
    value, reference_value = statistics.median(ours), statistics.median(reference)
    return {
        "name": "projection.rebuild",
        "value": round(value),
        "unit": "events/s",
        "reference": "fastavro.schemaless_reader over the same bodies",
        "reference_value": round(reference_value),
        "ratio": round(value / reference_value, 3),
    }
