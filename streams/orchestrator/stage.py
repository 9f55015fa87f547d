"""What the orchestrator says to each event: `decide`, and the stage it makes with `evolve`."""

from collections.abc import Sequence
from typing import Literal

from schemas.digests import is_digest
from schemas.envelope import Cause
from schemas.events import CircuitRun, JobCancelled, JobCompleted, JobFailed, ResultRecorded, StepPlanned
from schemas.reasons import Reason
from schemas.topics import Role
from schemas.words import Event
from streams.deadlines import deadline_alarm_id, set_alarm
from streams.orchestrator.plan import why_not_run
from streams.orchestrator.saga import Ending, Saga, Slot
from streams.orchestrator.state import (
    AnyJob,
    Declared,
    OrchestratorState,
    Resting,
    Running,
    evolve,
)
from streams.pricing import classical_microusd, price_of
from streams.stage import Heard, Output, Stage
from streams.usage import COUNT_MAX

TOPIC = "intents"
VERSION = 1
Program = Literal["preprocess", "loop", "post"]


def decide(state: OrchestratorState, heard: Heard) -> Sequence[Output]:
    """What follows from an event: alarms for a job that goes on, and its next step or its end where one is due."""
    job_ids = state.jobs_of(heard)
    after = evolve(state, heard) if job_ids else state
    return [
        output
        for job_id in job_ids
        for output in _decide_job(job_id, state.jobs[job_id], after.jobs.get(job_id), heard)
    ]


def _decide_job(job_id: str, before: AnyJob, job: AnyJob | None, heard: Heard) -> Sequence[Output]:
    if not isinstance(job, Resting | Running) or job is before:
        return ()
    if isinstance(job, Resting) and job.saga.ending is not None:
        return [_ended(job_id, job.saga, job.saga.ending, heard)]
    alarms = _alarms(job_id, before, job.saga)
    return [*alarms, *_go_on(job_id, job.saga, heard)] if isinstance(job, Resting) else alarms


def _alarms(job_id: str, before: Declared | Resting | Running, saga: Saga) -> list[Output]:
    alarms = []
    if isinstance(before, Declared) or before.saga.silence_alarm != saga.silence_alarm:
        alarms.append(set_alarm(saga.silence_alarm, saga.silence_us(), job_id))
    if isinstance(before, Declared) and saga.plan.deadline_us is not None:
        alarms.append(set_alarm(deadline_alarm_id(job_id, saga.intent_digest), saga.plan.deadline_us, job_id))
    return alarms


def _go_on(job_id: str, saga: Saga, heard: Heard) -> Sequence[Output]:
    """Plan the next step of a resting job, record its result, or wait for a slot."""
    plan = saga.plan
    if saga.slot is None:
        return ()
    if saga.done == "" and plan.preprocess:
        return [_classical(job_id, saga, "preprocess", heard)]
    if saga.done in ("", "preprocess"):
        return [_quantum(job_id, saga, saga.slot, saga.proposal or (plan.default_run(),), heard)]
    if saga.done == "quantum" and plan.loop:
        return [_classical(job_id, saga, "loop", heard)]
    if saga.done == "loop" and saga.proposal and not saga.is_converged and saga.iterations < plan.loop_max:
        return [_quantum(job_id, saga, saga.slot, saga.proposal, heard)]
    if saga.done != "post" and plan.post:
        return [_classical(job_id, saga, "post", heard)]
    return _finish(job_id, saga, saga.slot, heard)


def _classical(job_id: str, saga: Saga, kind: Program, heard: Heard) -> Output:
    planned = StepPlanned(
        job_id=job_id,
        step=saga.steps,
        kind=kind,
        iteration=max(0, saga.iterations - 1),
        program_digest=saga.plan.program(kind),
        seed=saga.plan.seed,
    )
    return Output(TOPIC, planned, job_id, _because(saga, heard))


def _quantum(job_id: str, saga: Saga, slot: Slot, circuits: tuple[CircuitRun, ...], heard: Heard) -> Output:
    """Plan circuits on the slot, or fail the job if it asks for what it may not have."""
    price = price_of(saga.prices, slot.device)
    shots_max = price.shots_max if price else 0
    why_not = why_not_run(saga.plan, circuits, saga.usage.shots, saga.shots_ceiling, shots_max)
    if why_not is not None:
        return _ended(job_id, saga, Ending("failed", *why_not), heard)
    planned = StepPlanned(
        job_id=job_id,
        step=saga.steps,
        kind="quantum",
        iteration=saga.iterations,
        device=slot.device,
        reservation_id=slot.reservation_id,
        token_digest=slot.token_digest,
        circuits=circuits,
        seed=saga.plan.seed,
        slot_us=slot.length_us if price and price.slot_hour_microusd else 0,
    )
    return Output(TOPIC, planned, job_id, _because(saga, heard))


def _finish(job_id: str, saga: Saga, slot: Slot, heard: Heard) -> Sequence[Output]:
    """Record the result: the output of the last program, or where there is none, the event that ended the run."""
    has_program = bool(saga.plan.loop or saga.plan.post)
    result_digest = saga.output_digest if has_program else saga.done_digest
    if not is_digest(result_digest):
        missing = Ending("failed", Reason.OUTPUT_MISSING, "the last program named no output by its SHA-256")
        return [_ended(job_id, saga, missing, heard)]
    used = saga.usage
    second_microusd = saga.prices.classical_second_microusd if saga.prices else 0
    recorded = ResultRecorded(
        job_id=job_id,
        device=slot.device,
        snapshot_digest=saga.snapshot_digest,
        result_digest=result_digest,
        converged=saga.is_converged or not saga.plan.loop,
        observables=saga.observables,
        iterations=saga.iterations,
        shots=used.shots,
        quantum_microusd=min(used.charge_microusd(price_of(saga.prices, slot.device)), COUNT_MAX),
        classical_microusd=min(classical_microusd(second_microusd, used.classical_time_us), COUNT_MAX),
        device_time_us=used.device_time_us,
        classical_time_us=used.classical_time_us,
    )
    because = _because(saga, heard)
    completed = JobCompleted(job_id=job_id, result_digest=result_digest)
    return [Output("results", recorded, job_id, because), Output(TOPIC, completed, job_id, because)]


def _ended(job_id: str, saga: Saga, ending: Ending, heard: Heard) -> Output:
    event_type: type[JobFailed | JobCancelled] = JobFailed if ending.kind == "failed" else JobCancelled
    event: Event = event_type(job_id=job_id, reason=ending.reason, message=ending.message)
    return Output(TOPIC, event, job_id, _because(saga, heard))


def _because(saga: Saga, heard: Heard) -> tuple[Cause, ...]:
    """What a step or an end rests on besides the event at hand: the admission and the slot."""
    rests_on = (saga.cause, saga.slot.cause if saga.slot else saga.cause)
    return tuple(cause for cause in dict.fromkeys(rests_on) if cause != heard.cause)


ORCHESTRATOR: Stage[OrchestratorState] = Stage(
    role=Role.ORCHESTRATOR,
    version=VERSION,
    inputs=("governance", "intents", "approvals", "reservations", "results", "alarms"),
    initial=OrchestratorState(),
    evolve=evolve,
    decide=decide,
    state_type=OrchestratorState,
)
