"""What policy knows, one part a subject, and how each event changes it."""

from dataclasses import dataclass, field, replace

from schemas.envelope import Cause
from schemas.events import (
    ApprovalCounted,
    ApprovalRequested,
    ApprovalStatement,
    ArtifactStored,
    AutonomyGranted,
    AutonomyLadder,
    AutonomyProposed,
    AutonomyRevoked,
    AutonomySuspended,
    BudgetCaptured,
    BudgetHeld,
    BudgetReleased,
    BudgetSet,
    DeviceSnapshotTaken,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    JobCancelled,
    JobCompleted,
    JobFailed,
    KeyEnrolled,
    KeyRevoked,
    MandateGranted,
    MandateRevoked,
    PolicyPublished,
    PriceListPublished,
    StepCompleted,
    StepPlanned,
    StepStarted,
)
from schemas.reasons import Reason
from streams.deadlines import alarm_id
from streams.halts import Halts
from streams.persons import Persons
from streams.policy.autonomy import REFUSALS, Autonomy, EndedJob, action_class, outcome_of
from streams.policy.budgets import Budgets, device_part, promise_of, promise_on
from streams.policy.classes import DataClasses
from streams.policy.devices import Devices
from streams.policy.jobs import Admitted, Declared, Grant, Job, Key, Waiting
from streams.policy.mandates import Mandates
from streams.policy.money import Money, Moved, held_by
from streams.policy.rates import Rates
from streams.policy.wish import Wish
from streams.stage import Heard
from streams.state import Map, Table, changed

NOBODYS = frozenset(
    {
        *(Reason.JOB_REPEATED, Reason.SITE_FOREIGN, Reason.AGENT_UNKNOWN, Reason.AGENT_PROOF_INVALID),
        *(Reason.MANIFEST_ALTERED, Reason.PROJECT_FOREIGN, Reason.RATE_EXCEEDED),
    }
)
"""Refusals that do not count among what an agent asked for: it did not ask, or was told to wait."""
_ASSURANCES = ("gateway-held", "demo", "file", "hardware")
"""Lowest first."""


@dataclass(frozen=True)
class PolicyState:
    """All that policy decides by. Of a finished job only its id is kept, so that nobody uses it twice."""

    policy: PolicyPublished | None = None
    policy_digest: str = ""
    policy_cause: Cause | None = None
    prices: PriceListPublished | None = None
    prices_cause: Cause | None = None
    halts: Halts = field(default_factory=Halts)
    mandates: Mandates = field(default_factory=Mandates)
    autonomy: Autonomy = field(default_factory=Autonomy)
    money: Money = field(default_factory=Money)
    budgets: Budgets = field(default_factory=Budgets)
    rates: Rates = field(default_factory=Rates)
    devices: Devices = field(default_factory=Devices)
    classes: DataClasses = field(default_factory=DataClasses)
    keys: Table[str, Key] = field(default_factory=Map[str, Key])
    jobs: Table[str, Job] = field(default_factory=Map[str, Declared | Waiting | Admitted])
    alarms: Table[str, str] = field(default_factory=Map[str, str])
    finished: Table[str, str] = field(default_factory=Map[str, str])

    @property
    def ladder(self) -> AutonomyLadder:
        """How agents earn autonomy here."""
        return self.policy.autonomy if self.policy else AutonomyLadder()

    @property
    def persons(self) -> Persons:
        """The people of the site."""
        return self.halts.persons

    def is_known(self, job_id: str) -> bool:
        """Whether a job of this id was ever declared."""
        return job_id in self.jobs or job_id in self.finished

    def assurance_of(self, agent: str, key_id: str = "") -> str:
        """The assurance of an agent's key; where none is named, of the weakest that it might sign with."""
        named = self.keys.get(key_id)
        of_agent = [
            key.assurance
            for key in ((named,) if named else self.keys.values())
            if key.source == agent and not key.is_revoked
        ]
        return min(of_agent, key=_ASSURANCES.index, default=_ASSURANCES[0])

    def key_id_of(self, agent: str) -> str:
        """The id of an agent's key, where it has one in force and no other."""
        of_agent = [name for name, key in self.keys.items() if key.source == agent and not key.is_revoked]
        return of_agent[0] if len(of_agent) == 1 else ""

    def classified(self, wish: Wish) -> Wish:
        """A wish with the class of data that it really has: the highest of its own and what its inputs inherited."""
        data_class = self.classes.of_job(wish.data_class, wish.inputs)
        return wish if data_class == wish.data_class else replace(wish, data_class=data_class)

    def with_job(self, job_id: str, job: Declared | Waiting | Admitted) -> "PolicyState":
        """The state with another phase of a job."""
        return changed(self, jobs=self.jobs.set(job_id, job))


