"""What policy says to each event: `decide`, and the stage it makes with `evolve`."""

from collections.abc import Sequence

from schemas.envelope import Cause
from schemas.events import (
    AlarmRang,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRejected,
    ApprovalRequested,
    BudgetCaptured,
    BudgetHeld,
    BudgetReleased,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    IntentWithdrawn,
    JobCancelled,
    JobCompleted,
    JobFailed,
)
from schemas.proofs import ProofInvalid, completes, declared_manifest
from schemas.reasons import Reason
from schemas.topics import Role
from schemas.words import Event
from streams.deadlines import set_alarm
from streams.policy.approval import statement_for, why_not_counted
from streams.policy.rules import Admit, Ask, Refuse, Wish, judge
from streams.policy.state import Admitted, Declared, PolicyState, Waiting, approval_alarm_id, evolve
from streams.pricing import classical_microusd, price_of
from streams.stage import Heard, Output, Stage

TOPIC = "approvals"
VERSION = 1


def decide(state: PolicyState, heard: Heard) -> Sequence[Output]:
    """What follows from an event."""
    match heard.event:
        case IntentDeclared() as declared:
            return _receive(state, heard, declared)
        case ApprovalGranted() | ApprovalDenied() as answer:
            return _weigh(state, heard, answer)
        case AlarmRang() as rang:
            return _expire(state, rang)
        case IntentWithdrawn(job_id=job_id):
            job = state.jobs.get(job_id)
            if not isinstance(job, Waiting):
                return ()
            return _give_up(state, job_id, job, Reason.WITHDRAWN, Reason.WITHDRAWN.sentence)
        case JobCompleted(job_id=job_id) | JobFailed(job_id=job_id) | JobCancelled(job_id=job_id):
            return _settle(state, job_id)
        case _:
            return ()


def _receive(state: PolicyState, heard: Heard, declared: IntentDeclared) -> Sequence[Output]:
    refusal = _why_not_believed(state, heard, declared)
    if refusal is not None:
        return [_refused(state, declared.job_id, heard.digest, refusal)]
    wish = Wish.of(declared.manifest)
    verdict = judge(state.limits(), wish, heard.time_us)
    if isinstance(verdict, Refuse):
        return [_refused(state, declared.job_id, heard.digest, verdict)]
    held = BudgetHeld(job_id=declared.job_id, amount_microusd=wish.price_ceiling_microusd)
    job = Declared(heard.digest, heard.cause, wish)
    return [_out(held), *_follow(state, heard, declared.job_id, job, verdict)]


def _why_not_believed(state: PolicyState, heard: Heard, declared: IntentDeclared) -> Refuse | None:
    """Why an intent is not the agent's own and first of its name; none if it is."""
    manifest = declared.manifest
    if state.is_known(declared.job_id):
        return Refuse(Reason.JOB_REPEATED, f"the job id {declared.job_id} was used before: declare another")
    if manifest.site != heard.site:
        return Refuse(Reason.SITE_FOREIGN, f"the manifest is for site {manifest.site}, declared at {heard.site}")
    key = state.keys.get(declared.agent_key_id)
    if key is None or key.is_revoked or key.role != Role.AGENT.value or key.source != manifest.initiator:
        return Refuse(Reason.AGENT_UNKNOWN, f"no key in force of {manifest.initiator} has the id that signed: enrol it")
    try:
        original = declared_manifest(declared, bytes.fromhex(key.public_key_hex))
    except ProofInvalid:
        return Refuse(Reason.AGENT_PROOF_INVALID, Reason.AGENT_PROOF_INVALID.sentence)
    if declared.job_id != manifest.job_id or not completes(manifest, original):
        return Refuse(Reason.MANIFEST_ALTERED, Reason.MANIFEST_ALTERED.sentence)
    return None


def _follow(
    state: PolicyState, heard: Heard, job_id: str, job: Declared | Waiting, verdict: Admit | Ask
) -> Sequence[Output]:
    """Admit a job whose money is held, or put it to a person."""
    if isinstance(verdict, Admit):
        return [_admitted(state, job_id, job, verdict, because=_because(state, job, heard))]
    statement = statement_for(state, job_id, job, heard)
    requested = ApprovalRequested(job_id=job_id, rule=verdict.rule, message=verdict.message, statement=statement)
    return [
        _out(requested, _because(state, job, heard)),
        set_alarm(approval_alarm_id(statement), statement.expires_us, job_id),
    ]


