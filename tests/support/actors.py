"""Devices and the sandbox, played: they answer what the log asks of them, once each, as a script or a dice says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.digests import digest_of_parts
from schemas.events import (
    CircuitRun,
    IntentAdmitted,
    JobCancelled,
    JobCompleted,
    JobFailed,
    PlacementOffered,
    ReservationGranted,
    ReservationReleased,
    ReservationRequested,
    RunCancelDecided,
    RunCancelled,
    ShotsMeasured,
    StepCompleted,
    StepPlanned,
    StepStarted,
)
from schemas.topics import Role
from streams.stage import Heard
from tests.support.jobs import DEVICES
from tests.support.world import World

CHUNK_SHOTS = 250
SHOT_US = 1_000
DIGEST = digest_of_parts("some document")
SUCCESS = {"chip": 0.94, "noisy": 0.80, "trap": 0.97}


def offered(admitted: IntentAdmitted, device: str, **changes: Any) -> PlacementOffered:
    """What a device offers for a job."""
    fields: dict[str, Any] = {
        "job_id": admitted.job_id,
        "intent_digest": admitted.intent_digest,
        "device": device,
        "fits": True,
        "snapshot_digest": digest_of_parts("snapshot", device),
        "snapshot_taken_us": 1_800_000_000_000_000,
        "topology": "ion-trap" if device == "trap" else "superconducting",
        "two_qubit_fidelity": SUCCESS.get(device, 0.9) + 0.02,
        "predicted_success": SUCCESS.get(device, 0.9),
        "queue_jobs": 0,
        "queue_wait_us": 60_000_000 if device == "trap" else 1_000_000,
        "run_duration_us": 10_000_000,
        "price_microusd": 1_000_000,
        "compiled_digest": DIGEST,
    }
    return PlacementOffered(**fields | changes)


@dataclass
class Device:
    """A device's agent. `step` says the next thing it owes; True if it owed any."""

    world: World
    name: str
    answered: set[str] = field(default_factory=set)
    runs: dict[str, Iterator[None]] = field(default_factory=dict)
    chunks_run: list[tuple[str, int, int, int]] = field(default_factory=list)

    @property
    def source(self) -> str:
        return f"device:{self.name}"

    def outcomes(self, circuit: CircuitRun, shots: int) -> dict[str, int]:
        """What the shots of a chunk give."""
        return {circuit.expected or "00": shots}

    def say(self, event: Any, *causes: Heard) -> Heard:
        return self.world.say(Role.DEVICE, self.source, event, *causes)

    def step(self) -> bool:
        for key, run in list(self.runs.items()):
            if next(run, self) is self:
                del self.runs[key]
            return True
        return any(self._answer(heard) for heard in list(self.world.log))

    def _answer(self, heard: Heard) -> bool:
        if heard.digest in self.answered:
            return False
        match heard.event:
            case IntentAdmitted(devices=devices) as admitted if self.name in devices:
                self.answered.add(heard.digest)
                self.offer(heard, admitted)
            case ReservationRequested(device=device) as requested if device == self.name:
                self.answered.add(heard.digest)
                self.answer_request(heard, requested)
            case StepPlanned(kind="quantum", device=device) as planned if device == self.name:
                self.answered.add(heard.digest)
                self.runs[heard.digest] = self.run(heard, planned)
            case _:
                return False
        return True

    def offer(self, heard: Heard, admitted: IntentAdmitted) -> None:
        self.say(offered(admitted, self.name), heard)

    def answer_request(self, heard: Heard, requested: ReservationRequested) -> None:
        granted = ReservationGranted(
            job_id=requested.job_id,
            reservation_id=requested.reservation_id,
            device=self.name,
            token_digest=digest_of_parts("token", requested.reservation_id),
            queue_position=0,
            starts_us=self.world.now_us,
            expires_us=self.world.now_us + 3_600_000_000,
        )
        self.say(granted, heard)

    def run(self, heard: Heard, planned: StepPlanned) -> Iterator[None]:
        """Run a step chunk by chunk; before it and between chunks look whether to stop."""
        if stop := self.why_stop(planned):
            self._cancel(heard, planned, 0, stop)
            return
        started = StepStarted(
            job_id=planned.job_id,
            step=planned.step,
            kind="quantum",
            device=self.name,
            snapshot_digest=digest_of_parts("snapshot", self.name),
            started_us=self.world.now_us,
        )
        self.say(started, heard)
        yield
        shots = 0
        for place, circuit in enumerate(planned.circuits):
            for chunk in range(-(-circuit.shots // CHUNK_SHOTS)):
                if stop := self.why_stop(planned):
                    self._cancel(heard, planned, shots, stop)
                    return
                size = min(CHUNK_SHOTS, circuit.shots - chunk * CHUNK_SHOTS)
                shots += size
                self._measure(heard, planned, (place, chunk, size))
                yield
        completed = StepCompleted(
            job_id=planned.job_id, step=planned.step, kind="quantum", shots=shots, device_time_us=shots * SHOT_US
        )
        self.say(completed, heard)

    def why_stop(self, planned: StepPlanned) -> str:
        """Why a step must not run on; empty if it may."""
        for decided in self.world.said(RunCancelDecided, planned.job_id):
            if decided.step == planned.step:
                return decided.reason
        released = self.world.said(ReservationReleased, planned.job_id)
        if any(each.reservation_id == planned.reservation_id for each in released):
            return "reservation_released"
        ends = (JobCompleted, JobFailed, JobCancelled)
        return "job_ended" if any(self.world.said(end, planned.job_id) for end in ends) else ""

    def _measure(self, heard: Heard, planned: StepPlanned, what: tuple[int, int, int]) -> None:
        place, chunk, size = what
        circuit = planned.circuits[place]
        started_us, self.world.now_us = self.world.now_us, self.world.now_us + size * SHOT_US
        self.chunks_run.append((planned.job_id, planned.step, place, chunk))
        measured = ShotsMeasured(
            job_id=planned.job_id,
            step=planned.step,
            circuit=place,
            chunk=chunk,
            device=self.name,
            shots=size,
            counts=self.outcomes(circuit, size),
            expected=circuit.expected,
            started_us=started_us,
            ended_us=self.world.now_us,
        )
        self.say(measured, heard)

    def _cancel(self, heard: Heard, planned: StepPlanned, shots: int, reason: str) -> None:
        cancelled = RunCancelled(
            job_id=planned.job_id,
            step=planned.step,
            device=self.name,
            shots=shots,
            device_time_us=shots * SHOT_US,
            reason=reason,
        )
        self.say(cancelled, heard)


@dataclass
class Sandbox:
    """The sandbox's executor: a program that asks for one circuit an iteration and converges after `iterations`."""

    world: World
    iterations: int = 3
    shots: int = 500
    answered: set[str] = field(default_factory=set)

    def step(self) -> bool:
        for heard in list(self.world.log):
            event = heard.event
            if isinstance(event, StepPlanned) and event.kind != "quantum" and heard.digest not in self.answered:
                self.answered.add(heard.digest)
                self.run(heard, event)
                return True
        return False

    def run(self, heard: Heard, planned: StepPlanned) -> None:
        self.say(self.completed(planned), heard)

    def say(self, event: Any, *causes: Heard) -> Heard:
        return self.world.say(Role.SANDBOX, "sandbox:main", event, *causes)

    def completed(self, planned: StepPlanned) -> StepCompleted:
        """How a step ends that goes well."""
        converged = planned.kind == "loop" and planned.iteration + 1 >= self.iterations
        asks = planned.kind == "preprocess" or (planned.kind == "loop" and not converged)
        circuit = CircuitRun(template=0, parameters={"theta": 1.0}, shots=self.shots)
        return StepCompleted(
            job_id=planned.job_id,
            step=planned.step,
            kind=planned.kind,
            classical_time_us=2_000_000,
            output_digest=digest_of_parts("output", planned.job_id, planned.step),
            proposal=(circuit,) if asks else (),
            converged=converged,
            observables=(),
        )


def cast_of(world: World) -> list[Device | Sandbox]:
    """Three reliable devices and a reliable sandbox."""
    return [*(Device(world, name) for name in DEVICES), Sandbox(world)]


def play(world: World, players: Sequence[Device | Sandbox]) -> None:
    """Let stages and players go on until all rest; no alarm rings."""
    while world.can_read() or any(player.step() for player in players):
        world.settle()
