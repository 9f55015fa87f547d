"""`audit export` and `audit report`: judged by the schemas and the libraries of others."""

import asyncio
import csv
import io
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from prov.model import ProvActivity, ProvAgent, ProvDocument, ProvEntity, ProvGeneration, ProvUsage

from qpubus.commands.exports import csv_of
from qpubus.demo import run_job_alone
from replay.ocsf import covered_bytes
from replay.report import COLUMNS, KINDS, report_rows
from schemas.admission import Admitted, Refused, Stored
from schemas.envelope import Stray
from schemas.events import (
    ApprovalDenied,
    ApprovalRejected,
    AutonomyGranted,
    AutonomyRevoked,
    AutonomyStatement,
    AutonomySuspended,
    EventRejected,
    HaltLifted,
    HaltOrdered,
    HumanProof,
    IntentAdmitted,
    IntentRefused,
    KeyRevoked,
    MandateGranted,
    MandateRevoked,
    MandateStatement,
    RunCancelDecided,
    SubjectErased,
)
from schemas.words import Event
from streams.log.embedded import EmbeddedLog
from tests.support.commands import qpubus
from tests.support.golden_log import DENIED, FREE, GRANTED, REFUSED, STOPPED, golden_logs, restore
from tests.support.ocsf_schema import faults

