"""Requests to people and their answers: which statement is put to them, and which answer counts."""

from collections.abc import Sequence
from dataclasses import replace

from schemas.digests import digest_of_parts
from schemas.events import (
    AlarmRang,
    ApprovalCounted,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalInvalidated,
    ApprovalRejected,
    ApprovalRequested,
    ApprovalStatement,
    BudgetReleased,
)
from schemas.proofs import approval_holds
from schemas.reasons import Reason
from schemas.topics import Role
from streams.deadlines import later_us, set_alarm
from streams.halts import Halts
from streams.persons import DEMO_ASSURANCE
from streams.policy.autonomy import action_class
from streams.policy.cedar import Gate
from streams.policy.ending import suspend
from streams.policy.jobs import Declared, Grant, Waiting
from streams.policy.judging import judge
from streams.policy.limits import RULE_LIMITS
from streams.policy.mandates import Mandates
from streams.policy.saying import out
from streams.policy.state import PolicyState, approval_alarm_id, evolve
from streams.policy.verdicts import admitted, because, refused
from streams.policy.wish import Admit, Ask, Refuse, Wish
from streams.stage import Heard, Output


def follow(
    state: PolicyState, heard: Heard, job_id: str, job: Declared | Waiting, verdict: Admit | Ask
) -> Sequence[Output]:
    """Admit a job whose money is held, or put it to people."""
    causes = because(state, job, heard)
    if isinstance(verdict, Admit):
        admit, mandate_id = _under_mandate(state, job, verdict, heard.time_us)
        return [admitted(state, job_id, job, admit, mandate_id=mandate_id, causes=causes)]
    statement = statement_for(state, job_id, job, heard, verdict)
    requested = ApprovalRequested(
        job_id=job_id,
        rule=verdict.rule,
        message=verdict.message,
        statement=statement,
        rules=verdict.grounds.rules,
        messages=verdict.grounds.messages,
        input_digest=verdict.grounds.input_digest,
        devices=verdict.devices,
    )
    return [out(requested, causes), set_alarm(approval_alarm_id(statement), statement.expires_us, job_id)]


def _under_mandate(state: PolicyState, job: Declared | Waiting, verdict: Admit, time_us: int) -> tuple[Admit, str]:
    """The verdict, and the mandate without which people would have been asked on some device; empty for none.

    A job is counted under one mandate: devices that only another one opens are left out.
    """
    wish, mandates = state.classified(job.wish), state.mandates
    if not any(mandates.covering(wish, device, time_us) for device in verdict.devices):
        return verdict, ""
    without = judge(replace(state, mandates=Mandates()), wish, time_us, job.held_microusd)
    free = without.devices if isinstance(without, Admit) else ()
    opened = [device for device in verdict.devices if device not in free]
    if not opened:
        return verdict, ""
    mandate_id = mandates.covering(wish, opened[0], time_us)
    covers = mandates.granted[mandate_id].covers
    devices = tuple(device for device in verdict.devices if device in free or covers(wish, device, time_us))
    return replace(verdict, devices=devices), mandate_id


def statement_for(
    state: PolicyState, job_id: str, job: Declared | Waiting, heard: Heard, verdict: Ask
) -> ApprovalStatement:
    """What a person is asked to sign for a job. The nonce is made anew from the event that leads to the request."""
    wish = job.wish
    timeout_us = state.policy.approval_timeout_us if state.policy else 0
    return ApprovalStatement(
        site=heard.site,
        job_id=job_id,
        purpose=wish.purpose,
        intent_digest=job.intent_digest,
        template_digests=wish.template_digests,
        program_digests=wish.program_digests,
        shots=wish.shots,
        price_ceiling_microusd=wish.price_ceiling_microusd,
        policy_digest=state.policy_digest,
        expires_us=_expires_us(wish, heard.time_us, timeout_us),
        nonce=digest_of_parts("approval", job.intent_digest, heard.digest),
        quorum=verdict.quorum,
        roles=verdict.roles,
        snapshot_class=state.devices.snapshot_class(verdict.devices),
        rule=" ".join(verdict.grounds.rules),
    )


def _expires_us(wish: Wish, time_us: int, timeout_us: int) -> int:
    timeout = later_us(time_us, timeout_us)
    return timeout if wish.deadline_us is None else min(timeout, wish.deadline_us)


