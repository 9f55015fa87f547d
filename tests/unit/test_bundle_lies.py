"""Bundles that an auditor has signed and that are not true: the stand-alone verifier does not call them sound."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.drafts import draft
from replay import bundle as making
from replay import standalone
from schemas.admission import Stored
from schemas.checkpoints import Vocabulary, head_of, origin_of
from schemas.envelope import Inputs, Record
from schemas.events import (
    ApprovalGranted,
    ApprovalRejected,
    CheckpointSealed,
    DeviceStatusChanged,
    GapAccepted,
    IntentAdmitted,
    IntentRefused,
    KeyEnrolled,
    KeyRevoked,
)
from schemas.keys import key_id, raw_public_key
from schemas.merkle import leaf_hash, root_hash
from schemas.topics import TOPICS
from schemas.words import Event
from streams.author import seal_all
from tests.support.attacked import (
    LATER_US,
    Records,
    _body,
    _scribe,
    cause_of,
    event_in,
    policy,
    rounds_of,
    truth,
    with_said,
)
from tests.support.attacks import at, last_of, next_inputs, use_revoked_key
from tests.support.bundled import HOME, bundle_from, bundled, changed, records_of, signed
from tests.support.golden_log import DENIED, GRANTED, golden_logs, restore
from tests.support.signed import private_key

SEALER, DEVICE = "sealer:main", "device:cloud-bargain-1"


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def verified(data: bytes) -> standalone.Report:
    return standalone.verify(data, HOME[1])


def reasons(data: bytes) -> list[str]:
    return [each.reason for each in verified(data).findings]


def bundle_of(records: Sequence[Stored], directory: Path, job_id: str = GRANTED) -> bytes:
    """The bundle of a job out of a log with these records."""
    return bundle_from(restore(golden_logs()[0], directory / "data", lambda _: list(records)), job_id)


def record_of(records: Records, type_: str) -> Record:
    record = records[at(records, type_)].record
    assert isinstance(record, Record)
    return record


def seals_of(records: Sequence[Stored]) -> list[standalone.Record]:
    """Records as the verifier has them."""
    return [
        standalone.Record(
            each.topic,
            each.offset,
            each.append_time_us,
            {name: getattr(each.record, name) for name in standalone.TEXTS},
            each.record.value,
            each.record.seal,
            "",
        )
        for each in records
        if isinstance(each.record, Record)
    ]


# Seals


def test_a_signature_that_held_under_one_key_holds_under_no_other() -> None:
    other = raw_public_key(private_key("another"))
    enrolled = [event_in(each) for each in map(record, truth()) if each.type == "qpubus.KeyEnrolled"]
    [known] = [each for each in enrolled if isinstance(each, KeyEnrolled) and each.source == DEVICE]
    second = known.model_copy(update={"key_id": key_id(other), "public_key": other})
    told = with_said(truth(), "root", second, subject=HOME[0])
    busy = DeviceStatusChanged(device="cloud-bargain-1", status="online", queue_jobs=9, queue_wait_us=1)
    scribe = _scribe(told, DEVICE, "snapshots")
    batch = [scribe.write(draft(busy, LATER_US, subject=GRANTED), _body(busy)) for _ in range(2)]
    one, two = seal_all(batch, private_key(DEVICE))
    two = two._replace(seal=two.seal[:1] + bytes.fromhex(key_id(other)) + two.seal[17:])
    ledger = standalone.Ledger(HOME[1], HOME[0])
    for each in seals_of([each for each in told if each.topic == "governance"]):
        ledger.judge(each)
    first, again = seals_of([Stored("snapshots", 900 + at, 0, LATER_US, each) for at, each in enumerate((one, two))])
    assert ledger.judge(first).key.source == DEVICE
    with pytest.raises(standalone.Wrong, match="does not hold for these bytes"):
        ledger.judge(again)


def record(stored: Stored) -> Record:
    assert isinstance(stored.record, Record)
    return stored.record


# What is left out


def stripped(said: dict[str, Any]) -> None:
    """Without a revocation, and without all that could tell that it is gone."""
    said["records"] = [each for each in said["records"] if each not in records_of(said, "KeyRevoked")]
    said["checkpoints"] = {}
    for each in said["records"]:
        each["proof"] = ""


def test_a_bundle_without_any_checkpoint_is_not_sound(tmp_path: Path) -> None:
    made = bundle_of(use_revoked_key(list(truth())), tmp_path)
    assert reasons(made) == ["key_revoked"]
    report = verified(changed(made, stripped))
    assert report.verdict == standalone.INCOMPLETE
    assert [each.reason for each in report.findings] == ["checkpoint_absent"]


@pytest.mark.parametrize("topic", ["governance", "results"])
def test_nor_is_one_without_the_checkpoint_of_a_topic(topic: str) -> None:
    def without(said: dict[str, Any]) -> None:
        del said["checkpoints"][topic]
        for each in said["records"]:
            each["proof"] = "" if each["topic"] == topic else each["proof"]

    report = verified(changed(bundled(GRANTED), without))
    assert (report.verdict, {each.reason for each in report.findings}) == (
        standalone.INCOMPLETE,
        {"checkpoint_absent"},
    )


@pytest.mark.parametrize("moves_up", [False, True])
def test_governance_behind_the_checkpoint_goes_on_without_a_gap(tmp_path: Path, moves_up: bool) -> None:
    def without(said: dict[str, Any]) -> None:
        [gone] = records_of(said, "KeyRevoked")
        said["records"].remove(gone)
        for each in said["records"]:
            if moves_up and each["topic"] == "governance" and each["offset"] > gone["offset"]:
                each["offset"] -= 1

    revoked = KeyRevoked(key_id=key_id(raw_public_key(private_key("clock:main"))), reason="lost")
    gap = GapAccepted(topic="alarms", source="clock:main", next_sequence=900, reason="looked into")
    told = with_said(with_said(truth(), "root", revoked, subject=HOME[0]), "root", gap, subject=HOME[0])
    made = bundle_of(told, tmp_path)
    assert verified(made).verdict == standalone.SOUND
    report = verified(changed(made, without))
    assert report.verdict == standalone.INCOMPLETE
    assert {each.reason for each in report.findings} == {"sequence_gap"} | (
        {"governance_incomplete"} - {moves_up and "governance_incomplete"}
    )


# Sealers


def sealed_after_revocation() -> Records:
    """The root has revoked the sealer's key, naming its last round; a thief seals all there is with that key."""
    by_sealer = [record(each) for each in truth() if record(each).source == SEALER]
    revoked = KeyRevoked(key_id=key_id(raw_public_key(private_key(SEALER))), reason="stolen")
    told = with_said(truth(), "root", revoked, cause_of(by_sealer[-1]), subject=HOME[0])
    vocabulary, heads = Vocabulary(dict([HOME])), []
    vocabulary.read([each for each in told if each.topic == "governance"])
    for topic in TOPICS:
        leaves = [leaf_hash(digest) for digest in vocabulary.digests([each for each in told if each.topic == topic])]
        origin = origin_of(HOME[1], topic, 0)
        heads.append(head_of(origin, topic, len(leaves), root_hash(leaves), private_key(SEALER)))
    sealed = CheckpointSealed(round=rounds_of(told)[-1].round + 1, partition=0, heads=tuple(heads))
    return with_said(told, SEALER, sealed, subject=HOME[0])


