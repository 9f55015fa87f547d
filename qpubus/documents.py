"""What reads print as JSON: values of the views go in, plain documents come out. Money has both integer and dollars."""

from collections.abc import Iterable
from typing import Any

from agents.replies import DryRun, PendingApproval
from agents.vault import Vault
from projections.budgets import BudgetsView
from projections.devices import Device, DevicesView
from projections.job import Approval, Job, Placement, Result
from projections.jobs import JobsView
from schemas.admission import Refused
from schemas.manifest import plain
from streams.stage import Heard
from streams.state import changed


def dollars(microusd: int) -> float:
    """An amount for readers; what is reckoned with is always the integer beside it."""
    return microusd / 1_000_000


def told(job: Job, vault: Vault) -> Job:
    """A job with reasons, as far as they are in the vault, in place of pointers to them."""
    end, refusal, problem, approval = job.end, job.refusal, job.problem, job.approval
    answer = approval.answer if approval else None
    return changed(
        job,
        end=end and changed(end, message=vault.told(end.message)),
        refusal=refusal and changed(refusal, message=vault.told(refusal.message)),
        problem=problem and changed(problem, message=vault.told(problem.message)),
        approval=approval and changed(approval, answer=answer and changed(answer, reason=vault.told(answer.reason))),
    )


def job_brief(job: Job) -> dict[str, Any]:
    """A job in the words of the demo's report."""
    declared, result = job.declaration, job.result
    return {
        "job_id": job.job_id,
        "state": job.state,
        "initiator": declared.initiator if declared else None,
        "purpose": declared.purpose if declared else None,
        "device": job.device or None,
        "snapshot": job.snapshot_digest or None,
        "shots_total": result.shots if result else None,
        "iterations": result.iterations if result else job.iteration,
        "cost_usd": dollars(job.cost_microusd),
        "cost_microusd": job.cost_microusd,
        "declared_us": declared.time_us if declared else None,
    }


def job_full(view: JobsView, job: Job) -> dict[str, Any]:
    """All that is known of a job."""
    declared, admission, reservation = job.declaration, job.admission, job.reservation
    return job_brief(job) | {
        "reason": reason_of(job)[0] or None,
        "message": reason_of(job)[1] or None,
        "objective": declared.objective if declared else None,
        "shots_ceiling": declared.budget_shots if declared else None,
        "price_ceiling_microusd": declared.budget_microusd if declared else None,
        "approval": approval_document(view, job, job.approval) if job.approval else None,
        "admission": None
        if admission is None
        else {
            "rule": admission.rule,
            "policy_digest": admission.policy_digest,
            "devices": list(admission.devices),
            "approver": admission.approver or None,
            "time_us": admission.time_us,
        },
        "placement": _placement(job.placement),
        "reservation": None
        if reservation is None
        else {
            "reservation_id": reservation.reservation_id,
            "device": reservation.device,
            "queue_position": reservation.queue_position,
            "starts_us": reservation.starts_us,
            "expires_us": reservation.expires_us,
            "ended": reservation.ended or None,
        },
        "steps_planned": job.steps_planned,
        "steps_completed": job.steps_completed,
        "problem": None
        if job.problem is None
        else {"step": job.problem.step, "reason": job.problem.reason, "message": job.problem.message},
        "result": result_document(job.result) if job.result else None,
        "ended_us": ended_us(job),
        "device_time_waited_out": not runs_ahead(job),
    }


def reason_of(job: Job) -> tuple[str, str]:
    """Why a job was refused, failed or was cancelled: the stable code and the message; empty where it was not."""
    over = job.end or job.refusal
    return (over.reason, over.message) if over else ("", "")


def ended_us(job: Job) -> int | None:
    """When a job was over."""
    over = job.end or job.refusal
    return over.time_us if over else None


def runs_ahead(job: Job) -> bool:
    """Whether a job was over before its device can have been done: its device time is emulated, and was not waited out.

    Then the times of its slot and its shots are by the device's own clock, which runs ahead of the wall's.
    """
    ended, result = ended_us(job), job.result
    if ended is None or result is None or job.reservation is None:
        return False
    return job.reservation.starts_us + result.device_time_us > ended


