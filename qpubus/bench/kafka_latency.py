"""How long after an intent is declared its decision can be read, at 200 intents a second, each appended alone.

The time runs from before the gateway's append to when a reader has the decision: two transactions and all between.
"""

import asyncio
import statistics
import time
from typing import Any

from qpubus.bench.kafka_ground import Ground, admissions, ground
from schemas.topics import TOPICS

RATE = 200
SECONDS = 15
WARM = 200
"""So many intents are let by before time is taken."""


def measure() -> list[dict[str, Any]]:
    """Declare at an even pace while one worker decides."""
    with ground() as here:
        times_ms = sorted(asyncio.run(_times_ms(here)))
    p50, p99 = statistics.median(times_ms), times_ms[int(len(times_ms) * 0.99)]
    return [
        _figure("kafka.decision_latency", p50),
        _figure("kafka.decision_latency_p99", p99),
    ]


async def _times_ms(here: Ground) -> list[float]:
    site = here.site(0)
    log = await here.writing()
    await log.append(site.founding())
    [first] = site.batches(1)
    batches = list(site.batches(WARM + RATE * SECONDS, 1))
    here.worker(site, "policy")
    await log.append(first)
    seen = await _started(here)
    declared_s: dict[str, float] = {}
    decided_s: dict[str, float] = {}
    watching = asyncio.create_task(_watch(here, seen, decided_s, len(batches)))
    began = time.perf_counter()
    appends = []
    for number, [record] in enumerate(batches):
        await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        declared_s[record.subject] = time.perf_counter()
        appends.append(asyncio.create_task(log.append([record])))
    await asyncio.gather(*appends)
    await watching
    await log.close()
    counted = [record.subject for [record] in batches[WARM:]]
    return [1_000 * (decided_s[job_id] - declared_s[job_id]) for job_id in counted]


async def _started(here: Ground) -> int:
    """Return when the worker has decided for the first time; how far the topic then goes."""
    log = await here.reading(TOPICS)
    _, place = await anext(admissions(log, 0, 0))
    await log.close()
    return place


async def _watch(here: Ground, place: int, decided_s: dict[str, float], jobs: int) -> None:
    log = await here.reading(TOPICS)
    async for admitted, _ in admissions(log, 0, place):
        decided_s[admitted.subject] = time.perf_counter()
        if len(decided_s) == jobs:
            break
    await log.close()


def _figure(name: str, value_ms: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value_ms, 1),
        "unit": "ms",
        "reference": None,
        "reference_value": None,
        "ratio": None,
    }
