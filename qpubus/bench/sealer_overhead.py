"""What sealing costs on top of appending: an author's events a second with a sealer at work, against none.

The sealer runs as in `qpubus up`: beside the author, woken by the bus; the last round is sealed within the time. An
append is one event, as parties mostly say them; figures for batches of 10 and 100 stand beside. Both ways run in turn
on logs of their own; each rate is the median of its rounds.
"""

import asyncio
import contextlib
import gc
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.clock import WallClock
from agents.party import Membership
from agents.sealer import Sealer
from qpubus.bench.history import SITE, Historian
from qpubus.bus import Part, run_wall
from schemas.codec import own_schemas
from schemas.events import ShotsMeasured
from streams.author import Draft, Scribe, seal_all
from streams.log.embedded import EmbeddedLog, create

EVENTS = 4_000
BATCHES = {"sealer.overhead": 1, "sealer.overhead_10": 10, "sealer.overhead_100": 100}
ROUNDS = 5
_AUTHOR = "device:onprem-iontrap-1"
_ON_DISK = "/var/tmp" if Path("/var/tmp").is_dir() else None  # noqa: S108 (a directory of its own is made in it)


@dataclass
class House:
    """A bus with one part."""

    log: EmbeddedLog
    clock: WallClock
    sealer: Sealer
    partition: int = 0
    names: tuple[str, ...] = ("sealer:main",)

    def part(self, _: str) -> Part:
        """The sealer."""
        return self.sealer

    def forget(self, name: str) -> None:
        """A failed measurement is none."""
        raise RuntimeError(f"{name} failed")


def measure() -> list[dict[str, Any]]:
    """The figure `sealer.overhead` and those beside it, in events a second."""
    return [_figure(name, batch) for name, batch in BATCHES.items()]


def _figure(name: str, batch: int) -> dict[str, Any]:
    rates: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for seals, rate in rates.items():
            with tempfile.TemporaryDirectory(prefix="qpubus-bench-", dir=_ON_DISK) as directory:
                rate.append(asyncio.run(_rate(Path(directory), batch, seals=seals)))
    value, reference_value = statistics.median(rates[True]), statistics.median(rates[False])
    return {
        "name": name,
        "value": round(value),
        "unit": "events/s",
        "reference": f"the same appends of {batch} without a sealer",
        "reference_value": round(reference_value),
        "ratio": round(value / reference_value, 3),
    }


async def _rate(directory: Path, batch: int, *, seals: bool) -> float:
    create(directory / "data")
    clock = WallClock()
    log = EmbeddedLog(directory / "data", clock.now_us)
    try:
        historian = Historian(log)
        await historian.found()
        sealer = Sealer(historian.member("sealer:main"), log, clock)
        await sealer.finish()
        task = asyncio.create_task(run_wall(House(log, clock, sealer), print)) if seals else None
        gc.collect()
        began = time.perf_counter()
        await _append(log, historian.member(_AUTHOR), batch)
        if task:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await sealer.finish()
        return EVENTS / (time.perf_counter() - began)
    finally:
        await log.close()


async def _append(log: EmbeddedLog, author: Membership, batch: int) -> None:
    scribe = Scribe(author.source, SITE, {schema.event_type: schema for schema in own_schemas()})
    for start in range(0, EVENTS, batch):
        written = [scribe.write(_draft(number)) for number in range(start, start + batch)]
        await log.append(seal_all(written, author.key))


def _draft(number: int) -> Draft:
    event = ShotsMeasured(
        job_id="poctest-2026-01-18-001",
        step=2,
        circuit=number % 8,
        chunk=number // 8,
        device="onprem-iontrap-1",
        shots=256,
        counts={"00": 118, "01": 7, "10": 9, "11": 122},
        started_us=1_768_726_800_000_000 + number,
        ended_us=1_768_726_800_200_000 + number,
    )
    return Draft("results", event, "poctest-2026-01-18-001", event.ended_us)