def weigh(state: PolicyState, heard: Heard, answer: ApprovalGranted | ApprovalDenied) -> Sequence[Output]:
    """Count a person's answer, or say why it does not count."""
    job = state.jobs.get(answer.job_id)
    if not isinstance(job, Waiting):
        return [_rejected(answer, Reason.APPROVAL_NOT_WAITING)]
    why = why_not_counted(state, job, heard, answer)
    if why is not None:
        return [_rejected(answer, why)]
    if isinstance(answer, ApprovalDenied):
        suspended = suspend(state, job.wish.initiator, action_class(state.classified(job.wish)), Reason.DENIED)
        return [*give_up(state, answer.job_id, job, Refuse(Reason.DENIED, answer.reason, RULE_LIMITS)), *suspended]
    return _grant(state, heard, job, answer)


def _grant(state: PolicyState, heard: Heard, job: Waiting, answer: ApprovalGranted) -> Sequence[Output]:
    """Admit a job that enough people have granted; wait for more of them; or ask anew where things have changed."""
    statement = job.statement
    key_id = answer.proof.key_id
    grants = (*_in_force(state, job), Grant(answer.approver, state.persons.keys[key_id].duties, key_id))
    duties = frozenset(duty for grant in grants for duty in grant.duties)
    missing = tuple(duty for duty in statement.roles if duty not in duties)
    is_of_this_policy = statement.policy_digest == state.policy_digest
    if is_of_this_policy and (len(grants) < statement.quorum or missing):
        counted = ApprovalCounted(
            job_id=answer.job_id,
            intent_digest=answer.intent_digest,
            approver=answer.approver,
            duties=grants[-1].duties,
            persons=len(grants),
            quorum=statement.quorum,
            missing_duties=missing,
            key_id=key_id,
        )
        return [out(counted)]
    granted = Gate(len(grants), tuple(sorted(duties))) if is_of_this_policy else None
    verdict = judge(state, job.wish, heard.time_us, job.held_microusd, granted=granted)
    if isinstance(verdict, Refuse):
        return give_up(state, answer.job_id, job, verdict)
    if isinstance(verdict, Ask):
        anew = follow(state, heard, answer.job_id, job, verdict)
        return [_rejected(answer, Reason.MORE_NEEDED if is_of_this_policy else Reason.POLICY_CHANGED), *anew]
    approvers = tuple(grant.approver for grant in grants)
    causes = because(state, job, heard)
    return [admitted(state, answer.job_id, job, verdict, approvers=approvers, causes=causes)]


def _in_force(state: PolicyState, job: Waiting) -> tuple[Grant, ...]:
    """Who has said yes to a job by a key that was not revoked since."""
    keys = state.persons.keys
    return tuple(grant for grant in job.grants if not keys[grant.key_id].is_revoked)


def why_not_counted(
    state: PolicyState, job: Waiting, heard: Heard, answer: ApprovalGranted | ApprovalDenied
) -> Reason | None:
    """Why a person's answer does not count for a waiting job; none if it counts."""
    statement = job.statement
    if answer.intent_digest != job.intent_digest:
        return Reason.INTENT_OTHER
    if heard.time_us >= statement.expires_us:
        return Reason.APPROVAL_EXPIRED
    person = state.persons.known(answer.proof.key_id, answer.approver, (Role.APPROVER,))
    if person is None:
        return Reason.APPROVER_UNKNOWN
    if answer.approver == job.wish.initiator:
        return Reason.APPROVER_IS_INITIATOR
    if person.assurance == DEMO_ASSURANCE and not state.persons.is_virtual:
        return Reason.KEY_DEMO_ONLY
    decision, reason = ("deny", answer.reason) if isinstance(answer, ApprovalDenied) else ("grant", "")
    if not approval_holds(statement, decision, reason, answer.proof, person.key):
        return Reason.APPROVAL_PROOF_INVALID
    has_said_yes = any(grant.approver == answer.approver for grant in _in_force(state, job))
    return Reason.APPROVAL_REPEATED if has_said_yes and isinstance(answer, ApprovalGranted) else None