def test_a_round_that_a_revoked_sealer_has_made_is_not_bundled(tmp_path: Path) -> None:
    report = verified(bundle_of(sealed_after_revocation(), tmp_path))
    assert (report.verdict, report.records - report.proven) == (standalone.SOUND, 1)
    assert any("who has the key could have sealed it later" in note for note in report.notes)


def test_nor_believed_where_somebody_bundles_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_counts", lambda *_: True)
    report = verified(bundle_of(sealed_after_revocation(), tmp_path))
    assert (report.verdict, report.findings[0].reason) == (standalone.TAMPERED, "key_revoked")
    assert "the governance that is sealed says so" in report.findings[0].detail


# The auditor's statement


def statement_of(data: bytes) -> dict[str, Any]:
    said: dict[str, Any] = orjson.loads(base64.b64decode(orjson.loads(data)["dsse"]["payload"]))
    return said


def restated(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A bundle about which its auditor says something else."""
    statement = statement_of(data)
    change(statement)
    return changed(data, lambda said: said["dsse"].update(signed(statement)), signs=False)


def run(statement: dict[str, Any]) -> dict[str, Any]:
    return statement["predicate"]["runDetails"]  # type: ignore[no-any-return]  # JSON


def definition(statement: dict[str, Any]) -> dict[str, Any]:
    return statement["predicate"]["buildDefinition"]  # type: ignore[no-any-return]  # JSON


def other_subject(statement: dict[str, Any]) -> None:
    [intent] = [each for each in definition(statement)["resolvedDependencies"] if each["name"] == "intent"]
    statement["subject"][0]["digest"] = intent["digest"]


LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "subject": other_subject,
    "buildType": lambda said: definition(said).update(buildType="urn:other"),
    "internalParameters": lambda said: definition(said).update(internalParameters={"admission": "any"}),
    "builder": lambda said: run(said).update(builder={"id": "urn:qpubus:site-a:device:onprem-iontrap-1"}),
    "invocationId": lambda said: run(said)["metadata"].update(invocationId="another"),
    "startedOn": lambda said: run(said)["metadata"].update(startedOn="1999-01-01T00:00:00.000000Z"),
    "finishedOn": lambda said: run(said)["metadata"].update(finishedOn="1999-01-01T00:00:00.000000Z"),
}


@pytest.mark.parametrize("redacts", [False, True])
@pytest.mark.parametrize("lie", LIES)
def test_a_statement_that_its_events_contradict_is_found(lie: str, redacts: bool) -> None:
    report = verified(restated(bundled(GRANTED, redacts=redacts), LIES[lie]))
    assert report.verdict == standalone.TAMPERED
    assert {each.reason for each in report.findings} <= {"provenance_differs", "statement_invalid"}


@pytest.mark.parametrize("redacts", [False, True])
def test_a_dependency_that_a_statement_leaves_out_is_missed(redacts: bool) -> None:
    made = bundled(GRANTED, redacts=redacts)
    for place, each in enumerate(definition(statement_of(made))["resolvedDependencies"]):
        if redacts and each["name"] in {"policy", "snapshot taken"}:
            continue
        report = verified(restated(made, lambda said, at=place: definition(said)["resolvedDependencies"].pop(at)))  # type: ignore[misc]  # bound now
        assert (report.verdict, [each.reason for each in report.findings]) == (
            standalone.INCOMPLETE,
            ["dependency_absent"],
        )


def test_a_dependency_under_another_name_is_none() -> None:
    def renamed(statement: dict[str, Any]) -> None:
        definition(statement)["resolvedDependencies"][0]["name"] = "blessing"

    report = verified(restated(bundled(GRANTED), renamed))
    assert report.verdict == standalone.TAMPERED
    assert {each.reason for each in report.findings} == {"dependency_other", "dependency_absent"}


# Decisions


def forged_grant() -> tuple[Records, Record]:
    """A grant that nobody signed is on the log."""
    granted = event_in(record_of(list(truth()), "ApprovalGranted"))
    assert isinstance(granted, ApprovalGranted)
    forged = granted.model_copy(update={"proof": granted.proof.model_copy(update={"signature": bytes(64)})})
    told = with_said(truth(), "gateway:main", forged)
    return told, last_of(told, "gateway:main", "approvals")


def decided(told: Records, grant: Record, *events: Event) -> Records:
    """Policy says these because of the grant."""
    first = next_inputs(told, "stage:policy")
    for at_, event in enumerate(events):
        inputs = first if not at_ else Inputs(first.decision + at_, 1, ())
        told = with_said(told, "stage:policy", event, cause_of(grant), inputs=inputs)
    return told


def rejection() -> ApprovalRejected:
    granted = event_in(record_of(list(truth()), "ApprovalGranted"))
    assert isinstance(granted, ApprovalGranted)
    return ApprovalRejected(
        job_id=GRANTED,
        intent_digest=granted.intent_digest,
        approver=granted.approver,
        reason="stale",
        message="it is not believed",
    )


def test_a_grant_that_nobody_signed_is_excused_where_policy_rejected_it(tmp_path: Path) -> None:
    assert verified(bundle_of(decided(*forged_grant(), rejection()), tmp_path)).findings == []


def test_it_is_not_where_policy_then_obeyed_it(tmp_path: Path) -> None:
    admitted = event_in(record_of(list(truth()), "IntentAdmitted"))
    made = bundle_of(decided(*forged_grant(), rejection(), admitted), tmp_path)
    assert reasons(made) == ["approval_proof_invalid"]


def test_nor_where_policy_refused_something_else(tmp_path: Path) -> None:
    refused = IntentRefused(job_id=GRANTED, intent_digest="ab" * 32, reason="stale", message="another intent")
    assert reasons(bundle_of(decided(*forged_grant(), refused), tmp_path)) == ["approval_proof_invalid"]


def test_an_intent_that_was_refused_and_admitted_is_found(tmp_path: Path) -> None:
    declared = next(
        record(each)
        for each in truth()
        if record(each).type == "qpubus.IntentDeclared" and record(each).subject == DENIED
    )
    admitted = event_in(record_of(list(truth()), "IntentAdmitted"))
    assert isinstance(admitted, IntentAdmitted)
    cause = cause_of(declared)
    again = admitted.model_copy(update={"job_id": DENIED, "intent_digest": cause.digest, "approver": ""})
    inputs = next_inputs(list(truth()), "stage:policy")
    told = with_said(truth(), "stage:policy", again, cause, inputs=inputs, subject=DENIED)
    assert reasons(bundle_of(told, tmp_path, DENIED)) == ["intent_refused"]


# What the report says


def test_a_report_says_why_it_is_uncovered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b").write_bytes(bundled(GRANTED))
    (tmp_path / "policy").write_bytes(policy())
    arguments = [str(tmp_path / "b"), "--root", HOME[1].hex(), "--witness", str(tmp_path / "policy")]
    assert standalone.main(arguments) == standalone.UNCOVERED
    assert "uncovered: governance: not enough witnesses\n" in capsys.readouterr().out
    assert standalone.main([*arguments, "--json"]) == standalone.UNCOVERED
    assert "governance: not enough witnesses" in orjson.loads(capsys.readouterr().out)["uncovered"]


@pytest.mark.parametrize("given", [[], ["--root", HOME[1].hex()]])
def test_a_report_says_whether_a_root_key_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    (tmp_path / "b").write_bytes(bundled(GRANTED))
    standalone.main([str(tmp_path / "b"), "--json", *given])
    assert orjson.loads(capsys.readouterr().out)["root_given"] is bool(given)


def test_of_two_files_the_one_that_cannot_be_used_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["b", "--root", HOME[1].hex(), "--witness", str(tmp_path / "absent")]
    with pytest.raises(SystemExit):
        standalone.main(arguments)
    assert f"--witness {tmp_path / 'absent'}: No such file" in capsys.readouterr().err


def test_what_is_said_again_and_again_is_one_line_of_the_story() -> None:
    ledger, read = standalone.Ledger(HOME[1], HOME[0]), standalone.read_bundle(bundled(GRANTED, redacts=True))
    events = [ledger.judge(each) for each in read.records if isinstance(each, standalone.Record)]
    [chunk, *_] = [event for event in events if event.type == "ShotsMeasured"]
    chunks = [replace(chunk, sequence=900 + at_, causes=[]) for at_ in range(12)]
    time = chunk.record.texts["time"][:19].replace("T", " ")
    line = f"{time}  ShotsMeasured, said by {chunk.key.source}"
    assert list(standalone.story(GRANTED, chunks)) == [f"{line} (12 times, until {time})"]
    assert list(standalone.story(GRANTED, chunks[:1])) == [line]
