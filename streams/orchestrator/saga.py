"""A job under way as a value, and how each event about it changes it."""

from dataclasses import dataclass, replace
from typing import Literal

from schemas.envelope import Cause
from schemas.events import (
    CircuitRun,
    IntentWithdrawn,
    Observable,
    PlacementDecided,
    PriceListPublished,
    ReservationExpired,
    ReservationGranted,
    ReservationReleased,
    ReservationRequested,
    RunCancelDecided,
    RunCancelled,
    StepCompleted,
    StepFailed,
    StepOutcomeUnknown,
    StepPlanned,
    StepStarted,
)
from schemas.reasons import Reason
from streams.deadlines import later_us
from streams.orchestrator.plan import Plan
from streams.speakers import speaks_for_device
from streams.stage import Heard
from streams.usage import UNUSED, Usage

SILENCE_US_MAX = 24 * 3_600_000_000
"""A job of which nothing is heard for so long, counted from the start of its slot at the earliest, has failed."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot that a device holds for a job."""

    device: str
    reservation_id: str
    token_digest: str
    starts_us: int
    cause: Cause
    length_us: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job will end as soon as none of its steps runs."""

    kind: Literal["failed", "cancelled"]
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Saga:
    """A job under way.

    `done` is the kind of the step that ended last, `proposal` what its program asks for, `asked` the device and slot
    that the scheduler asked for last, `steps` and `iterations` how many steps and quantum steps were planned.
    """

    intent_digest: str
    cause: Cause
    plan: Plan
    shots_ceiling: int
    prices: PriceListPublished | None
    heard_us: int
    silence_alarm: str
    asked: tuple[str, str] = ("", "")
    slot: Slot | None = None
    usage: Usage = UNUSED
    steps: int = 0
    iterations: int = 0
    done: str = ""
    done_digest: str = ""
    proposal: tuple[CircuitRun, ...] = ()
    is_converged: bool = False
    observables: tuple[Observable, ...] = ()
    output_digest: str = ""
    snapshot_digest: str = ""
    cancel_message: str = ""
    ending: Ending | None = None

    def silence_us(self) -> int:
        """When the job will have been silent for too long."""
        starts_us = self.slot.starts_us if self.slot else 0
        return later_us(max(self.heard_us, starts_us), SILENCE_US_MAX)


def after_slot(saga: Saga, heard: Heard) -> Saga:
    """The saga after news of its slot, or of the wish to stop it."""
    match heard.event:
        case PlacementDecided() as decided if not decided.device:
            return ended(saga, "failed", Reason.NO_DEVICE, decided.why)
        case PlacementDecided() as decided:
            return replace(saga, snapshot_digest=saga.snapshot_digest or decided.snapshot_digest)
        case ReservationRequested() as requested:
            return replace(saga, asked=(requested.device, requested.reservation_id))
        case ReservationGranted() as granted if _is_asked_for(saga, heard, granted):
            length_us = max(0, granted.expires_us - granted.starts_us)
            names = (granted.device, granted.reservation_id, granted.token_digest)
            slot = Slot(*names, granted.starts_us, heard.cause, length_us)
            return replace(saga, slot=slot)
        case ReservationExpired() as expired if speaks_for_device(heard, expired.device):
            return _lost(saga, expired.reservation_id)
        case ReservationReleased() as released:
            return _lost(saga, released.reservation_id)
        case IntentWithdrawn() as withdrawn:
            return ended(saga, "cancelled", Reason.WITHDRAWN, withdrawn.reason)
        case RunCancelDecided() as decided:
            return replace(saga, cancel_message=decided.message)
        case _:
            return saga


def _is_asked_for(saga: Saga, heard: Heard, granted: ReservationGranted) -> bool:
    return (
        saga.slot is None
        and saga.asked == (granted.device, granted.reservation_id)
        and speaks_for_device(heard, granted.device)
    )


def _lost(saga: Saga, reservation_id: str) -> Saga:
    """A slot is gone. Before the first quantum step the scheduler may find another; after it the job has failed."""
    if saga.slot is None or saga.slot.reservation_id != reservation_id:
        return saga
    if saga.iterations == 0:
        return replace(saga, slot=None, snapshot_digest="")
    return ended(saga, "failed", Reason.RESERVATION_EXPIRED, Reason.RESERVATION_EXPIRED.sentence)


def after_plan(saga: Saga, heard: Heard, planned: StepPlanned) -> Saga:
    """The saga with a step that runs."""
    quantum = 1 if planned.kind == "quantum" else 0
    return replace(
        saga,
        usage=saga.usage.after(heard),
        steps=planned.step + 1,
        iterations=saga.iterations + quantum,
        proposal=(),
    )


def after_step(saga: Saga, heard: Heard) -> Saga:
    """The saga after an event of its running step."""
    match heard.event:
        case StepStarted(kind="quantum", snapshot_digest=digest) if digest:
            return replace(saga, snapshot_digest=digest)
        case StepCompleted() as completed:
            return _completed(saga, heard, completed)
        case StepFailed() as failed:
            message = f"step {failed.step} failed: {failed.reason}: {failed.message}"
            return ended(saga, "failed", Reason.STEP_FAILED, message)
        case StepOutcomeUnknown() as unknown:
            message = f"nobody can say whether step {unknown.step} ran: {unknown.message}"
            return ended(saga, "failed", Reason.OUTCOME_UNKNOWN, message)
        case RunCancelled() as cancelled:
            reason = Reason.__members__.get(cancelled.reason.upper(), Reason.CANCELLED)
            kind: Literal["failed", "cancelled"] = "failed" if reason is Reason.DEADLINE_PASSED else "cancelled"
            return ended(saga, kind, reason, saga.cancel_message or reason.sentence)
        case _:
            return saga


def _completed(saga: Saga, heard: Heard, completed: StepCompleted) -> Saga:
    saga = replace(saga, done=completed.kind, done_digest=heard.digest)
    if completed.kind == "quantum":
        return saga
    saga = replace(saga, proposal=completed.proposal)
    if completed.kind == "preprocess":
        return saga
    return replace(
        saga,
        is_converged=completed.converged or (completed.kind == "post" and saga.is_converged),
        observables=completed.observables or saga.observables,
        output_digest=completed.output_digest,
    )


def ended(saga: Saga, kind: Literal["failed", "cancelled"], reason: Reason, message: str) -> Saga:
    """The saga with an ending; the first one that is called for counts."""
    return saga if saga.ending else replace(saga, ending=Ending(kind, reason, message))
