"""Redacted bundles: nothing that events say is in them, and what was done to a log is found in them all the same."""

import asyncio
import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from qpubus.keyfile import write_key
from replay import standalone
from replay.audit import verify
from schemas.admission import Stored
from schemas.digests import sha256_hex
from schemas.envelope import Record, Stray
from tests.support.bundled import HOME, Change, bundle_from, bundled, changed, published_in, records_of
from tests.support.commands import qpubus
from tests.support.golden_log import FREE, GRANTED, JOBS_TOLD, golden_logs, restore
from tests.support.signed import private_key
from tests.unit.test_bundle_agreement import REWRITES, rejected
from tests.unit.test_bundle_tampering import edit

SHOWN = {"SchemaPublished", "KeyEnrolled", "KeyRevoked", "EventRejected", "ApprovalGranted"}
WORD_CHARS = 9
"""A shorter text may stand anywhere by chance, as `internal` does in the names of a SLSA statement."""


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def verified(data: bytes) -> standalone.Report:
    return standalone.verify(data, HOME[1])


def name_of(record: Mapping[str, Any]) -> str:
    return str(record["record"]["type"]).removeprefix("qpubus.")


def values_in(said: Mapping[str, Any]) -> bytes:
    """All that the values of records say, without the schemas."""
    told = [each for each in said["records"] if name_of(each) != "SchemaPublished"]
    return b"".join(base64.b64decode(each["record"]["value"]) for each in told)


def texts_in(value: object) -> Iterator[str]:
    """All texts in a value; names of members are those of fields, which schemas tell."""
    match value:
        case str() if len(value) >= WORD_CHARS:
            yield value
        case dict():
            yield from texts_in(list(value.values()))
        case list():
            for each in value:
                yield from texts_in(each)
        case _:
            pass


@pytest.mark.parametrize("job_id", JOBS_TOLD)
def test_a_redacted_bundle_is_sound_and_proves_the_place_of_every_record(job_id: str) -> None:
    whole, report = verified(bundled(job_id)), verified(bundled(job_id, redacts=True))
    assert (report.verdict, report.findings) == (standalone.SOUND, [])
    assert (report.records, report.proven) == (whole.records, whole.proven)
    assert report.withheld == sum(name_of(each) not in SHOWN for each in orjson.loads(bundled(job_id))["records"])
    assert (whole.withheld, whole.unchecked) == (0, [])


@pytest.mark.parametrize("job_id", JOBS_TOLD)
def test_no_words_of_an_event_are_in_a_redacted_bundle(job_id: str) -> None:
    said, data = orjson.loads(bundled(job_id)), bundled(job_id, redacts=True)
    redacted = orjson.loads(data)
    payload = base64.b64decode(redacted["dsse"]["payload"])
    values = values_in(redacted)
    withheld = [each for each in said["records"] if name_of(each) not in SHOWN]
    named = {text for each in said["records"] for text in each["record"].values()} | {HOME[0]}
    shown = [each for each in said["records"] if name_of(each) in SHOWN - {"SchemaPublished"}]
    published = [
        published_in(base64.b64decode(each["record"]["value"])[5:]) for each in records_of(said, "SchemaPublished")
    ]
    schemas = {number: standalone.Schema(text) for number, text in published}

    def event_of(record: Mapping[str, Any]) -> dict[str, Any]:
        value = base64.b64decode(record["record"]["value"])
        return schemas[int.from_bytes(value[1:5], "big")].read(value[5:])

    known = named | {text for each in shown for text in texts_in(event_of(each))}
    for record in withheld:
        body = base64.b64decode(record["record"]["value"])[5:]
        assert len(body) < WORD_CHARS or body not in values + payload
        for text in texts_in([*event_of(record).values()]):
            if not any(text in each for each in known):
                assert text.encode() not in data + values + payload, (name_of(record), text)
    assert redacted["artifacts"] == {}


def test_a_reader_of_a_redacted_bundle_finds_neither_purpose_nor_circuit_nor_rules() -> None:
    said = orjson.loads(bundled(GRANTED))
    whole = values_in(said)
    data = bundled(GRANTED, redacts=True)
    redacted = orjson.loads(data)
    seen = data + base64.b64decode(redacted["dsse"]["payload"]) + values_in(redacted)
    for word in (b"two bits should agree", b"T1BFTlFBU00", b"a person must grant it", b"best balance"):
        assert word in whole
        assert word not in seen


@pytest.mark.parametrize("rewrite", REWRITES)
def test_what_was_done_to_a_log_is_found_in_a_redacted_bundle_too(rewrite: str, tmp_path: Path) -> None:
    data = restore(golden_logs()[0], tmp_path / "data", REWRITES[rewrite])
    audit, report = asyncio.run(verify(data)), verified(bundle_from(data, GRANTED, redacts=True))
    assert standalone.VERDICTS[report.verdict] == audit.verdict.word, (audit.findings[:3], report.findings[:3])


def test_the_report_says_what_could_not_be_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(bundled(GRANTED, redacts=True))
    assert standalone.main([str(tmp_path / "b"), "--root", HOME[1].hex()]) == standalone.SOUND
    told = capsys.readouterr().out
    assert "not checked that the agent signed the manifest" in told
    assert "not checked that what the approver signed is what was asked" in told
    assert "not checked that no step and no shot is missing" in told
    assert "withdrawal" not in told
    assert "approver:tester says yes" in told
    assert "IntentDeclared, said by gateway:main" in told