def evolve(state: PolicyState, heard: Heard) -> PolicyState:
    """The state after an event, one of policy's own among them."""
    if heard.cause.topic == "governance":
        return _govern(changed(state, halts=state.halts.after(heard)), heard)
    match heard.event:
        case IntentDeclared() as declared if not state.is_known(declared.job_id):
            job = Declared(heard.digest, heard.cause, wish_in(state, declared))
            return state.with_job(declared.job_id, job)
        case BudgetHeld() | BudgetCaptured() | BudgetReleased():
            counted = _count(state, heard) if isinstance(heard.event, BudgetHeld) else state
            return _move_money(counted, heard.event, heard.time_us)
        case DeviceSnapshotTaken():
            return changed(state, devices=state.devices.after(heard))
        case ApprovalRequested() | ApprovalCounted() | IntentAdmitted() | IntentRefused():
            return _follow_verdict(state, heard)
        case AutonomyProposed() | AutonomySuspended():
            return changed(state, autonomy=state.autonomy.after(heard, state.persons, state.ladder))
        case event:
            return _follow_run(state, heard, getattr(event, "job_id", ""))


def _govern(state: PolicyState, heard: Heard) -> PolicyState:
    """What governance says, in the part that it is about."""
    match heard.event:
        case PolicyPublished() as policy:
            return changed(state, policy=policy, policy_digest=heard.digest, policy_cause=heard.cause)
        case PriceListPublished() as prices:
            return changed(state, prices=prices, prices_cause=heard.cause)
        case BudgetSet() as budget:
            return changed(state, money=state.money.after(budget), budgets=state.budgets.after(budget))
        case KeyEnrolled() as key:
            enrolled = Key(key.public_key.hex(), key.source, key.role, key.assurance, duties=key.duties)
            return changed(state, keys=state.keys.set(key.key_id, enrolled))
        case KeyRevoked() as revoked if revoked.key_id in state.keys:
            known = replace(state.keys[revoked.key_id], is_revoked=True)
            return changed(state, keys=state.keys.set(revoked.key_id, known))
        case MandateGranted() | MandateRevoked():
            return changed(state, mandates=state.mandates.after(heard, state.persons))
        case AutonomyGranted() | AutonomyRevoked():
            return changed(state, autonomy=state.autonomy.after(heard, state.persons, state.ladder))
        case _:
            return state


def wish_in(state: PolicyState, declared: IntentDeclared) -> Wish:
    """The wish that an intent declares; a key that the gateway holds for its agent is the weakest there is."""
    held = declared.assurance == "gateway-held"
    manifest = declared.manifest
    assurance = declared.assurance if held else state.assurance_of(manifest.initiator, declared.agent_key_id)
    return state.classified(Wish.of(manifest, assurance, declared.agent_key_id))


def _count(state: PolicyState, heard: Heard) -> PolicyState:
    """Count what an agent asks for, when its verdict is said: in full where it is not refused."""
    job = state.jobs.get(getattr(heard.event, "job_id", ""))
    if not isinstance(job, Declared):
        return state
    wish = job.wish
    match heard.event:
        case BudgetHeld():
            asked = (wish.shots, wish.price_ceiling_microusd)
        case IntentRefused(reason=reason) if reason not in NOBODYS:
            asked = (0, 0)
        case _:
            return state
    return changed(state, rates=state.rates.with_intent(wish.initiator, heard.time_us, *asked))