def reconsider(state: PolicyState, after: PolicyState, heard: Heard) -> Sequence[Output]:
    """Put anew what people were asked under other rules, prices or machines: what they have signed counts no longer.

    `state` and `after` are policy's before and after the event that may have changed them. Where limits alone decide,
    a change of policy is looked at when a person answers.
    """
    if after.policy is None or not after.policy.rules:
        return ()
    machines = _other_machines(state, after)
    if not machines and (state.policy_digest, state.prices) == (after.policy_digest, after.prices):
        return ()
    said: list[Output] = []
    for job_id, job in sorted(after.jobs.items()):
        reason = _why_invalid(state, after, job, machines) if isinstance(job, Waiting) else None
        if reason is None or not isinstance(job, Waiting):
            continue
        invalidated = ApprovalInvalidated(
            job_id=job_id, intent_digest=job.intent_digest, reason=reason, message=reason.sentence
        )
        verdict = judge(after, job.wish, heard.time_us, job.held_microusd)
        if isinstance(verdict, Refuse):
            follows = give_up(after, job_id, job, verdict)
        else:
            follows = follow(after, heard, job_id, job, verdict)
        said += [out(invalidated, (job.cause,)), *follows]
        after = _having_said(after, heard, follows)
    return said


def _having_said(state: PolicyState, heard: Heard, outputs: Sequence[Output]) -> PolicyState:
    """The state that the next verdict of one decision is taken by: what was just admitted has used its mandate."""
    for output in outputs:
        said = heard._replace(event=output.event, cause=heard.cause._replace(topic=output.topic))
        state = evolve(state, said)
    return state


def _other_machines(state: PolicyState, after: PolicyState) -> frozenset[str]:
    """The devices that were one machine before an event and are another after it."""
    was, now = state.devices, after.devices
    if was is now:
        return frozenset()
    known = [device for device in was.calibrations if was.calibrations[device] != now.calibrations.get(device)]
    return frozenset(device for device in known if was.snapshot_class((device,)) != now.snapshot_class((device,)))


def _why_invalid(state: PolicyState, after: PolicyState, job: Waiting, machines: frozenset[str]) -> Reason | None:
    if job.statement.policy_digest != after.policy_digest:
        return Reason.POLICY_CHANGED
    if state.prices != after.prices:
        return Reason.PRICES_CHANGED
    return Reason.SNAPSHOT_CHANGED if machines.intersection(job.devices) else None


def halt(state: PolicyState, heard: Heard, halts: Halts) -> Sequence[Output]:
    """Refuse what waits for people and is covered by a halt that was just ordered; `halts` has it already."""
    if not state.halts.is_new(heard):
        return ()
    said: list[Output] = []
    for job_id, job in sorted(state.jobs.items()):
        covering = halts.covering(job.wish.initiator) if isinstance(job, Waiting) else None
        if covering is not None and isinstance(job, Waiting):
            said += give_up(state, job_id, job, Refuse(Reason.HALTED, covering.message, RULE_LIMITS))
    return said


def expire(state: PolicyState, rang: AlarmRang) -> Sequence[Output]:
    """End the wait for people when its time has come."""
    job_id = state.alarms.get(rang.alarm_id, "")
    job = state.jobs.get(job_id)
    if not isinstance(job, Waiting) or rang.rings_us < job.statement.expires_us:
        return ()
    expired = ApprovalExpired(job_id=job_id, intent_digest=job.intent_digest)
    message = "nobody granted it in time: declare it again under another job id"
    return [out(expired), *give_up(state, job_id, job, Refuse(Reason.APPROVAL_EXPIRED, message, RULE_LIMITS))]


def withdraw(state: PolicyState, job_id: str) -> Sequence[Output]:
    """End the wait for people because the agent no longer wants the job."""
    job = state.jobs.get(job_id)
    if not isinstance(job, Waiting):
        return ()
    return give_up(state, job_id, job, Refuse(Reason.WITHDRAWN, Reason.WITHDRAWN.sentence, RULE_LIMITS))


def give_up(state: PolicyState, job_id: str, job: Waiting, why: Refuse) -> Sequence[Output]:
    """Refuse a waiting job and free its money."""
    refusal = refused(state, job_id, job.intent_digest, why, (job.cause,))
    return [refusal, out(BudgetReleased(job_id=job_id, amount_microusd=job.held_microusd))]


def _rejected(answer: ApprovalGranted | ApprovalDenied, reason: Reason) -> Output:
    rejected = ApprovalRejected(
        job_id=answer.job_id,
        intent_digest=answer.intent_digest,
        approver=answer.approver,
        reason=reason,
        message=reason.sentence,
    )
    return out(rejected)