JOB = "h2-vqe-3"
DIGEST = "ab" * 32
TOMBSTONE = Stray("intents", b"demo-lab", None, ())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main job, then a key revoked, a trace erased, and a record that nobody can believe."""
    directory = tmp_path_factory.mktemp("demo") / "data"
    asyncio.run(run_job_alone(directory, 3))
    keys = qpubus("keys", "list", "--json", "--data", directory).json
    agent = next(each["key_id"] for each in keys if each["role"] == "agent")
    assert qpubus("keys", "revoke", agent, "--why", "=cmd|' /C calc'!A0", "--data", directory).code == 0
    assert qpubus("vault", "erase", "agent:cowork:user-42", "--why", "asked for", "--data", directory).code == 0
    asyncio.run(_append(directory, TOMBSTONE))
    return directory


async def _append(directory: Path, stray: Stray) -> None:
    log = EmbeddedLog(directory, lambda: 1_768_900_000_000_000)
    await log.append([stray])
    await log.close()


@pytest.fixture(scope="module")
def exported(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    file = tmp_path_factory.mktemp("ocsf") / "events.jsonl"
    assert qpubus("audit", "export", "--format", "ocsf", "-o", file, "--data", data).code == 0
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


def test_every_exported_event_holds_by_the_published_schema(exported: list[dict[str, Any]]) -> None:
    assert {event["class_uid"] for event in exported} == {3003, 3004, 6003}
    for event in exported:
        assert faults(event) == []


def test_the_schema_would_find_a_fault(exported: list[dict[str, Any]]) -> None:
    event = orjson.loads(orjson.dumps(exported[0]))
    event["attestation_list"][0]["chain"] = "x"
    del event["time"]
    assert len(faults(event)) == 2


def test_every_record_of_the_log_is_exported(data: Path, exported: list[dict[str, Any]]) -> None:
    verified = qpubus("audit", "verify", "--json", "--data", data).json
    assert len(exported) == verified["events"] + verified["refused"]
    assert Counter(event["metadata"]["event_code"] for event in exported)["Refused"] == 1


def test_a_fingerprint_covers_all_of_its_event_but_itself(exported: list[dict[str, Any]]) -> None:
    for event in exported:
        (attestation,) = event["attestation_list"]
        assert attestation["fingerprint"]["value"] == sha256(covered_bytes(event)).hexdigest()
    changed = exported[5] | {"message": "nothing happened"}
    assert exported[5]["attestation_list"][0]["fingerprint"]["value"] != sha256(covered_bytes(changed)).hexdigest()


def test_each_event_names_the_one_before_it_in_its_topic(exported: list[dict[str, Any]]) -> None:
    before: dict[str, dict[str, Any]] = {}
    for event in exported:
        (attestation,) = event["attestation_list"]
        last = before.get(attestation["chain_uid"])
        if last is None:
            assert "prev_event" not in attestation
        else:
            assert attestation["prev_event"]["uid"] == last["metadata"]["uid"]
            assert attestation["prev_event"]["fingerprint"] == last["attestation_list"][0]["fingerprint"]
        before[attestation["chain_uid"]] = event


def test_no_circuit_and_no_key_of_a_hundred_lines_reaches_the_siem(exported: list[dict[str, Any]]) -> None:
    assert max(len(orjson.dumps(event)) for event in exported) < 40_000


@pytest.fixture(scope="module")
def document(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ProvDocument:
    file = tmp_path_factory.mktemp("prov") / "job.json"
    assert qpubus("audit", "export", "--format", "prov", "--job", JOB, "-o", file, "--data", data).code == 0
    read = ProvDocument.deserialize(str(file), format="json")
    assert isinstance(read, ProvDocument)
    return read


def test_the_prov_library_reads_the_document_and_writes_it_as_the_same(document: ProvDocument) -> None:
    again = ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    assert again == document
    assert document.unified() == document
    assert "document" in document.get_provn()


def test_the_result_is_derived_from_the_intent(document: ProvDocument) -> None:
    steps: dict[Any, set[Any]] = {}
    for record in document.get_records():
        if record.get_type().localpart == "Derivation":
            generated, used = (value for _, value in record.formal_attributes[:2])
            steps.setdefault(generated, set()).add(used)
    reached, waiting = set(), [_named(document, "ResultRecorded")]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += [each for each in steps.get(name, ()) if each not in reached]
    assert _named(document, "IntentDeclared") in reached
    assert _named(document, "ApprovalGranted") in reached


def _named(document: ProvDocument, type_: str) -> Any:
    (found,) = [
        each.identifier
        for each in document.get_records(ProvEntity)
        if any(str(kind).endswith(f":{type_}") for kind in each.get_asserted_types())
    ]
    return found


def test_every_step_used_its_plan_and_generated_its_outcome(document: ProvDocument) -> None:
    activities = {each.identifier for each in document.get_records(ProvActivity)}
    used = {each.formal_attributes[0][1] for each in document.get_records(ProvUsage)}
    generated = {each.formal_attributes[1][1] for each in document.get_records(ProvGeneration)}
    assert activities
    assert used == generated == activities


def test_the_people_and_programs_of_a_job_are_its_agents(document: ProvDocument) -> None:
    labels = {str(next(iter(each.get_attribute("prov:label")))) for each in document.get_records(ProvAgent)}
    assert {"agent:cowork:user-42", "approver:demo", "stage:policy", "sandbox:main", "gateway:main"} <= labels


def test_prov_of_a_job_that_nobody_declared_says_so(data: Path) -> None:
    done = qpubus("audit", "export", "--format", "prov", "--job", "none", "--data", data)
    assert (done.code, "there is no job none" in done.err) == (1, True)


def test_an_export_overwrites_nothing(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = qpubus("audit", "export", "--format", "ocsf", "-o", tmp_path / "file", "--data", data)
    assert (done.code, (tmp_path / "file").read_text()) == (1, "mine")


def reported(data: Path, begin: str, end: str) -> list[dict[str, str]]:
    done = qpubus("audit", "report", "--from", begin, "--to", end, "--data", data)
    assert done.code == 0, done.err
    return list(csv.DictReader(io.StringIO(done.out)))


def test_a_report_lists_what_must_be_answered_for(data: Path) -> None:
    rows = reported(data, "2026-01-01", "2026-02-01")
    assert [row["kind"] for row in rows] == ["grant", "key_revoked", "subject_erased", "record_not_believed"]
    assert (rows[0]["job"], rows[0]["by"]) == (JOB, "approver:demo")
    assert rows[-1]["reason"] == "tombstone"


def test_a_report_points_to_a_reason_and_does_not_tell_it(data: Path) -> None:
    (revoked,) = [row for row in reported(data, "2026-01-01", "2026-02-01") if row["kind"] == "key_revoked"]
    assert revoked["reason"].startswith("vault:root/")


def test_a_report_keeps_to_its_period(data: Path) -> None:
    (grant,) = [row for row in reported(data, "2026-01-01", "2026-02-01") if row["kind"] == "grant"]
    time = grant["time"].removesuffix("Z")
    assert "grant" not in {row["kind"] for row in reported(data, "2026-01-01", time)}
    assert "grant" in {row["kind"] for row in reported(data, time, "2026-02-01")}


@pytest.mark.parametrize(("begin", "end"), [("yesterday", "2026-02-01"), ("2026-02-01", "2026-01-01")])
def test_a_period_that_is_none_is_a_usage_error(data: Path, begin: str, end: str) -> None:
    assert qpubus("audit", "report", "--from", begin, "--to", end, "--data", data).code == 64


@pytest.mark.parametrize(
    ("begin", "end", "is_in"),
    [
        ("2026-01-18T10:00:00+01:00", "2026-01-18T10:00:00.000001+01:00", True),
        ("2026-01-18T09:00:00-01:00", "2026-01-19", False),
        ("2026-01-17", "2026-01-18T09:00:00", False),
        ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", True),
    ],
)
def test_the_ends_of_a_period_may_be_told_in_any_zone(tmp_path: Path, begin: str, end: str, is_in: bool) -> None:
    data = restore(golden_logs()[0], tmp_path / "data")
    rows = reported(data, begin, end)
    assert any(row["time"] == "2026-01-18T09:00:00.000000Z" for row in rows) == is_in


def test_the_golden_log_is_reported_as_it_was_made(tmp_path: Path) -> None:
    data = restore(golden_logs()[0], tmp_path / "data")
    rows = [(row["kind"], row["job"], row["reason"]) for row in reported(data, "2026-01-01", "2026-02-01")]
    assert rows == [
        ("run_without_human", FREE, ""),
        ("refusal", REFUSED, "price_over_policy"),
        ("grant", GRANTED, ""),
        ("denial", DENIED, "not today"),
        ("refusal", DENIED, "denied"),
        ("run_without_human", STOPPED, ""),
    ]


def test_a_period_in_which_nothing_happened_is_a_line_of_names(data: Path) -> None:
    done = qpubus("audit", "report", "--from", "2031-01-01", "--to", "2031-02-01", "--data", data)
    assert (done.code, done.out.rstrip()) == (0, ",".join(COLUMNS))


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH COMMERCIAL AT}"])
def test_no_sign_begins_a_cell_that_may_begin_a_formula(sign: str) -> None:
    revoked = KeyRevoked(key_id="k", reason=f"{sign}cmd|' /C calc'!A0")
    (row,) = report_rows([("site-a", admitted(revoked))], 0, 10)
    [_, cells] = csv.reader(io.StringIO(csv_of([row]).decode(), newline=""))
    assert cells[COLUMNS.index("reason")].startswith(f"'{sign}cmd")
    assert not [cell for cell in cells if cell.startswith(sign)]


PROOF = HumanProof(proof_type="ed25519", key_id="k", signature=b"")
MANDATE = MandateStatement(
    site="site-a", mandate_id="m", agent="g", agent_key_id="k", purposes=("p",), devices=("d",), data_classes=(),
    cost_per_job_microusd=1, cost_total_microusd=2, jobs_per_period=1, period_us=0, starts_us=0, expires_us=1,
    nonce=DIGEST,
)  # fmt: skip
STEP = AutonomyStatement(
    site="site-a", agent="g", action_class="c", level=1, price_limit_microusd=1, evidence_digest=DIGEST,
    expires_us=1, nonce=DIGEST,
)  # fmt: skip
SAID: tuple[tuple[Event, str], ...] = (
    (
        IntentAdmitted(
            job_id="a",
            intent_digest=DIGEST,
            price_ceiling_microusd=1_500_000,
            shots_ceiling=1,
            devices=("d",),
            policy_digest=DIGEST,
            rule="small/1",
        ),
        "run_without_human",
    ),
    (ApprovalDenied(job_id="a", intent_digest=DIGEST, approver="b", reason="no", proof=PROOF), "denial"),
    (IntentRefused(job_id="a", intent_digest=DIGEST, reason="denied", message="no"), "refusal"),
    (RunCancelDecided(job_id="a", step=1, reason="cost_overrun", message="dear", rule="r"), "overrun"),
    (RunCancelDecided(job_id="a", step=1, reason="withdrawn", message="no", rule="r"), ""),
    (KeyRevoked(key_id="k", reason="lost"), "key_revoked"),
    (SubjectErased(subject="s", text_digests=(DIGEST,)), "subject_erased"),
    (
        ApprovalRejected(job_id="a", intent_digest=DIGEST, approver="b", reason="approval_used", message="twice"),
        "answer_rejected",
    ),
    (MandateGranted(statement=MANDATE, person="b", proof=PROOF), "mandate_granted"),
    (MandateRevoked(mandate_id="m", person="b", reason="over", proof=PROOF), "mandate_revoked"),
    (AutonomyGranted(statement=STEP, person="b", proof=PROOF), "autonomy_granted"),
    (AutonomyRevoked(agent="g", action_class="c", person="b", reason="over", proof=PROOF), "autonomy_revoked"),
    (AutonomySuspended(agent="g", action_class="c", reason="denied", message="no"), "autonomy_suspended"),
    (
        HaltOrdered(halt_id="h", scope="site", target="site-a", person="b", reason="smoke", ordered_us=0, proof=PROOF),
        "halt_ordered",
    ),
    (HaltLifted(halt_id="h", person="c", reason="aired", proof=PROOF), "halt_lifted"),
    (EventRejected(topic="intents", partition=0, offset=7, digest=DIGEST, reason="r", detail="d"), "event_rejected"),
)


@pytest.mark.parametrize(("event", "kind"), SAID, ids=[f"{type(event).__name__}-{kind}" for event, kind in SAID])
def test_each_event_is_reported_as_what_it_is(event: Event, kind: str) -> None:
    rows = report_rows([("site-a", admitted(event))], 0, 10)
    assert [row.kind for row in rows] == ([kind] if kind else [])
    assert {kind} - {""} <= set(KINDS)


def test_a_run_without_a_human_is_told_with_its_ceiling() -> None:
    (row,) = report_rows([("site-a", admitted(SAID[0][0]))], 0, 10)
    assert (row.job, row.amount_usd, row.detail) == ("a", "1.500000", "rule small/1")


def test_a_refused_record_that_a_stage_rejected_is_told_once() -> None:
    refused = Refused(Stored("intents", 0, 7, 5, TOMBSTONE), "tombstone", "no value", bytes(32))
    rows = report_rows([("site-a", refused), ("site-a", admitted(SAID[-1][0]))], 0, 10)
    assert [row.kind for row in rows] == ["event_rejected"]


def admitted(event: Event) -> Admitted:
    stored = Stored("intents", 0, 3, 5, TOMBSTONE)
    return Admitted(event, bytes(32), stored, "stage:policy", "policy", "k", 1, 5, (), None)
