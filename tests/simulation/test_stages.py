"""One seed, one universe: four stages, three devices, a sandbox, people and a clock, all of them unreliable."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from schemas import events as e
from schemas.topics import Role
from streams.stage import Heard
from tests.support.actors import CHUNK_SHOTS, Device, Sandbox, offered
from tests.support.invariants import check
from tests.support.jobs import AGENT, APPROVER, DEVICES, Town, hybrid, manifest, policy, prices
from tests.support.world import World

USD = 1_000_000


@dataclass
class MoodyDevice(Device):
    """A device that may not offer, refuse or forget slots, answer late, fail, fall silent, or say things twice."""

    def say(self, event: Any, *causes: Heard) -> Heard:
        said = super().say(event, *causes)
        if self.rng.random() < 0.05:
            super().say(event, *causes)
        return said

    @property
    def rng(self) -> Random:
        assert self.world.rng is not None
        return self.world.rng

    def offer(self, heard: Heard, admitted: e.IntentAdmitted) -> None:
        if (mood := self.rng.random()) < 0.8:
            dice = {"queue_wait_us": self.rng.randrange(10**8), "price_microusd": self.rng.randrange(10**6)}
            self.say(offered(admitted, self.name, fits=mood < 0.75, **dice), heard)

    def answer_request(self, heard: Heard, requested: e.ReservationRequested) -> None:
        mood = self.rng.random()
        names = {"job_id": requested.job_id, "reservation_id": requested.reservation_id, "device": self.name}
        if mood < 0.15:
            self.say(e.ReservationRefused(**names, reason="busy"), heard)
        elif mood < 0.9:
            super().answer_request(heard, requested)
            if mood < 0.3:
                self.say(e.ReservationExpired(**names), self.world.log[-1])

    def run(self, heard: Heard, planned: e.StepPlanned) -> Iterator[None]:
        steps = super().run(heard, planned)
        for _ in steps:
            mood = self.rng.random()
            names = {"job_id": planned.job_id, "step": planned.step}
            if mood < 0.02:
                self.say(e.StepFailed(**names, reason="hardware", message="a fault", shots=CHUNK_SHOTS), heard)
                return
            if mood < 0.03:
                self.say(e.StepOutcomeUnknown(**names, message="lost"), heard)
                return
            if mood < 0.04:
                return
            yield

    def outcomes(self, circuit: e.CircuitRun, shots: int) -> dict[str, int]:
        right = shots * self.rng.randrange(50, 100) // 100
        return {circuit.expected or "00": right, "xx": shots - right}


@dataclass
class MoodySandbox(Sandbox):
    """A sandbox whose programs fail, ask for what they may not have, or hang."""

    def run(self, heard: Heard, planned: e.StepPlanned) -> None:
        assert self.world.rng is not None
        mood = self.world.rng.random()
        completed = self.completed(planned)
        if mood < 0.05:
            failed = e.StepFailed(
                job_id=planned.job_id, step=planned.step, reason="exit", message="exit 1", classical_time_us=10**6
            )
            self.say(failed, heard)
        elif mood < 0.16:
            bad = self.world.rng.choice(
                [
                    e.CircuitRun(template=1, parameters={"theta": 1.0}, shots=10),
                    e.CircuitRun(template=0, parameters={"theta": 3.5}, shots=10),
                    e.CircuitRun(template=0, parameters={}, shots=10),
                    e.CircuitRun(template=0, parameters={"theta": 1.0}, shots=4_900),
                    e.CircuitRun(template=0, parameters={"theta": 1.0}, shots=9_999),
                ]
            )
            self.say(completed.model_copy(update={"proposal": (bad,), "converged": False}), heard)
        elif mood < 0.24:
            self.say(completed.model_copy(update={"output_digest": "none"}), heard)
        elif mood < 0.98:
            canary = e.CircuitRun(template=0, parameters={"theta": 0.0}, shots=300, expected="00")
            self.say(completed.model_copy(update={"proposal": (*completed.proposal, canary)}), heard)


class Universe:
    """All that may happen in a town, by one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = Random(seed)  # noqa: S311 -- a universe by its seed, nothing secret
        self.world = World(rng)
        self.town = Town(self.world).found(budget_microusd=rng.choice((40, 100, 1_000)) * USD)
        self.town.enrol("approver:other", Role.APPROVER)
        self.devices = [MoodyDevice(self.world, name) for name in DEVICES]
        self.players: list[Any] = [*self.devices, MoodySandbox(self.world, iterations=rng.randrange(1, 6))]
        self.jobs = 0

    def run(self) -> World:
        """Let things happen at random, then let everything come to rest."""
        happenings: list[Callable[[], object]] = [self.declare, self.withdraw, self.answer, self.change, self.ring]
        for _ in range(600):
            if self.rng.random() < 0.1:
                self.rng.choice(happenings)()
            elif self.rng.random() < 0.6:
                self.world.turn(self.rng.choice(self.world.desks))
            else:
                self.rng.choice(self.players).step()
        resting = False
        while not resting:
            self.world.settle()
            resting = not any(player.step() for player in self.players) and not self.world.ring()
        return self.world

    def declare(self) -> None:
        if self.jobs >= 8:
            return
        self.jobs += self.rng.random() < 0.9
        kind = self.rng.choice((manifest, hybrid))
        ceiling = self.rng.choice((1, 10, 60)) * USD // self.rng.choice((1, 1, 20, 40))
        wanted: dict[str, Any] = {
            "budget": {"cost_microusd": ceiling, "shots": 5_000},
            "objective": self.rng.choice(("fastest", "cheapest", "most-faithful", "balanced")),
        }
        if self.rng.random() < 0.3:
            wanted["deadline_us"] = self.world.now_us + self.rng.randrange(10**9)
        self.town.declare(kind(f"job-{self.jobs}", **wanted), signer=AGENT if self.rng.random() < 0.95 else APPROVER)

    def withdraw(self) -> None:
        if self.jobs and self.rng.random() < 0.3:
            self.town.withdraw(f"job-{self.rng.randrange(self.jobs + 1)}")

    def answer(self) -> None:
        requests = self.world.said(e.ApprovalRequested)
        if not requests:
            return
        request = self.rng.choice(requests)
        signer = self.rng.choice((APPROVER, APPROVER, APPROVER, "approver:other", AGENT, "approver:nobody"))
        if self.rng.random() < 0.8:
            self.town.grant(request.job_id, signer, statement=self.rng.choice((request.statement, None)))
        else:
            self.town.deny(request.job_id, "too dear", signer)

    def change(self) -> None:
        """Governance moves on while jobs run."""
        if self.rng.random() < 0.7:
            return
        self.town.govern(self.rng.choice((policy(policy_id=f"policy-{self.rng.random()}"), prices(*DEVICES))))

    def ring(self) -> None:
        if self.rng.random() < 0.3:
            self.world.ring()


