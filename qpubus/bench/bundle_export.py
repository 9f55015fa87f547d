"""How long it takes to bundle one job among 100,000 events: from a closed log to a file, a pass over it included.

The pass hashes every record to a leaf, so the time grows with the log: the limit is for the size that is named.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from agents.clock import VirtualClock
from agents.sealer import Sealer
from qpubus.bench.history import EPOCH_US, JOB_US, SITE, Historian
from replay.bundle import bundle
from replay.standalone import verify
from streams.log.embedded import EmbeddedLog, create
from streams.log.reading import open_copy

EVENTS = 100_000
ROUNDS = 5
LIMIT_S = 2.0


def measure() -> list[dict[str, Any]]:
    """The figure `bundle.export`, in seconds."""
    with tempfile.TemporaryDirectory(prefix="qpubus-bench-") as name:
        directory = Path(name)
        job_id, historian = asyncio.run(_told(directory))
        times = [asyncio.run(_bundle(directory, historian, job_id)) for _ in range(ROUNDS)]
    value = statistics.median(times)
    return [
        {
            "name": "bundle.export",
            "value": round(value, 3),
            "unit": "s",
            "reference": f"limit for a job among {EVENTS:,} events",
            "reference_value": LIMIT_S,
            "ratio": round(LIMIT_S / value, 3),
        }
    ]


async def _told(directory: Path) -> tuple[str, Historian]:
    """A sealed log of so many events, and a job from the middle of it."""
    create(directory)
    now_us = EPOCH_US + EVENTS * JOB_US
    log = EmbeddedLog(directory, lambda: now_us)
    historian, number = Historian(log), 0
    try:
        await historian.found()
        while sum((await log.ends(0)).values()) < EVENTS:
            await historian.tell(number)
            number += 1
        await Sealer(historian.member("sealer:main"), log, VirtualClock(now_us)).finish()
    finally:
        await log.close()
    return f"job-{number // 2:06}", historian


async def _bundle(directory: Path, historian: Historian, job_id: str) -> float:
    began = time.perf_counter()
    with open_copy(directory) as log:
        made = await bundle(log, (SITE, historian.roots[SITE]), job_id, historian.member("auditor:main").key)
    (directory / "bundle").write_bytes(made)
    seconds = time.perf_counter() - began
    report = verify(made, historian.roots[SITE])
    # What agents and people signed is made up here, so of the verdict only this much counts.
    if report.proven != report.records or any(each.reason == "proof_broken" for each in report.findings):
        raise RuntimeError(f"the bundle is not whole: {report.findings[:3]}")
    return seconds
