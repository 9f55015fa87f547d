"""Given a running job, when it costs too much, comes out wrong or is not wanted, then its other shots are stopped."""

from random import Random
from typing import Any

import pytest

from schemas.events import (
    CircuitRun,
    JobCancelled,
    JobCompleted,
    ResultRecorded,
    RunCancelDecided,
    RunCancelled,
    ShotsMeasured,
    StepCompleted,
    StepPlanned,
)
from schemas.manifest import Manifest
from schemas.topics import Role
from streams.guard import GUARD, is_below
from streams.stage import Heard
from tests.support.actors import Device, Sandbox, cast_of, offered, play
from tests.support.invariants import check
from tests.support.jobs import Town, hybrid, manifest
from tests.support.world import World


class Cheap(Device):
    """A device that offers for less than it costs."""

    def offer(self, heard: Heard, admitted: Any) -> None:
        self.say(offered(admitted, self.name, price_microusd=1), heard)


class Canaries(Sandbox):
    """Asks for canaries in each iteration."""

    def completed(self, planned: StepPlanned) -> StepCompleted:
        completed = super().completed(planned)
        canary = CircuitRun(template=0, parameters={"theta": 0.0}, shots=1_000, expected="00")
        return completed.model_copy(update={"proposal": (canary, *completed.proposal)})


class Wrong(Device):
    """A device on which one shot in five goes wrong."""

    right_percent = 80

    def outcomes(self, _: CircuitRun, shots: int) -> dict[str, int]:
        right = shots * self.right_percent // 100
        return {"00": right, "01": shots - right}


class Fair(Wrong):
    """A device a little worse than it offered."""

    right_percent = 86


def run(wanted: Manifest, device: type[Device] = Device, sandbox: type[Sandbox] = Sandbox) -> World:
    """One job until all rests."""
    town = Town().found()
    town.declare(wanted)
    world = town.world
    play(world, [*(device(world, name) for name in ("chip", "noisy", "trap")), sandbox(world)])
    return world


def stops(world: World) -> list[str]:
    """Why runs were stopped."""
    return [each.reason for each in world.said(RunCancelDecided)]


def budget(cost_microusd: int) -> dict[str, Any]:
    return {"budget": {"cost_microusd": cost_microusd, "shots": 10_000}}


class TestCost:
    def test_lets_a_job_run_that_costs_exactly_its_ceiling(self) -> None:
        assert stops(run(manifest(**budget(4 * 10_000 + 100_000 + 10_000)), Cheap)) == []

    def test_stops_before_the_first_micro_dollar_above_it(self) -> None:
        world = run(manifest(**budget(4 * 10_000 + 100_000 + 10_000 - 1)), Cheap)
        assert stops(world) == ["cost_overrun"]
        assert world.said(RunCancelled)[0].shots == 750
        assert world.said(JobCancelled)[0].reason == "cost_overrun"
        check(world)

    def test_does_not_begin_a_step_that_cannot_be_paid(self) -> None:
        world = run(hybrid(**budget(160_000)), Cheap)
        assert stops(world) == ["cost_overrun"]
        assert world.said(RunCancelled)[0].shots == 0

    def test_counts_the_time_in_the_sandbox(self) -> None:
        device, before_last_run = 3 * 75_000, 3 * 2_000
        assert stops(run(hybrid(**budget(device + before_last_run)), Cheap)) == []
        assert stops(run(hybrid(**budget(device + before_last_run - 1)), Cheap)) == ["cost_overrun"]

    def test_goes_on_being_watched_after_another_intent_of_the_same_id_was_refused(self) -> None:
        town = Town().found()
        town.declare(manifest(**budget(149_999)))
        town.declare(manifest(purpose="another"))
        play(town.world, [Cheap(town.world, name) for name in ("chip", "noisy", "trap")])
        assert stops(town.world) == ["cost_overrun"]


