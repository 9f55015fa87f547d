"""The view of jobs: from events about a job to where it stands, what it waits for, what it cost and what it found."""

from dataclasses import dataclass, field

from projections.job import (
    Admission,
    Approval,
    Declaration,
    End,
    Job,
    Placement,
    Presented,
    Problem,
    Refusal,
    Reservation,
    Result,
)
from projections.view import View
from schemas.digests import sha256_hex
from schemas.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRejected,
    ApprovalRequested,
    BudgetCaptured,
    BudgetHeld,
    BudgetReleased,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    IntentWithdrawn,
    JobCancelled,
    JobCompleted,
    JobFailed,
    KeyEnrolled,
    PlacementDecided,
    ReservationExpired,
    ReservationGranted,
    ReservationReleased,
    ResultRecorded,
    RunCancelDecided,
    ShotsMeasured,
    StepCompleted,
    StepFailed,
    StepOutcomeUnknown,
    StepPlanned,
    StepStarted,
)
from streams.state import Map, Table, changed


@dataclass(frozen=True)
class JobsView:
    """Every job of a site, and how strongly each enrolled key is bound to its holder."""

    jobs: Table[str, Job] = field(default_factory=Map)
    assurances: Table[str, str] = field(default_factory=Map)

    def awaiting_approval(self) -> list[Job]:
        """Jobs that wait for a person, longest waiting first."""
        waiting = [
            (job.approval.requested_us, job.job_id, job)
            for job in self.jobs.values()
            if job.approval and job.state == "awaiting_approval"
        ]
        return [job for _, _, job in sorted(waiting, key=lambda item: item[:2])]

    def before(self, job: Job) -> Job | None:
        """The job that the agent of a job had declared before it."""
        if job.declaration is None:
            return None
        place = (job.declaration.time_us, job.job_id)
        earlier = [
            (each.declaration.time_us, each.job_id, each)
            for each in self.jobs.values()
            if each.declaration
            and each.declaration.initiator == job.declaration.initiator
            and (each.declaration.time_us, each.job_id) < place
        ]
        return max(earlier, key=lambda item: item[:2])[2] if earlier else None

    def assurance(self, job: Job) -> str:
        """The assurance of the key that answered for a job; empty where nobody did."""
        answer = job.approval.answer if job.approval else None
        return self.assurances.get(answer.key_id, "") if answer else ""


def _with(view: JobsView, job_id: str, **changes: object) -> JobsView:
    """The view with some fields of a job changed; the manifest goes once the job is over."""
    job = changed(view.jobs.get(job_id) or Job(job_id), **changes)
    if job.manifest is not None and job.is_over:
        job = changed(job, manifest=None)
    return changed(view, jobs=view.jobs.set(job_id, job))


def _job(view: JobsView, job_id: str) -> Job:
    return view.jobs.get(job_id) or Job(job_id)


def _key_enrolled(view: JobsView, event: KeyEnrolled, _: int) -> JobsView:
    return changed(view, assurances=view.assurances.set(event.key_id, event.assurance))


def _declared(view: JobsView, event: IntentDeclared, time_us: int) -> JobsView:
    if _job(view, event.job_id).declaration:
        return view
    manifest = event.manifest
    declaration = Declaration(
        initiator=manifest.initiator,
        agent_key_id=event.agent_key_id,
        purpose=manifest.purpose,
        objective=manifest.objective,
        data_class=manifest.data_class,
        shots=manifest.quantum.shots,
        budget_shots=manifest.budget.shots,
        budget_microusd=manifest.budget.cost_microusd,
        iterations_max=manifest.loop.iterations_max if manifest.loop else 0,
        deadline_us=manifest.deadline_us,
        time_us=time_us,
        circuits=tuple(sha256_hex(each.model_dump_json().encode()) for each in manifest.quantum.templates()),
        programs=tuple(manifest.program_digest(kind) for kind in manifest.programs()),
        devices=manifest.allowed_devices,
        parameters=tuple(sorted(manifest.parameters.items())),
    )
    return _with(view, event.job_id, declaration=declaration, manifest=manifest)


