"""What policy knows: rules in force, keys, the budget, and the jobs that are not finished."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Discriminator

from schemas.envelope import Cause
from schemas.events import (
    ApprovalRequested,
    ApprovalStatement,
    BudgetCaptured,
    BudgetHeld,
    BudgetReleased,
    BudgetSet,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    KeyEnrolled,
    KeyRevoked,
    PolicyPublished,
    PriceListPublished,
    SiteFounded,
    StepPlanned,
)
from streams.deadlines import alarm_id
from streams.policy.rules import Limits, Wish
from streams.stage import Heard
from streams.state import Map, Table
from streams.usage import UNUSED, Usage


@dataclass(frozen=True, slots=True)
class Key:
    """An agent's or approver's key, as governance enrolled it."""

    public_key_hex: str
    source: str
    role: str
    assurance: str
    is_revoked: bool = False


@dataclass(frozen=True, slots=True)
class Declared:
    """An intent before its verdict."""

    intent_digest: str
    cause: Cause
    wish: Wish
    held_microusd: int = 0
    phase: Literal["declared"] = "declared"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An intent that waits for a person, its money held."""

    intent_digest: str
    cause: Cause
    wish: Wish
    held_microusd: int
    statement: ApprovalStatement
    phase: Literal["waiting"] = "waiting"


@dataclass(frozen=True, slots=True)
class Admitted:
    """A job that may run, its money held, the prices it was admitted at, and what it has used."""

    intent_digest: str
    held_microusd: int
    prices: PriceListPublished | None
    device: str = ""
    usage: Usage = UNUSED
    phase: Literal["admitted"] = "admitted"


Job = Annotated[Declared | Waiting | Admitted, Discriminator("phase")]


@dataclass(frozen=True, slots=True)
class PolicyState:
    """All that policy decides by. Of a finished job only its id is kept, so that nobody uses it twice."""

    policy: PolicyPublished | None = None
    policy_digest: str = ""
    policy_cause: Cause | None = None
    prices: PriceListPublished | None = None
    prices_cause: Cause | None = None
    is_virtual: bool | None = None
    limit_microusd: int = 0
    held_microusd: int = 0
    spent_microusd: int = 0
    keys: Table[str, Key] = field(default_factory=Map[str, Key])
    jobs: Table[str, Job] = field(default_factory=Map[str, Declared | Waiting | Admitted])
    alarms: Table[str, str] = field(default_factory=Map[str, str])
    finished: Table[str, str] = field(default_factory=Map[str, str])

    def limits(self, of_this_job_microusd: int = 0) -> Limits:
        """What is in force; what is already held for the job in question counts as free."""
        held = self.held_microusd - of_this_job_microusd
        return Limits(self.policy, self.prices, max(0, self.limit_microusd - self.spent_microusd - held))

    def is_known(self, job_id: str) -> bool:
        """Whether a job of this id was ever declared."""
        return job_id in self.jobs or job_id in self.finished

    def with_job(self, job_id: str, job: Declared | Waiting | Admitted) -> "PolicyState":
        """The state with another phase of a job."""
        return replace(self, jobs=self.jobs.set(job_id, job))


