"""The signatures on an event of a job: its batch seal, and what agents, gateway and people signed inside it."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import rfc8785
from pydantic import Field

from schemas import events as e
from schemas.admission import Admitted, EnrolledKey
from schemas.calibrations import signed_calibration
from schemas.events import ApprovalStatement
from schemas.keys import raw_public_key
from schemas.people import person_signed, signed_words
from schemas.petitions import Petition
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
from schemas.words import Event, Words
from streams.halts import MAY_HALT
from streams.policy.autonomy import MAY_RATIFY
from streams.policy.mandates import MAY_MANDATE


class Proof(Words):
    """A signature that was checked."""

    kind: str = Field(description="batch seal, agent, gateway, approver, person or trace")
    key_id: str
    by: str = Field(description="whose key it is; empty if it is not enrolled")
    holds: bool
    detail: str = ""
    is_revoked: bool = Field(default=False, description="the key has been revoked since")


Keys = Mapping[str, EnrolledKey]


def proofs_of(
    admitted: Admitted,
    keys: Keys,
    statements: Mapping[str, Sequence[ApprovalStatement]],
    intents: Mapping[str, e.IntentDeclared],
    site: str,
) -> tuple[Proof, ...]:
    """All signatures on an admitted event of a site; all `statements` of an intent digest, `intents` by job id.

    The seal of the batch was checked when the event was admitted.
    """
    seal = Proof(
        kind="batch seal",
        key_id=admitted.key_id,
        by=admitted.source,
        holds=True,
        is_revoked=keys[admitted.key_id].revoked,
    )
    return (seal, *proofs_inside((admitted.event, admitted.source), keys, statements, intents, site))


def proofs_inside(
    said: tuple[Event, str],
    keys: Keys,
    statements: Mapping[str, Sequence[ApprovalStatement]],
    intents: Mapping[str, e.IntentDeclared],
    site: str,
) -> Iterator[Proof]:
    """What was signed inside of an event, given with its source; the rest as for `proofs_of`."""
    event, source = said
    match event:
        case e.TraceSealed() as sealed:
            yield _trace(sealed, keys, intents.get(sealed.job_id))
        case e.IntentDeclared() as declared:
            yield _agent(declared, keys)
            yield _gateway(declared, keys, source)
        case e.IntentWithdrawn() as withdrawn:
            yield _withdrawal(withdrawn, keys)
        case e.CalibrationRequested() as requested:
            yield _calibration(requested, keys, site)
        case e.ApprovalGranted() | e.ApprovalDenied() as answer:
            yield _approver(answer, keys, statements)
        case e.HaltOrdered() | e.HaltLifted() as petition:
            yield _person(petition, keys, site, MAY_HALT)
        case e.MandateGranted() | e.MandateRevoked() as petition:
            yield _person(petition, keys, site, MAY_MANDATE)
        case e.AutonomyGranted() | e.AutonomyRevoked() as petition:
            yield _person(petition, keys, site, MAY_RATIFY)
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
            said = verify_jws(withdrawn.agent_proof, key.public_key, TYPE_WITHDRAWAL)
            if said != rfc8785.dumps({"job_id": withdrawn.job_id, "reason": withdrawn.reason}):
                detail = "the agent signed another withdrawal"
    except ProofInvalid as error:
        detail = str(error)
    return _proof("agent", withdrawn.agent_key_id, key, detail)


def _calibration(requested: e.CalibrationRequested, keys: Keys, site: str) -> Proof:
    key = keys.get(requested.agent_key_id)
    detail = ""
    try:
        if key is None or key.role != Role.AGENT.value or key.source != requested.initiator:
            detail = "the key is not enrolled for this agent"
        elif not signed_calibration(requested.agent_proof, key.public_key).is_of(requested, site):
            detail = "the agent asked for something else"
    except ProofInvalid as error:
        detail = str(error)
    return _proof("agent", requested.agent_key_id, key, detail)


def _approver(
    answer: e.ApprovalGranted | e.ApprovalDenied, keys: Keys, statements: Mapping[str, Sequence[ApprovalStatement]]
) -> Proof:
    key, asked = keys.get(answer.proof.key_id), statements.get(answer.intent_digest, ())
    decision, reason = ("deny", answer.reason) if isinstance(answer, e.ApprovalDenied) else ("grant", "")
    detail = ""
    if key is None or key.person is None or (key.role, key.source) != (Role.APPROVER, answer.approver):
        detail = "the key is not enrolled for this approver"
    elif not asked:
        detail = "no approval of this intent was asked for"
    elif not any(approval_holds(each, decision, reason, answer.proof, key.person) for each in asked):
        detail = "the signature does not hold for this statement and decision"
    return _proof("approver", answer.proof.key_id, key, detail)


def _person(said: Petition, keys: Keys, site: str, roles: Collection[Role]) -> Proof:
    """What a person said of their own accord, by their own signature."""
    key = keys.get(said.proof.key_id)
    detail = ""
    if key is None or key.person is None or key.role not in roles or key.source != said.person:
        detail = "the key is not enrolled for this person in a role that may say this"
    elif not person_signed(signed_words(said, site), said.proof, key.person):
        detail = "the signature does not hold for these very words"
    return _proof("person", said.proof.key_id, key, detail)


def _proof(kind: str, key_id: str, key: EnrolledKey | None, detail: str) -> Proof:
    by, is_revoked = (key.source, key.revoked) if key else ("", False)
    return Proof(kind=kind, key_id=key_id, by=by, holds=not detail, detail=detail, is_revoked=is_revoked)
