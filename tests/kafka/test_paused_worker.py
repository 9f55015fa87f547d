"""A worker process that is stopped between its decision and its commit, past its session, and then let go on."""

import asyncio
import time
from pathlib import Path

import pytest

from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from streams.log.kafka.batches import Line
from streams.log.kafka.reading import KafkaReader
from streams.log.kafka.wire import Wire
from tests.support.kafka_site import SETTLED_S, KafkaSite, assert_each_decided_once
from tests.support.worker_processes import WorkerProcess, Workforce

PARTITIONS = 8
JOBS, PACE_S = 10, 0.01
"""Declared between two looks at whether the worker is paused, and how far apart: so it commits again and again."""
FENCED = "This worker leaves: policy/{}: AppendFenced"
IN_FLIGHT_S = 0.2
"""After so long a commit that was under way when the worker was stopped has reached the broker, if that is not busy."""


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(5, id="few", marks=pytest.mark.timeout(400)),
        pytest.param(50, id="all", marks=[pytest.mark.long, pytest.mark.timeout(2_400)]),
    ],
)
async def test_what_a_worker_paused_past_its_session_commits_late_is_refused(
    broker: Broker, tmp_path: Path, rounds: int
) -> None:
    site = await KafkaSite.found(broker, f"paused-{rounds}", tmp_path / "site")
    wire = await Wire.open(broker.access(OPERATOR).aiokafka(), ["approvals"])
    with Workforce(tmp_path / "work", broker.directory / "access", [site.directory]) as workforce:
        workers = [workforce.hire(name, "policy", session_s=2) for name in ("one", "two")]
        jobs = refused = 0
        for _ in range(2 * rounds):
            holder = await asyncio.to_thread(_holder, workers, site)
            pausing = asyncio.create_task(_pause_before_its_commit(holder, wire, site))
            while not pausing.done():
                await site.declare(JOBS, 1, PACE_S)
                jobs += JOBS
            await site.declare(1, 1)
            jobs += 1
            await site.admitted(jobs)  # so the other one has taken over
            is_undone = await _is_aborted(wire, site, await pausing)
            said = len(holder.said())
            holder.go_on()
            if is_undone:  # else a busy broker had the commit before its worker was stopped, and read it late
                assert await asyncio.to_thread(holder.has_left_saying, FENCED.format(site.partition), said)
                refused += 1
            if refused == rounds:
                break
    assert refused == rounds
    await wire.close()
    log = await KafkaReader.open(broker.access("auditor").aiokafka())
    await assert_each_decided_once(log, site, jobs, scheduled=False)
    await log.close()
    await site.log.close()


async def _pause_before_its_commit(worker: WorkerProcess, wire: Wire, site: KafkaSite) -> int:
    """Stop a worker while what it has decided is written and nobody has said whether it counts; where that begins."""
    async with asyncio.timeout(SETTLED_S):
        while True:
            if await _undecided(wire, site) is not None:
                worker.pause()
                await asyncio.sleep(IN_FLIGHT_S)
                if (first := await _undecided(wire, site)) is not None:
                    return first
                worker.go_on()


async def _undecided(wire: Wire, site: KafkaSite) -> int | None:
    """From which offset on records wait for a commit, on the topic that only policy writes here."""
    written = await wire.written_ends(site.partition)
    committed = await wire.committed_ends(site.partition)
    return committed["approvals"] if committed["approvals"] < written["approvals"] else None


async def _is_aborted(wire: Wire, site: KafkaSite, first: int) -> bool:
    """Whether nothing counts of the transaction that begins at an offset."""
    fetched = await wire.fetch(Line("approvals", site.partition), first)
    return first in [begun for _, begun in fetched.aborted]


def _holder(workers: list[WorkerProcess], site: KafkaSite) -> WorkerProcess:
    """The one that serves the site, when the numbers are shared out among both and the site's has been taken over."""
    until = time.monotonic() + SETTLED_S
    while time.monotonic() < until:
        if sorted(number for worker in workers for number in worker.numbers("policy")) == list(range(PARTITIONS)):
            [holder] = [worker for worker in workers if site.partition in worker.numbers("policy")]
            if holder.serves("policy", site.partition):
                return holder
        time.sleep(0.1)
    raise AssertionError(f"the numbers are not shared out: {[worker.numbers('policy') for worker in workers]}")
