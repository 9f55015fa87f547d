"""Bundles of jobs of the golden log: sound as they are made, and never after a change that matters."""

import base64
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key  # type: ignore[attr-defined]  # exported, but not by __all__

from agents.artifacts import ArtifactStore
from qpubus.keyfile import write_key
from replay import standalone
from schemas.codec import encode
from schemas.events import SchemaPublished
from schemas.keys import key_id, raw_public_key
from schemas.merkle import leaf_hash, root_from_path
from schemas.note import parse_checkpoint, parse_note
from tests.support.bundled import (
    HOME,
    Change,
    bundle_from,
    bundled,
    changed,
    published_in,
    records_of,
    resealed,
    sealed,
)
from tests.support.commands import qpubus
from tests.support.golden_log import (
    DENIED,
    FREE,
    GRANTED,
    JOBS_TOLD,
    REFUSED,
    SEALED_TEXT,
    STEP,
    golden_logs,
    restore,
)
from tests.support.signed import private_key

FORGED = 30


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def verified(data: bytes) -> standalone.Report:
    return standalone.verify(data, HOME[1])


@pytest.mark.parametrize("job_id", JOBS_TOLD)
def test_a_bundle_as_it_was_made_is_sound_and_wholly_proven(job_id: str) -> None:
    report = verified(bundled(job_id))
    assert (report.verdict, report.findings) == (standalone.SOUND, [])
    assert report.proven == report.records > 70
    assert any("declares the job" in line for line in report.story)


def test_a_bundle_has_the_jobs_own_events_and_no_other_jobs() -> None:
    said = orjson.loads(bundled(GRANTED))
    subjects = {each["record"]["subject"] for each in said["records"]}
    assert GRANTED in subjects
    assert not subjects & {FREE, DENIED, REFUSED}


def test_the_story_is_told_with_each_event_after_its_causes() -> None:
    told = [line.split("  ", 1)[1] for line in verified(bundled(GRANTED)).story]
    order = ["declares", "a person must say yes", "says yes", "policy admits", "the scheduler chooses", "holds a slot"]
    places = [next(at for at, line in enumerate(told) if words in line) for words in order]
    assert places == sorted(places)


def test_another_judge_verifies_the_envelope() -> None:
    said = orjson.loads(bundled(GRANTED))
    envelope = Envelope.from_dict(said["dsse"])
    judges = [judge(raw_public_key(private_key(name))) for name in ("auditor:main", "gateway:main")]
    assert envelope.verify(judges[:1], 1)
    with pytest.raises(VerificationError):
        envelope.verify(judges[1:], 1)


def judge(public_key: bytes) -> Any:
    return Key.from_dict(
        key_id(public_key), {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public_key.hex()}}
    )


def test_the_statement_tells_the_job_in_the_words_of_slsa() -> None:
    said = orjson.loads(bundled(GRANTED))
    statement = orjson.loads(base64.b64decode(said["dsse"]["payload"]))
    predicate = statement["predicate"]
    names = {each["name"] for each in predicate["buildDefinition"]["resolvedDependencies"]}
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert predicate["buildDefinition"]["externalParameters"]["manifest"]["job_id"] == GRANTED
    assert {"policy", "prices", "intent", "grant", "admission", "slot", "snapshot", "step.py"} <= names
    assert predicate["runDetails"]["builder"]["id"].endswith(":device:cloud-bargain-1")


def test_each_proof_with_its_checkpoint_is_a_tlog_proof_of_the_events_digest() -> None:
    read = standalone.read_bundle(bundled(FREE))
    ledger = standalone.Ledger(HOME[1], HOME[0])
    own = [record for record in read.records if isinstance(record, standalone.Record)]
    for event in map(ledger.judge, own):
        whole = event.record.proof + "\n" + read.checkpoints[event.record.topic]
        upper, _, note = whole.partition("\n\n")
        version, index, *hashes = upper.split("\n")
        assert version == "c2sp.org/tlog-proof@v1"
        checkpoint = parse_checkpoint(parse_note(note.encode()).text)
        path = b"".join(map(base64.b64decode, hashes))
        place = int(index.removeprefix("index "))
        leaf = leaf_hash(bytes.fromhex(event.digest))
        assert root_from_path(leaf, place, checkpoint.size, path) == checkpoint.root


def value(data: bytes) -> str:
    return base64.b64encode(data).decode()


def other_value(said: dict[str, Any], type_: str) -> None:
    record = records_of(said, type_)[0]["record"]
    raw = bytearray(base64.b64decode(record["value"]))
    raw[-1] ^= 1
    record["value"] = value(bytes(raw))


