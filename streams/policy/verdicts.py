"""How policy puts its verdicts into events."""

from schemas.envelope import Cause
from schemas.events import IntentAdmitted, IntentRefused
from streams.policy.jobs import Declared, Waiting
from streams.policy.saying import out
from streams.policy.state import PolicyState
from streams.policy.wish import Admit, Ask, Refuse
from streams.stage import Heard, Output


def admitted(
    state: PolicyState,
    job_id: str,
    job: Declared | Waiting,
    verdict: Admit | Ask,
    *,
    approvers: tuple[str, ...] = (),
    mandate_id: str = "",
    causes: tuple[Cause, ...] = (),
) -> Output:
    """The job may run. `approvers` are those who granted it, where that was asked for, the last of them last."""
    event = IntentAdmitted(
        job_id=job_id,
        intent_digest=job.intent_digest,
        price_ceiling_microusd=job.wish.price_ceiling_microusd,
        shots_ceiling=job.wish.shots,
        devices=verdict.devices,
        policy_digest=state.policy_digest,
        rule=verdict.rule,
        approver=approvers[-1] if approvers else "",
        rules=verdict.grounds.rules,
        messages=verdict.grounds.messages,
        input_digest=verdict.grounds.input_digest,
        approvers=approvers if len(approvers) > 1 else (),
        mandate_id=mandate_id,
    )
    return out(event, causes)


def refused(
    state: PolicyState, job_id: str, intent_digest: str, refusal: Refuse, causes: tuple[Cause, ...] = ()
) -> Output:
    """The job may not run."""
    event = IntentRefused(
        job_id=job_id,
        intent_digest=intent_digest,
        reason=refusal.reason,
        message=refusal.message,
        policy_digest=state.policy_digest,
        rule=refusal.rule,
        rules=refusal.grounds.rules,
        messages=refusal.grounds.messages,
        input_digest=refusal.grounds.input_digest,
    )
    return out(event, causes)


def because(state: PolicyState, job: Declared | Waiting, heard: Heard) -> tuple[Cause, ...]:
    """What a verdict rests on besides the event at hand: the intent, the policy and the prices in force."""
    rests_on = (job.cause, state.policy_cause, state.prices_cause)
    return tuple(cause for cause in rests_on if cause is not None and cause != heard.cause)
