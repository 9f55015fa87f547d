"""An intent comes in: whether it is the agent's own, and what the verdict on it leads to."""

from collections.abc import Sequence

from schemas.events import BudgetHeld, IntentDeclared
from schemas.proofs import ProofInvalid, is_as_declared
from schemas.reasons import Reason
from schemas.topics import Role
from streams.policy.approval import follow
from streams.policy.autonomy import REFUSALS, action_class
from streams.policy.ending import suspend
from streams.policy.jobs import Declared
from streams.policy.judging import judge
from streams.policy.limits import RULE_LIMITS
from streams.policy.saying import out
from streams.policy.state import PolicyState, wish_in
from streams.policy.verdicts import refused
from streams.policy.wish import Refuse
from streams.stage import Heard, Output


def receive(state: PolicyState, heard: Heard, declared: IntentDeclared) -> Sequence[Output]:
    """Refuse an intent, or hold its money and admit it or put it to people."""
    refusal = _why_not_believed(state, heard, declared)
    if refusal is not None:
        return [refused(state, declared.job_id, heard.digest, refusal)]
    wish = wish_in(state, declared)
    verdict = judge(state, wish, heard.time_us)
    if isinstance(verdict, Refuse):
        suspended = (
            suspend(state, wish.initiator, action_class(wish), verdict.reason) if verdict.reason in REFUSALS else ()
        )
        return [refused(state, declared.job_id, heard.digest, verdict), *suspended]
    held = BudgetHeld(job_id=declared.job_id, amount_microusd=wish.price_ceiling_microusd)
    job = Declared(heard.digest, heard.cause, wish)
    return [out(held), *follow(state, heard, declared.job_id, job, verdict)]


def _why_not_believed(state: PolicyState, heard: Heard, declared: IntentDeclared) -> Refuse | None:
    """Why an intent is not the agent's own and first of its name; none if it is."""
    manifest = declared.manifest
    if state.is_known(declared.job_id):
        return _refuse(Reason.JOB_REPEATED, f"the job id {declared.job_id} was used before: declare another")
    if manifest.site != heard.site:
        return _refuse(Reason.SITE_FOREIGN, f"the manifest is for site {manifest.site}, declared at {heard.site}")
    key = state.keys.get(declared.agent_key_id)
    if key is None or key.is_revoked or key.role != Role.AGENT.value or key.source != manifest.initiator:
        message = f"no key in force of {manifest.initiator} has the id that signed: enrol it"
        return _refuse(Reason.AGENT_UNKNOWN, message)
    try:
        is_the_agents = is_as_declared(declared, bytes.fromhex(key.public_key_hex))
    except ProofInvalid:
        return _refuse(Reason.AGENT_PROOF_INVALID, Reason.AGENT_PROOF_INVALID.sentence)
    if declared.job_id != manifest.job_id or not is_the_agents:
        return _refuse(Reason.MANIFEST_ALTERED, Reason.MANIFEST_ALTERED.sentence)
    if manifest.project is not None and manifest.project not in key.duties:
        message = (
            f"{manifest.initiator} does not work for project {manifest.project}: its key must be enrolled for that"
        )
        return _refuse(Reason.PROJECT_FOREIGN, message)
    return None


def _refuse(reason: Reason, message: str) -> Refuse:
    return Refuse(reason, message, RULE_LIMITS)
