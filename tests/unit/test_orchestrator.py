"""Given an admitted job with a slot, when its steps end, then the next is planned, or the job ends exactly once."""

from collections.abc import Iterator
from typing import Any

import pytest

from schemas.events import (
    AlarmRang,
    AlarmSet,
    CircuitRun,
    IntentAdmitted,
    IntentWithdrawn,
    JobCancelled,
    JobCompleted,
    JobFailed,
    Observable,
    ReservationExpired,
    ReservationGranted,
    ReservationReleased,
    ResultRecorded,
    RunCancelDecided,
    RunCancelled,
    StepCompleted,
    StepFailed,
    StepOutcomeUnknown,
    StepPlanned,
)
from schemas.manifest import Manifest
from schemas.topics import Role
from schemas.words import Event
from streams.orchestrator import ORCHESTRATOR
from streams.stage import Heard
from tests.support.actors import DIGEST, Device, Sandbox, cast_of, offered, play
from tests.support.invariants import check
from tests.support.jobs import DEVICES, Town, hybrid, manifest
from tests.support.world import World

END = JobCompleted | JobFailed | JobCancelled


def end(world: World) -> tuple[str, str]:
    """How the one job ended, and why."""
    (event,) = [heard.event for heard in world.log if isinstance(heard.event, END)]
    return type(event).__name__, getattr(event, "reason", "")


def plans(world: World) -> list[tuple[str, int, int]]:
    """Kind, iteration and shots of each planned step."""
    return [
        (each.kind, each.iteration, sum(circuit.shots for circuit in each.circuits)) for each in world.said(StepPlanned)
    ]


def run(wanted: Manifest, device: type[Device] = Device, sandbox: type[Sandbox] = Sandbox) -> World:
    """One job, on devices and in a sandbox of a kind, until all rests; alarms ring only where it has not ended."""
    town = Town().found()
    world = town.world
    town.declare(wanted)
    players: list[Device | Sandbox] = [*(device(world, name) for name in DEVICES), sandbox(world)]
    play(world, players)
    while not any(isinstance(heard.event, END) for heard in world.log) and world.ring():
        play(world, players)
    return world


class Proposing(Sandbox):
    """Asks for one circuit of a test's making after the first iteration."""

    asks = CircuitRun(template=0, parameters={"theta": 1.0}, shots=10)

    def completed(self, planned: StepPlanned) -> StepCompleted:
        completed = super().completed(planned)
        return completed.model_copy(update={"proposal": (self.asks,)}) if planned.kind == "loop" else completed


class TestAJobWithoutPrograms:
    def test_runs_its_main_circuit_once_at_the_low_ends(self) -> None:
        world = run(manifest())
        assert plans(world) == [("quantum", 0, 1_000)]
        assert world.said(StepPlanned)[0].circuits[0].parameters == {"theta": 0.0}

    def test_has_the_event_of_its_run_for_a_result(self) -> None:
        world = run(manifest())
        ran = next(heard for heard in world.log if isinstance(heard.event, StepCompleted))
        assert world.said(ResultRecorded)[0].result_digest == ran.digest
        assert end(world) == ("JobCompleted", "")

    def test_runs_on_its_slot_with_its_seed(self) -> None:
        world = run(manifest(seed=99))
        planned, granted = world.said(StepPlanned)[0], world.said(ReservationGranted)[0]
        assert (planned.device, planned.reservation_id, planned.token_digest, planned.seed) == (
            granted.device,
            granted.reservation_id,
            granted.token_digest,
            99,
        )


