"""The signatures on an event of a job: its batch seal, and what agents, gateway and approvers signed inside it."""

from collections.abc import Iterator, Mapping

from pydantic import Field

from schemas import events as e
from schemas.admission import Admitted, EnrolledKey
from schemas.events import ApprovalStatement
from schemas.keys import raw_public_key
from schemas.proofs import (
    TYPE_WITHDRAWAL,
    ProofInvalid,
    approval_holds,
    completes,
    declared_manifest,
    jws_key_id,
    verify_jws,
    verify_manifest,
)
from schemas.topics import Role
from schemas.traces import trace_digest
from schemas.words import Words


class Proof(Words):
    """A signature that was checked."""

    kind: str = Field(description="batch seal, agent, gateway, approver or trace")
    key_id: str
    by: str = Field(description="whose key it is; empty if it is not enrolled")
    holds: bool
    detail: str = ""
    is_revoked: bool = Field(default=False, description="the key has been revoked since")


Keys = Mapping[str, EnrolledKey]


def proofs_of(
    admitted: Admitted,
    keys: Keys,
    statements: Mapping[str, ApprovalStatement],
    intents: Mapping[str, e.IntentDeclared],
) -> tuple[Proof, ...]:
    """All signatures on an admitted event; `statements` by intent digest, `intents` by job id.

    The seal of the batch was checked when the event was admitted.
    """
    seal = Proof(
        kind="batch seal",
        key_id=admitted.key_id,
        by=admitted.source,
        holds=True,
        is_revoked=keys[admitted.key_id].revoked,
    )
    return (seal, *_inside(admitted, keys, statements, intents))


def _inside(
    admitted: Admitted,
    keys: Keys,
    statements: Mapping[str, ApprovalStatement],
    intents: Mapping[str, e.IntentDeclared],
) -> Iterator[Proof]:
    match admitted.event:
        case e.TraceSealed() as sealed:
            yield _trace(sealed, keys, intents.get(sealed.job_id))
        case e.IntentDeclared() as declared:
            yield _agent(declared, keys)
            yield _gateway(declared, keys, admitted.source)
        case e.IntentWithdrawn() as withdrawn:
            yield _withdrawal(withdrawn, keys)
        case e.ApprovalGranted() | e.ApprovalDenied() as answer:
            yield _approver(answer, keys, statements)
        case _:
            return


def _agent(declared: e.IntentDeclared, keys: Keys) -> Proof:
    key = keys.get(declared.agent_key_id)
    detail = ""
    if key is None or key.role != Role.AGENT.value or key.source != declared.manifest.initiator:
        detail = "the key is not enrolled for this agent"
    else:
        try:
            if not completes(declared.manifest, declared_manifest(declared, raw_public_key(key.public_key))):
                detail = "the gateway changed what the agent had signed"
        except ProofInvalid as error:
            detail = str(error)
    return _proof("agent", declared.agent_key_id, key, detail)


def _trace(sealed: e.TraceSealed, keys: Keys, declared: e.IntentDeclared | None) -> Proof:
    """Whether summary and salted digest are those that the agent's signed manifest names, be the text erased or not."""
    digest = trace_digest(sealed.summary, sealed.text_digest)
    if declared is None or declared.manifest.decision_trace_digest != digest:
        key_id = declared.agent_key_id if declared else ""
        return _proof("trace", key_id, keys.get(key_id), "it is not the trace that the agent's manifest names")
    return _agent(declared, keys).model_copy(update={"kind": "trace"})


def _gateway(declared: e.IntentDeclared, keys: Keys, source: str) -> Proof:
    key_id, key, detail = "", None, ""
    try:
        key_id = jws_key_id((declared.manifest.signature or "").replace("..", ".e30."))
        key = keys.get(key_id)
        if key is None or key.source != source:
            detail = "the key is not enrolled for the gateway"
        else:
            verify_manifest(declared.manifest, key.public_key)
    except ProofInvalid as error:
        detail = str(error)
    return _proof("gateway", key_id, key, detail)


def _withdrawal(withdrawn: e.IntentWithdrawn, keys: Keys) -> Proof:
    key = keys.get(withdrawn.agent_key_id)
    detail = ""
    try:
        if key is None or key.role != Role.AGENT.value:
            detail = "the key is not enrolled for an agent"
        else:
            verify_jws(withdrawn.agent_proof, key.public_key, TYPE_WITHDRAWAL)
    except ProofInvalid as error:
        detail = str(error)
    return _proof("agent", withdrawn.agent_key_id, key, detail)


def _approver(
    answer: e.ApprovalGranted | e.ApprovalDenied, keys: Keys, statements: Mapping[str, ApprovalStatement]
) -> Proof:
    key, statement = keys.get(answer.proof.key_id), statements.get(answer.intent_digest)
    decision, reason = ("deny", answer.reason) if isinstance(answer, e.ApprovalDenied) else ("grant", "")
    detail = ""
    if key is None or key.role != Role.APPROVER.value or key.source != answer.approver:
        detail = "the key is not enrolled for this approver"
    elif statement is None:
        detail = "no approval of this intent was asked for"
    elif not approval_holds(statement, decision, reason, answer.proof.signature, raw_public_key(key.public_key)):
        detail = "the signature does not hold for this statement and decision"
    return _proof("approver", answer.proof.key_id, key, detail)


def _proof(kind: str, key_id: str, key: EnrolledKey | None, detail: str) -> Proof:
    by, is_revoked = (key.source, key.revoked) if key else ("", False)
    return Proof(kind=kind, key_id=key_id, by=by, holds=not detail, detail=detail, is_revoked=is_revoked)
