import base64
from typing import Any, Literal

import pytest

from projections.job import Job
from projections.jobs import JOBS
from schemas.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRejected,
    ApprovalRequested,
    ApprovalStatement,
    BudgetCaptured,
    BudgetHeld,
    HumanProof,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    JobCancelled,
    JobCompleted,
    JobFailed,
    KeyEnrolled,
    Observable,
    PlacementDecided,
    ReservationExpired,
    ReservationGranted,
    ReservationReleased,
    ResultRecorded,
    RunCancelDecided,
    ShotsMeasured,
    StepCompleted,
    StepPlanned,
    StepStarted,
)
from schemas.manifest import JobBudget, Manifest, Quantum
from schemas.words import Event
from tests.support.telling import told

DIGEST = "a" * 64
MANIFEST = Manifest(
    job_id="job",
    initiator="agent:me",
    purpose="VQE",
    site="site-a",
    quantum=Quantum(circuit=base64.b64encode(b"OPENQASM 3.0;").decode(), shots=100),
    budget=JobBudget(cost_microusd=900, shots=1_000),
)
DECLARED = IntentDeclared(job_id="job", agent_key_id="k", agent_proof="p", manifest=MANIFEST)
STATEMENT = ApprovalStatement(
    site="site-a",
    job_id="job",
    purpose="VQE",
    intent_digest=DIGEST,
    template_digests=(DIGEST,),
    program_digests=(),
    shots=1_000,
    price_ceiling_microusd=900,
    policy_digest=DIGEST,
    expires_us=99,
    nonce=DIGEST,
)
REQUESTED = ApprovalRequested(job_id="job", rule="dear", message="above 50 USD", statement=STATEMENT)
COMPLETED = JobCompleted(job_id="job", result_digest=DIGEST)
REFUSED = IntentRefused(job_id="job", intent_digest=DIGEST, reason="budget_too_small", message="raise it")
NO_PLACE = PlacementDecided(job_id="job", device="", objective="balanced", rule="r", why="none fits", candidates=())
PLACED = NO_PLACE.model_copy(update={"device": "trap", "why": "best"})
RELEASED = ReservationReleased(job_id="job", reservation_id="r", device="trap", reason="job_ended")


def proof(key_id: str = "person") -> HumanProof:
    return HumanProof(proof_type="ed25519", key_id=key_id, signature=b"s")


def granted(approver: str) -> ApprovalGranted:
    return ApprovalGranted(job_id="job", intent_digest=DIGEST, approver=approver, proof=proof())


def denied(approver: str, reason: str) -> ApprovalDenied:
    return ApprovalDenied(job_id="job", intent_digest=DIGEST, approver=approver, reason=reason, proof=proof())


def admitted(approver: str = "") -> IntentAdmitted:
    return IntentAdmitted(
        job_id="job",
        intent_digest=DIGEST,
        price_ceiling_microusd=900,
        shots_ceiling=1_000,
        devices=("trap",),
        policy_digest=DIGEST,
        rule="r",
        approver=approver,
    )


def reserved(reservation_id: str = "r") -> ReservationGranted:
    return ReservationGranted(
        job_id="job",
        reservation_id=reservation_id,
        device="trap",
        token_digest=DIGEST,
        queue_position=1,
        starts_us=5,
        expires_us=9,
    )


def started(step: int = 0, at_us: int = 50, kind: Literal["quantum", "loop"] = "quantum") -> StepStarted:
    return StepStarted(
        job_id="job",
        step=step,
        kind=kind,
        device="trap",
        snapshot_digest="s" if kind == "quantum" else "",
        started_us=at_us,
    )


def chunk(number: int, shots: int) -> ShotsMeasured:
    return ShotsMeasured(
        job_id="job",
        step=0,
        circuit=0,
        chunk=number,
        device="trap",
        shots=shots,
        counts={"0": shots},
        started_us=0,
        ended_us=1,
    )


