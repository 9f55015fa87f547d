"""A device agent running steps: chunks, their order in time, what stops them, and what a crash changes (nothing)."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agents.devices import runs
from agents.devices.approved import compile_approved
from agents.devices.compiled import read_compiled
from schemas.events import (
    CircuitRun,
    DeviceSnapshotTaken,
    JobFailed,
    PlacementOffered,
    PriceListPublished,
    ReservationReleased,
    RunCancelled,
    ShotsMeasured,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from tests.support.placed import SLOT, Placed, bell_run, placed_job
from tests.support.town import TRAP, Town, new_town


def ledger_chunks(job: Placed) -> dict[str, int]:
    """Shots by chunk id, as the device itself remembers them."""
    return {chunk.chunk_id: chunk.shots for chunk in job.town.fleet[TRAP].ledger.chunks()}


async def completed_step(directory: Path, *circuits: CircuitRun, **changes: Any) -> Placed:
    job = await placed_job(await new_town(directory))
    await job.plan(*circuits, **changes)
    await job.run()
    return job


def test_a_step_runs_all_its_shots(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await completed_step(tmp_path, bell_run(4_000), bell_run(500, theta=2.0))
        measured = await job.town.events(ShotsMeasured)
        shots = Counter[int]()
        for chunk in measured:
            assert sum(chunk.counts.values()) == chunk.shots
            shots[chunk.circuit] += chunk.shots
        assert shots == {0: 4_000, 1: 500}
        (completed,) = await job.town.events(StepCompleted)
        assert completed.shots == 4_500
        assert completed.device_time_us == sum(chunk.ended_us - chunk.started_us for chunk in measured)

    asyncio.run(scenario())


def test_what_runs_is_said_before_it_runs_and_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await completed_step(tmp_path)
        (started,) = await job.town.events(StepStarted)
        (offered,) = await job.town.events(PlacementOffered)
        assert started.snapshot_digest == offered.snapshot_digest
        (digest,) = started.compiled_digests
        assert read_compiled(job.town.artifacts.get(digest).decode()).digest == digest
        assert {chunk.circuit_digest for chunk in job.town.fleet[TRAP].ledger.chunks()} == {digest}

    asyncio.run(scenario())


def test_a_job_runs_on_the_snapshot_of_its_offer_though_a_newer_one_was_taken(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        job.town.clock.advance_to(job.town.clock.now_us() + 5 * 3_600_000_000)
        await job.agent.step()
        assert len(await job.town.events(DeviceSnapshotTaken)) == 2
        await job.plan()
        await job.agent.step()
        (started,) = await job.town.events(StepStarted)
        assert started.snapshot_digest == (await job.town.events(DeviceSnapshotTaken))[0].snapshot_digest

    asyncio.run(scenario())


def test_the_same_seed_gives_the_same_counts_and_another_gives_others(tmp_path: Path) -> None:
    async def counts(name: str, job_seed: int) -> list[dict[str, int]]:
        job = await completed_step(tmp_path / name, seed=job_seed)
        return [dict(chunk.counts) for chunk in await job.town.events(ShotsMeasured)]

    first, again, other = (asyncio.run(counts(*each)) for each in (("first", 7), ("again", 7), ("other", 8)))
    assert first == again != other


def test_a_chunk_is_told_when_the_clock_has_reached_its_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        await job.plan()
        await job.run()
        said = [each for each in await job.town.heard() if isinstance(each.event, ShotsMeasured)]
        ends = [chunk.ended_us for chunk in await job.town.events(ShotsMeasured)]
        assert [each.time_us for each in said] == ends

    asyncio.run(scenario())


def test_on_the_wall_device_time_is_recorded_and_not_waited_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path), waits=False)
        await job.plan()
        await job.town.run(job.agent)
        (completed,) = await job.town.events(StepCompleted)
        assert completed.device_time_us > 1_000_000
        heard = [each.time_us for each in await job.town.heard() if isinstance(each.event, StepCompleted)]
        assert heard == [job.town.clock.now_us()]

    asyncio.run(scenario())


def test_an_agent_restarted_at_every_turn_says_and_runs_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        steady = await completed_step(tmp_path / "steady", bell_run(4_000), bell_run(3_000, theta=2.0))
        job = await placed_job(await new_town(tmp_path / "shaken"))
        await job.plan(bell_run(4_000), bell_run(3_000, theta=2.0))
        while not await job.town.events(StepCompleted):
            agent = job.town.device()
            if not await agent.step() or agent.next_due_us():
                job.town.clock.advance_to(agent.next_due_us() or 0)
        assert await job.town.events(ShotsMeasured) == await steady.town.events(ShotsMeasured)
        assert ledger_chunks(job) == ledger_chunks(steady)

    asyncio.run(scenario())


def test_a_chunk_that_ran_before_a_crash_is_told_and_not_run_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        await job.plan()
        await job.agent.step()
        await job.agent.step()
        assert len(ledger_chunks(job)) == 1
        assert await job.town.events(ShotsMeasured) == []
        job.agent = job.town.device()
        await job.run()
        said = await job.town.events(ShotsMeasured)
        assert len(said) == len(ledger_chunks(job))
        assert sum(chunk.shots for chunk in said) == 1_000

    asyncio.run(scenario())


def test_a_step_that_is_cancelled_stops_between_two_chunks(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        await job.plan(bell_run(8_000))
        while len(await job.town.events(ShotsMeasured)) < 2:
            await job.agent.step()
            job.town.clock.advance_to(job.agent.next_due_us() or 0)
        await job.cancel()
        await job.run()
        said = await job.town.events(ShotsMeasured)
        (cancelled,) = await job.town.events(RunCancelled)
        assert cancelled.shots == sum(chunk.shots for chunk in said) == sum(ledger_chunks(job).values()) < 8_000
        assert (cancelled.reason, await job.town.events(StepCompleted)) == ("fidelity_drop", [])

    asyncio.run(scenario())


def test_a_step_that_is_cancelled_before_it_began_runs_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        await job.plan()
        await job.cancel()
        await job.run()
        (cancelled,) = await job.town.events(RunCancelled)
        assert (cancelled.shots, ledger_chunks(job)) == (0, {})

    asyncio.run(scenario())


def test_a_job_that_ended_is_not_run_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        await job.plan(bell_run(8_000))
        await job.agent.step()
        await job.agent.step()
        await job.town.say("stage:orchestrator", JobFailed(job_id="bell-1", reason="deadline_passed", message=""))
        await job.run()
        (cancelled,) = await job.town.events(RunCancelled)
        assert (cancelled.reason, len(ledger_chunks(job))) == ("job_ended", 1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "circuit",
    [
        bell_run(theta=3.1),
        bell_run(theta=-0.1),
        bell_run(template=1),
        bell_run(parameters={}),
        bell_run(parameters={"theta": 1.0, "phi": 1.0}),
    ],
    ids=["above", "below", "template", "missing", "unknown"],
)
def test_a_circuit_that_was_not_approved_does_not_run(tmp_path: Path, circuit: CircuitRun) -> None:
    async def scenario() -> None:
        job = await completed_step(tmp_path, bell_run(), circuit)
        (failed,) = await job.town.events(StepFailed)
        assert (failed.reason, failed.shots) == ("circuit_not_approved", 0)
        assert ledger_chunks(job) == {}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "change",
    [{"token_digest": "f" * 64}, {"reservation_id": "another"}, {"job_id": "another"}],
    ids=["token", "slot", "job"],
)
def test_a_step_without_a_slot_of_its_own_does_not_run(tmp_path: Path, change: dict[str, Any]) -> None:
    async def scenario() -> None:
        job = await completed_step(tmp_path, **change)
        (failed,) = await job.town.events(StepFailed)
        assert (failed.reason, ledger_chunks(job)) == ("reservation_unknown", {})

    asyncio.run(scenario())


def test_a_slot_that_was_given_back_runs_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        released = ReservationReleased(job_id="bell-1", reservation_id=SLOT, device=TRAP, reason="job_ended")
        await job.town.say("stage:scheduler", released)
        await job.plan()
        await job.run()
        (failed,) = await job.town.events(StepFailed)
        assert (failed.reason, ledger_chunks(job)) == ("token_released", {})

    asyncio.run(scenario())


def test_no_chunk_runs_beyond_the_admitted_shots(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await completed_step(tmp_path, bell_run(9_000))
        (failed,) = await job.town.events(StepFailed)
        assert failed.reason == "shots_over_ceiling"
        assert failed.shots == sum(ledger_chunks(job).values()) <= 8_000

    asyncio.run(scenario())


def test_no_chunk_runs_beyond_the_admitted_price(tmp_path: Path) -> None:
    async def scenario() -> None:
        ceiling = 1_000_000
        job = await placed_job(await new_town(tmp_path), price_ceiling_microusd=ceiling)
        await job.plan(bell_run(8_000))
        await job.run()
        (failed,) = await job.town.events(StepFailed)
        assert failed.reason == "price_over_ceiling"
        assert 0 < failed.device_time_us * 230_000_000 // 3_600_000_000 <= ceiling

    asyncio.run(scenario())


def test_a_missing_snapshot_document_fails_the_step_by_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        for document in (tmp_path / "artifacts").iterdir():
            document.unlink()
        job.town.clock.advance_to(job.town.clock.now_us() + 1)
        job.agent = job.town.device()
        await job.plan()
        await job.run()
        (failed,) = await job.town.events(StepFailed)
        assert (failed.reason, ledger_chunks(job)) == ("artifact_missing", {})

    asyncio.run(scenario())


def test_a_completed_step_tells_how_faithful_its_circuits_were(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await completed_step(tmp_path, bell_run(4_000, theta=0.5))
        (completed,) = await job.town.events(StepCompleted)
        (figure,) = completed.fidelities
        assert (figure.method, figure.shots) == ("hellinger", 4_000)
        assert 0.9 < figure.value < 1

    asyncio.run(scenario())


def test_a_canary_says_what_it_expects(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await completed_step(tmp_path, bell_run(theta=0.0, expected="00"))
        assert {chunk.expected for chunk in await job.town.events(ShotsMeasured)} == {"00"}

    asyncio.run(scenario())


async def reprice(town: Town, *devices: str, **changes: Any) -> None:
    """Publish prices in which those of the devices named are changed; one that is named twice stands there twice."""
    (first, *_) = await town.events(PriceListPublished)
    changed = tuple(
        each.model_copy(update=changes) for device in devices for each in first.devices if each.device == device
    )
    others = tuple(each for each in first.devices if each.device not in devices)
    town.clock.advance_to(town.clock.now_us() + 1)
    await town.say("root", first.model_copy(update={"devices": changed + others}))


def test_a_job_is_run_by_the_prices_of_its_admission(tmp_path: Path) -> None:
    async def scenario() -> None:
        steady = await completed_step(tmp_path / "steady", bell_run(4_000))
        job = await placed_job(await new_town(tmp_path / "repriced"))
        await reprice(job.town, TRAP, shots_max=100, hour_microusd=1 << 60)
        await job.plan(bell_run(4_000))
        await job.agent.step()
        job.agent = job.town.device()
        await job.run()
        assert ledger_chunks(job) == ledger_chunks(steady)
        assert len(await job.town.events(StepCompleted)) == 1

    asyncio.run(scenario())


def test_prices_between_which_nobody_can_choose_are_no_price(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await new_town(tmp_path)
        await reprice(town, TRAP, TRAP)
        job = await placed_job(town)
        (offered,) = await town.events(PlacementOffered)
        assert offered.reason.startswith("price_unknown")
        await job.plan()
        await job.run()
        (failed,) = await town.events(StepFailed)
        assert (failed.reason, ledger_chunks(job)) == ("price_unknown", {})

    asyncio.run(scenario())


def test_a_step_that_compiles_otherwise_after_a_restart_fails_and_runs_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def otherwise(circuits: tuple[CircuitRun, ...], *rest: Any) -> Any:
        return compile_approved([each.model_copy(update={"parameters": {"theta": 0.5}}) for each in circuits], *rest)

    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        await job.plan(bell_run(4_000))
        await job.agent.step()
        await job.agent.step()
        monkeypatch.setattr(runs, "compile_approved", otherwise)
        job.agent = job.town.device()
        await job.run()
        (failed,) = await job.town.events(StepFailed)
        assert (failed.reason, len(ledger_chunks(job))) == ("compiled_otherwise", 1)

    asyncio.run(scenario())


def test_a_step_that_is_too_large_to_be_told_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = runs.Run.start

    def endless(*told: Any) -> StepStarted:
        return begun(*told).model_copy(update={"isolation": "i" * (1 << 20)})

    monkeypatch.setattr(runs.Run, "start", endless)

    async def scenario() -> None:
        job = await completed_step(tmp_path)
        (failed,) = await job.town.events(StepFailed)
        assert (failed.reason, ledger_chunks(job)) == ("output_oversized", {})

    asyncio.run(scenario())
