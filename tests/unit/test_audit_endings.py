"""What was signed inside of an event counts up to where its key was revoked, in `audit verify` and in a bundle."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import rfc8785

from replay import crew, standalone
from replay.audit import verify
from replay.verdict import Audit, Verdict
from schemas.admission import Stored
from schemas.codec import own_schemas
from schemas.envelope import Inputs, Record, inputs_of
from schemas.events import (
    ApprovalGranted,
    ApprovalRejected,
    HaltOrdered,
    HumanProof,
    IntentDeclared,
    IntentRefused,
    IntentWithdrawn,
    KeyEnrolled,
    KeyRevoked,
)
from schemas.keys import key_id, raw_public_key
from schemas.people import signed_words
from schemas.proofs import TYPE_WITHDRAWAL, sign_jws
from schemas.words import Event
from streams.author import Draft, Scribe
from streams.log.embedded import EmbeddedLog, create
from streams.log.lines import Export
from streams.log.making import new_log
from tests.support.attacked import Records, cause_of, event_in, placed, sealed_anew, truth, with_said
from tests.support.attacks import at, last_of
from tests.support.bundled import HOME, bundle_from
from tests.support.golden_log import GRANTED, golden_logs
from tests.support.scene import EPOCH_US, SITE, Scene
from tests.support.signed import private_key

POLICY, APPROVER, OTHER = "stage:policy", "approver:tester", "the gateway's next key"
SAID = {"agent": "IntentDeclared", "approver": "ApprovalGranted"}
TOPICS = {"agent": "intents", "approver": "approvals"}


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


def found(audit: Audit) -> list[tuple[str, str, int]]:
    return [(each.reason, each.topic, each.offset) for each in audit.findings]


def said(who: str) -> Event:
    """What stands on the log already and bears that one's signature."""
    return event_in(truth()[at(list(truth()), SAID[who])].record)  # type: ignore[arg-type]  # `at` finds whole records


def event_of(source: str) -> Event:
    """Something that a source has said on `approvals`, to be said again."""
    return event_in(last_of(list(truth()), source, "approvals"))


def source_of(who: str) -> str:
    event = said(who)
    assert isinstance(event, IntentDeclared | ApprovalGranted)
    return event.manifest.initiator if isinstance(event, IntentDeclared) else event.approver


def revoked(records: Records, source: str) -> Records:
    by_root = next(each.record for each in records if each.topic == "governance" and isinstance(each.record, Record))
    event = KeyRevoked(key_id=key_id(raw_public_key(private_key(source))), reason="lost")
    return with_said(records, "root", event, cause_of(by_root), subject=HOME[0])


def read_by_policy(records: Records, *topics: str) -> Records:
    """Policy says something more, having read all that is there of these topics, one after the other."""
    outputs = [
        inputs_of(each.record.inputs)
        for each in records
        if isinstance(each.record, Record) and each.record.source == POLICY
    ]
    sizes, read = Counter(each.topic for each in records), Counter[str]()
    for topic, count in (run for output in outputs for run in output.runs):
        read[topic] += count
    runs = tuple((topic, sizes[topic] - read[topic]) for topic in topics if sizes[topic] > read[topic])
    inputs = Inputs(max(output.decision for output in outputs) + 1, 1, runs)
    return with_said(records, POLICY, event_of(POLICY), inputs=inputs)


def place_of_last(records: Records, topic: str) -> int:
    return max(each.offset for each in records if each.topic == topic)


@pytest.mark.parametrize("who", SAID)
def test_what_policy_let_pass_after_it_had_read_the_revocation_is_found(tmp_path: Path, who: str) -> None:
    told = with_said(revoked(list(truth()), source_of(who)), "gateway:main", said(who))
    audit = audited(tmp_path / "log", read_by_policy(told, "governance", TOPICS[who]))
    assert audit.verdict is Verdict.TAMPERED
    place = place_of_last(told, TOPICS[who])
    assert (f"{who}_key_revoked", TOPICS[who], place) in found(audit)
    assert len(audit.findings) == 1


@pytest.mark.parametrize("who", SAID)
def test_what_policy_had_read_before_the_revocation_counts(tmp_path: Path, who: str) -> None:
    told = with_said(revoked(list(truth()), source_of(who)), "gateway:main", said(who))
    assert found(audited(tmp_path / "log", read_by_policy(told, TOPICS[who], "governance"))) == []


@pytest.mark.parametrize("who", SAID)
def test_what_policy_has_not_read_yet_is_for_policy_to_refuse(tmp_path: Path, who: str) -> None:
    told = with_said(revoked(list(truth()), source_of(who)), "gateway:main", said(who))
    assert found(audited(tmp_path / "log", read_by_policy(told, "governance"))) == []


@pytest.mark.parametrize("who", SAID)
def test_what_policy_has_refused_is_history(tmp_path: Path, who: str) -> None:
    told = with_said(revoked(list(truth()), source_of(who)), "gateway:main", said(who))
    read = read_by_policy(told, "governance", TOPICS[who])
    about = {"job_id": GRANTED, "intent_digest": "0" * 64, "reason": "agent_unknown", "message": "m"}
    refusal = IntentRefused(**about) if who == "agent" else ApprovalRejected(**about, approver=source_of(who))
    cause = cause_of(last_of(told, "gateway:main", TOPICS[who]))
    outputs = [each.record for each in read if isinstance(each.record, Record) and each.record.source == POLICY]
    decision = max(inputs_of(record.inputs).decision for record in outputs) + 1
    assert (
        found(audited(tmp_path / "log", with_said(read, POLICY, refusal, cause, inputs=Inputs(decision, 1, ())))) == []
    )


