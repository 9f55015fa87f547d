"""`audit verify` checks what agents, gateway and people signed inside of events, unless a stage has refused it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from replay import crew
from replay.admissions import Admissions
from replay.audit import verify
from replay.index import Index, Texts
from replay.verdict import Audit, Verdict
from schemas.admission import Admission, Admitted, Stored
from schemas.envelope import Record
from schemas.events import (
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRejected,
    HumanProof,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    IntentWithdrawn,
)
from schemas.words import Event
from streams.log.lines import Export
from streams.log.making import new_log
from tests.support.attacked import Records, cause_of, event_in, placed, truth, with_said
from tests.support.attacks import (
    admit,
    admit_without_grant,
    at,
    forge_grant,
    last_of,
    next_inputs,
    obey_rejected_grant,
    refuse_admitted,
)
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


def in_log(type_: str) -> Record:
    record = truth()[at(list(truth()), type_)].record
    assert isinstance(record, Record)
    return record


def test_whom_an_admission_names_must_have_granted(tmp_path: Path) -> None:
    audit = audited(tmp_path / "log", admit(list(truth()), in_log("ApprovalGranted"), approver="approver:nobody"))
    assert [(each.reason, "approver:nobody" in each.detail) for each in audit.findings] == [("grant_absent", True)]
    assert audit.verdict is Verdict.INCOMPLETE


def test_each_of_several_whom_an_admission_names_must_have_granted() -> None:
    admission, index = Admission(HOME[1], HOME[0], topics=frozenset()), Index()
    admitted = next(each for each in admission.admit(truth()) if isinstance(each, Admitted) and is_by_people(each))
    admissions, several = Admissions(index), ("approver:a", "approver:b", "approver:c")
    assert isinstance(admitted.event, IntentAdmitted)
    event = admitted.event.model_copy(update={"approvers": several, "approver": several[-1]})
    admissions.hear(event, admitted)
    for approver in several[::2]:
        admissions.grant(granted().model_copy(update={"approver": approver}))
    [finding] = admissions.findings(0, Texts(index))
    assert (finding.reason, finding.detail) == ("grant_absent", "the grant of approver:b is not there")


def is_by_people(admitted: Admitted) -> bool:
    return isinstance(admitted.event, IntentAdmitted) and bool(admitted.event.approver)


def test_a_grant_of_another_intent_is_none(tmp_path: Path) -> None:
    audit = audited(tmp_path / "log", admit(list(truth()), in_log("ApprovalGranted"), intent_digest="0" * 64))
    assert [each.reason for each in audit.findings] == ["grant_absent"]


@pytest.mark.parametrize(
    "alone",
    [{"approver": ""}, {"approver": "", "mandate_id": "m"}],
    ids=["by its rules", "under a mandate"],
)
def test_where_nobody_had_to_be_asked_nobody_must_have_granted(tmp_path: Path, alone: dict[str, object]) -> None:
    audit = audited(tmp_path / "log", admit(list(truth()), in_log("IntentDeclared"), **alone))
    assert audit.verdict is Verdict.SOUND


def test_a_grant_that_holds_and_was_rejected_admits_nothing(tmp_path: Path) -> None:
    told = refused(granted(), "approval_not_waiting")
    obeyed = admit(told, last_of(told, "gateway:main", "approvals"))
    assert [each.reason for each in audited(tmp_path / "log", obeyed).findings] == ["grant_rejected"]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (obey_rejected_grant, "approval_proof_invalid"),
        (admit_without_grant, "grant_absent"),
        (refuse_admitted, "intent_refused"),
    ],
)
def test_helpers_find_what_admissions_rest_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: Callable[[Records], Records], reason: str, jobs: int
) -> None:
    monkeypatch.setattr(crew, "PIECE", 7)
    assert audited(tmp_path / "log", attack(list(truth())), jobs).findings[0].reason == reason
