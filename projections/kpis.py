"""The view of KPIs: from events to the few figures of each job that the five KPIs are reckoned from, and the KPIs.

- turnaround: IntentDeclared, ApprovalRequested, ApprovalGranted, IntentAdmitted, StepStarted, StepCompleted,
  StepFailed, RunCancelled, ResultRecorded
- fidelity per shot: StepCompleted
- cost per converged result: BudgetCaptured, ResultRecorded
- reproducibility index: ReproductionMeasured, the latest of each job
- agent decision accuracy: no event yet

`projections.scorecard` reckons the KPIs with their intervals from this view.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from projections.view import View
from schemas.events import (
    ApprovalGranted,
    ApprovalRequested,
    BudgetCaptured,
    CircuitFidelity,
    IntentAdmitted,
    IntentDeclared,
    ReproductionMeasured,
    ResultRecorded,
    RunCancelled,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from streams.state import Map, Table, changed


@dataclass(frozen=True)
class JobFigures:
    """What the KPIs need of one job. Each field is fed from one topic.

    `emulated_us` is how much later its devices would have been done by now, had their emulated time been waited out.
    """

    declared_us: int | None = None
    requested_us: int | None = None
    granted_us: int | None = None
    admitted_us: int | None = None
    spent_microusd: int | None = None
    step: int = -1
    step_on_device: bool = False
    step_said_us: int = 0
    step_started_us: int | None = None
    execution_us: int = 0
    classical_us: int = 0
    emulated_us: int = 0
    recorded_us: int | None = None
    converged: bool = False


@dataclass(frozen=True)
class Fidelity:
    """Sums over circuits of one method; the squares are of the half intervals below and above, times shots."""

    circuits: int = 0
    shots: int = 0
    weighted: float = 0.0
    below_squared: float = 0.0
    above_squared: float = 0.0


@dataclass(frozen=True)
class Reproduction:
    """The latest reproduction of a job."""

    index: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class KpisView:
    """Figures by job, and sums over circuits."""

    jobs: Table[str, JobFigures] = field(default_factory=Map)
    hellinger: Fidelity = Fidelity()
    mirror: Fidelity = Fidelity()
    reproductions: Table[str, Reproduction] = field(default_factory=Map)


def _figures(view: KpisView, job_id: str) -> JobFigures:
    return view.jobs.get(job_id) or JobFigures()


def _with(view: KpisView, job_id: str, **changes: object) -> KpisView:
    return changed(view, jobs=view.jobs.set(job_id, changed(_figures(view, job_id), **changes)))


def _declared(view: KpisView, event: IntentDeclared, time_us: int) -> KpisView:
    return (
        view if _figures(view, event.job_id).declared_us is not None else _with(view, event.job_id, declared_us=time_us)
    )


def _approval_requested(view: KpisView, event: ApprovalRequested, time_us: int) -> KpisView:
    return _with(view, event.job_id, requested_us=time_us)


def _granted(view: KpisView, event: ApprovalGranted, time_us: int) -> KpisView:
    """The latest grant before admission is the one that policy took; earlier ones did not count."""
    return (
        view if _figures(view, event.job_id).admitted_us is not None else _with(view, event.job_id, granted_us=time_us)
    )


def _admitted(view: KpisView, event: IntentAdmitted, time_us: int) -> KpisView:
    return _with(view, event.job_id, admitted_us=time_us)


def _captured(view: KpisView, event: BudgetCaptured, _: int) -> KpisView:
    spent = _figures(view, event.job_id).spent_microusd or 0
    return _with(view, event.job_id, spent_microusd=spent + event.amount_microusd)


def _step_started(view: KpisView, event: StepStarted, time_us: int) -> KpisView:
    return _with(
        view,
        event.job_id,
        step=event.step,
        step_on_device=event.kind == "quantum",
        step_said_us=time_us,
        step_started_us=event.started_us,
    )


def _step_completed(view: KpisView, event: StepCompleted, time_us: int) -> KpisView:
    view = _step_ended(view, event, time_us)
    if not event.fidelities:
        return view
    hellinger = [each for each in event.fidelities if each.method == "hellinger"]
    mirror = [each for each in event.fidelities if each.method == "mirror"]
    if hellinger:
        view = changed(view, hellinger=_added(view.hellinger, hellinger, are_independent=True))
    if mirror:
        view = changed(view, mirror=_added(view.mirror, mirror, are_independent=False))
    return view


def _added(sums: Fidelity, circuits: Sequence[CircuitFidelity], *, are_independent: bool) -> Fidelity:
    """The sums with a step's circuits of one method added. Those judged by the step's canaries err all alike."""
    below = [each.shots * (each.value - each.low) for each in circuits]
    above = [each.shots * (each.high - each.value) for each in circuits]
    return Fidelity(
        circuits=sums.circuits + len(circuits),
        shots=sums.shots + sum([each.shots for each in circuits]),
        weighted=sums.weighted + sum([each.shots * each.value for each in circuits]),
        below_squared=sums.below_squared + (sum([half**2 for half in below]) if are_independent else sum(below) ** 2),
        above_squared=sums.above_squared + (sum([half**2 for half in above]) if are_independent else sum(above) ** 2),
    )


def _step_ended(view: KpisView, event: StepCompleted | StepFailed | RunCancelled, time_us: int) -> KpisView:
    """Count the time since the step's start; that is its author's word and may lie ahead, then nothing is counted."""
    job = _figures(view, event.job_id)
    if job.step_started_us is None or job.step != event.step:
        return view
    if job.step_on_device:
        return _run_ended(view, event, time_us, job.step_started_us)
    span_us = max(0, time_us - job.step_started_us)
    return _with(view, event.job_id, classical_us=job.classical_us + span_us, step_started_us=None)


def _run_ended(
    view: KpisView, event: StepCompleted | StepFailed | RunCancelled, time_us: int, started_us: int
) -> KpisView:
    """Count a run as if whatever its device says it took had been waited out, this time and in the runs before.

    On a virtual clock, and with a real device, it was: then nothing is added.
    """
    job = _figures(view, event.job_id)
    begun_us = max(started_us, job.step_said_us + job.emulated_us)
    ended_us = time_us + job.emulated_us
    if event.device_time_us:
        ended_us = max(ended_us, begun_us + event.device_time_us)
    return _with(
        view,
        event.job_id,
        execution_us=job.execution_us + max(0, ended_us - begun_us),
        emulated_us=ended_us - time_us,
        step_started_us=None,
    )


def _recorded(view: KpisView, event: ResultRecorded, time_us: int) -> KpisView:
    return _with(view, event.job_id, recorded_us=time_us, converged=event.converged)


def _reproduced(view: KpisView, event: ReproductionMeasured, _: int) -> KpisView:
    measured = Reproduction(event.index, event.low, event.high, event.verdict)
    return changed(view, reproductions=view.reproductions.set(event.job_id, measured))


KPIS = View(
    "kpis",
    KpisView(),
    KpisView,
    {
        IntentDeclared: _declared,
        ApprovalRequested: _approval_requested,
        ApprovalGranted: _granted,
        IntentAdmitted: _admitted,
        BudgetCaptured: _captured,
        StepStarted: _step_started,
        StepCompleted: _step_completed,
        StepFailed: _step_ended,
        RunCancelled: _step_ended,
        ResultRecorded: _recorded,
        ReproductionMeasured: _reproduced,
    },
)
