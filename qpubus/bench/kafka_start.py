"""How soon a worker serves again that has a saved state and a million events behind it: from its start to a decision.

The events are small jobs, with what policy said to them, and shots measured by the thousand; a worker has read them all
and was asked to stop. It is then started again and again, each time with one more intent that waits for it.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any
from urllib.request import urlopen

from qpubus.bench.intents import Declarations
from qpubus.bench.kafka_ground import Ground, Slow, admissions, ground
from qpubus.bench.story import DEVICES
from schemas.codec import own_schemas
from schemas.envelope import Record
from schemas.events import ShotsMeasured
from schemas.seal import BATCH_MAX
from schemas.topics import TOPICS
from streams.author import Draft, Scribe, seal_all

EVENTS = 1_000_000
JOBS = 10_000
STARTS = 3
ALLOWED_S = 5.0
READ_S = 3_600.0
TOGETHER = 8
"""Batches of the history that are appended at once."""


def measure() -> list[dict[str, Any]]:
    """Let a worker read it all and stop in order; then start it again."""
    with ground() as here:
        took_s = statistics.median(asyncio.run(_took_s(here)))
    return [
        {
            "name": "kafka.start",
            "value": round(took_s, 2),
            "unit": "s",
            "reference": f"what is allowed with {EVENTS:,} events behind it",
            "reference_value": ALLOWED_S,
            "ratio": round(ALLOWED_S / took_s, 2),
        }
    ]


async def _took_s(here: Ground) -> list[float]:
    site = here.site(0)
    log = await here.writing()
    await log.append(site.founding())
    for batch in site.batches(JOBS):
        await log.append(batch)
    shots = _shots(site, EVENTS - 3 * JOBS)  # an intent has two answers
    while together := list(islice(shots, TOGETHER)):
        await asyncio.gather(*map(log.append, together))
    reader = await here.reading(TOPICS)
    decided = admissions(reader, 0, 0)
    at_work = here.worker(site, "policy")
    for _ in range(JOBS):
        await anext(decided)
    await _until_read(here.web)
    took_s = []
    for _ in range(STARTS):
        at_work.terminate()
        await asyncio.to_thread(at_work.wait)
        [[intent]] = site.batches(1)
        await log.append([intent])
        began = time.monotonic()
        at_work = here.worker(site, "policy")
        await anext(decided)
        took_s.append(time.monotonic() - began)
    await reader.close()
    await log.close()
    return took_s


async def _until_read(web: str) -> None:
    """Return when the worker says that nothing waits for it any more."""
    limit = time.monotonic() + READ_S
    while 'lag_records{stage="policy",partition="0"} 0\n' not in await asyncio.to_thread(_metrics, web):
        if time.monotonic() > limit:
            raise Slow(f"policy has not read {EVENTS:,} events in {READ_S:g} s")
        await asyncio.sleep(0.5)


def _metrics(web: str) -> str:
    with urlopen(f"http://{web}/metrics") as page:
        text: str = page.read().decode()
    return text


def _shots(site: Declarations, events: int) -> Iterator[list[Record]]:
    device = DEVICES[0]
    source = f"device:{device}"
    scribe = Scribe(source, site.site, {schema.event_type: schema for schema in own_schemas()})
    measured = ShotsMeasured(
        job_id="job-0000000", step=0, circuit=0, chunk=0, device=device, shots=100, counts={"00": 51, "11": 49},
        started_us=0, ended_us=0,
    )  # fmt: skip
    draft = Draft("results", measured, measured.job_id, time.time_ns() // 1_000)
    for begin in range(0, events, BATCH_MAX):
        yield seal_all(scribe.write_all([*repeat(draft, min(BATCH_MAX, events - begin))]), site.key(source))