def without(said: dict[str, Any], type_: str) -> None:
    for each in records_of(said, type_):
        said["records"].remove(each)


def swap(said: dict[str, Any]) -> None:
    one, other = records_of(said, "StepStarted")[0], records_of(said, "StepCompleted")[0]
    one["record"], other["record"] = other["record"], one["record"]


def other_proof(said: dict[str, Any]) -> None:
    one, other = said["records"][3:5]
    one["proof"], other["proof"] = other["proof"], one["proof"]


CHANGES: dict[str, tuple[Change, int, str]] = {
    "body": (lambda said: other_value(said, "IntentAdmitted"), 2, "seal_broken"),
    "header": (lambda said: records_of(said, "StepPlanned")[0]["record"].update(subject="x"), 2, "seal_broken"),
    "time": (
        lambda said: records_of(said, "StepPlanned")[0]["record"].update(time="2026-01-18T09:00:00.000000Z"),
        2,
        "seal_broken",
    ),
    "topic": (lambda said: records_of(said, "AlarmSet")[-1].update(topic="deadletters"), 2, "seal_broken"),
    "seal": (lambda said: records_of(said, "StepPlanned")[0]["record"].update(seal=""), 2, "seal_malformed"),
    "replayed": (
        lambda said: said["records"].append(said["records"][-1] | {"offset": said["records"][-1]["offset"] + 1}),
        2,
        "sequence_repeated",
    ),
    "moved": (swap, 2, "sequence_repeated"),
    "proof": (other_proof, 2, "proof_broken"),
    "append time": (lambda said: records_of(said, "StepPlanned")[0].update(append_time_us="0"), 2, "time_ahead"),
    "cause left out": (lambda said: without(said, "IntentAdmitted"), 3, "cause_absent"),
    "grant left out": (lambda said: without(said, "ApprovalGranted"), 3, "cause_absent"),
    "chunk left out": (lambda said: without(said, "ShotsMeasured"), 3, "shots_absent"),
    "step left out": (
        lambda said: said["records"].remove(records_of(said, "StepPlanned")[0]),
        3,
        "cause_absent",
    ),
    "governance left out": (lambda said: without(said, "BudgetSet"), 3, "governance_incomplete"),
    "a key left out": (lambda said: said["records"].remove(records_of(said, "KeyEnrolled")[0]), 2, "key_unknown"),
    "no checkpoint": (lambda said: said["checkpoints"].pop("intents"), 2, "checkpoint_absent"),
    "other checkpoint": (
        lambda said: said["checkpoints"].update(intents=said["checkpoints"]["results"]),
        2,
        "checkpoint_foreign",
    ),
    "no job": (lambda said: said.update(job="nobody"), 3, "intent_absent"),
    "site": (lambda said: said.update(site="elsewhere"), 2, "site_foreign"),
    "artifact": (lambda said: said["artifacts"].update({"ab" * 32: "AAAA"}), 2, "artifact_differs"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_even_if_an_auditor_signs_for_it(change: str) -> None:
    apply, verdict, reason = CHANGES[change]
    report = verified(changed(bundled(GRANTED), apply))
    assert (report.verdict, reason) == (
        verdict,
        next((r.reason for r in report.findings if r.reason == reason), report.findings),
    )


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_where_nobody_signs_for_it(change: str) -> None:
    report = verified(changed(bundled(GRANTED), CHANGES[change][0], signs=False))
    assert report.verdict in {standalone.TAMPERED, standalone.INCOMPLETE}
    reasons = {finding.reason for finding in report.findings}
    assert reasons & {"content_differs", "statement_invalid", "key_unknown"}


def test_a_bundle_of_records_that_do_not_hold_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standalone, "FAILURES_MAX", 5)
    report = standalone.verify(bundled(FREE), raw_public_key(private_key("stranger")))
    assert report.verdict == standalone.TAMPERED
    assert "failures_many" in {finding.reason for finding in report.findings}


def test_a_bundle_under_another_root_key_is_believed_in_nothing() -> None:
    report = standalone.verify(bundled(FREE), raw_public_key(private_key("stranger")))
    assert report.verdict == standalone.TAMPERED
    assert report.findings[0].reason == "root_other"


def test_no_body_that_its_author_signed_breaks_the_verifier() -> None:
    rng, reasons = Random(4), set[str]()  # noqa: S311 (seeded on purpose)
    for _ in range(FORGED):
        said = orjson.loads(bundled(GRANTED))
        for each in rng.sample(said["records"], 5):
            raw = bytearray(base64.b64decode(each["record"]["value"]))
            for _ in range(rng.randrange(1, 4)):
                raw[rng.randrange(5, len(raw))] = rng.randrange(256)
            if rng.random() < 0.2:
                del raw[rng.randrange(5, len(raw)) :]
            if each["record"]["type"] != "qpubus.SchemaPublished":
                each["record"]["value"] = value(bytes(raw))
        report = verified(sealed(resealed(said)))
        assert report.verdict in {standalone.TAMPERED, standalone.INCOMPLETE}
        reasons |= {finding.reason for finding in report.findings}
    assert {"body_undecodable", "cause_differs", "proof_broken"} <= reasons


FIELDS = (
    b"public_key", b"role", b"source", b"devices", b"job_id", b"manifest", b"initiator", b"agent_proof",
    b"agent_key_id", b"statement", b"intent_digest", b"proof", b"approver", b"signature", b"topic", b"offset",
    b"snapshot_digest", b"shots", b"step", b"summary", b"text_digest", b"result_digest", b"seed", b"artifacts",
)  # fmt: skip


@pytest.mark.parametrize("name", FIELDS, ids=bytes.decode)
def test_no_schema_without_a_field_breaks_the_verifier(name: bytes) -> None:
    said = orjson.loads(bundled(GRANTED))
    for each in records_of(said, "SchemaPublished")[1:]:
        raw = base64.b64decode(each["record"]["value"])
        each["record"]["value"] = value(raw.replace(b'"name": "%s"' % name, b'"name": "%s"' % name[::-1]))
    assert verified(sealed(resealed(said))).verdict in {standalone.TAMPERED, standalone.INCOMPLETE}


TYPES: dict[str, tuple[Any, bytes]] = {
    "lists": ({"type": "array", "items": "long"}, b"\0"),
    "maps": ({"type": "map", "values": "long"}, b"\0"),
    "absent": (["null", "long"], b"\0"),
    "texts": ("string", b"\0"),
    "bytes": ("bytes", b"\0"),
    "numbers": ("long", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    "doubles": ("double", b"\xff" * 6 + b"\xef\x7f"),
    "truths": ("boolean", b"\1"),
}


@pytest.mark.parametrize("kept", [(), ("KeyEnrolled",), ("KeyEnrolled", "IntentDeclared"), ("IntentAdmitted",)])
@pytest.mark.parametrize("type_", TYPES)
def test_no_schema_with_other_types_breaks_the_verifier(type_: str, kept: tuple[str, ...]) -> None:
    """Every field of every event but those kept is of one type, and each body says so."""
    said, (kind, item) = orjson.loads(bundled(GRANTED)), TYPES[type_]
    fields: dict[str, int] = {}
    for each in records_of(said, "SchemaPublished")[1:]:
        raw = base64.b64decode(each["record"]["value"])
        number, text = published_in(raw[5:])
        schema = orjson.loads(text)
        if schema["name"] in kept:
            continue
        names = [field["name"] for field in schema["fields"]]
        fields[schema["name"]] = len(names)
        other = {"type": "record", "name": schema["name"], "namespace": "qpubus"}
        other |= {"fields": [{"name": name, "type": kind} for name in names]}
        event = SchemaPublished(
            schema_id=number, event_type=f"qpubus.{schema['name']}", text=orjson.dumps(other).decode()
        )
        each["record"]["value"] = value(raw[:5] + encode(event))
    for each in said["records"]:
        raw, name = base64.b64decode(each["record"]["value"]), each["record"]["type"].removeprefix("qpubus.")
        if name in fields:
            each["record"]["value"] = value(raw[:5] + item * fields[name])
    assert verified(sealed(resealed(said))).verdict in {standalone.TAMPERED, standalone.INCOMPLETE}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty", b""),
        ("no JSON", b"\xff\xfe"),
        ("deep", b'{"a":' * 100_000),
        ("deep lists", b"[" * 1_000_000),
        ("wide", b"[" + b"[]," * 1_000_000 + b"[]]"),
        ("huge number", b'{"format":' + b"9" * 1_000_000 + b"}"),
        ("another kind", b'{"kind":"qpubus log"}'),
        ("a list", b"[]"),
        ("no members", b'{"format":1,"kind":"qpubus bundle"}'),
    ],
)
def test_what_is_no_bundle_is_unreadable(name: str, data: bytes) -> None:
    assert verified(data).verdict == standalone.UNREADABLE, name


