"""How long nobody decides when a worker process dies: from its end to the first new decision of another.

Kafka notices the silence after the session's time; the rest is for sharing out, fencing and reading up.
"""

import asyncio
import re
import statistics
import time
from typing import Any

from qpubus.bench.kafka_ground import PATIENCE_S, SESSION_S, Ground, Slow, admissions, ground
from schemas.topics import TOPICS

ROUNDS = 3
JOBS = 500
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
    """Each new worker stands by, then the one at work is killed as an intent comes in."""
    site = here.site(0)
    log = await here.writing()
    await log.append(site.founding())
    for batch in list(site.batches(JOBS)):
        await log.append(batch)
    reader = await here.reading(TOPICS)
    decided = admissions(reader, 0, 0)
    at_work = here.worker(site, "policy", member="worker-0")
    for _ in range(JOBS):
        await anext(decided)
    took_s = []
    for number in range(1, ROUNDS + 1):
        stands_by = here.worker(site, "policy", member=f"worker-{number}")
        await _until_there_are(here, "serves the partition numbers none", number)
        [[intent]] = list(site.batches(1))
        at_work.kill()
        began = time.monotonic()
        await log.append([intent])
        await anext(decided)
        took_s.append(time.monotonic() - began)
        at_work = stands_by
    await reader.close()
    await log.close()
    return took_s


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