def result_document(result: Result) -> dict[str, Any]:
    """What a job found and what it used."""
    return {
        "converged": result.converged,
        "observables": [plain(each) for each in result.observables],
        "device": result.device,
        "snapshot": result.snapshot_digest,
        "result_digest": result.result_digest,
        "iterations": result.iterations,
        "shots": result.shots,
        "quantum_microusd": result.quantum_microusd,
        "classical_microusd": result.classical_microusd,
        "device_time_us": result.device_time_us,
        "classical_time_us": result.classical_time_us,
        "recorded_us": result.time_us,
    }


def approval_document(view: JobsView, job: Job, approval: Approval) -> dict[str, Any]:
    """A human gate: what is asked, why, and the answer that counted."""
    answer = approval.answer
    return {
        "rule": approval.rule,
        "message": approval.message,
        "statement": plain(approval.statement),
        "requested_us": approval.requested_us,
        "expired": approval.expired,
        "answer": answer.answer if answer else None,
        "approver": answer.approver if answer else None,
        "proof_type": answer.proof_type if answer else None,
        "assurance": view.assurance(job) or None,
        "reason": answer.reason or None if answer else None,
    }


def approval_brief(pending: PendingApproval) -> dict[str, Any]:
    """A request for a person's answer, while it waits."""
    return {
        "job_id": pending.job_id,
        "rule": pending.rule,
        "message": pending.message,
        "statement": plain(pending.statement),
        "requested_us": pending.requested_us,
    }


def trial_document(trial: DryRun) -> dict[str, Any]:
    """What would become of a manifest."""
    placement = trial.placement
    return {
        "verdict": trial.verdict,
        "rule": trial.rule,
        "message": trial.message,
        "price_microusd": trial.price_microusd,
        "price_ceiling_microusd": trial.price_ceiling_microusd,
        "device": placement.offer.device if placement.offer else None,
        "why": placement.why,
        "candidates": [plain(each) for each in placement.candidates],
        "offers": [plain(each) for each in trial.offers],
        "standard_errors": dict(trial.standard_errors),
    }


def budget_document(view: BudgetsView, mine: Iterable[str]) -> dict[str, Any]:
    """What a site may still spend, and what the jobs in `mine` have held and spent of it."""
    jobs = [each for job_id in mine if (each := view.jobs.get(job_id))]
    return {
        "limit_microusd": view.limit_microusd,
        "held_microusd": view.held_microusd,
        "spent_microusd": view.spent_microusd,
        "free_microusd": view.free_microusd,
        "free_usd": dollars(view.free_microusd),
        "yours": {
            "jobs": len(jobs),
            "held_microusd": sum(each.held_microusd for each in jobs),
            "spent_microusd": sum(each.spent_microusd for each in jobs),
        },
    }


def _placement(placement: Placement | None) -> dict[str, Any] | None:
    if placement is None:
        return None
    return {
        "device": placement.device or None,
        "why": placement.why,
        "rule": placement.rule,
        "snapshot": placement.snapshot_digest or None,
        "candidates": [plain(each) for each in placement.candidates],
    }


def device_document(view: DevicesView, device: Device) -> dict[str, Any]:
    """A device as its latest snapshot and status describe it, with its price."""
    price = view.price(device.device)
    return {
        "device": device.device,
        "status": device.status,
        "status_reason": device.status_reason or None,
        "queue_jobs": device.queue_jobs,
        "queue_wait_us": device.queue_wait_us,
        "snapshots": device.snapshots,
        "snapshot": plain(device.snapshot) if device.snapshot else None,
        "price": plain(price) if price else None,
    }


def event_document(heard: Heard) -> dict[str, Any]:
    """An event that was verified: who said what where, and its whole body."""
    return {
        "topic": heard.cause.topic,
        "type": type(heard.event).__name__,
        "source": heard.source,
        "role": heard.role,
        "sequence": heard.cause.sequence,
        "time_us": heard.time_us,
        "digest": heard.digest,
        "key_id": heard.key_id,
        "event": heard.event.model_dump(),
    }


def refused_document(refused: Refused) -> dict[str, Any]:
    """A record that is not believed, by its place."""
    stored = refused.stored
    return {
        "topic": stored.topic,
        "partition": stored.partition,
        "offset": stored.offset,
        "refused": refused.reason,
        "detail": refused.detail,
        "digest": refused.digest.hex(),
    }
