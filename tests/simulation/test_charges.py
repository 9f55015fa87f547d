"""What jobs are charged is, to the micro-dollar, what was used of each kind of price; retries and cancels included."""

from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from schemas import events as e
from schemas.digests import digest_of_parts
from streams.stage import Heard
from tests.support.actors import Device, Sandbox
from tests.support.jobs import DEVICES, USD, Town, hybrid, manifest, prices
from tests.support.world import World

JOBS = 20
DEAR_TIME = {"second_microusd": 777, "slot_hour_microusd": 54_321}
LISTED = prices().model_copy(update={"devices": tuple(each.model_copy(update=DEAR_TIME) for each in prices().devices)})
PRICE = LISTED.devices[0]
SECOND_MICROUSD = prices().classical_second_microusd


@dataclass
class Busy(Device):
    """A device that refuses slots, takes them back, and says what it has measured twice."""

    @property
    def rng(self) -> Random:
        assert self.world.rng is not None
        return self.world.rng

    def say(self, event: Any, *causes: Heard) -> Heard:
        said = super().say(event, *causes)
        if isinstance(event, e.ShotsMeasured) and self.rng.random() < 0.1:
            super().say(event, *causes)
        return said

    def answer_request(self, heard: Heard, requested: e.ReservationRequested) -> None:
        mood = self.rng.random()
        names = {"job_id": requested.job_id, "reservation_id": requested.reservation_id, "device": self.name}
        if mood < 0.3:
            self.say(e.ReservationRefused(**names, reason="busy"), heard)
            return
        starts_us = self.world.now_us + self.rng.randrange(10**9)
        granted = e.ReservationGranted(
            **names,
            token_digest=digest_of_parts("token", requested.reservation_id),
            queue_position=0,
            starts_us=starts_us,
            expires_us=starts_us + self.rng.randrange(1, 10**10),
        )
        self.say(granted, heard)
        if mood < 0.4:
            self.say(e.ReservationExpired(**names), self.world.log[-1])


def run(seed: int) -> World:
    """Twenty jobs, some withdrawn while they run."""
    rng = Random(seed)  # noqa: S311 -- a world by its seed, nothing secret
    place = Town(World(rng)).found(budget_microusd=100_000 * USD, listed=LISTED)
    players: list[Busy | Sandbox] = [
        *(Busy(place.world, name) for name in DEVICES),
        Sandbox(place.world, iterations=rng.randrange(1, 4)),
    ]
    for number in range(JOBS):
        kind = rng.choice((manifest, hybrid))
        place.declare(kind(f"job-{number}", budget={"cost_microusd": rng.randrange(1, 20) * USD, "shots": 10_000}))
    moves = 0
    while place.world.can_read() or any(player.step() for player in players):
        moves += 1
        for _ in range(rng.randrange(40)):
            place.world.turn(rng.choice(place.world.desks))
        if rng.random() < 0.02:
            place.withdraw(f"job-{rng.randrange(JOBS)}")
    return place.world


def used_of(world: World, job_id: str) -> tuple[int, int, int, int]:
    """What a job was charged for by kind: accepted tasks, shots run, device time and program time in microseconds."""
    chunks = {(chunk.step, chunk.circuit, chunk.chunk): chunk for chunk in world.said(e.ShotsMeasured, job_id)}
    shots = sum(chunk.shots for chunk in chunks.values())
    device_us = sum(chunk.ended_us - chunk.started_us for chunk in chunks.values())
    programs = [step for step in world.said(e.StepCompleted, job_id) if step.kind != "quantum"]
    ended = {step.step: next(at for at, heard in enumerate(world.log) if heard.event is step) for step in programs}
    over = next((place for place, heard in enumerate(world.log) if is_end(heard, job_id)), len(world.log))
    classical_us = sum(step.classical_time_us for step in programs if ended[step.step] < over)
    return len(chunks), shots, device_us, classical_us


def slot_us_of(world: World, job_id: str) -> int:
    """The length of the slot on which a job's quantum steps were planned; 0 where none was."""
    used = {step.reservation_id for step in world.said(e.StepPlanned, job_id) if step.kind == "quantum"}
    assert len(used) <= 1, "a job has one slot"
    held = [slot for slot in world.said(e.ReservationGranted, job_id) if slot.reservation_id in used]
    return sum(slot.expires_us - slot.starts_us for slot in held)


def is_end(heard: Heard, job_id: str) -> bool:
    return isinstance(heard.event, e.JobCompleted | e.JobFailed | e.JobCancelled) and heard.event.job_id == job_id


def differences(seed: int) -> list[tuple[str, int]]:
    """The jobs of a world whose charge is another than the sum over the kinds of price, and by how much."""
    world = run(seed)
    wrong = []
    for captured in world.said(e.BudgetCaptured):
        tasks, shots, device_us, classical_us = used_of(world, captured.job_id)
        hours = -(-PRICE.hour_microusd * device_us // 3_600_000_000)
        classical = -(-SECOND_MICROUSD * classical_us // 1_000_000)
        seconds = -(-PRICE.second_microusd * device_us // 1_000_000)
        slot_hours = -(-PRICE.slot_hour_microusd * slot_us_of(world, captured.job_id) // 3_600_000_000)
        owed = PRICE.task_microusd * tasks + PRICE.shot_microusd * shots + hours + seconds + slot_hours + classical
        ceiling = world.said(e.BudgetHeld, captured.job_id)[0].amount_microusd
        if captured.amount_microusd != min(owed, ceiling):
            wrong.append((captured.job_id, captured.amount_microusd - owed))
    assert world.said(e.BudgetCaptured)
    return wrong


@pytest.mark.parametrize("seed", range(4))
def test_charges_are_the_sum_by_kind_of_price(seed: int) -> None:
    assert differences(seed) == []


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_they_are_for_ten_thousand_jobs() -> None:
    assert [each for seed in range(100, 600) for each in differences(seed)] == []
