import base64
import math
import statistics
from typing import Literal

import pytest

from projections.interval import mean_interval, ratio_interval, t_95
from projections.kpis import KPIS, KpisView
from projections.scorecard import Kpi, scorecard, turnaround
from schemas.events import (
    ApprovalGranted,
    ApprovalRequested,
    ApprovalStatement,
    BudgetCaptured,
    CircuitFidelity,
    HumanProof,
    IntentAdmitted,
    IntentDeclared,
    ReproductionMeasured,
    ResultRecorded,
    RunCancelled,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from schemas.manifest import JobBudget, Manifest, Quantum
from schemas.words import Event
from tests.support.telling import told

DIGEST = "a" * 64
SECOND = 1_000_000
Kind = Literal["quantum", "loop"]


def declared(job_id: str = "job") -> IntentDeclared:
    manifest = Manifest(
        job_id=job_id,
        initiator="agent:me",
        purpose="VQE",
        site="site-a",
        quantum=Quantum(circuit=base64.b64encode(b"OPENQASM 3.0;").decode(), shots=100),
        budget=JobBudget(cost_microusd=900, shots=1_000),
    )
    return IntentDeclared(job_id=job_id, agent_key_id="k", agent_proof="p", manifest=manifest)


def requested() -> ApprovalRequested:
    statement = ApprovalStatement(
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
    return ApprovalRequested(job_id="job", rule="dear", message="above 50 USD", statement=statement)


def granted() -> ApprovalGranted:
    proof = HumanProof(proof_type="ed25519", key_id="k", signature=b"s")
    return ApprovalGranted(job_id="job", intent_digest=DIGEST, approver="approver:a", proof=proof)


def admitted() -> IntentAdmitted:
    return IntentAdmitted(
        job_id="job",
        intent_digest=DIGEST,
        price_ceiling_microusd=900,
        shots_ceiling=1_000,
        devices=("trap",),
        policy_digest=DIGEST,
        rule="r",
    )


def recorded(job_id: str = "job", converged: bool = True) -> ResultRecorded:
    return ResultRecorded(
        job_id=job_id,
        device="trap",
        snapshot_digest=DIGEST,
        result_digest=DIGEST,
        converged=converged,
        observables=(),
        iterations=3,
        shots=300,
        quantum_microusd=70,
        classical_microusd=5,
        device_time_us=40,
        classical_time_us=4,
    )


def captured(job_id: str, dollars: int) -> BudgetCaptured:
    amount = dollars * 1_000_000
    return BudgetCaptured(job_id=job_id, amount_microusd=amount, quantum_microusd=amount, classical_microusd=0, shots=1)


def started(step: int, at_s: int, kind: Kind = "quantum") -> StepStarted:
    return StepStarted(job_id="job", step=step, kind=kind, started_us=at_s * SECOND)


def completed(step: int, kind: Kind = "quantum", *fidelities: CircuitFidelity, device_s: int = 0) -> StepCompleted:
    return StepCompleted(job_id="job", step=step, kind=kind, fidelities=fidelities, device_time_us=device_s * SECOND)


def fidelity(
    value: float, half: float, shots: int, method: Literal["hellinger", "mirror"] = "hellinger"
) -> CircuitFidelity:
    return CircuitFidelity(circuit=0, method=method, shots=shots, value=value, low=value - half, high=value + half)


def reproduced(index: float, half: float, job_id: str = "job") -> ReproductionMeasured:
    return ReproductionMeasured(
        job_id=job_id,
        seed=1,
        index=index,
        low=index - half,
        high=index + half,
        p_value=0.5,
        shift_max=0.1,
        verdict="reproducible",
    )


def kpi(name: str, *events: Event | tuple[Event, int]) -> Kpi:
    return scorecard(told(KPIS, *events))[name]


WHOLE_JOB: tuple[tuple[Event, int], ...] = tuple(
    (event, at_s * SECOND)
    for event, at_s in (
        (declared(), 10),
        (requested(), 11),
        (granted(), 41),
        (admitted(), 43),
        (started(0, 60), 60),
        (completed(0), 160),
        (started(1, 161, "loop"), 161),
        (completed(1, "loop"), 163),
        (recorded(), 170),
    )
)


@pytest.mark.parametrize("name", sorted(scorecard(KpisView())))
def test_with_no_cases_a_kpi_is_null_and_says_why(name: str) -> None:
    shown = scorecard(KpisView())[name].brief()
    assert (shown["value"], shown["n"], shown["low"], shown["high"]) == (None, 0, None, None)
    assert shown["reason"]


def test_turnaround_is_from_declaration_to_result() -> None:
    assert kpi("turnaround_s", *WHOLE_JOB).brief() == {"value": 160.0, "n": 1, "low": None, "high": None}


def test_turnaround_is_split_into_parts() -> None:
    parts = kpi("turnaround_s", *WHOLE_JOB).parts
    assert {name: part.value for name, part in parts.items()} == {
        "policy_s": 3.0,
        "human_s": 30.0,
        "queue_s": 25.0,
        "execution_s": 100.0,
        "classical_s": 2.0,
        "emulated_s": 0.0,
    }


WALL_JOB: tuple[tuple[Event, int], ...] = tuple(
    (event, at_s * SECOND)
    for event, at_s in (
        (declared(), 10),
        (admitted(), 12),
        (started(0, 50), 20),
        (completed(0, device_s=100), 23),
        (started(1, 24, "loop"), 24),
        (completed(1, "loop"), 26),
        (started(2, 50), 27),
        (completed(2, device_s=200), 30),
        (recorded(), 31),
    )
)
"""On the wall: a slot that begins in half a minute, and runs of 100 s and 200 s that were over after 3 s each."""


def test_emulated_device_time_that_nobody_waited_for_is_counted_as_if_it_had_been() -> None:
    shown = kpi("turnaround_s", *WALL_JOB)
    assert shown.value == 21.0 + 127.0 + 197.0
    assert {name: part.value for name, part in shown.parts.items()} == {
        "policy_s": 2.0,
        "human_s": 0.0,
        "queue_s": 41.0,
        "execution_s": 300.0,
        "classical_s": 2.0,
        "emulated_s": 324.0,
    }


def test_what_was_not_waited_out_is_told_where_turnaround_is_shown() -> None:
    assert "324 s of it were emulated and not waited out" in kpi("turnaround_s", *WALL_JOB).method


def test_a_run_that_was_stopped_before_it_began_makes_nobody_wait() -> None:
    stopped = RunCancelled(job_id="job", step=0, device="trap", shots=0, device_time_us=0, reason="withdrawn")
    job = told(KPIS, (started(0, 60), 10 * SECOND), (stopped, 20 * SECOND)).jobs["job"]
    assert (job.execution_us, job.emulated_us) == (0, 0)


@pytest.mark.parametrize("stop", [3, 5, 7], ids=["admitted", "quantum step done", "all steps done"])
def test_a_job_without_result_has_no_turnaround(stop: int) -> None:
    assert kpi("turnaround_s", *WHOLE_JOB[:stop]).n == 0


@pytest.mark.parametrize(
    "end",
    [
        StepFailed(job_id="job", step=0, reason="r", message="m"),
        RunCancelled(job_id="job", step=0, device="trap", shots=1, device_time_us=1, reason="withdrawn"),
    ],
    ids=["failed", "cancelled"],
)
def test_a_step_that_did_not_complete_took_time_too(end: Event) -> None:
    view = told(KPIS, (started(0, 60), 0), (end, 75 * SECOND))
    assert view.jobs["job"].execution_us == 15 * SECOND


def test_an_end_without_its_start_took_no_time() -> None:
    assert told(KPIS, (started(0, 60), 0), (completed(1), 75 * SECOND)).jobs["job"].execution_us == 0


def test_a_start_that_lies_ahead_of_its_end_took_no_time() -> None:
    assert told(KPIS, (started(0, 60), 0), (completed(0), 20 * SECOND)).jobs["job"].execution_us == 0


def test_a_job_that_nobody_had_to_approve_waited_for_no_human() -> None:
    time = turnaround(told(KPIS, (declared(), 1), (admitted(), 4), (recorded(), 9)).jobs["job"])
    assert time is not None
    assert (time.policy_us, time.human_us, time.queue_us) == (3, 0, 5)


def test_fidelity_is_weighted_by_shots() -> None:
    done = completed(0, "quantum", fidelity(0.9, 0.01, 300), fidelity(0.5, 0.01, 100))
    shown = kpi("fidelity_per_shot", done)
    assert [shown.value, shown.n] == pytest.approx([0.8, 2])


def test_a_single_circuit_keeps_its_own_interval() -> None:
    shown = kpi("fidelity_per_shot", completed(0, "quantum", fidelity(0.9, 0.02, 300)))
    assert [shown.low, shown.high] == pytest.approx([0.88, 0.92])


def test_intervals_of_circuits_add_in_quadrature() -> None:
    done = completed(0, "quantum", fidelity(0.9, 0.03, 100), fidelity(0.9, 0.04, 100))
    assert kpi("fidelity_per_shot", done).high == pytest.approx(0.9 + 0.05 / 2)


def test_intervals_of_circuits_that_share_canaries_add_in_full() -> None:
    done = completed(0, "quantum", fidelity(0.9, 0.03, 100, "mirror"), fidelity(0.9, 0.03, 100, "mirror"))
    assert kpi("fidelity_per_shot", done).high == pytest.approx(0.93)


def test_fidelity_is_told_by_method_too() -> None:
    done = completed(0, "quantum", fidelity(0.9, 0.03, 100), fidelity(0.7, 0.04, 100, "mirror"))
    parts = kpi("fidelity_per_shot", done).parts
    assert {name: part.value for name, part in parts.items()} == {
        "hellinger": pytest.approx(0.9),
        "mirror": pytest.approx(0.7),
    }


def test_cost_per_converged_result_includes_jobs_that_failed() -> None:
    shown = kpi("cost_per_converged_result_usd", captured("a", 30), recorded("a"), captured("b", 10))
    assert (shown.value, shown.n) == (40.0, 1)


def test_cost_per_converged_result_includes_results_that_did_not_converge() -> None:
    shown = kpi(
        "cost_per_converged_result_usd", captured("a", 30), recorded("a"), captured("b", 5), recorded("b", False)
    )
    assert (shown.value, shown.n) == (35.0, 1)


def test_without_a_converged_job_there_is_no_cost_of_one() -> None:
    assert kpi("cost_per_converged_result_usd", captured("a", 30), recorded("a", False)).value is None


@pytest.mark.parametrize("name", ["turnaround_s", "cost_per_converged_result_usd"])
def test_a_single_job_has_no_interval_and_the_method_says_so(name: str) -> None:
    shown = kpi(name, *WHOLE_JOB, captured("job", 30))
    assert shown.value is not None
    assert (shown.n, shown.low, shown.high) == (1, None, None)
    assert "no interval from a single job" in shown.method


def test_two_jobs_have_an_interval() -> None:
    shown = kpi("cost_per_converged_result_usd", captured("a", 30), recorded("a"), captured("b", 20), recorded("b"))
    half = 12.7062 * 5.0
    assert (shown.low, shown.high) == pytest.approx((25.0 - half, 25.0 + half))


def test_the_latest_reproduction_of_a_job_counts() -> None:
    shown = kpi("reproducibility_index", reproduced(0.8, 0.01), reproduced(0.99, 0.01))
    assert [shown.value, shown.n, shown.low, shown.high] == pytest.approx([0.99, 1, 0.98, 1.0])


def test_reproductions_of_several_jobs_are_averaged() -> None:
    shown = kpi("reproducibility_index", reproduced(0.9, 0.03), reproduced(1.0, 0.04, "other"))
    assert [shown.value, shown.high] == pytest.approx([0.95, 0.95 + 0.05 / 2])


@pytest.mark.parametrize(
    ("freedom", "point"), [(1, 12.7062), (9, 2.2622), (30, 2.0423), (31, 2.0395), (100, 1.9840), (10_000, 1.9602)]
)
def test_points_of_student_t(freedom: int, point: float) -> None:
    assert t_95(freedom) == pytest.approx(point, abs=1e-4)


def test_mean_interval_is_students() -> None:
    values = [1.0, 2.0, 4.0]
    half = 4.3027 * statistics.stdev(values) / math.sqrt(3)
    assert mean_interval(values) == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half))


def test_ratio_interval_of_equal_denominators_is_that_of_the_mean() -> None:
    assert ratio_interval([1.0, 2.0, 4.0], [1.0, 1.0, 1.0]) == pytest.approx(mean_interval([1.0, 2.0, 4.0]))
