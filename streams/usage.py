"""What a job has used, folded from its steps and chunks: policy captures by it, the guard limits by it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schemas.envelope import Cause
from schemas.events import (
    DevicePrice,
    RunCancelled,
    ShotsMeasured,
    StepCompleted,
    StepFailed,
    StepPlanned,
)
from streams.pricing import charge_microusd
from streams.speakers import speaks_for_step
from streams.stage import Heard
from streams.state import Map, Table

StepEnded = StepCompleted | StepFailed | RunCancelled
COUNT_MAX = (1 << 62) - 1
"""The largest number an event can hold; a device that says absurd figures ends there."""


@dataclass(frozen=True, slots=True)
class OpenStep:
    """A step that was planned and has not ended, with what was measured of it so far."""

    cause: Cause
    step: int
    kind: str
    device: str
    planned_circuits: int
    planned_shots: int
    tasks: int = 0
    shots: int = 0
    time_us: int = 0
    next_chunk: Table[int, int] = field(default_factory=Map[int, int])


@dataclass(frozen=True, slots=True)
class Usage:
    """What the ended steps of a job used, and the step that runs. A job has one running step, and one slot, at most.

    `slot_us` is the length of that slot where its device charges for holding it.
    """

    tasks: int = 0
    shots: int = 0
    device_time_us: int = 0
    classical_time_us: int = 0
    slot_us: int = 0
    running: OpenStep | None = None

    def after(self, heard: Heard) -> "Usage":
        """The usage with one more event of the job; what does not concern the running step changes nothing."""
        match heard.event:
            case StepPlanned() as planned:
                shots = min(sum(circuit.shots for circuit in planned.circuits), COUNT_MAX)
                step = OpenStep(heard.cause, planned.step, planned.kind, planned.device, len(planned.circuits), shots)
                return replace(self, running=step, slot_us=max(self.slot_us, planned.slot_us))
            case ShotsMeasured() as measured if self.is_of_running(heard):
                return self._measured(measured)
            case StepCompleted() | StepFailed() | RunCancelled() if self.is_of_running(heard):
                return self._ended(heard.event)
            case _:
                return self

    def is_of_running(self, heard: Heard) -> bool:
        """Whether an event of a step concerns the running one, said by whoever runs it."""
        running = self.running
        return (
            running is not None
            and getattr(heard.event, "step", None) == running.step
            and getattr(heard.event, "kind", running.kind) == running.kind
            and getattr(heard.event, "device", running.device) == running.device
            and speaks_for_step(heard, running.kind, running.device)
        )

    def is_new_chunk(self, measured: ShotsMeasured) -> bool:
        """Whether a chunk was not counted before; the chunks of a circuit come in their order."""
        return self.running is not None and measured.chunk >= self.running.next_chunk.get(measured.circuit, 0)

    def so_far(self) -> "Usage":
        """All that was measured, the running step's chunks included."""
        running = self.running
        if running is None or running.kind != "quantum":
            return replace(self, running=None)
        return Usage(
            self.tasks + running.tasks,
            _sum(self.shots, running.shots),
            _sum(self.device_time_us, running.time_us),
            self.classical_time_us,
            self.slot_us,
        )

    def at_most(self, price: DevicePrice | None) -> "Usage":
        """The same, where a step whose end nobody told counts as run in full."""
        running = self.running
        if running is None or running.kind != "quantum":
            return replace(self, running=None)
        shots = max(running.shots, running.planned_shots)
        planned_time_us = shots * price.shot_duration_us if price else 0
        return Usage(
            self.tasks + max(running.tasks, running.planned_circuits),
            _sum(self.shots, shots),
            _sum(self.device_time_us, max(running.time_us, planned_time_us)),
            self.classical_time_us,
            self.slot_us,
        )

    def charge_microusd(self, price: DevicePrice | None) -> int:
        """What the device part costs; nothing where no device has a price, for then none was ever given the job."""
        return charge_microusd(price, self.tasks, self.shots, self.device_time_us, self.slot_us) if price else 0

    def _measured(self, measured: ShotsMeasured) -> "Usage":
        running = self.running
        if running is None or not self.is_new_chunk(measured):
            return self
        step = replace(
            running,
            tasks=running.tasks + 1,
            shots=_sum(running.shots, measured.shots),
            time_us=_sum(running.time_us, max(0, measured.ended_us - measured.started_us)),
            next_chunk=running.next_chunk.set(measured.circuit, measured.chunk + 1),
        )
        return replace(self, running=step)

    def _ended(self, ended: StepEnded) -> "Usage":
        """Close the running step. Where its end tells more than its chunks did, the end counts."""
        running = self.running
        if running is None:
            return self
        classical_us = 0 if isinstance(ended, RunCancelled) else ended.classical_time_us
        if running.kind != "quantum":
            return replace(self, classical_time_us=_sum(self.classical_time_us, classical_us), running=None)
        shots = max(running.shots, ended.shots)
        return Usage(
            self.tasks + max(running.tasks, 1 if shots else 0),
            _sum(self.shots, shots),
            _sum(self.device_time_us, max(running.time_us, ended.device_time_us)),
            self.classical_time_us,
            self.slot_us,
        )


UNUSED = Usage()


def _sum(one: int, other: int) -> int:
    return min(one + other, COUNT_MAX)


def counts_right(counts: Mapping[str, int], expected: str) -> tuple[int, int]:
    """How many shots of a canary gave what a noiseless device gives, and how many there were."""
    return max(0, counts.get(expected, 0)), sum(max(0, count) for count in counts.values())