def withdrawal() -> IntentWithdrawn:
    key = private_key(source_of("agent"))
    identity = key_id(raw_public_key(key))
    proof = sign_jws(rfc8785.dumps({"job_id": GRANTED, "reason": "r"}), key, identity, TYPE_WITHDRAWAL)
    return IntentWithdrawn(job_id=GRANTED, agent_key_id=identity, agent_proof=proof, reason="r")


@pytest.mark.parametrize("is_sealed_between", [True, False])
def test_a_withdrawal_counts_up_to_the_first_round_that_covers_the_revocation(
    tmp_path: Path, *, is_sealed_between: bool
) -> None:
    records = revoked(list(truth()), source_of("agent"))
    told = with_said(sealed_anew(records) if is_sealed_between else records, "gateway:main", withdrawal())
    expected = [("agent_key_revoked", "intents", place_of_last(told, "intents"))] if is_sealed_between else []
    assert found(audited(tmp_path / "log", sealed_anew(told))) == expected


def halt(scene: Scene) -> HaltOrdered:
    key = scene.keys[APPROVER]
    blank = HumanProof(proof_type="ed25519", key_id=key_id(raw_public_key(key)), signature=b"")
    ordered = HaltOrdered(
        halt_id="h", scope="site", target=SITE, person=APPROVER, reason="r", ordered_us=1, proof=blank
    )
    signed = blank.model_copy(update={"signature": key.sign(signed_words(ordered, SITE))})
    return ordered.model_copy(update={"proof": signed})


@pytest.mark.parametrize("is_after", [True, False])
async def test_what_a_person_says_on_governance_counts_up_to_the_revocation_there(
    tmp_path: Path, *, is_after: bool
) -> None:
    create(tmp_path / "log")
    scene = Scene(EmbeddedLog(tmp_path / "log", lambda: EPOCH_US))
    await scene.found()
    schemas = {schema.event_type: schema for schema in own_schemas()}
    scene.scribes["root"] = Scribe("root", SITE, schemas, {"governance": (await scene.log.ends(0))["governance"]})
    end = KeyRevoked(key_id=key_id(raw_public_key(scene.keys[APPROVER])), reason="lost")
    told: list[tuple[str, Event]] = [("gateway:main", halt(scene)), ("root", end)]
    for source, event in reversed(told) if is_after else told:
        await scene.say(source, Draft("governance", event, SITE, EPOCH_US))
    place = (await scene.log.ends(0))["governance"] - 1
    await scene.log.close()
    audit = await verify(tmp_path / "log", {SITE: scene.root})
    assert found(audit) == [("person_key_revoked", "governance", place)] * is_after


@pytest.mark.parametrize("is_after", [True, False])
def test_a_manifest_counts_up_to_what_the_end_of_the_gateways_key_names(tmp_path: Path, *, is_after: bool) -> None:
    """The gateway has a new key by now, and signs a manifest with the old one before its last word, or after it."""
    old, other = (raw_public_key(private_key(name)) for name in ("gateway:main", OTHER))
    enrolled = KeyEnrolled(key_id=key_id(other), public_key=other, source="gateway:main", role="gateway")
    records = with_said(truth(), "root", enrolled, subject=HOME[0])
    if not is_after:
        records = with_said(records, "gateway:main", said("agent"))
    spoken = [each.record for each in records if isinstance(each.record, Record)]
    last = {record.topic: cause_of(record) for record in spoken if record.source == "gateway:main"}
    end = KeyRevoked(key_id=key_id(old), reason="rotated")
    told = with_said(records, "root", end, *last.values(), subject=HOME[0])
    if is_after:
        told = with_said(told, "gateway:main", said("agent"), key=OTHER)
    audit = audited(tmp_path / "log", sealed_anew(told))
    report = standalone.verify(bundle_from(tmp_path / "log", GRANTED), HOME[1])
    place = place_of_last(told, "intents")
    assert [each for each in found(audit) if "gateway" in each[0]] == [
        ("gateway_key_revoked", "intents", place)
    ] * is_after
    assert [each.reason for each in report.findings if "gateway" in each.reason] == ["gateway_key_revoked"] * is_after


def test_a_bundle_says_where_only_an_audit_of_the_log_can_tell(tmp_path: Path) -> None:
    told = with_said(revoked(list(truth()), source_of("agent")), "gateway:main", said("agent"))
    audited(tmp_path / "log", sealed_anew(told))
    report = standalone.verify(bundle_from(tmp_path / "log", GRANTED), HOME[1])
    identity = key_id(raw_public_key(private_key(source_of("agent"))))
    assert [note for note in report.notes if identity in note and "an audit of the log tells" in note]


def test_helpers_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PIECE", 7)
    told = with_said(revoked(list(truth()), source_of("agent")), "gateway:main", said("agent"))
    records = read_by_policy(told, "governance", "intents")
    alone, shared = audited(tmp_path / "one", records), audited(tmp_path / "two", records, jobs=2)
    assert alone.findings
    assert shared == alone
