"""What the scheduler knows: policy in force, states of devices, and the jobs that are being placed."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Discriminator

from schemas.digests import digest_of_parts
from schemas.envelope import Cause
from schemas.events import (
    AlarmRang,
    DeviceStatusChanged,
    HaltLifted,
    HaltOrdered,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    JobCancelled,
    JobCompleted,
    JobFailed,
    KeyEnrolled,
    KeyRevoked,
    PlacementDecided,
    PlacementOffered,
    PolicyPublished,
    ReservationExpired,
    ReservationGranted,
    ReservationRefused,
    ReservationRequested,
    SiteFounded,
    StepPlanned,
)
from schemas.reasons import Reason
from streams.deadlines import alarm_id
from streams.halts import Halts
from streams.scheduler.choice import HALTED, UNAVAILABLE, Limits, Request
from streams.speakers import speaks_for_device
from streams.stage import Heard
from streams.state import Map, Table


@dataclass(frozen=True, slots=True)
class Offered:
    """An offer, and where it was said."""

    offer: PlacementOffered
    cause: Cause


@dataclass(frozen=True, slots=True)
class Search:
    """All that the search for a device has come by. `tried` are devices whose slot was not to be had, and why."""

    intent_digest: str
    cause: Cause
    request: Request
    shots: int
    offers: Table[str, Offered] = field(default_factory=Map[str, Offered])
    tried: Table[str, Reason] = field(default_factory=Map[str, Reason])

    def reservation_id(self, attempt: int) -> str:
        """The name of the slot that is asked for in an attempt; each device is tried once."""
        return digest_of_parts("reservation", self.intent_digest, attempt)[:32]


@dataclass(frozen=True, slots=True)
class Declared:
    """An intent on which policy has not decided; the request still lacks what policy will say."""

    intent_digest: str
    request: Request
    phase: Literal["declared"] = "declared"


@dataclass(frozen=True, slots=True)
class Collecting:
    """Offers are awaited."""

    search: Search
    phase: Literal["collecting"] = "collecting"


@dataclass(frozen=True, slots=True)
class Choosing:
    """A choice is due."""

    search: Search
    phase: Literal["choosing"] = "choosing"


@dataclass(frozen=True, slots=True)
class Asked:
    """A device was asked for a slot."""

    search: Search
    device: str
    reservation_id: str
    phase: Literal["asked"] = "asked"


@dataclass(frozen=True, slots=True)
class Held:
    """A device holds a slot. Once a quantum step is planned for it, the job stays or falls with this device."""

    search: Search
    device: str
    reservation_id: str
    is_used: bool = False
    phase: Literal["held"] = "held"


AnyJob = Declared | Collecting | Choosing | Asked | Held
Job = Annotated[AnyJob, Discriminator("phase")]


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """All that the scheduler decides by; a job that ended is forgotten."""

    policy: PolicyPublished | None = None
    halts: Halts = field(default_factory=Halts)
    statuses: Table[str, str] = field(default_factory=Map[str, str])
    jobs: Table[str, Job] = field(default_factory=Map[str, AnyJob])
    alarms: Table[str, str] = field(default_factory=Map[str, str])

    def limits(self, search: Search) -> Limits:
        """What `choose` is bound by now; without a policy no snapshot is young enough."""
        policy, agent = self.policy, search.request.initiator
        halted = {device: HALTED for device in search.request.devices if self.halts.covering(agent, device)}
        statuses = {**self.statuses, **halted}
        if policy is None:
            return Limits(1.0, -1, statuses, search.tried)
        return Limits(policy.min_fidelity, policy.max_snapshot_age_us, statuses, search.tried)

    def job_of(self, heard: Heard) -> str:
        """The id of the job that an event is about; empty where it is about none."""
        if isinstance(heard.event, AlarmRang):
            return self.alarms.get(heard.event.alarm_id, "")
        return str(getattr(heard.event, "job_id", ""))


def evolve(state: SchedulerState, heard: Heard) -> SchedulerState:
    """The state after an event, one of the scheduler's own among them."""
    match heard.event:
        case PolicyPublished() as policy:
            return replace(state, policy=policy)
        case SiteFounded() | KeyEnrolled() | KeyRevoked() | HaltOrdered() | HaltLifted():
            return replace(state, halts=state.halts.after(heard))
        case DeviceStatusChanged() as changed if speaks_for_device(heard, changed.device):
            return replace(state, statuses=state.statuses.set(changed.device, changed.status))
        case IntentDeclared() as declared if declared.job_id not in state.jobs:
            request = Request.of(declared.manifest, (), 0)
            return _set(state, declared.job_id, Declared(heard.digest, request))
        case IntentAdmitted() as admitted:
            return _admit(state, heard, admitted)
        case IntentRefused(job_id=job_id, intent_digest=digest):
            job = state.jobs.get(job_id)
            return _forget(state, job_id) if isinstance(job, Declared) and job.intent_digest == digest else state
        case JobCompleted(job_id=job_id) | JobFailed(job_id=job_id) | JobCancelled(job_id=job_id):
            return _forget(state, job_id)
        case _:
            return _follow(state, heard)