def _move_money(state: PolicyState, moved: Moved, time_us: int) -> PolicyState:
    job = state.jobs.get(moved.job_id)
    if job is None:
        return state
    job = changed(job, held_microusd=job.held_microusd + held_by(moved))
    state = changed(state, money=state.money.after(moved))
    if isinstance(moved, BudgetHeld) and isinstance(job, Declared):
        job = changed(job, promise=promise_of(job.wish, time_us))
        state = changed(state, budgets=state.budgets.promising(job.promise))
    if isinstance(moved, BudgetReleased):
        state = changed(state, budgets=_given_back(state.budgets, job, moved.amount_microusd))
    if isinstance(job, Admitted):
        state = _learn_from_money(state, job, moved, time_us)
    if isinstance(moved, BudgetReleased):
        return _finish(state, moved.job_id, job.intent_digest)
    return state.with_job(moved.job_id, job)


def _given_back(budgets: Budgets, job: Job, amount_microusd: int) -> Budgets:
    """The budgets after a job gave back what it did not spend; a device that it never ran on gets back everything."""
    budgets = budgets.taking_back(job.promise, amount_microusd)
    if not isinstance(job, Admitted):
        return budgets
    on_devices = job.on_devices
    return budgets.taking_back(on_devices, amount_microusd if job.device else on_devices.amount_microusd)


def _learn_from_money(state: PolicyState, job: Admitted, moved: Moved, time_us: int) -> PolicyState:
    """Note what a job gives back to its mandate, and what it has shown of its agent for the money that it spent."""
    match moved:
        case BudgetReleased():
            return changed(state, mandates=state.mandates.with_released(job.mandate_id, moved.amount_microusd))
        case BudgetCaptured(job_id=job_id, amount_microusd=spent):
            shown = EndedJob(job_id, spent, job.outcome, time_us)
            autonomy = state.autonomy.with_job(job.agent, job.action_class, shown, state.ladder)
            return changed(state, autonomy=autonomy)
        case _:
            return state


def _follow_verdict(state: PolicyState, heard: Heard) -> PolicyState:
    match heard.event:
        case ApprovalRequested(job_id=job_id, statement=statement) if isinstance(
            job := state.jobs.get(job_id), Declared | Waiting
        ):
            waiting = Waiting(
                job.intent_digest,
                job.cause,
                job.wish,
                job.held_microusd,
                statement,
                heard.event.devices,
                promise=job.promise,
            )
            state = _forget_alarm(state, job).with_job(job_id, waiting)
            return changed(state, alarms=state.alarms.set(approval_alarm_id(statement), job_id))
        case ApprovalCounted(job_id=job_id) as counted if isinstance(job := state.jobs.get(job_id), Waiting):
            grants = (*job.grants, Grant(counted.approver, counted.duties, counted.key_id))
            return state.with_job(job_id, changed(job, grants=grants))
        case IntentAdmitted(job_id=job_id) as event if isinstance(job := state.jobs.get(job_id), Declared | Waiting):
            wish = state.classified(job.wish)
            admitted = Admitted(
                job.intent_digest,
                job.held_microusd,
                state.prices,
                wish.work_digest,
                wish.data_class,
                event.mandate_id,
                wish.initiator,
                action_class(wish),
                promise=job.promise,
                on_devices=promise_on(event.devices, job.held_microusd, heard.time_us),
            )
            state = changed(
                state,
                mandates=state.mandates.with_job(event, heard.time_us),
                budgets=state.budgets.promising(admitted.on_devices),
            )
            return _forget_alarm(state, job).with_job(job_id, admitted)
        case IntentRefused(job_id=job_id, intent_digest=digest) as refused:
            state = _note_refusal(state, refused)
            return _finish(_count(state, heard), job_id, digest) if _is_refusable(state, job_id, digest) else state
        case _:
            return state