class TestAHybridJob:
    def test_goes_through_all_its_steps(self) -> None:
        world = run(hybrid())
        iteration = [("quantum", 500), ("loop", 0)]
        expected = [("preprocess", 0), *iteration * 3, ("post", 0)]
        assert [(kind, shots) for kind, _, shots in plans(world)] == expected
        assert [number for kind, number, _ in plans(world) if kind == "quantum"] == [0, 1, 2]
        check(world)

    def test_records_what_it_found_and_used(self) -> None:
        class Finding(Sandbox):
            def completed(self, planned: StepPlanned) -> StepCompleted:
                found = (Observable(name="energy_hartree", value=-1.1, standard_error=0.1),)
                return super().completed(planned).model_copy(update={"observables": found})

        result = run(hybrid(), sandbox=Finding).said(ResultRecorded)[0]
        assert (result.iterations, result.shots, result.converged) == (3, 1_500, True)
        assert (result.device_time_us, result.classical_time_us) == (1_500_000, 10_000_000)
        assert result.quantum_microusd == 6 * 10_000 + 1_500 * 100 + 15_000
        assert result.classical_microusd == 10_000
        assert result.observables[0].value == -1.1

    def test_stops_its_loop_at_the_limit_without_having_converged(self) -> None:
        class Endless(Sandbox):
            def completed(self, planned: StepPlanned) -> StepCompleted:
                self.iterations = 99
                return super().completed(planned)

        world = run(hybrid(), sandbox=Endless)
        assert sum(kind == "quantum" for kind, _, _ in plans(world)) == 5
        assert not world.said(ResultRecorded)[0].converged

    def test_ends_its_loop_where_the_program_asks_for_nothing_more(self) -> None:
        class Mute(Sandbox):
            def completed(self, planned: StepPlanned) -> StepCompleted:
                return super().completed(planned).model_copy(update={"proposal": ()})

        world = run(hybrid(), sandbox=Mute)
        assert [kind for kind, _, _ in plans(world)] == ["preprocess", "quantum", "loop", "post"]
        assert not world.said(ResultRecorded)[0].converged

    def test_fails_where_the_last_program_names_no_output(self) -> None:
        class Silent(Sandbox):
            def completed(self, planned: StepPlanned) -> StepCompleted:
                return super().completed(planned).model_copy(update={"output_digest": "A" * 64})

        assert end(run(hybrid(), sandbox=Silent)) == ("JobFailed", "output_missing")

    @pytest.mark.parametrize(
        ("asks", "expected"),
        [
            (CircuitRun(template=1, parameters={"theta": 1.0}, shots=10), "circuit_not_approved"),
            (CircuitRun(template=0, parameters={}, shots=10), "circuit_not_approved"),
            (CircuitRun(template=0, parameters={"theta": 1.0, "phi": 1.0}, shots=10), "circuit_not_approved"),
            (CircuitRun(template=0, parameters={"theta": 3.0000001}, shots=10), "circuit_not_approved"),
            (CircuitRun(template=0, parameters={"theta": -0.1}, shots=10), "circuit_not_approved"),
            (CircuitRun(template=0, parameters={"theta": 1.0}, shots=0), "circuit_not_approved"),
            (CircuitRun(template=0, parameters={"theta": 1.0}, shots=5_001), "shots_above_device"),
        ],
    )
    def test_fails_where_a_program_asks_for_what_was_not_declared(self, asks: CircuitRun, expected: str) -> None:
        world = run(hybrid(), sandbox=type("Asking", (Proposing,), {"asks": asks}))
        assert end(world) == ("JobFailed", expected)
        assert sum(kind == "quantum" for kind, _, _ in plans(world)) == 1

    @pytest.mark.parametrize(
        "asks",
        [
            (CircuitRun(template=0, parameters={"theta": 1.0}, shots=1),) * 4_097,
            (CircuitRun(template=0, parameters={"theta": 1.0}, shots=1, label="l" * 600_000),),
            (CircuitRun(template=0, parameters={f"p{number}": 1.0 for number in range(257)}, shots=1),),
        ],
        ids=["circuits", "bytes", "parameters"],
    )
    def test_fails_where_a_program_asks_for_more_than_an_event_can_hold(self, asks: tuple[CircuitRun, ...]) -> None:
        class Asking(Sandbox):
            def completed(self, planned: StepPlanned) -> StepCompleted:
                return super().completed(planned).model_copy(update={"proposal": asks})

        world = run(hybrid(), sandbox=Asking)
        assert end(world) == ("JobFailed", "proposal_oversized")
        assert [kind for kind, _, _ in plans(world)] == ["preprocess"]

    @pytest.mark.parametrize(("ceiling", "ending"), [(1_500, "JobCompleted"), (1_499, "JobFailed")])
    def test_has_exactly_its_ceiling_of_shots(self, ceiling: int, ending: str) -> None:
        quantum = hybrid().quantum.model_copy(update={"shots": 500})
        wanted = hybrid(budget={"cost_microusd": 10**7, "shots": ceiling}).model_copy(update={"quantum": quantum})
        assert end(run(wanted))[0] == ending


