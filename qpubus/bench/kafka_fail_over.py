"""How long nobody decides when a worker process dies at work: from its end to the first decision of another.

Intents come in all the while, and thousands of jobs are open that the other one must know of. Kafka notices the silence
after the session's time; the rest is for sharing out, fencing, loading what was saved and reading up.
"""

import asyncio
import re
import statistics
import time
from itertools import count
from typing import Any

from qpubus.bench.intents import Declarations
from qpubus.bench.kafka_ground import PATIENCE_S, SESSION_S, Ground, Slow, admissions, ground
from schemas.topics import TOPICS
from streams.log.kafka.log import KafkaLog

ROUNDS = 3
JOBS = 5_000
RATE, TOGETHER = 200, 20
"""Intents a second that come in meanwhile, and how many at a time."""
GONE_S = 0.5
"""After so long a dead process has nothing on its way any more, and its session has not ended."""
ALLOWED_S = SESSION_S + 2
_TAKEN_OVER = re.compile(r"taken over in ([0-9.]+) s")


def measure() -> list[dict[str, Any]]:
    """Let the one at work die, several times."""
    with ground() as here:
        fail_overs_s = asyncio.run(_fail_overs_s(here))
        hand_overs_s = [float(each) for each in _TAKEN_OVER.findall(here.said())]
    return [
        _figure("kafka.fail_over", statistics.median(fail_overs_s), f"a session of {SESSION_S:g} s and 2 s", ALLOWED_S),
        _figure("kafka.hand_over", statistics.median(hand_overs_s), None, None),
    ]


async def _fail_overs_s(here: Ground) -> list[float]:
    """Each new worker stands by, then the one at work is killed."""
    site = here.site(0)
    log = await here.writing()
    await log.append(site.founding())
    for batch in site.batches(JOBS):
        await log.append(batch)
    reader = await here.reading(TOPICS)
    decided = admissions(reader, 0, 0)
    at_work = here.worker(site, "policy", member="worker-0")
    for _ in range(JOBS):
        await anext(decided)
    declaring = asyncio.create_task(_declare(log, site))
    took_s = []
    for number in range(1, ROUNDS + 1):
        stands_by = here.worker(site, "policy", member=f"worker-{number}")
        await _until_there_are(here, "serves the partition numbers none", number)
        at_work.kill()
        began = time.monotonic()
        await asyncio.sleep(GONE_S)
        place = (await reader.ends(0))["approvals"]
        await anext(admissions(reader, 0, place))
        took_s.append(time.monotonic() - began)
        at_work = stands_by
    declaring.cancel()
    await asyncio.gather(declaring, return_exceptions=True)
    await reader.close()
    await log.close()
    return took_s


async def _declare(log: KafkaLog, site: Declarations) -> None:
    """Declare for ever, at an even pace."""
    began = time.monotonic()
    for number in count(1):
        [batch] = site.batches(TOGETHER, TOGETHER)
        await log.append(batch)
        await asyncio.sleep(max(0.0, began + number * TOGETHER / RATE - time.monotonic()))


async def _until_there_are(here: Ground, words: str, times: int) -> None:
    limit = time.monotonic() + PATIENCE_S
    while here.said().count(words) < times:
        if time.monotonic() > limit:
            raise Slow(f"no worker said that it {words}")
        await asyncio.sleep(0.1)


def _figure(name: str, value_s: float, reference: str | None, reference_s: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value_s, 2),
        "unit": "s",
        "reference": reference,
        "reference_value": reference_s,
        "ratio": round(reference_s / value_s, 2) if reference_s else None,
    }