class TestCanaries:
    def test_that_come_out_right_stop_nothing(self) -> None:
        world = run(hybrid(), sandbox=Canaries)
        assert stops(world) == []
        assert len(world.said(JobCompleted)) == 1

    def test_that_survive_too_rarely_for_the_manifest_stop_the_run(self) -> None:
        quantum = hybrid().quantum.model_copy(
            update={
                "backend_requirements": hybrid().quantum.backend_requirements.model_copy(update={"min_success": 0.93})
            }
        )
        world = run(hybrid().model_copy(update={"quantum": quantum}), Wrong, Canaries)
        assert stops(world) == ["fidelity_drop"]
        assert world.said(JobCancelled)[0].reason == "fidelity_drop"
        assert sum(each.shots for each in world.said(ShotsMeasured)) < 1_500
        check(world)

    def test_are_measured_by_the_offer_where_the_manifest_says_nothing(self) -> None:
        assert stops(run(hybrid(), Fair, Canaries)) == []
        assert stops(run(hybrid(), Wrong, Canaries)) == ["fidelity_drop"]

    def test_of_one_chunk_that_is_told_twice_count_once(self) -> None:
        class Twice(Device):
            def say(self, event: Any, *causes: Heard) -> Heard:
                said = super().say(event, *causes)
                return super().say(event, *causes) if isinstance(event, ShotsMeasured) else said

        world = run(hybrid(), Twice, Canaries)
        assert len(world.said(JobCompleted)) == 1
        assert sum(each.shots for each in world.said(ShotsMeasured)) == 2 * (3 * 500 + 3 * 1_000)
        assert world.said(ResultRecorded)[0].shots == 3 * 500 + 3 * 1_000

    def test_of_a_chunk_count_once_and_from_the_device_alone(self) -> None:
        town = Town(World(stages=(GUARD,))).found()
        town.declare(manifest())
        canary = CircuitRun(template=0, shots=100, expected="00")
        planned = StepPlanned(
            job_id="job-1", step=0, kind="quantum", iteration=0, device="chip", circuits=(canary,), seed=0
        )
        town.world.say(Role.ORCHESTRATOR, "stage:orchestrator", planned)
        chunk = ShotsMeasured(
            job_id="job-1",
            step=0,
            circuit=0,
            chunk=0,
            device="chip",
            shots=100,
            counts={"00": 90, "01": 10},
            expected="00",
            started_us=0,
            ended_us=1,
        )
        for source in ("device:chip", "device:chip", "device:trap"):
            town.world.say(Role.DEVICE, source, chunk)
        town.world.settle()
        watch = town.world.state(GUARD).jobs["job-1"]
        assert (watch.canary_survivors, watch.canary_shots) == (90, 100)


class TestShots:
    def test_beyond_the_ceiling_are_stopped(self) -> None:
        class Generous(Device):
            def say(self, event: Any, *causes: Heard) -> Heard:
                if isinstance(event, ShotsMeasured):
                    event = event.model_copy(update={"shots": 6_000})
                return super().say(event, *causes)

        assert stops(run(manifest(), Generous)) == ["shots_over_ceiling"]


class TestAWithdrawal:
    def test_stops_a_running_step_once(self) -> None:
        town = Town().found()
        town.declare(manifest())
        players = cast_of(town.world)
        while not town.world.said(ShotsMeasured):
            town.world.settle()
            any(player.step() for player in players)
        town.withdraw("job-1")
        town.withdraw("job-1")
        play(town.world, players)
        assert stops(town.world) == ["withdrawn"]
        assert town.world.said(JobCancelled)[0].reason == "withdrawn"

    def test_that_is_heard_before_a_step_stops_it_when_it_is_planned(self) -> None:
        town = Town(World(stages=(GUARD,))).found()
        town.declare(manifest())
        town.withdraw("job-1")
        planned = StepPlanned(job_id="job-1", step=0, kind="quantum", iteration=0, device="chip", seed=0)
        town.world.say(Role.ORCHESTRATOR, "stage:orchestrator", planned)
        town.world.settle()
        assert stops(town.world) == ["withdrawn"]

    def test_of_an_ended_job_is_forgotten(self) -> None:
        world = run(manifest())
        assert not world.state(GUARD).jobs


class TestTheSurvivalTest:
    @pytest.mark.parametrize(
        ("survivors", "shots", "survival", "expected"),
        [
            (0, 0, 0.9, False),
            (10, 10, 1.0, False),
            (0, 5, 0.9, False),
            (800, 1_000, 0.9, True),
            (880, 1_000, 0.9, False),
            (1_000, 1_000, 0.9, False),
            (1 << 62, 1 << 63, 0.5, False),
            (0, 1 << 63, 5e-324, False),
        ],
    )
    def test_by_example(self, survivors: int, shots: int, survival: float, expected: bool) -> None:
        assert is_below(survivors, shots, survival) is expected

    def test_turns_where_bernsteins_bound_does(self) -> None:
        first = next(lost for lost in range(1_000) if is_below(1_000 - lost, 1_000, 0.9))
        assert first - 100 == pytest.approx((2 * 90 * 13.8155 + (13.8155 / 3) ** 2) ** 0.5 + 13.8155 / 3, abs=1)

    def test_does_not_accuse_a_device_that_is_as_good_as_it_said(self) -> None:
        rng = Random(1)  # noqa: S311 -- coins, nothing secret
        for _ in range(20):
            survivors = 0
            for shots in range(1, 1_000):
                survivors += rng.random() < 0.95
                assert not is_below(survivors, shots, 0.95)