def _withdrawn(view: JobsView, event: IntentWithdrawn, time_us: int) -> JobsView:
    return _with(view, event.job_id, withdrawn_us=time_us)


def _step_planned(view: JobsView, event: StepPlanned, _: int) -> JobsView:
    return _with(view, event.job_id, steps_planned=event.step + 1, iteration=event.iteration)


def _completed(view: JobsView, event: JobCompleted, time_us: int) -> JobsView:
    return _with(view, event.job_id, end=End("completed", "", "", time_us))


def _failed(view: JobsView, event: JobFailed, time_us: int) -> JobsView:
    return _with(view, event.job_id, end=End("failed", event.reason, event.message, time_us))


def _cancelled(view: JobsView, event: JobCancelled, time_us: int) -> JobsView:
    return _with(view, event.job_id, end=End("cancelled", event.reason, event.message, time_us))


def _approval_requested(view: JobsView, event: ApprovalRequested, time_us: int) -> JobsView:
    approval = Approval(event.rule, event.message, event.statement, time_us, devices=event.devices)
    return _with(view, event.job_id, approval=approval)


def _answered(view: JobsView, event: ApprovalGranted | ApprovalDenied, time_us: int) -> JobsView:
    approval = _job(view, event.job_id).approval
    if approval is None or approval.answer:
        return view
    presented = Presented(
        answer="denied" if isinstance(event, ApprovalDenied) else "granted",
        approver=event.approver,
        proof_type=event.proof.proof_type,
        key_id=event.proof.key_id,
        reason=event.reason if isinstance(event, ApprovalDenied) else "",
        time_us=time_us,
    )
    approval = changed(approval, presented=approval.presented.set(event.approver, presented))
    return _with(view, event.job_id, approval=approval)


def _answer_rejected(view: JobsView, event: ApprovalRejected, _: int) -> JobsView:
    approval = _job(view, event.job_id).approval
    if approval is None or event.approver not in approval.presented:
        return view
    approval = changed(approval, presented=approval.presented.delete(event.approver), rejection=event.message)
    return _with(view, event.job_id, approval=approval)


def _approval_expired(view: JobsView, event: ApprovalExpired, _: int) -> JobsView:
    approval = _job(view, event.job_id).approval
    return _with(view, event.job_id, approval=approval and changed(approval, expired=True))


def _admitted(view: JobsView, event: IntentAdmitted, time_us: int) -> JobsView:
    admission = Admission(
        event.intent_digest,
        event.price_ceiling_microusd,
        event.shots_ceiling,
        event.devices,
        event.policy_digest,
        event.rule,
        event.approver,
        time_us,
    )
    approval = _job(view, event.job_id).approval
    answer = approval.presented.get(event.approver) if approval else None
    if approval and answer and answer.answer == "granted":
        approval = changed(approval, answer=answer)
    return _with(view, event.job_id, admission=admission, approval=approval)


def _refused(view: JobsView, event: IntentRefused, time_us: int) -> JobsView:
    refusal = Refusal(event.reason, event.message, event.rule, time_us)
    approval = _job(view, event.job_id).approval
    if approval and event.reason == "denied":
        denials = [answer for answer in approval.presented.values() if answer.answer == "denied"]
        latest = max(denials, key=lambda answer: (answer.time_us, answer.approver), default=None)
        approval = changed(approval, answer=latest)
    return _with(view, event.job_id, refusal=refusal, approval=approval)


def _held(view: JobsView, event: BudgetHeld, _: int) -> JobsView:
    held = _job(view, event.job_id).held_microusd + event.amount_microusd
    return _with(view, event.job_id, held_microusd=held)


def _captured(view: JobsView, event: BudgetCaptured, _: int) -> JobsView:
    job = _job(view, event.job_id)
    return _with(
        view,
        event.job_id,
        quantum_microusd=job.quantum_microusd + event.quantum_microusd,
        classical_microusd=job.classical_microusd + event.classical_microusd,
    )


def _released(view: JobsView, event: BudgetReleased, _: int) -> JobsView:
    released = _job(view, event.job_id).released_microusd + event.amount_microusd
    return _with(view, event.job_id, released_microusd=released)


