"""Requests to people and their answers: which statement is put to them, and which answer counts."""

from schemas.digests import digest_of_parts
from schemas.events import ApprovalDenied, ApprovalGranted, ApprovalStatement
from schemas.proofs import approval_holds
from schemas.reasons import Reason
from schemas.topics import Role
from streams.deadlines import later_us
from streams.policy.rules import Wish
from streams.policy.state import Declared, PolicyState, Waiting
from streams.stage import Heard

DEMO_ASSURANCE = "demo"


def statement_for(state: PolicyState, job_id: str, job: Declared | Waiting, heard: Heard) -> ApprovalStatement:
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
    )


def _expires_us(wish: Wish, time_us: int, timeout_us: int) -> int:
    timeout = later_us(time_us, timeout_us)
    return timeout if wish.deadline_us is None else min(timeout, wish.deadline_us)


def why_not_counted(
    state: PolicyState, job: Waiting, heard: Heard, answer: ApprovalGranted | ApprovalDenied
) -> Reason | None:
    """Why a person's answer does not count for a waiting job; none if it counts."""
    statement = job.statement
    if answer.intent_digest != job.intent_digest:
        return Reason.INTENT_OTHER
    if heard.time_us >= statement.expires_us:
        return Reason.APPROVAL_EXPIRED
    key = state.keys.get(answer.proof.key_id)
    if key is None or key.is_revoked or key.role != Role.APPROVER.value or key.source != answer.approver:
        return Reason.APPROVER_UNKNOWN
    if answer.approver == job.wish.initiator:
        return Reason.APPROVER_IS_INITIATOR
    if key.assurance == DEMO_ASSURANCE and not state.is_virtual:
        return Reason.KEY_DEMO_ONLY
    decision, reason = ("deny", answer.reason) if isinstance(answer, ApprovalDenied) else ("grant", "")
    if not approval_holds(statement, decision, reason, answer.proof.signature, bytes.fromhex(key.public_key_hex)):
        return Reason.APPROVAL_PROOF_INVALID
    return None