def evolve(state: PolicyState, heard: Heard) -> PolicyState:
    """The state after an event, one of policy's own among them."""
    match heard.event:
        case SiteFounded() as founded if state.is_virtual is None:  # a site is founded once
            return replace(state, is_virtual=founded.clock == "virtual")
        case PolicyPublished() as policy:
            return replace(state, policy=policy, policy_digest=heard.digest, policy_cause=heard.cause)
        case PriceListPublished() as prices:
            return replace(state, prices=prices, prices_cause=heard.cause)
        case BudgetSet() as budget:
            return replace(state, limit_microusd=budget.limit_microusd)
        case KeyEnrolled() as key:
            enrolled = Key(key.public_key.hex(), key.source, key.role, key.assurance)
            return replace(state, keys=state.keys.set(key.key_id, enrolled))
        case KeyRevoked() as revoked if revoked.key_id in state.keys:
            known = replace(state.keys[revoked.key_id], is_revoked=True)
            return replace(state, keys=state.keys.set(revoked.key_id, known))
        case IntentDeclared() as declared if not state.is_known(declared.job_id):
            job = Declared(heard.digest, heard.cause, Wish.of(declared.manifest))
            return state.with_job(declared.job_id, job)
        case BudgetHeld() | BudgetCaptured() | BudgetReleased():
            return _move_money(state, heard.event)
        case ApprovalRequested() | IntentAdmitted() | IntentRefused():
            return _follow_verdict(state, heard)
        case event:
            return _follow_run(state, heard, getattr(event, "job_id", ""))


def _move_money(state: PolicyState, moved: BudgetHeld | BudgetCaptured | BudgetReleased) -> PolicyState:
    job = state.jobs.get(moved.job_id)
    if job is None:
        return state
    sign = 1 if isinstance(moved, BudgetHeld) else -1
    spent = moved.amount_microusd if isinstance(moved, BudgetCaptured) else 0
    job = replace(job, held_microusd=job.held_microusd + sign * moved.amount_microusd)
    state = replace(
        state,
        held_microusd=state.held_microusd + sign * moved.amount_microusd,
        spent_microusd=state.spent_microusd + spent,
    )
    if isinstance(moved, BudgetReleased):
        return _finish(state, moved.job_id, job.intent_digest)
    return state.with_job(moved.job_id, job)


def _follow_verdict(state: PolicyState, heard: Heard) -> PolicyState:
    match heard.event:
        case ApprovalRequested(job_id=job_id, statement=statement) if isinstance(
            job := state.jobs.get(job_id), Declared | Waiting
        ):
            waiting = Waiting(job.intent_digest, job.cause, job.wish, job.held_microusd, statement)
            state = _forget_alarm(state, job).with_job(job_id, waiting)
            return replace(state, alarms=state.alarms.set(approval_alarm_id(statement), job_id))
        case IntentAdmitted(job_id=job_id) if isinstance(job := state.jobs.get(job_id), Declared | Waiting):
            admitted = Admitted(job.intent_digest, job.held_microusd, state.prices)
            return _forget_alarm(state, job).with_job(job_id, admitted)
        case IntentRefused(job_id=job_id, intent_digest=digest) if _is_refusable(state, job_id, digest):
            return _finish(state, job_id, digest)
        case _:
            return state


def _is_refusable(state: PolicyState, job_id: str, digest: str) -> bool:
    """Whether a refusal ends the job that goes by its id; money held is given back by a BudgetReleased of its own."""
    job = state.jobs.get(job_id)
    return isinstance(job, Declared) and job.intent_digest == digest and job.held_microusd == 0


def _follow_run(state: PolicyState, heard: Heard, job_id: str) -> PolicyState:
    job = state.jobs.get(job_id)
    if not isinstance(job, Admitted):
        return state
    device = heard.event.device or job.device if isinstance(heard.event, StepPlanned) else job.device
    return state.with_job(job_id, replace(job, device=device, usage=job.usage.after(heard)))


def _finish(state: PolicyState, job_id: str, digest: str) -> PolicyState:
    state = _forget_alarm(state, state.jobs[job_id])
    return replace(state, jobs=state.jobs.delete(job_id), finished=state.finished.set(job_id, digest))


def approval_alarm_id(statement: ApprovalStatement) -> str:
    """The alarm of a request for a grant."""
    return alarm_id("approval", statement.nonce)


def _forget_alarm(state: PolicyState, job: Declared | Waiting | Admitted) -> PolicyState:
    name = approval_alarm_id(job.statement) if isinstance(job, Waiting) else ""
    return replace(state, alarms=state.alarms.delete(name)) if name in state.alarms else state
