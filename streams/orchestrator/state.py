"""What the orchestrator knows of each job: how far it is, what it holds, what it used, and what comes next."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Discriminator

from schemas.events import (
    AlarmRang,
    HaltLifted,
    HaltOrdered,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    IntentWithdrawn,
    JobCancelled,
    JobCompleted,
    JobFailed,
    KeyEnrolled,
    KeyRevoked,
    PriceListPublished,
    RunCancelled,
    SiteFounded,
    StepCompleted,
    StepFailed,
    StepOutcomeUnknown,
    StepPlanned,
)
from schemas.reasons import Reason
from streams.deadlines import alarm_id, deadline_alarm_id
from streams.halts import Halts
from streams.orchestrator.plan import Plan
from streams.orchestrator.saga import Ending, Saga, after_plan, after_slot, after_step, ended
from streams.stage import Heard
from streams.state import Map, Table


@dataclass(frozen=True, slots=True)
class Declared:
    """An intent on which policy has not decided."""

    intent_digest: str
    plan: Plan
    is_withdrawn: bool = False
    phase: Literal["declared"] = "declared"


@dataclass(frozen=True, slots=True)
class Resting:
    """No step runs: the next is due, or a slot is awaited, or the job ends."""

    saga: Saga
    phase: Literal["resting"] = "resting"


@dataclass(frozen=True, slots=True)
class Running:
    """A step runs."""

    saga: Saga
    phase: Literal["running"] = "running"


AnyJob = Declared | Resting | Running
Job = Annotated[AnyJob, Discriminator("phase")]


@dataclass(frozen=True, slots=True)
class OrchestratorState:
    """All that the orchestrator decides by; a job that ended is forgotten."""

    prices: PriceListPublished | None = None
    halts: Halts = field(default_factory=Halts)
    jobs: Table[str, Job] = field(default_factory=Map[str, AnyJob])
    alarms: Table[str, str] = field(default_factory=Map[str, str])

    def jobs_of(self, heard: Heard) -> Sequence[str]:
        """The ids of the jobs that an event may change: one, none, or with a halt all."""
        if self.halts.is_new(heard):
            return sorted(self.jobs)
        job_id = self.job_of(heard)
        return [job_id] if job_id in self.jobs else ()

    def job_of(self, heard: Heard) -> str:
        """The id of the job that an event is about; empty where it is about none."""
        if isinstance(heard.event, AlarmRang):
            return self.alarms.get(heard.event.alarm_id, "")
        return str(getattr(heard.event, "job_id", ""))


def evolve(state: OrchestratorState, heard: Heard) -> OrchestratorState:
    """The state after an event, one of the orchestrator's own among them."""
    job_id = state.job_of(heard)
    job = state.jobs.get(job_id)
    match heard.event:
        case PriceListPublished() as prices:
            return replace(state, prices=prices)
        case SiteFounded() | KeyEnrolled() | KeyRevoked() | HaltOrdered() | HaltLifted():
            return _after_halts(state, heard)
        case IntentDeclared() as declared if job is None:
            return _set(state, job_id, Declared(heard.digest, Plan.of(declared.manifest, heard.digest)))
        case IntentRefused(intent_digest=digest) if isinstance(job, Declared) and job.intent_digest == digest:
            return replace(state, jobs=state.jobs.delete(job_id))
        case IntentWithdrawn() if isinstance(job, Declared):
            return _set(state, job_id, replace(job, is_withdrawn=True))
        case IntentAdmitted() as admitted if isinstance(job, Declared) and job.intent_digest == admitted.intent_digest:
            return _admit(state, heard, admitted, job)
        case JobCompleted() | JobFailed() | JobCancelled() if isinstance(job, Resting | Running):
            return _forget(state, job_id, job.saga)
        case _ if isinstance(job, Resting | Running):
            return _follow(state, job_id, job, heard)
        case _:
            return state