class TestAJobFails:
    def test_where_no_device_may_run_it(self) -> None:
        class Unfit(Device):
            def offer(self, heard: Heard, admitted: IntentAdmitted) -> None:
                pass

        assert end(run(manifest(), Unfit)) == ("JobFailed", "no_device")

    @pytest.mark.parametrize(
        ("event", "reason"),
        [
            (StepFailed(job_id="job-1", step=0, reason="hardware", message="a fault"), "step_failed"),
            (StepOutcomeUnknown(job_id="job-1", step=0, message="lost"), "outcome_unknown"),
        ],
    )
    def test_where_a_step_does(self, event: Event, reason: str) -> None:
        class Failing(Device):
            def run(self, heard: Heard, _: StepPlanned) -> Iterator[None]:
                self.say(event, heard)
                self.say(event, heard)
                yield

        assert end(run(manifest(), Failing)) == ("JobFailed", reason)

    def test_where_nothing_is_heard_of_it_for_a_day(self) -> None:
        class Dead(Device):
            def run(self, *_: Any) -> Iterator[None]:
                yield

        world = run(manifest(), Dead)
        assert end(world) == ("JobFailed", "step_silent")
        assert world.now_us >= world.said(ReservationGranted)[0].starts_us + 24 * 3_600_000_000

    def test_but_not_while_something_is_heard_of_it(self) -> None:
        class Slow(Device):
            def _measure(self, heard: Heard, planned: StepPlanned, what: tuple[int, int, int]) -> None:
                self.world.now_us += 23 * 3_600_000_000
                for alarm in self.world.said(AlarmSet):
                    if alarm.rings_us <= self.world.now_us:
                        rang = AlarmRang(alarm_id=alarm.alarm_id, rings_us=alarm.rings_us)
                        self.world.say(Role.CLOCK, "clock:main", rang)
                super()._measure(heard, planned, what)

        assert end(run(manifest(), Slow)) == ("JobCompleted", "")

    def test_where_its_slot_is_lost_during_a_run(self) -> None:
        class Losing(Device):
            def _measure(self, heard: Heard, planned: StepPlanned, what: tuple[int, int, int]) -> None:
                super()._measure(heard, planned, what)
                names = {"job_id": planned.job_id, "reservation_id": planned.reservation_id, "device": self.name}
                self.say(ReservationExpired(**names))

        assert end(run(manifest(), Losing)) == ("JobFailed", "reservation_expired")

    def test_for_no_word_of_another_device(self) -> None:
        class Meddled(Device):
            def run(self, heard: Heard, planned: StepPlanned) -> Iterator[None]:
                failed = StepFailed(job_id=planned.job_id, step=planned.step, reason="made_up", message="")
                self.world.say(Role.DEVICE, "device:liar", failed, heard)
                yield from super().run(heard, planned)

        assert end(run(manifest(), Meddled)) == ("JobCompleted", "")

    def test_at_its_deadline_after_its_running_step_was_stopped(self) -> None:
        class Late(Device):
            def _measure(self, heard: Heard, planned: StepPlanned, what: tuple[int, int, int]) -> None:
                super()._measure(heard, planned, what)
                while self.world.now_us < DEADLINE_US and self.world.ring():
                    pass

        world = run(manifest(deadline_us=DEADLINE_US), Late)
        assert end(world) == ("JobFailed", "deadline_passed")
        assert [each.reason for each in world.said(RunCancelDecided)] == ["deadline_passed"]
        assert [type(each.event) for each in world.log if isinstance(each.event, RunCancelled | JobFailed)] == [
            RunCancelled,
            JobFailed,
        ]
        check(world)


class TestADeadline:
    def test_ends_a_job_whose_program_still_runs(self) -> None:
        world = run(hybrid(deadline_us=DEADLINE_US), sandbox=Hung)
        assert end(world) == ("JobFailed", "deadline_passed")
        assert world.now_us == DEADLINE_US


DEADLINE_US = 1_800_000_000_000_000 + 10**9