def _admit(state: SchedulerState, heard: Heard, admitted: IntentAdmitted) -> SchedulerState:
    job = state.jobs.get(admitted.job_id)
    if not isinstance(job, Declared) or job.intent_digest != admitted.intent_digest:
        return state
    request = replace(job.request, devices=admitted.devices, price_ceiling_microusd=admitted.price_ceiling_microusd)
    search = Search(job.intent_digest, heard.cause, request, admitted.shots_ceiling)
    state = _set(state, admitted.job_id, _awaiting(state, search))
    return replace(state, alarms=state.alarms.set(offers_alarm_id(admitted.job_id, search), admitted.job_id))


def _awaiting(state: SchedulerState, search: Search) -> Collecting | Choosing:
    """Wait for more offers, or choose when every device that can has made one."""
    awaited = [device for device in search.request.devices if state.statuses.get(device, "") not in UNAVAILABLE]
    return Choosing(search) if all(device in search.offers for device in awaited) else Collecting(search)


def _follow(state: SchedulerState, heard: Heard) -> SchedulerState:
    job_id = state.job_of(heard)
    job = state.jobs.get(job_id)
    if job is None or isinstance(job, Declared):
        return state
    after = _after(state, job, heard)
    if after is None:
        return _forget(state, job_id)
    state = _set(state, job_id, after)
    if isinstance(after, Asked) and isinstance(heard.event, ReservationRequested):
        return replace(state, alarms=state.alarms.set(answer_alarm_id(after.reservation_id), job_id))
    return state


def _after(state: SchedulerState, job: Collecting | Choosing | Asked | Held, heard: Heard) -> AnyJob | None:
    """The phase of a job after an event; none when its search is over without a device."""
    match heard.event:
        case PlacementOffered() as offer if _is_answer(heard, offer, job.search):
            offers = job.search.offers.set(offer.device, Offered(offer, heard.cause))
            search = replace(job.search, offers=offers)
            return _awaiting(state, search) if isinstance(job, Collecting) else replace(job, search=search)
        case AlarmRang(alarm_id=name):
            return _after_alarm(job, name)
        case PlacementDecided(device=""):
            return None
        case ReservationRequested() as requested:
            return Asked(job.search, requested.device, requested.reservation_id)
        case ReservationGranted() as granted if isinstance(job, Asked) and _is_about(heard, granted, job):
            return Held(job.search, job.device, job.reservation_id)
        case ReservationRefused() as refused if isinstance(job, Asked) and _is_about(heard, refused, job):
            return _next(job, Reason.RESERVATION_REFUSED)
        case ReservationExpired() as expired if isinstance(job, Asked | Held) and _is_about(heard, expired, job):
            used = isinstance(job, Held) and job.is_used
            return job if used else _next(job, Reason.RESERVATION_EXPIRED)
        case StepPlanned(kind="quantum") as planned if isinstance(job, Held):
            return replace(job, is_used=job.is_used or planned.reservation_id == job.reservation_id)
        case _:
            return job


def _after_alarm(job: Collecting | Choosing | Asked | Held, name: str) -> AnyJob:
    if isinstance(job, Collecting):
        return Choosing(job.search)
    if isinstance(job, Asked) and name == answer_alarm_id(job.reservation_id):
        return _next(job, Reason.RESERVATION_UNANSWERED)
    return job


def _next(job: Asked | Held, reason: Reason) -> Choosing:
    return Choosing(replace(job.search, tried=job.search.tried.set(job.device, reason)))


def _is_answer(heard: Heard, offer: PlacementOffered, search: Search) -> bool:
    return speaks_for_device(heard, offer.device) and offer.intent_digest == search.intent_digest


def _is_about(
    heard: Heard, answer: ReservationGranted | ReservationRefused | ReservationExpired, job: Asked | Held
) -> bool:
    """Whether a device's answer is about the very slot that it was asked for."""
    return (
        speaks_for_device(heard, job.device)
        and answer.device == job.device
        and answer.reservation_id == job.reservation_id
    )


def offers_alarm_id(job_id: str, search: Search) -> str:
    """The alarm that ends the wait for offers."""
    return alarm_id("offers", job_id, search.intent_digest)


def answer_alarm_id(reservation_id: str) -> str:
    """The alarm that ends the wait for a device's answer."""
    return alarm_id("reservation", reservation_id)


def _set(state: SchedulerState, job_id: str, job: AnyJob) -> SchedulerState:
    return replace(state, jobs=state.jobs.set(job_id, job))


def _forget(state: SchedulerState, job_id: str) -> SchedulerState:
    job = state.jobs.get(job_id)
    if job is None:
        return state
    alarms = state.alarms
    if not isinstance(job, Declared):
        search = job.search
        attempts = [search.reservation_id(attempt) for attempt in range(len(search.tried) + 1)]
        for name in (offers_alarm_id(job_id, search), *map(answer_alarm_id, attempts)):
            alarms = alarms.delete(name) if name in alarms else alarms
    return replace(state, jobs=state.jobs.delete(job_id), alarms=alarms)