def _note_refusal(state: PolicyState, refused: IntentRefused) -> PolicyState:
    """Count a refusal that speaks against the agent which really asked."""
    job = state.jobs.get(refused.job_id)
    if not isinstance(job, Declared | Waiting) or job.intent_digest != refused.intent_digest:
        return state
    if refused.reason not in REFUSALS:
        return state
    kind = action_class(state.classified(job.wish))
    return changed(state, autonomy=state.autonomy.with_refusal(job.wish.initiator, kind, state.ladder))


def _is_refusable(state: PolicyState, job_id: str, digest: str) -> bool:
    """Whether a refusal ends the job that goes by its id; money held is given back by a BudgetReleased of its own."""
    job = state.jobs.get(job_id)
    return isinstance(job, Declared) and job.intent_digest == digest and job.held_microusd == 0


def _follow_run(state: PolicyState, heard: Heard, job_id: str) -> PolicyState:
    if isinstance(heard.event, StepStarted):
        state = changed(state, devices=state.devices.after(heard))
    job = state.jobs.get(job_id)
    if not isinstance(job, Admitted):
        return state
    state = _learn(state, job, heard)
    if isinstance(heard.event, JobCompleted | JobFailed | JobCancelled):
        return state.with_job(job_id, changed(job, outcome=outcome_of(heard.event)))
    if isinstance(heard.event, StepStarted) and heard.event.snapshot_digest and job.usage.is_of_running(heard):
        return state.with_job(job_id, changed(job, snapshot_digest=heard.event.snapshot_digest))
    if isinstance(heard.event, StepPlanned) and heard.event.device:
        state, job = _placed(state, job, heard.event.device)
    return state.with_job(job_id, changed(job, usage=job.usage.after(heard)))


def _placed(state: PolicyState, job: Admitted, device: str) -> tuple[PolicyState, Admitted]:
    """A job runs on a device; the others that it was admitted to need not promise its money any more."""
    if job.device:
        return state, changed(job, device=device)
    stays = device_part(device)
    others = replace(job.on_devices, parts=tuple(part for part in job.on_devices.parts if part != stays))
    budgets = state.budgets.taking_back(others, others.amount_microusd)
    on_device = replace(job.on_devices, parts=(stays,) if stays in job.on_devices.parts else ())
    return changed(state, budgets=budgets), changed(job, device=device, on_devices=on_device)


def _learn(state: PolicyState, job: Admitted, heard: Heard) -> PolicyState:
    """Note the class of what a job makes, and that its work has run on an emulator.

    What an end rests on was read before it; the ResultRecorded beside it may come later, when the job is forgotten.
    """
    match heard.event:
        case StepCompleted(output_digest=digest) | ArtifactStored(digest=digest):
            return changed(state, classes=state.classes.with_made(digest, job.data_class))
        case JobCompleted(result_digest=digest):
            state = changed(state, classes=state.classes.with_made(digest, job.data_class))
            facts = state.policy.device_facts if state.policy else ()
            if job.snapshot_digest and any(each.device == job.device and each.emulates for each in facts):
                return changed(state, devices=state.devices.with_rehearsal(job.work_digest, job.snapshot_digest))
            return state
        case _:
            return state


def _finish(state: PolicyState, job_id: str, digest: str) -> PolicyState:
    state = _forget_alarm(state, state.jobs[job_id])
    return changed(state, jobs=state.jobs.delete(job_id), finished=state.finished.set(job_id, digest))


def approval_alarm_id(statement: ApprovalStatement) -> str:
    """The alarm of a request for a grant."""
    return alarm_id("approval", statement.nonce)


def _forget_alarm(state: PolicyState, job: Declared | Waiting | Admitted) -> PolicyState:
    name = approval_alarm_id(job.statement) if isinstance(job, Waiting) else ""
    return changed(state, alarms=state.alarms.delete(name)) if name in state.alarms else state
