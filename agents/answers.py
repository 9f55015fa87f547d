"""People's answers to what a job asks of them: a signature goes in, the event to append or a refusal comes out."""

from collections.abc import Mapping, Sequence

from agents.docket import Case
from agents.intake import known_key
from agents.replies import Answer, Refused
from agents.vault import Vault
from schemas.admission import EnrolledKey
from schemas.events import ApprovalDenied, ApprovalGranted, ApprovalStatement
from schemas.reasons_kept import REASON_CHARS_MAX, pointed_at
from schemas.topics import Role
from streams.persons import Persons
from streams.policy.approval import why_not_counted
from streams.policy.jobs import Waiting
from streams.policy.state import PolicyState

REASON_LENGTH_MAX = REASON_CHARS_MAX


def kept_reason(text: str, about: str, key: EnrolledKey | None, vault: Vault) -> str | Refused:
    """The pointer to a reason that is kept in the vault under the name of its key's source, `about` something."""
    if key is None or key.revoked or key.role not in (Role.APPROVER, Role.OPERATOR, Role.AGENT):
        return Refused("key_unknown", "only a person or an agent gives reasons, by a key in force at this site")
    if not 0 < len(text.strip()) <= len(text) <= REASON_LENGTH_MAX:
        return Refused("reason_missing", f"say why, in at most {REASON_LENGTH_MAX} characters")
    return vault.keep_reason(text, key.source, about)


def why_no_reason(reason: str, source: str, vault: Vault) -> Refused | None:
    """Why a pointer is not taken for a reason: its text must be in the vault, under the name of who signs it."""
    pointed = pointed_at(reason)
    if pointed is None:
        return None
    subject, text_digest = pointed
    if subject != source:
        return Refused("reason_missing", f"the reason is kept under {subject}, and {source} signs it: give your own")
    if vault.open_reason(subject, text_digest) is None:
        return Refused("reason_missing", "the text of this reason is not in the vault: give it again")
    return None


def answered(
    answer: Answer, reason: str | None, keys: Mapping[str, EnrolledKey]
) -> ApprovalGranted | ApprovalDenied | Refused:
    """The event that an answer becomes, a denial where there is a reason; its proof is not checked yet."""
    if reason is not None and not 0 < len(reason.strip()) <= len(reason) <= REASON_LENGTH_MAX:
        return Refused("reason_missing", f"say why, in at most {REASON_LENGTH_MAX} characters: the agent reads it")
    key = known_key(answer.proof.key_id, keys, Role.APPROVER)
    if isinstance(key, Refused):
        return key
    said = {
        "job_id": answer.job_id,
        "intent_digest": answer.intent_digest,
        "approver": key.source,
        "proof": answer.proof,
    }
    if reason is None:
        return ApprovalGranted.model_validate(said)
    return ApprovalDenied.model_validate(said | {"reason": reason})


def why_not_answered(
    policy: PolicyState, case: Case, event: ApprovalGranted | ApprovalDenied, source: str, now_us: int
) -> Refused | None:
    """What policy would say to an answer now, asked before it is appended."""
    waiting = policy.jobs.get(event.job_id)
    if not isinstance(waiting, Waiting) or case.requested is None:
        return Refused("approval_not_waiting", f"the job {event.job_id} waits for no approval, or no longer")
    as_heard = case.requested._replace(event=event, source=source, time_us=now_us)
    why = why_not_counted(policy, waiting, as_heard, event)
    if why is not None:
        return Refused(why.value, why.sentence)
    answers = [each.event for each in case.answers]
    if _is_settled(waiting.statement, answers, policy.persons) or _has_said_yes(answers, event):
        return Refused("approval_answered", f"the job {event.job_id} has been answered already")
    return None


def _has_said_yes(answers: Sequence[object], event: ApprovalGranted | ApprovalDenied) -> bool:
    """Whether this person's yes is on the log and policy's word on it is still to come."""
    is_yes = isinstance(event, ApprovalGranted)
    return is_yes and any(isinstance(each, ApprovalGranted) and each.approver == event.approver for each in answers)


def _is_settled(statement: ApprovalStatement, answers: Sequence[object], persons: Persons) -> bool:
    """Whether what people have said by now decides: a no, or enough of them with all duties."""
    if any(isinstance(each, ApprovalDenied) for each in answers):
        return True
    grants = [each for each in answers if isinstance(each, ApprovalGranted)]
    known = [persons.keys.get(each.proof.key_id) for each in grants]
    duties = {duty for person in known if person for duty in person.duties}
    return len({each.approver for each in grants}) >= statement.quorum and duties.issuperset(statement.roles)