class TestASlotIsLostBeforeTheFirstRun:
    def test_and_the_job_goes_on_with_the_next(self) -> None:
        class Fickle(Device):
            def answer_request(self, heard: Heard, requested: Any) -> None:
                super().answer_request(heard, requested)
                if self.name == "chip":
                    names = {"job_id": "job-1", "reservation_id": requested.reservation_id, "device": self.name}
                    self.say(ReservationExpired(**names))

        world = run(hybrid(), Fickle)
        assert {each.device for each in world.said(StepPlanned) if each.kind == "quantum"} == {"trap"}
        assert end(world) == ("JobCompleted", "")

    def test_and_a_grant_that_nobody_asked_for_gives_none(self) -> None:
        class Eager(Device):
            def answer_request(self, heard: Heard, requested: Any) -> None:
                self.say(granted(requested.reservation_id, "noisy"), heard)
                self.say(granted("made-up", self.name), heard)

        assert end(run(manifest(), Eager)) == ("JobFailed", "no_device")

    def test_and_a_grant_by_another_device_gives_none(self) -> None:
        class Liar(Device):
            @property
            def source(self) -> str:
                return "device:liar"

            def offer(self, heard: Heard, admitted: IntentAdmitted) -> None:
                self.world.say(Role.DEVICE, f"device:{self.name}", offered(admitted, self.name), heard)

        world = run(manifest(), Liar)
        assert not world.said(StepPlanned)
        assert end(world) == ("JobFailed", "no_device")

    def test_and_a_grant_of_a_slot_that_was_given_back_gives_none(self) -> None:
        class Tardy(Device):
            def answer_request(self, heard: Heard, requested: Any) -> None:
                self.world.ring()
                self.world.ring()
                self.world.settle()
                super().answer_request(heard, requested)

        world = run(manifest(), Tardy)
        assert world.said(ReservationReleased)
        assert not world.said(StepPlanned)

    def test_and_a_slot_is_granted_once(self) -> None:
        class Doubling(Device):
            def answer_request(self, heard: Heard, requested: Any) -> None:
                super().answer_request(heard, requested)
                self.say(granted(requested.reservation_id, self.name), heard)

        world = run(hybrid(), Doubling)
        first = world.said(ReservationGranted)[0]
        assert {each.token_digest for each in world.said(StepPlanned) if each.kind == "quantum"} == {first.token_digest}


class Hung(Sandbox):
    """Never answers."""

    def run(self, heard: Heard, planned: StepPlanned) -> None:
        pass


class TestAJobIsWithdrawn:
    def test_while_its_program_runs_and_does_not_wait_for_it(self) -> None:
        town = Town().found()
        town.declare(hybrid())
        players: list[Device | Sandbox] = [*(Device(town.world, name) for name in DEVICES), Hung(town.world)]
        play(town.world, players)
        town.withdraw("job-1")
        play(town.world, players)
        assert end(town.world) == ("JobCancelled", "withdrawn")
        check(town.world)

    def test_and_keeps_that_reason_where_its_last_step_fails(self) -> None:
        class Failing(Device):
            def run(self, heard: Heard, planned: StepPlanned) -> Iterator[None]:
                withdrawn = IntentWithdrawn(job_id="job-1", agent_key_id="", agent_proof="", reason="")
                self.world.say(Role.GATEWAY, "gateway:main", withdrawn)
                failed = StepFailed(job_id="job-1", step=planned.step, reason="hardware", message="")
                self.say(failed, heard, self.world.log[-1])
                yield

        assert end(run(manifest(), Failing)) == ("JobCancelled", "withdrawn")

    @pytest.mark.parametrize("moment", range(60))
    def test_at_any_moment_and_ends_once(self, moment: int) -> None:
        town = Town().found()
        town.declare(hybrid())
        players = cast_of(town.world)
        for _ in range(moment):
            desk = next((each for each in town.world.desks if any(town.world._readable(each))), None)
            if desk:
                town.world.turn(desk)
            else:
                any(player.step() for player in players)
        town.withdraw("job-1")
        town.withdraw("job-1")
        play(town.world, players)
        assert end(town.world) in [("JobCancelled", "withdrawn"), ("JobCompleted", "")]
        assert end(town.world)[0] == "JobCancelled" or moment > 50

    def test_before_policy_is_heard_and_no_alarm_is_set(self) -> None:
        town = Town(World(stages=(ORCHESTRATOR,))).found()
        declared = town.declare(manifest())
        town.withdraw("job-1")
        town.world.settle()
        admitted = IntentAdmitted(
            job_id="job-1",
            intent_digest=declared.digest,
            price_ceiling_microusd=1,
            shots_ceiling=1,
            devices=("chip",),
            policy_digest=DIGEST,
            rule="",
        )
        town.world.say(Role.POLICY, "stage:policy", admitted)
        town.world.settle()
        assert end(town.world) == ("JobCancelled", "withdrawn")
        assert not town.world.said(AlarmSet)


def granted(reservation_id: str, device: str) -> ReservationGranted:
    """A grant of a test's making."""
    return ReservationGranted(
        job_id="job-1",
        reservation_id=reservation_id,
        device=device,
        token_digest=DIGEST,
        queue_position=0,
        starts_us=0,
        expires_us=1,
    )