def _placed(view: JobsView, event: PlacementDecided, time_us: int) -> JobsView:
    placement = Placement(event.device, event.why, event.rule, event.snapshot_digest, event.candidates, time_us)
    return _with(view, event.job_id, placement=placement)


def _reserved(view: JobsView, event: ReservationGranted, time_us: int) -> JobsView:
    reservation = Reservation(
        event.reservation_id, event.device, event.queue_position, event.starts_us, event.expires_us, time_us
    )
    return _with(view, event.job_id, reservation=reservation)


def _reservation_ended(view: JobsView, event: ReservationReleased | ReservationExpired, _: int) -> JobsView:
    reservation = _job(view, event.job_id).reservation
    if reservation is None or reservation.reservation_id != event.reservation_id:
        return view
    ended = "expired" if isinstance(event, ReservationExpired) else "released"
    return _with(view, event.job_id, reservation=changed(reservation, ended=ended))


def _step_started(view: JobsView, event: StepStarted, _: int) -> JobsView:
    job = _job(view, event.job_id)
    return _with(
        view,
        event.job_id,
        started_us=event.started_us if job.started_us is None else job.started_us,
        snapshot_digest=event.snapshot_digest or job.snapshot_digest,
    )


def _shots_measured(view: JobsView, event: ShotsMeasured, _: int) -> JobsView:
    job_id = event.job_id
    job = view.jobs.get(job_id) or Job(job_id)
    return changed(view, jobs=view.jobs.set(job_id, changed(job, shots_measured=job.shots_measured + event.shots)))


def _step_completed(view: JobsView, event: StepCompleted, _: int) -> JobsView:
    job = _job(view, event.job_id)
    observables = event.observables or job.observables
    return _with(view, event.job_id, steps_completed=job.steps_completed + 1, observables=observables)


def _step_failed(view: JobsView, event: StepFailed, time_us: int) -> JobsView:
    return _with(view, event.job_id, problem=Problem(event.step, event.reason, event.message, time_us))


def _outcome_unknown(view: JobsView, event: StepOutcomeUnknown, time_us: int) -> JobsView:
    return _with(view, event.job_id, problem=Problem(event.step, "outcome_unknown", event.message, time_us))


def _cancel_decided(view: JobsView, event: RunCancelDecided, time_us: int) -> JobsView:
    return _with(view, event.job_id, problem=Problem(event.step, event.reason, event.message, time_us))


def _recorded(view: JobsView, event: ResultRecorded, time_us: int) -> JobsView:
    result = Result(
        event.device,
        event.snapshot_digest,
        event.result_digest,
        event.converged,
        event.observables,
        event.iterations,
        event.shots,
        event.quantum_microusd,
        event.classical_microusd,
        event.device_time_us,
        event.classical_time_us,
        time_us,
    )
    return _with(view, event.job_id, result=result)


JOBS = View(
    "jobs",
    JobsView(),
    JobsView,
    {
        KeyEnrolled: _key_enrolled,
        IntentDeclared: _declared,
        IntentWithdrawn: _withdrawn,
        StepPlanned: _step_planned,
        JobCompleted: _completed,
        JobFailed: _failed,
        JobCancelled: _cancelled,
        ApprovalRequested: _approval_requested,
        ApprovalGranted: _answered,
        ApprovalDenied: _answered,
        ApprovalRejected: _answer_rejected,
        ApprovalExpired: _approval_expired,
        IntentAdmitted: _admitted,
        IntentRefused: _refused,
        BudgetHeld: _held,
        BudgetCaptured: _captured,
        BudgetReleased: _released,
        PlacementDecided: _placed,
        ReservationGranted: _reserved,
        ReservationReleased: _reservation_ended,
        ReservationExpired: _reservation_ended,
        StepStarted: _step_started,
        ShotsMeasured: _shots_measured,
        StepCompleted: _step_completed,
        StepFailed: _step_failed,
        StepOutcomeUnknown: _outcome_unknown,
        RunCancelDecided: _cancel_decided,
        ResultRecorded: _recorded,
    },
)
