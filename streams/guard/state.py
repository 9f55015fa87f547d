"""What the guard knows of each job that may run: its ceilings, its usage, its canaries, and whether it must stop."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
    PlacementOffered,
    PriceListPublished,
    RunCancelDecided,
    ShotsMeasured,
    SiteFounded,
)
from schemas.reasons import Reason
from streams.deadlines import deadline_alarm_id
from streams.halts import Halts
from streams.speakers import speaks_for_device
from streams.stage import Heard
from streams.state import Map, Table
from streams.usage import UNUSED, Usage, counts_right


@dataclass(frozen=True, slots=True)
class Stop:
    """Why no more shots of a job should run."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Watch:
    """A job as the guard sees it. Before admission its ceilings are 0: nothing may run."""

    intent_digest: str
    min_success: float
    initiator: str = ""
    price_ceiling_microusd: int = 0
    shots_ceiling: int = 0
    prices: PriceListPublished | None = None
    predicted: Table[str, float] = field(default_factory=Map[str, float])
    usage: Usage = UNUSED
    canary_shots: int = 0
    canary_survivors: int = 0
    stop: Stop | None = None
    stopped_step: int = -1


@dataclass(frozen=True, slots=True)
class GuardState:
    """All that the guard decides by; a job that ended is forgotten."""

    prices: PriceListPublished | None = None
    halts: Halts = field(default_factory=Halts)
    jobs: Table[str, Watch] = field(default_factory=Map[str, Watch])
    deadlines: Table[str, str] = field(default_factory=Map[str, str])

    def jobs_of(self, heard: Heard) -> Sequence[str]:
        """The ids of the jobs that an event may stop: one, none, or with a halt all."""
        if self.halts.is_new(heard):
            return sorted(self.jobs)
        job_id = self.job_of(heard)
        return [job_id] if job_id in self.jobs else ()

    def job_of(self, heard: Heard) -> str:
        """The id of the job that an event is about; empty where it is about none."""
        if isinstance(heard.event, AlarmRang):
            return self.deadlines.get(heard.event.alarm_id, "")
        return str(getattr(heard.event, "job_id", ""))


def evolve(state: GuardState, heard: Heard) -> GuardState:
    """The state after an event, one of the guard's own among them."""
    job_id = state.job_of(heard)
    watch = state.jobs.get(job_id)
    match heard.event:
        case PriceListPublished() as prices:
            return replace(state, prices=prices)
        case SiteFounded() | KeyEnrolled() | KeyRevoked() | HaltOrdered() | HaltLifted():
            return replace(state, halts=state.halts.after(heard))
        case IntentDeclared() as declared if watch is None:
            return _begin(state, heard, declared)
        case IntentRefused(intent_digest=digest) if watch is not None and watch.intent_digest == digest:
            return _forget(state, job_id, watch)
        case JobCompleted() | JobFailed() | JobCancelled() if watch is not None:
            return _forget(state, job_id, watch)
        case _ if watch is not None:
            return replace(state, jobs=state.jobs.set(job_id, _watch_on(state, watch, heard)))
        case _:
            return state


def _begin(state: GuardState, heard: Heard, declared: IntentDeclared) -> GuardState:
    min_success = declared.manifest.quantum.backend_requirements.min_success
    watch = Watch(heard.digest, min_success, declared.manifest.initiator)
    alarm = deadline_alarm_id(declared.job_id, heard.digest)
    has_deadline = declared.manifest.deadline_us is not None
    deadlines = state.deadlines.set(alarm, declared.job_id) if has_deadline else state.deadlines
    return replace(state, jobs=state.jobs.set(declared.job_id, watch), deadlines=deadlines)


def _watch_on(state: GuardState, watch: Watch, heard: Heard) -> Watch:
    match heard.event:
        case IntentAdmitted() as admitted if admitted.intent_digest == watch.intent_digest:
            return replace(
                watch,
                price_ceiling_microusd=admitted.price_ceiling_microusd,
                shots_ceiling=admitted.shots_ceiling,
                prices=state.prices,
            )
        case PlacementOffered() as offer if speaks_for_device(heard, offer.device):
            return replace(watch, predicted=watch.predicted.set(offer.device, offer.predicted_success))
        case IntentWithdrawn() as withdrawn:
            return _stopped(watch, Reason.WITHDRAWN, f"the agent withdrew the job: {withdrawn.reason}")
        case AlarmRang():
            return _stopped(watch, Reason.DEADLINE_PASSED, Reason.DEADLINE_PASSED.sentence)
        case RunCancelDecided() as decided:
            stop = Stop(Reason.of(decided.reason), decided.message)
            return replace(watch, stop=stop, stopped_step=decided.step)
        case ShotsMeasured() as measured:
            return _measured(watch, heard, measured)
        case _:
            return replace(watch, usage=watch.usage.after(heard))


def _stopped(watch: Watch, reason: Reason, message: str) -> Watch:
    return watch if watch.stop else replace(watch, stop=Stop(reason, message))


def _measured(watch: Watch, heard: Heard, measured: ShotsMeasured) -> Watch:
    is_counted = watch.usage.is_of_running(heard) and watch.usage.is_new_chunk(measured)
    watch = replace(watch, usage=watch.usage.after(heard))
    if not is_counted or not measured.expected:
        return watch
    survivors, shots = counts_right(measured.counts, measured.expected)
    return replace(watch, canary_survivors=watch.canary_survivors + survivors, canary_shots=watch.canary_shots + shots)


def _forget(state: GuardState, job_id: str, watch: Watch) -> GuardState:
    alarm = deadline_alarm_id(job_id, watch.intent_digest)
    deadlines = state.deadlines.delete(alarm) if alarm in state.deadlines else state.deadlines
    return replace(state, jobs=state.jobs.delete(job_id), deadlines=deadlines)
