"""A job's story as it happens: events about it go in, sentences and a count of shots come out."""

from dataclasses import dataclass, replace

from replay.sentences import sentence
from schemas.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRejected,
    ApprovalRequested,
    BudgetCaptured,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    IntentWithdrawn,
    JobCancelled,
    JobCompleted,
    JobFailed,
    PlacementDecided,
    ReservationGranted,
    ReservationRefused,
    ResultRecorded,
    RunCancelDecided,
    RunCancelled,
    ShotsMeasured,
    StepCompleted,
    StepFailed,
    StepOutcomeUnknown,
    StepStarted,
)
from schemas.words import Event


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, by the events heard of it."""

    shots: int = 0
    shots_max: int = 0
    doing: str = "waiting for policy"
    is_over: bool = False
    is_settled: bool = False


def after(progress: Progress, event: Event) -> Progress:
    """How far the job is after an event about it."""
    match event:
        case IntentDeclared():
            return replace(progress, shots_max=event.manifest.budget.shots)
        case ApprovalRequested():
            return replace(progress, doing="waiting for a person")
        case IntentAdmitted():
            return replace(progress, doing="waiting for offers")
        case PlacementDecided():
            return replace(progress, doing=f"asking {event.device} for a slot" if event.device else "no device")
        case ReservationGranted():
            return replace(progress, doing=f"waiting for {event.device}")
        case StepStarted():
            where = event.device or "the sandbox"
            return replace(progress, doing=f"step {event.step}: {event.kind} on {where}")
        case ShotsMeasured():
            return replace(progress, shots=progress.shots + event.shots)
        case JobCompleted() | JobFailed() | JobCancelled():
            return replace(progress, doing="ended", is_over=True)
        case BudgetCaptured():
            return replace(progress, is_settled=True)
        case IntentRefused():
            return replace(progress, doing="", is_over=True, is_settled=True)
        case _:
            return progress


TOLD = (
    *(IntentDeclared, IntentWithdrawn, ApprovalRequested, ApprovalGranted, ApprovalDenied, ApprovalRejected),
    *(ApprovalExpired, IntentAdmitted, IntentRefused, PlacementDecided, ReservationGranted, ReservationRefused),
    *(StepCompleted, StepFailed, StepOutcomeUnknown, RunCancelDecided, RunCancelled),
    *(ResultRecorded, JobFailed, JobCancelled, BudgetCaptured),
)
"""The events that move a job on; the others are for those who look closer."""


def told(event: Event) -> str:
    """What an event means for its job, in a line; empty for those that do not move it on."""
    return sentence(event) if isinstance(event, TOLD) else ""