def recorded() -> ResultRecorded:
    return ResultRecorded(
        job_id="job",
        device="trap",
        snapshot_digest=DIGEST,
        result_digest=DIGEST,
        converged=True,
        observables=(Observable(name="energy_hartree", value=-1.1, standard_error=0.001),),
        iterations=3,
        shots=300,
        quantum_microusd=70,
        classical_microusd=5,
        device_time_us=40,
        classical_time_us=4,
    )


def job(*events: Event | tuple[Event, int]) -> Job:
    return told(JOBS, *events).jobs["job"]


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([DECLARED], "declared"),
        ([DECLARED, REQUESTED], "awaiting_approval"),
        ([DECLARED, REQUESTED, granted("approver:a")], "awaiting_approval"),
        ([DECLARED, admitted()], "admitted"),
        ([DECLARED, admitted(), NO_PLACE], "admitted"),
        ([DECLARED, admitted(), PLACED], "placed"),
        ([DECLARED, admitted(), PLACED, reserved()], "reserved"),
        ([DECLARED, admitted(), PLACED, reserved(), RELEASED], "placed"),
        ([DECLARED, admitted(), PLACED, reserved(), started()], "running"),
        ([DECLARED, admitted(), started(), COMPLETED], "completed"),
        ([DECLARED, admitted(), JobFailed(job_id="job", reason="no_device", message="none")], "failed"),
        ([DECLARED, admitted(), JobCancelled(job_id="job", reason="withdrawn", message="by agent")], "cancelled"),
        ([DECLARED, REFUSED], "refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(len(value)),
)
def test_state_is_the_furthest_that_the_events_show(events: list[Event], state: str) -> None:
    assert job(*events).state == state


def test_a_job_keeps_its_first_declaration() -> None:
    other = DECLARED.model_copy(update={"manifest": MANIFEST.model_copy(update={"purpose": "other"})})
    declaration = job((DECLARED, 3), (other, 4)).declaration
    assert declaration is not None
    assert (declaration.purpose, declaration.initiator, declaration.time_us) == ("VQE", "agent:me", 3)


def test_an_open_job_has_its_manifest() -> None:
    assert job(DECLARED).manifest == MANIFEST


@pytest.mark.parametrize("end", [COMPLETED, REFUSED], ids=["completed", "refused"])
@pytest.mark.parametrize("declared_last", [False, True], ids=["end after", "end before"])
def test_a_job_that_is_over_has_no_manifest(end: Event, declared_last: bool) -> None:
    events = [end, DECLARED] if declared_last else [DECLARED, end]
    assert job(*events).manifest is None


def test_a_refusal_says_why() -> None:
    refusal = job(DECLARED, (REFUSED, 7)).refusal
    assert refusal is not None
    assert (refusal.reason, refusal.message, refusal.time_us) == ("budget_too_small", "raise it", 7)


def test_a_pending_approval_shows_what_is_to_be_signed() -> None:
    approval = job(DECLARED, (REQUESTED, 5)).approval
    assert approval is not None
    assert (approval.statement, approval.rule, approval.requested_us, approval.answer) == (STATEMENT, "dear", 5, None)


def test_the_grant_that_policy_took_is_the_answer() -> None:
    approval = job(REQUESTED, granted("approver:a"), granted("approver:b"), admitted("approver:a")).approval
    assert approval is not None
    assert approval.answer is not None
    assert (approval.answer.answer, approval.answer.approver) == ("granted", "approver:a")


def test_a_grant_that_policy_did_not_take_is_no_answer() -> None:
    approval = job(REQUESTED, granted("approver:a")).approval
    assert approval is not None
    assert approval.answer is None


def test_a_denial_is_the_answer_once_policy_refused_for_it() -> None:
    refused = REFUSED.model_copy(update={"reason": "denied", "message": "too dear"})
    approval = job(REQUESTED, denied("approver:a", "too dear"), refused).approval
    assert approval is not None
    assert approval.answer is not None
    assert (approval.answer.answer, approval.answer.reason) == ("denied", "too dear")


