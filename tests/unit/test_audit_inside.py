"""`audit verify` checks what agents, gateway and people signed inside of events, unless a stage has refused it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from replay import crew
from replay.audit import verify
from replay.verdict import Audit, Verdict
from schemas.admission import Stored
from schemas.events import (
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRejected,
    HumanProof,
    IntentDeclared,
    IntentRefused,
    IntentWithdrawn,
)
from schemas.words import Event
from streams.log.lines import Export
from streams.log.making import new_log
from tests.support.attacked import Records, cause_of, event_in, placed, truth, with_said
from tests.support.attacks import at, forge_grant, last_of, next_inputs
from tests.support.bundled import HOME
from tests.support.golden_log import GRANTED, golden_logs


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def audited(directory: Path, records: Sequence[Stored], jobs: int = 1) -> Audit:
    with golden_logs()[0].open("rb") as file:
        settings = Export(file).settings
    with new_log(directory, settings) as new:
        for stored in placed(records):
            new.take(stored)
    return asyncio.run(verify(directory, dict([HOME]), jobs=jobs))


def said(type_: str) -> Event:
    """What the granted job's first event of a type says."""
    record = truth()[at(list(truth()), type_)].record
    return event_in(record)  # type: ignore[arg-type]  # `at` finds whole records alone


def unsigned(proof: HumanProof) -> HumanProof:
    return proof.model_copy(update={"signature": bytes(64)})


def declared(**changed: object) -> IntentDeclared:
    event = said("IntentDeclared")
    assert isinstance(event, IntentDeclared)
    return event.model_copy(update=changed)


def granted() -> ApprovalGranted:
    event = said("ApprovalGranted")
    assert isinstance(event, ApprovalGranted)
    return event


def with_other_signature() -> IntentDeclared:
    manifest = declared().manifest
    head, _, _ = str(manifest.signature).partition("..")
    return declared(manifest=manifest.model_copy(update={"signature": f"{head}..{'A' * 86}"}))


DENIED = ApprovalDenied(
    job_id=GRANTED,
    intent_digest=granted().intent_digest,
    approver=granted().approver,
    reason="no",
    proof=granted().proof,
)
WITHDRAWN = IntentWithdrawn(
    job_id=GRANTED, agent_key_id=declared().agent_key_id, agent_proof=declared().agent_proof, reason="r"
)
FORGED: dict[str, tuple[Event, str]] = {
    "a grant that nobody signed": (
        granted().model_copy(update={"proof": unsigned(granted().proof)}),
        "approval_proof_invalid",
    ),
    "a grant told as a denial": (DENIED, "approval_proof_invalid"),
    "a grant in another's name": (granted().model_copy(update={"approver": "mallory"}), "approval_proof_invalid"),
    "a grant of an intent that nobody asked about": (
        granted().model_copy(update={"intent_digest": "0" * 64}),
        "approval_proof_invalid",
    ),
    "an intent that its agent did not sign": (declared(agent_proof="no.proof.at.all"), "agent_proof_invalid"),
    "an intent by a key that nobody has": (declared(agent_key_id="0" * 32), "agent_proof_invalid"),
    "a manifest that the gateway did not sign": (with_other_signature(), "gateway_proof_invalid"),
    "a withdrawal that is none": (WITHDRAWN, "agent_proof_invalid"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_was_not_signed_is_found_at_its_place(tmp_path: Path, name: str) -> None:
    event, reason = FORGED[name]
    forged = with_said(truth(), "gateway:main", event)
    audit = audited(tmp_path / "log", forged)
    [finding] = audit.findings
    assert (audit.verdict, finding.reason) == (Verdict.TAMPERED, reason)
    at_end = max(each.offset for each in forged if each.topic == finding.topic)
    assert finding.offset == at_end


@pytest.mark.parametrize("name", [name for name in FORGED if "withdrawal" not in name])
def test_what_policy_has_refused_is_history(tmp_path: Path, name: str) -> None:
    event, reason = FORGED[name]
    assert audited(tmp_path / "log", refused(event, reason)).verdict is Verdict.SOUND


def test_what_policy_has_refused_of_another_event_excuses_nothing(tmp_path: Path) -> None:
    forged = FORGED["a grant that nobody signed"][0]
    twice = with_said(refused(forged, "approval_proof_invalid"), "gateway:main", forged)
    [finding] = audited(tmp_path / "log", twice).findings
    assert finding.reason == "approval_proof_invalid"


def refused(event: Event, reason: str) -> Records:
    """The log with an event that the gateway carried, and policy's refusal of it."""
    told = with_said(truth(), "gateway:main", event)
    about = {"job_id": GRANTED, "intent_digest": granted().intent_digest, "reason": reason, "message": "m"}
    is_intent = isinstance(event, IntentDeclared)
    refusal = IntentRefused(**about) if is_intent else ApprovalRejected(**about, approver="person:p")
    cause = cause_of(last_of(told, "gateway:main", "intents" if is_intent else "approvals"))
    return with_said(told, "stage:policy", refusal, cause, inputs=next_inputs(told, "stage:policy"))


def test_helpers_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PIECE", 7)
    forged = forge_grant(list(truth()))
    alone, shared = audited(tmp_path / "one", forged), audited(tmp_path / "two", forged, jobs=2)
    assert [finding.reason for finding in alone.findings] == ["approval_proof_invalid"]
    assert shared == alone
