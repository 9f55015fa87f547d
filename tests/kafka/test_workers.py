"""Workers in processes of their own, on a real broker, hosted by Faust: killed, handed over."""

import asyncio
from pathlib import Path

import pytest

from qpubus.kafka.broker import Broker
from qpubus.kafka.setup import set_up
from streams.log.kafka.reading import KafkaReader
from streams.policy import POLICY
from streams.saves import Whose, load
from streams.scheduler import SCHEDULER
from tests.support.kafka_site import KafkaSite, assert_each_decided_once, state_of_a_clean_replay
from tests.support.worker_processes import Workforce

STAGES = ("policy", "scheduler")
LOOKED_S = 2.0
"""Twice as often, a worker looks at what waits for it."""


@pytest.mark.parametrize(
    ("jobs", "size", "kills"),
    [
        pytest.param(400, 20, 2, id="sample"),
        pytest.param(20_000, 100, 5, id="all", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
async def test_killed_workers_lose_no_decision_and_double_none(
    broker: Broker, tmp_path: Path, jobs: int, size: int, kills: int
) -> None:
    site = await KafkaSite.found(broker, f"killed-{jobs}", tmp_path / "site")
    with Workforce(tmp_path / "work", broker.directory / "access", [site.directory]) as workforce:
        first = workforce.hire("one", *STAGES)
        await site.declare(1, 1)
        await site.decided(1)
        batches = jobs // size
        moments = {(number + 1) * batches // (kills + 1): first.kill_at_work for number in range(kills)}
        await site.declare(jobs - 1, size, 0.2, moments)
        second = workforce.hire("two", *STAGES)
        await asyncio.to_thread(first.remove)
        await site.decided(jobs)
        await asyncio.sleep(LOOKED_S)
        for name in STAGES:  # so what it saves as it stops has heard everything
            nothing_waits = f'qpubus_worker_lag_records{{stage="{name}",partition="{site.partition}"}} 0'
            assert await asyncio.to_thread(second.tells, nothing_waits)
        assert await asyncio.to_thread(second.stop) == 0
    assert first.starts == kills + 1
    log = await KafkaReader.open(broker.access("auditor").aiokafka())
    await assert_each_decided_once(log, site, jobs)
    for stage in (POLICY, SCHEDULER):
        path = tmp_path / "work" / "states" / f"{stage.role.value}-{site.partition}.json"
        saved = load(path, Whose(stage, site.roots))
        assert saved is not None
        assert saved.states[site.declarations.site] == await state_of_a_clean_replay(log, site, stage)
    await log.close()
    await site.log.close()


@pytest.mark.parametrize(
    "restarts",
    [pytest.param(1, id="sample"), pytest.param(5, id="all", marks=[pytest.mark.long, pytest.mark.timeout(600)])],
)
async def test_a_killed_broker_loses_nothing_it_acknowledged_and_workers_go_on_by_themselves(
    tmp_path: Path, restarts: int
) -> None:
    broker = Broker(tmp_path / "kafka")
    await asyncio.to_thread(broker.start, 0)
    try:
        await set_up(broker, 2)
        site = await KafkaSite.found(broker, "broken", tmp_path / "site")
        with Workforce(tmp_path / "work", broker.directory / "access", [site.directory]) as workforce:
            workforce.hire("one", *STAGES)
            await site.declare(20, 20)
            await site.decided(20)
            moments = {10 * number + 5: lambda: _restart(broker) for number in range(restarts)}
            acknowledged = await site.declare_through_faults(20 * 10 * restarts, 20, moments)
            await site.decided(20 + 20 * 10 * restarts)
        log = await KafkaReader.open(broker.access("auditor").aiokafka())
        for place, record in acknowledged:
            [stored] = await log.read(*place, 1)
            assert stored.record == record
        await assert_each_decided_once(log, site, 20 + 20 * 10 * restarts)
        await log.close()
        await site.log.close()
    finally:
        broker.stop()


def _restart(broker: Broker) -> None:
    broker.kill()
    broker.start()