def test_a_job_that_nobody_was_asked_for_has_no_grant_to_check() -> None:
    unchecked = verified(bundled(FREE, redacts=True)).unchecked
    assert "that what the approver signed is what was asked" not in unchecked


def withhold(said: dict[str, Any], type_: str) -> None:
    """Leave out what the last event of a type says, as if it might be left out."""
    texts = records_of(said, type_)[-1]["record"]
    value = base64.b64decode(texts["value"])
    texts |= {"body": sha256_hex(value[5:]), "value": base64.b64encode(value[:5]).decode()}


@pytest.mark.parametrize("type_", ["SchemaPublished", "KeyEnrolled"])
def test_what_tells_keys_and_schemas_cannot_be_withheld(type_: str) -> None:
    report = verified(changed(bundled(GRANTED), lambda said: withhold(said, type_)))
    assert report.verdict == standalone.TAMPERED
    assert "body_withheld" in {each.reason for each in report.findings}


def _set(type_: str, name: str, value: str) -> Change:
    return lambda said: records_of(said, type_)[-1]["record"].update({name: value})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("ShotsMeasured", "body", "ab" * 32), "seal_broken"),
        (_set("ShotsMeasured", "value", base64.b64encode(b"\0\0\0\0\1").decode()), "type_mismatch"),
        (_set("ShotsMeasured", "time", "2026-01-18T09:00:00.000001Z"), "seal_broken"),
    ],
    ids=["other words", "another schema", "another time"],
)
def test_other_words_than_were_sealed_are_found_by_their_digest(change: Change, reason: str) -> None:
    report = verified(changed(bundled(GRANTED, redacts=True), change))
    assert (report.verdict, report.findings[0].reason) == (standalone.TAMPERED, reason)


def test_a_grant_of_another_intent_is_found_although_the_question_is_withheld() -> None:
    def other(said: dict[str, Any]) -> None:
        [declared] = records_of(said, "IntentDeclared")
        declared["record"]["body"] = "ab" * 32

    reasons = {each.reason for each in verified(changed(bundled(GRANTED, redacts=True), other)).findings}
    assert "seal_broken" in reasons


def test_a_record_of_which_there_is_the_digest_alone_is_withheld() -> None:
    def bare(said: dict[str, Any]) -> None:
        [record] = records_of(said, "JobCompleted")
        record.pop("record")
        record["digest"] = "ab" * 32

    report = verified(changed(bundled(GRANTED, redacts=True), bare))
    assert (report.verdict, report.findings[0].reason) == (standalone.TAMPERED, "record_withheld")


def test_on_governance_no_rejection_excuses_a_record_that_is_not_there() -> None:
    def hidden(said: dict[str, Any]) -> None:
        [*_, record] = records_of(said, "KeyEnrolled")
        record.pop("record")
        record["digest"] = "ab" * 32

    report = verified(changed(bundled(GRANTED, redacts=True), hidden))
    assert report.verdict == standalone.TAMPERED
    assert report.findings[0].reason in {"record_withheld", "key_unknown"}


def stray(records: list[Stored]) -> list[Stored]:
    """A record with a header too many, which holds a text, behind the last of the job's approvals."""
    last = max(place for place, each in enumerate(records) if each.topic == "approvals")
    record = records[last].record
    assert isinstance(record, Record)
    headers = (("ce_subject", GRANTED.encode()), ("x-note", b"a xylophone"))
    strange = Stray("approvals", HOME[0].encode(), b"a xylophone", headers)
    return [
        *records[: last + 1],
        records[last]._replace(offset=records[last].offset + 1, record=strange),
        *records[last + 1 :],
    ]


def test_what_is_no_event_and_was_rejected_is_named_by_its_digest(tmp_path: Path) -> None:
    data = restore(golden_logs()[0], tmp_path / "data", stray)
    asyncio.run(rejected(data))
    whole, made = bundle_from(data, GRANTED), bundle_from(data, GRANTED, redacts=True)
    told = "1 records were rejected on the log and are not believed"
    for each in (whole, made):
        report = verified(each)
        assert (report.verdict, report.findings) == (standalone.SOUND, [])
        assert told in report.notes
    assert [each["preimage"] for each in orjson.loads(whole)["records"] if "preimage" in each] != []
    assert [len(each["digest"]) for each in orjson.loads(made)["records"] if "digest" in each] == [64]


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("edits", [200, pytest.param(10_000, marks=pytest.mark.long)])
def test_no_odd_value_in_a_redacted_bundle_breaks_the_verifier_or_deceives_it(edits: int) -> None:
    rng = Random(edits)  # noqa: S311 (seeded on purpose)
    for _ in range(edits):
        said = orjson.loads(bundled(GRANTED, redacts=True))
        path = edit(said, rng)
        report = verified(orjson.dumps(said) if path[0] == "dsse" else changed(orjson.dumps(said), lambda _: None))
        assert report.verdict != standalone.SOUND or path[-1] == "append_time_us", path


def test_the_command_withholds_and_the_verifier_says_so(tmp_path: Path) -> None:
    data = restore(golden_logs()[0], tmp_path / "data")
    key = tmp_path / "auditor.pem"
    write_key(key, private_key("auditor:main"))
    done = qpubus("audit", "bundle", GRANTED, "-o", tmp_path / "b", "--redact", "--key", key, "--data", data)
    assert done.code == 0, done.err
    assert verified((tmp_path / "b").read_bytes()).unchecked != []