EVERY_END = {
    "ApprovalRejected approval_expired",
    "ApprovalRejected approval_not_waiting",
    "ApprovalRejected approval_proof_invalid",
    "ApprovalRejected approver_unknown",
    "ApprovalRejected policy_changed",
    "IntentRefused agent_unknown",
    "IntentRefused approval_expired",
    "IntentRefused budget_exhausted",
    "IntentRefused budget_too_small",
    "IntentRefused denied",
    "IntentRefused job_repeated",
    "IntentRefused withdrawn",
    "JobCancelled fidelity_drop",
    "JobCancelled withdrawn",
    "JobCompleted",
    "JobFailed circuit_not_approved",
    "JobFailed deadline_passed",
    "JobFailed no_device",
    "JobFailed outcome_unknown",
    "JobFailed reservation_expired",
    "JobFailed shots_above_device",
    "JobFailed shots_over_ceiling",
    "JobFailed step_failed",
    "JobFailed step_silent",
    "RunCancelDecided deadline_passed",
    "RunCancelDecided withdrawn",
}


@pytest.mark.parametrize("seed", range(40))
def test_no_universe_breaks_an_invariant(seed: int) -> None:
    check(Universe(seed).run())


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1_000, 2_000))
def test_no_universe_of_many_breaks_an_invariant(seed: int) -> None:
    check(Universe(seed).run())


def test_the_universes_reach_every_kind_of_end() -> None:
    reached: Counter[str] = Counter()
    for seed in range(80):
        world = Universe(seed).run()
        for heard in world.log:
            match heard.event:
                case e.IntentRefused() | e.JobFailed() | e.JobCancelled() | e.RunCancelDecided() | e.ApprovalRejected():
                    reached[f"{type(heard.event).__name__} {heard.event.reason}"] += 1
                case e.JobCompleted():
                    reached["JobCompleted"] += 1
                case _:
                    pass
    assert EVERY_END - set(reached) == set()