def _weigh(state: PolicyState, heard: Heard, answer: ApprovalGranted | ApprovalDenied) -> Sequence[Output]:
    """Count a person's answer, or say why it does not count."""
    job = state.jobs.get(answer.job_id)
    if not isinstance(job, Waiting):
        return [_rejected(answer, Reason.APPROVAL_NOT_WAITING)]
    why = why_not_counted(state, job, heard, answer)
    if why is not None:
        return [_rejected(answer, why)]
    if isinstance(answer, ApprovalDenied):
        return _give_up(state, answer.job_id, job, Reason.DENIED, answer.reason)
    verdict = judge(state.limits(job.held_microusd), job.wish, heard.time_us)
    if isinstance(verdict, Refuse):
        return _give_up(state, answer.job_id, job, verdict.reason, verdict.message)
    if isinstance(verdict, Ask) and job.statement.policy_digest != state.policy_digest:
        anew = _follow(state, heard, answer.job_id, job, verdict)
        return [_rejected(answer, Reason.POLICY_CHANGED), *anew]
    because = _because(state, job, heard)
    return [_admitted(state, answer.job_id, job, verdict, approver=answer.approver, because=because)]


def _expire(state: PolicyState, rang: AlarmRang) -> Sequence[Output]:
    job_id = state.alarms.get(rang.alarm_id, "")
    job = state.jobs.get(job_id)
    if not isinstance(job, Waiting) or rang.rings_us < job.statement.expires_us:
        return ()
    expired = ApprovalExpired(job_id=job_id, intent_digest=job.intent_digest)
    message = "nobody granted it in time: declare it again under another job id"
    return [_out(expired), *_give_up(state, job_id, job, Reason.APPROVAL_EXPIRED, message)]


def _give_up(state: PolicyState, job_id: str, job: Waiting, reason: Reason, message: str) -> Sequence[Output]:
    """Refuse a waiting job and free its money."""
    refused = _refused(state, job_id, job.intent_digest, Refuse(reason, message), (job.cause,))
    return [refused, _out(BudgetReleased(job_id=job_id, amount_microusd=job.held_microusd))]


def _settle(state: PolicyState, job_id: str) -> Sequence[Output]:
    """Capture what an ended job used, up to its hold, and free the rest."""
    job = state.jobs.get(job_id)
    if not isinstance(job, Admitted):
        return ()
    price = price_of(job.prices, job.device)
    used = job.usage.at_most(price)
    quantum = min(used.charge_microusd(price), job.held_microusd)
    second_microusd = job.prices.classical_second_microusd if job.prices else 0
    classical = min(classical_microusd(second_microusd, used.classical_time_us), job.held_microusd - quantum)
    captured = BudgetCaptured(
        job_id=job_id,
        amount_microusd=quantum + classical,
        quantum_microusd=quantum,
        classical_microusd=classical,
        shots=used.shots,
    )
    rest = BudgetReleased(job_id=job_id, amount_microusd=job.held_microusd - quantum - classical)
    return [_out(captured), _out(rest)]


def _admitted(
    state: PolicyState,
    job_id: str,
    job: Declared | Waiting,
    verdict: Admit | Ask,
    *,
    approver: str = "",
    because: tuple[Cause, ...] = (),
) -> Output:
    admitted = IntentAdmitted(
        job_id=job_id,
        intent_digest=job.intent_digest,
        price_ceiling_microusd=job.wish.price_ceiling_microusd,
        shots_ceiling=job.wish.shots,
        devices=verdict.devices,
        policy_digest=state.policy_digest,
        rule=verdict.rule,
        approver=approver,
    )
    return _out(admitted, because)


def _refused(
    state: PolicyState, job_id: str, intent_digest: str, refusal: Refuse, causes: tuple[Cause, ...] = ()
) -> Output:
    refused = IntentRefused(
        job_id=job_id,
        intent_digest=intent_digest,
        reason=refusal.reason,
        message=refusal.message,
        policy_digest=state.policy_digest,
        rule=refusal.rule,
    )
    return _out(refused, causes)


def _rejected(answer: ApprovalGranted | ApprovalDenied, reason: Reason) -> Output:
    rejected = ApprovalRejected(
        job_id=answer.job_id,
        intent_digest=answer.intent_digest,
        approver=answer.approver,
        reason=reason,
        message=reason.sentence,
    )
    return _out(rejected)


def _because(state: PolicyState, job: Declared | Waiting, heard: Heard) -> tuple[Cause, ...]:
    """What a verdict rests on besides the event at hand: the intent, the policy and the prices in force."""
    rests_on = (job.cause, state.policy_cause, state.prices_cause)
    return tuple(cause for cause in rests_on if cause is not None and cause != heard.cause)


def _out(event: Event, causes: tuple[Cause, ...] = ()) -> Output:
    return Output(TOPIC, event, getattr(event, "job_id", ""), causes)


POLICY: Stage[PolicyState] = Stage(
    role=Role.POLICY,
    version=VERSION,
    inputs=("governance", "intents", "approvals", "results", "alarms"),
    initial=PolicyState(),
    evolve=evolve,
    decide=decide,
    state_type=PolicyState,
)