def test_an_answer_that_policy_turned_down_is_gone_and_says_why() -> None:
    rejected = ApprovalRejected(
        job_id="job", intent_digest=DIGEST, approver="approver:a", reason="approval_expired", message="too late"
    )
    approval = job(REQUESTED, granted("approver:a"), rejected).approval
    assert approval is not None
    assert (len(approval.presented), approval.rejection) == (0, "too late")


def test_an_approval_can_expire() -> None:
    approval = job(REQUESTED, ApprovalExpired(job_id="job", intent_digest=DIGEST)).approval
    assert approval is not None
    assert approval.expired


def test_the_answer_has_the_assurance_of_its_key() -> None:
    key = KeyEnrolled(key_id="person", public_key=b"p", source="approver:a", role="approver", assurance="demo")
    view = told(JOBS, REQUESTED, granted("approver:a"), admitted("approver:a"), key)
    assert view.assurance(view.jobs["job"]) == "demo"


def test_jobs_that_wait_for_a_person_are_listed_longest_waiting_first() -> None:
    later = REQUESTED.model_copy(update={"job_id": "later"})
    view = told(JOBS, (later, 9), (REQUESTED, 4), (admitted().model_copy(update={"job_id": "other"}), 1))
    assert [waiting.job_id for waiting in view.awaiting_approval()] == ["job", "later"]


def test_progress_counts_steps_and_shots() -> None:
    planned = StepPlanned(job_id="job", step=4, kind="quantum", iteration=2, seed=1)
    done = StepCompleted(job_id="job", step=0, kind="quantum")
    seen = job(planned, started(), chunk(0, 40), chunk(1, 2), done)
    assert (seen.steps_planned, seen.iteration, seen.steps_completed, seen.shots_measured) == (5, 2, 1, 42)


def test_a_job_started_when_its_first_step_did() -> None:
    assert job(started(0, 50), started(1, 60, "loop")).started_us == 50


def test_the_snapshot_is_that_of_the_latest_quantum_step() -> None:
    assert job(started(0), started(1, kind="loop")).snapshot_digest == "s"


def test_the_latest_observables_are_kept_while_a_job_runs() -> None:
    energy = Observable(name="energy_hartree", value=-1.0, standard_error=0.1)
    first = StepCompleted(job_id="job", step=1, kind="loop", observables=(energy,))
    assert job(first, StepCompleted(job_id="job", step=2, kind="quantum")).observables == (energy,)


def test_cost_is_what_was_captured() -> None:
    captured = BudgetCaptured(job_id="job", amount_microusd=75, quantum_microusd=70, classical_microusd=5, shots=3)
    seen = job(BudgetHeld(job_id="job", amount_microusd=900), captured)
    assert (seen.held_microusd, seen.quantum_microusd, seen.classical_microusd, seen.cost_microusd) == (900, 70, 5, 75)


def test_the_device_is_the_one_reserved_last() -> None:
    assert job(PLACED.model_copy(update={"device": "chip"}), reserved()).device == "trap"


def test_an_expired_reservation_says_so() -> None:
    reservation = job(reserved(), ReservationExpired(job_id="job", reservation_id="r", device="trap")).reservation
    assert reservation is not None
    assert reservation.ended == "expired"


def test_the_end_of_another_reservation_changes_nothing() -> None:
    reservation = job(reserved("new"), RELEASED).reservation
    assert reservation is not None
    assert not reservation.ended


def test_what_the_guard_stopped_is_shown() -> None:
    decided: dict[str, Any] = {"job_id": "job", "step": 3, "reason": "fidelity_drop", "message": "below", "rule": "r"}
    problem = job(RunCancelDecided(**decided)).problem
    assert problem is not None
    assert (problem.step, problem.reason, problem.message) == (3, "fidelity_drop", "below")


def test_a_result_is_shown_with_what_it_used() -> None:
    result = job((recorded(), 8)).result
    assert result is not None
    assert (result.observables[0].value, result.shots, result.converged, result.time_us) == (-1.1, 300, True, 8)