def _admit(state: OrchestratorState, heard: Heard, admitted: IntentAdmitted, job: Declared) -> OrchestratorState:
    saga = Saga(
        intent_digest=job.intent_digest,
        cause=heard.cause,
        plan=job.plan,
        shots_ceiling=admitted.shots_ceiling,
        prices=state.prices,
        heard_us=heard.time_us,
        silence_alarm="",
    )
    if job.is_withdrawn:
        saga = replace(saga, ending=Ending("cancelled", Reason.WITHDRAWN, Reason.WITHDRAWN.sentence))
    elif halt := state.halts.covering(job.plan.initiator):
        saga = replace(saga, ending=Ending("cancelled", Reason.HALTED, halt.message))
    state = _set_silence_alarm(state, admitted.job_id, Resting(saga))
    if job.plan.deadline_us is None:
        return state
    name = deadline_alarm_id(admitted.job_id, job.intent_digest)
    return replace(state, alarms=state.alarms.set(name, admitted.job_id))


def _after_halts(state: OrchestratorState, heard: Heard) -> OrchestratorState:
    """The halts as they are now; a new one ends the jobs that it covers, each as soon as its device lets go."""
    is_new = state.halts.is_new(heard)
    state = replace(state, halts=state.halts.after(heard))
    if not is_new:
        return state
    for job_id, job in sorted(state.jobs.items()):
        if isinstance(job, Declared):
            continue
        device = job.saga.slot.device if job.saga.slot else job.saga.asked[0]
        if halt := state.halts.covering(job.saga.plan.initiator, device):
            halted = replace(job, saga=ended(job.saga, "cancelled", Reason.HALTED, halt.message))
            state = _set(state, job_id, _left_if_ending(halted))
    return state


def _follow(state: OrchestratorState, job_id: str, job: Resting | Running, heard: Heard) -> OrchestratorState:
    if isinstance(heard.event, AlarmRang):
        return _after_alarm(state, job_id, job, heard.event)
    saga = after_slot(replace(job.saga, heard_us=heard.time_us), heard)
    if isinstance(heard.event, StepPlanned):
        return _set(state, job_id, Running(after_plan(saga, heard, heard.event)))
    if isinstance(job, Running) and job.saga.usage.is_of_running(heard):
        has_ended = isinstance(heard.event, StepCompleted | StepFailed | StepOutcomeUnknown | RunCancelled)
        saga = after_step(replace(saga, usage=saga.usage.after(heard)), heard)
        return _set(state, job_id, Resting(saga) if has_ended else Running(saga))
    return _set(state, job_id, _left_if_ending(replace(job, saga=saga)))


def _left_if_ending(job: Resting | Running) -> Resting | Running:
    """A job that is to end waits for its device, which will tell what really ran, but for no program.

    A program has no effect but its answer, which nobody wants any more; its sandbox may be the very thing that hangs.
    """
    running = job.saga.usage.running
    is_left = job.saga.ending is not None and running is not None and running.kind != "quantum"
    return Resting(job.saga) if is_left else job


def _after_alarm(state: OrchestratorState, job_id: str, job: Resting | Running, rang: AlarmRang) -> OrchestratorState:
    saga = job.saga
    if rang.alarm_id != saga.silence_alarm:
        message = "the deadline came before the job had ended"
        late = replace(job, saga=ended(saga, "failed", Reason.DEADLINE_PASSED, message))
        return _set(state, job_id, _left_if_ending(late))
    if rang.rings_us >= saga.silence_us():
        silent = Ending("failed", Reason.STEP_SILENT, Reason.STEP_SILENT.sentence)
        return _set(state, job_id, Resting(replace(saga, ending=saga.ending or silent)))
    return _set_silence_alarm(state, job_id, job)


def _set_silence_alarm(state: OrchestratorState, job_id: str, job: Resting | Running) -> OrchestratorState:
    saga = job.saga
    name = alarm_id("silence", saga.intent_digest, saga.silence_us())
    alarms = state.alarms.delete(saga.silence_alarm) if saga.silence_alarm in state.alarms else state.alarms
    state = replace(state, alarms=alarms.set(name, job_id))
    return _set(state, job_id, replace(job, saga=replace(saga, silence_alarm=name)))


def _set(state: OrchestratorState, job_id: str, job: AnyJob) -> OrchestratorState:
    return replace(state, jobs=state.jobs.set(job_id, job))


def _forget(state: OrchestratorState, job_id: str, saga: Saga) -> OrchestratorState:
    alarms = state.alarms
    for name in (saga.silence_alarm, deadline_alarm_id(job_id, saga.intent_digest)):
        alarms = alarms.delete(name) if name in alarms else alarms
    return replace(state, jobs=state.jobs.delete(job_id), alarms=alarms)
