"""What the scheduler says to each event: `decide`, and the stage it makes with `evolve`."""

from collections.abc import Sequence

from schemas.events import (
    JobCancelled,
    JobCompleted,
    JobFailed,
    PlacementDecided,
    ReservationReleased,
    ReservationRequested,
)
from schemas.reasons import Reason
from schemas.topics import Role
from schemas.words import Event
from streams.deadlines import later_us, set_alarm
from streams.scheduler.choice import RULE, choose
from streams.scheduler.state import (
    AnyJob,
    Asked,
    Choosing,
    Collecting,
    Held,
    SchedulerState,
    Search,
    answer_alarm_id,
    evolve,
    offers_alarm_id,
)
from streams.stage import Heard, Output, Stage

TOPIC = "reservations"
VERSION = 1
_CAUSES_MAX = 60


def decide(state: SchedulerState, heard: Heard) -> Sequence[Output]:
    """What follows from an event: a slot given back where one was let go, a choice where one is due."""
    job_id = state.job_of(heard)
    before = state.jobs.get(job_id)
    if before is None:
        return ()
    after_state = evolve(state, heard)
    after = after_state.jobs.get(job_id)
    if isinstance(after, Choosing) and not isinstance(before, Choosing):
        return [*_let_go(job_id, before, after), *_place(after_state, job_id, after.search, heard)]
    if isinstance(after, Collecting) and not isinstance(before, Collecting):
        rings_us = later_us(heard.time_us, _timeout_us(state))
        return [set_alarm(offers_alarm_id(job_id, after.search), rings_us, job_id)]
    if isinstance(before, Asked | Held) and isinstance(heard.event, JobCompleted | JobFailed | JobCancelled):
        return [_released(job_id, before, Reason.JOB_ENDED)]
    return ()


def _let_go(job_id: str, before: AnyJob, after: Choosing) -> Sequence[Output]:
    """Take back a request that was not answered; a device that refused or expired a slot knows it itself."""
    if isinstance(before, Asked) and after.search.tried.get(before.device) == Reason.RESERVATION_UNANSWERED:
        return [_released(job_id, before, Reason.RESERVATION_UNANSWERED)]
    return ()


def _place(state: SchedulerState, job_id: str, search: Search, heard: Heard) -> Sequence[Output]:
    """Choose among the offers, say why, and ask the chosen device for a slot."""
    offers = [offered.offer for _, offered in sorted(search.offers.items())]
    choice = choose(search.request, offers, state.limits(search), heard.time_us)
    decided = PlacementDecided(
        job_id=job_id,
        device=choice.offer.device if choice.offer else "",
        objective=search.request.objective,
        rule=RULE,
        why=choice.why,
        candidates=choice.candidates,
        snapshot_digest=choice.offer.snapshot_digest if choice.offer else "",
    )
    rests_on = (search.cause, *(offered.cause for _, offered in sorted(search.offers.items())))
    because = tuple(cause for cause in rests_on if cause != heard.cause)[:_CAUSES_MAX]
    said = [Output(TOPIC, decided, job_id, because)]
    if choice.offer is None:
        return said
    requested = ReservationRequested(
        job_id=job_id,
        reservation_id=search.reservation_id(len(search.tried)),
        device=choice.offer.device,
        intent_digest=search.intent_digest,
        shots=search.shots,
        duration_us=choice.offer.run_duration_us,
        price_ceiling_microusd=search.request.price_ceiling_microusd,
    )
    alarm = set_alarm(answer_alarm_id(requested.reservation_id), later_us(heard.time_us, _timeout_us(state)), job_id)
    return [*said, Output(TOPIC, requested, job_id, because[:1]), alarm]


def _timeout_us(state: SchedulerState) -> int:
    return state.policy.offer_timeout_us if state.policy else 0


def _released(job_id: str, job: Asked | Held, reason: Reason) -> Output:
    event: Event = ReservationReleased(
        job_id=job_id, reservation_id=job.reservation_id, device=job.device, reason=reason
    )
    return Output(TOPIC, event, job_id)


SCHEDULER: Stage[SchedulerState] = Stage(
    role=Role.SCHEDULER,
    version=VERSION,
    inputs=("governance", "intents", "approvals", "snapshots", "reservations", "results", "alarms"),
    initial=SchedulerState(),
    evolve=evolve,
    decide=decide,
    state_type=SchedulerState,
)