def test_a_bundle_cut_anywhere_is_unreadable() -> None:
    data = bundled(REFUSED)
    for end in range(0, len(data), len(data) // 50):
        assert verified(data[:end]).verdict == standalone.UNREADABLE


def test_a_sparse_file_of_ten_gigabytes_is_unreadable_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    assert standalone.main([str(path), "--json"]) == standalone.UNREADABLE


# The commands


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return restore(golden_logs()[0], tmp_path / "data")


def test_a_job_is_bundled_and_verified_by_the_commands(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = qpubus("audit", "bundle", GRANTED, "-o", tmp_path / "b", "--data", data)
    assert (done.code, done.err) == (0, "")
    assert "verdict  sound" in done.out
    assert standalone.main([str(tmp_path / "b"), "--root", str(data / "root.pub")]) == 0
    assert "the one you gave" in capsys.readouterr().out
    assert standalone.main([str(tmp_path / "b")]) == 0
    assert "FROM THE BUNDLE ITSELF" in capsys.readouterr().out


def test_a_bundle_is_never_written_over_a_file(data: Path, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    done = qpubus("audit", "bundle", GRANTED, "-o", tmp_path / "b", "--data", data)
    assert (done.code, (tmp_path / "b").read_text()) == (1, "mine")
    assert "is there already" in done.err


def test_a_bundle_into_a_directory_that_is_not_there_names_the_directory(data: Path, tmp_path: Path) -> None:
    done = qpubus("audit", "bundle", GRANTED, "-o", tmp_path / "absent" / "b", "--data", data)
    assert done.code == 1
    assert f"{tmp_path / 'absent'} is no directory" in done.err


def test_a_job_that_nobody_declared_is_not_bundled(data: Path, tmp_path: Path) -> None:
    done = qpubus("audit", "bundle", "nobody", "-o", tmp_path / "b", "--data", data)
    assert done.code == 1
    assert "there is no job nobody" in done.err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", ["gateway:main", "stranger"])
def test_a_key_that_is_no_auditors_makes_no_bundle(data: Path, tmp_path: Path, name: str) -> None:
    write_key(tmp_path / "key.pem", private_key(name))
    options = ("--data", data, "--key", tmp_path / "key.pem")
    done = qpubus("audit", "bundle", GRANTED, "-o", tmp_path / "b", *options)
    assert done.code == 1
    assert "no auditor's" in done.err
    assert "qpubus keys list" in done.err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("is_redacted", [False, True])
def test_documents_go_along_unless_words_are_withheld(data: Path, tmp_path: Path, is_redacted: bool) -> None:
    digest = ArtifactStore(data / "artifacts").put(STEP)
    options = ["--redact"] if is_redacted else []
    assert qpubus("audit", "bundle", GRANTED, "-o", tmp_path / "b", "--data", data, *options).code == 0
    said = orjson.loads((tmp_path / "b").read_bytes())
    assert said["artifacts"].get(digest) == (None if is_redacted else base64.b64encode(STEP).decode())
    assert is_redacted == (said["artifacts"] == {})


def test_a_document_that_was_changed_is_left_out(data: Path) -> None:
    store = ArtifactStore(data / "artifacts")
    digest = store.put(STEP)
    (data / "artifacts" / digest).write_bytes(b"another")
    said = orjson.loads(bundle_from(data, GRANTED, store))
    assert said["artifacts"][digest] is None


def test_no_sealed_text_is_in_a_bundle() -> None:
    said = orjson.loads(bundled(GRANTED))
    values = b"".join(base64.b64decode(each["record"]["value"]) for each in said["records"])
    assert b"two bits should agree" in values
    assert SEALED_TEXT.encode() not in values
    assert SEALED_TEXT.encode() not in bundled(GRANTED)


@pytest.mark.parametrize("arguments", [[], ["--nonsense"], ["b", "--root", "absent"], ["b", "--witness", "absent"]])
def test_a_wrong_call_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        standalone.main(arguments)
    assert stopped.value.code == standalone.USAGE


def test_a_file_that_is_not_there_is_unreadable(capsys: pytest.CaptureFixture[str]) -> None:
    assert standalone.main(["absent"]) == standalone.UNREADABLE
    assert "absent" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_report_that_cannot_be_written_is_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(bundled(GRANTED))
    command = [sys.executable, standalone.__file__, str(tmp_path / "b")]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "could not be written" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_a_reader_who_goes_away_changes_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(bundled(GRANTED))
    command = [sys.executable, standalone.__file__, str(tmp_path / "b")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert (run.stderr.read(), run.wait()) == ("", standalone.SOUND)
