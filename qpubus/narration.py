"""A job's story as it happens: events about it go in, sentences and a count of shots come out."""

from dataclasses import dataclass, replace

from qpubus.show import duration, number, usd, utc
from schemas.events import (
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRejected,
    ApprovalRequested,
    BudgetCaptured,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    JobCancelled,
    JobCompleted,
    JobFailed,
    PlacementDecided,
    ReservationGranted,
    ReservationRefused,
    ResultRecorded,
    RunCancelDecided,
    ShotsMeasured,
    StepCompleted,
    StepFailed,
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
        case JobCompleted() | JobFailed() | JobCancelled() | IntentRefused():
            return replace(progress, doing="", is_over=True)
        case _:
            return progress


def sentence(event: Event) -> str:
    """What an event means, for those that move a job on; empty for the others."""
    match event:
        case IntentDeclared():
            manifest = event.manifest
            bounds = f"{manifest.budget.shots:,} shots and {usd(manifest.budget.cost_microusd)}"
            return f"{manifest.initiator} declares {event.job_id}: {manifest.purpose}, at most {bounds}"
        case ApprovalRequested():
            until = utc(event.statement.expires_us)
            return f"policy asks for a human until {until}: {event.message} (rule {event.rule})"
        case ApprovalGranted():
            return f"{event.approver} signs that it may run ({event.proof.proof_type})"
        case ApprovalDenied():
            return f"{event.approver} signs that it may not run: {event.reason}"
        case ApprovalRejected():
            return f"the answer of {event.approver} does not count: {event.message} ({event.reason})"
        case IntentAdmitted():
            return f"policy admits it by rule {event.rule}, on {', '.join(event.devices)}"
        case IntentRefused():
            return f"policy refuses it: {event.message} ({event.reason})"
        case PlacementDecided():
            return f"the scheduler places it on {event.device}: {event.why}" if event.device else event.why
        case ReservationGranted():
            return f"{event.device} holds a slot from {utc(event.starts_us)}, no. {event.queue_position} in line"
        case ReservationRefused():
            return f"{event.device} holds no slot: {event.reason}"
        case _:
            return _sentence_of_run(event)


def _sentence_of_run(event: Event) -> str:
    match event:
        case StepCompleted(kind="quantum"):
            return f"step {event.step}: {event.shots:,} shots in {duration(event.device_time_us)} of device time"
        case StepCompleted():
            asked = f", asks for {len(event.proposal)} circuits" if event.proposal else ""
            converged = ", converged" if event.converged else ""
            return f"step {event.step}: {event.kind} took {duration(event.classical_time_us)}{converged}{asked}"
        case StepFailed():
            return f"step {event.step} failed: {event.message} ({event.reason})"
        case RunCancelDecided():
            return f"the guard stops step {event.step}: {event.message} ({event.reason})"
        case ResultRecorded():
            found = ", ".join(f"{each.name} {number(each.value, each.standard_error)}" for each in event.observables)
            return f"result after {event.iterations} iterations and {event.shots:,} shots: {found}"
        case BudgetCaptured():
            return f"{usd(event.amount_microusd)} spent, for {event.shots:,} shots"
        case JobFailed() | JobCancelled():
            ended = "failed" if isinstance(event, JobFailed) else "was cancelled"
            return f"the job {ended}: {event.message} ({event.reason})"
        case _:
            return ""
