"""A log is rewritten by who holds the file and can make its hashes anew: bundles and audits give the same verdict."""

import asyncio
from pathlib import Path

import pytest

from agents.clock import VirtualClock
from agents.drafts import draft
from agents.party import Membership, Party
from replay import standalone
from replay.audit import verify
from schemas.admission import Stored
from schemas.checkpoints import note_of, origin_of
from schemas.envelope import Inputs, Record, Stray
from schemas.events import (
    ApprovalGranted,
    CheckpointSealed,
    CheckpointWitnessed,
    Cosignature,
    EventRejected,
    IntentWithdrawn,
    KeyRevoked,
    ReproductionMeasured,
)
from schemas.keys import key_id, raw_public_key
from schemas.note import Kind, NoteKey, cosign
from schemas.topics import TOPICS
from streams.author import Scribe, seal_all
from streams.log.embedded import EmbeddedLog
from streams.orchestrator import ORCHESTRATOR
from streams.reader import Reader
from streams.stage import Heard
from streams.worker import Site, Worker
from tests.support.bundled import HOME, bundle_from
from tests.support.golden_log import GRANTED, Rewrite, golden_logs, restore
from tests.support.signed import private_key

LATER_US = 1_800_000_000_000_000
WITNESS = "w.example"


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def at(records: list[Stored], type_: str) -> int:
    """Where the job's first record of a type stands."""
    return next(
        place
        for place, stored in enumerate(records)
        if isinstance(stored.record, Record)
        and stored.record.type == f"qpubus.{type_}"
        and stored.record.subject in {GRANTED, HOME[0]}
    )


def rewritten(type_: str, **fields: object) -> Rewrite:
    def rewrite(records: list[Stored]) -> list[Stored]:
        place = at(records, type_)
        record = records[place].record
        assert isinstance(record, Record)
        raw = bytearray(record.value)
        raw[-1] ^= 1
        changed = record._replace(**(fields or {"value": bytes(raw)}))  # type: ignore[arg-type]  # by name
        return [*records[:place], records[place]._replace(record=changed), *records[place + 1 :]]

    return rewrite


def dropped(type_: str) -> Rewrite:
    return lambda records: [each for place, each in enumerate(records) if place != at(records, type_)]


def repeated(type_: str) -> Rewrite:
    def rewrite(records: list[Stored]) -> list[Stored]:
        again = records[at(records, type_)]
        end = max(place for place, each in enumerate(records) if each.topic == again.topic)
        return [*records[: end + 1], again, *records[end + 1 :]]

    return rewrite


def moved_back(type_: str) -> Rewrite:
    def rewrite(records: list[Stored]) -> list[Stored]:
        place = at(records, type_)
        return [*records[: place - 1], records[place], records[place - 1], *records[place + 1 :]]

    return rewrite


def dated_back(records: list[Stored]) -> list[Stored]:
    place = at(records, "StepStarted")
    return [*records[:place], records[place]._replace(append_time_us=0), *records[place + 1 :]]


REWRITES: dict[str, Rewrite] = {
    "nothing": list,
    "a plan edited": rewritten("StepPlanned"),
    "a grant edited": rewritten("ApprovalGranted"),
    "counts edited": rewritten("ShotsMeasured"),
    "a result edited": rewritten("ResultRecorded"),
    "a policy edited": rewritten("PolicyPublished"),
    "a key edited": rewritten("KeyEnrolled"),
    "another source": rewritten("IntentAdmitted", source="stage:guard"),
    "another time": rewritten("StepStarted", time="2026-01-18T09:00:00.000001Z"),
    "other causes": rewritten("IntentAdmitted", causes=""),
    "other inputs": rewritten("IntentAdmitted", inputs="1/1 intents:1"),
    "no seal": rewritten("IntentAdmitted", seal=b""),
    "a grant dropped": dropped("ApprovalGranted"),
    "a placement dropped": dropped("PlacementDecided"),
    "a key dropped": dropped("KeyEnrolled"),
    "a step repeated": repeated("StepCompleted"),
    "a grant repeated": repeated("ApprovalGranted"),
    "a step moved back": moved_back("StepCompleted"),
    "a placement moved back": moved_back("PlacementDecided"),
    "dated back": dated_back,
}


@pytest.mark.parametrize("rewrite", REWRITES)
def test_a_bundle_gives_the_verdict_of_an_audit(rewrite: str, tmp_path: Path) -> None:
    data = restore(golden_logs()[0], tmp_path / "data", REWRITES[rewrite])
    audit = asyncio.run(verify(data))
    report = standalone.verify(bundle_from(data, GRANTED), HOME[1])
    assert (report.verdict == standalone.SOUND) == (rewrite == "nothing")
    assert standalone.VERDICTS[report.verdict] == audit.verdict.word, (audit.findings[:3], report.findings[:3])


async def witnessed(data: Path, *, truly: bool = True) -> None:
    """Let a witness cosign the last round on the log."""
    log = EmbeddedLog(data, lambda: LATER_US)
    try:
        items = await Reader(log, 0, TOPICS, dict([HOME])).read(10_000)
        sealed = [each.event for each in items if isinstance(each, Heard) and isinstance(each.event, CheckpointSealed)]
        sealer, key, said = raw_public_key(private_key("sealer:main")), private_key(WITNESS), []
        for head in sealed[-1].heads:
            text = note_of(origin_of(HOME[1], head.topic, 0), head, sealer).text
            line = cosign(key, WITNESS, text if truly else text + "x", 1_800_000_000)
            said.append(
                Cosignature(topic=head.topic, witness=WITNESS, key_id=line.key_id.hex(), signature=line.signature)
            )
        event = CheckpointWitnessed(round=sealed[-1].round, partition=0, cosignatures=tuple(said))
        member = Membership("witness:main", HOME[0], private_key("witness:main"), HOME[1])
        await Party(member, log, VirtualClock(LATER_US)).say(draft(event, LATER_US, subject=HOME[0]))
    finally:
        await log.close()


def policy() -> standalone.Policy:
    key = NoteKey(WITNESS, Kind.COSIGNATURE, raw_public_key(private_key(WITNESS)))
    return standalone.read_policy(f"witness W {key.text}\nquorum W\n")


def test_a_bundle_that_a_witness_has_seen_is_sound_for_who_asks_for_it(tmp_path: Path) -> None:
    data = restore(golden_logs()[0], tmp_path / "data")
    asyncio.run(witnessed(data))
    report = standalone.verify(bundle_from(data, GRANTED), HOME[1], policy())
    assert (report.verdict, report.witnesses) == (standalone.SOUND, ["W"])


def test_a_bundle_that_no_witness_has_seen_is_uncovered_for_who_asks_for_it(tmp_path: Path) -> None:
    data = restore(golden_logs()[0], tmp_path / "data")
    report = standalone.verify(bundle_from(data, GRANTED), HOME[1], policy())
    assert (report.verdict, report.findings) == (standalone.UNCOVERED, [])


async def measured(data: Path) -> None:
    """Let the auditor say something of the job after the last round."""
    log = EmbeddedLog(data, lambda: LATER_US)
    try:
        member = Membership("auditor:main", HOME[0], private_key("auditor:main"), HOME[1])
        said = ReproductionMeasured(
            job_id=GRANTED, seed=1, index=1, low=1, high=1, p_value=1, shift_max=0, verdict="reproducible"
        )
        await Party(member, log, VirtualClock(LATER_US)).say(draft(said, LATER_US))
    finally:
        await log.close()


def test_what_came_after_the_checkpoints_is_told_and_covered_by_no_witness(tmp_path: Path) -> None:
    data = restore(golden_logs()[0], tmp_path / "data")
    asyncio.run(witnessed(data))
    asyncio.run(measured(data))
    made = bundle_from(data, GRANTED)
    report = standalone.verify(made, HOME[1])
    assert (report.verdict, report.records - report.proven) == (standalone.SOUND, 1)
    assert "1 records came after the checkpoints: their order is not proven yet" in report.notes
    assert standalone.verify(made, HOME[1], policy()).verdict == standalone.UNCOVERED


def test_a_cosignature_that_does_not_hold_is_found(tmp_path: Path) -> None:
    data = restore(golden_logs()[0], tmp_path / "data")
    asyncio.run(witnessed(data, truly=False))
    report = standalone.verify(bundle_from(data, GRANTED), HOME[1], policy())
    assert report.verdict == standalone.TAMPERED
    assert {finding.reason for finding in report.findings} == {"cosignature_broken"}


def test_a_record_that_was_rejected_on_the_log_is_no_finding(tmp_path: Path) -> None:
    data = restore(golden_logs()[0], tmp_path / "data", repeated("ApprovalGranted"))
    asyncio.run(rejected(data))
    audit, report = asyncio.run(verify(data)), standalone.verify(bundle_from(data, GRANTED), HOME[1])
    assert (audit.verdict.word, audit.findings) == ("sound", [])
    assert (report.verdict, report.findings) == (standalone.SOUND, [])
    assert "1 records were rejected on the log and are not believed" in report.notes


async def rejected(data: Path) -> None:
    """Let the stage in charge read what was repeated."""
    log = EmbeddedLog(data, lambda: LATER_US)
    try:
        stage = Site(HOME[1], private_key(ORCHESTRATOR.source))
        worker = Worker(ORCHESTRATOR, log, 0, {HOME[0]: stage})
        while await worker.step():
            pass
    finally:
        await log.close()


def test_a_rejection_of_a_record_that_holds_is_found(tmp_path: Path) -> None:
    data = restore(golden_logs()[0], tmp_path / "data")
    asyncio.run(unfounded(data))
    audit, report = asyncio.run(verify(data)), standalone.verify(bundle_from(data, GRANTED), HOME[1])
    assert "rejection_unfounded" in {finding.reason for finding in audit.findings}
    assert "rejection_unfounded" in {finding.reason for finding in report.findings}
    assert standalone.VERDICTS[report.verdict] == audit.verdict.word == "tampered"


async def unfounded(data: Path) -> None:
    """Let the orchestrator's key reject the grant for a seal that holds."""
    log = EmbeddedLog(data, lambda: LATER_US)
    try:
        items = await Reader(log, 0, TOPICS, dict([HOME])).read(10_000)
        [grant] = [each for each in items if isinstance(each, Heard) and isinstance(each.event, ApprovalGranted)]
        said = [each.inputs for each in items if isinstance(each, Heard) and each.source == ORCHESTRATOR.source]
        decision = max(inputs.decision for inputs in said if inputs) + 1
        places = [stored.record for stored in await log.read("approvals", 0, 0, 100)]
        offset = next(at for at, record in enumerate(places) if record_id(record) == grant_id(grant))
        event = EventRejected(
            topic="approvals", partition=0, offset=offset, digest=grant.digest, reason="seal_broken", detail="no"
        )
        told = draft(event, LATER_US, subject=HOME[0])._replace(inputs=Inputs(decision, 1, (("alarms", 1),)))
        member = Membership(ORCHESTRATOR.source, HOME[0], private_key(ORCHESTRATOR.source), HOME[1])
        await Party(member, log, VirtualClock(LATER_US)).say(told)
    finally:
        await log.close()


def record_id(record: Record | Stray) -> tuple[str, str]:
    assert isinstance(record, Record)
    return record.source, record.sequence


def grant_id(grant: Heard) -> tuple[str, str]:
    return grant.source, str(grant.cause.sequence)


async def revoked(data: Path, *, speaks_on: bool) -> None:
    """Let the root revoke the gateway's key, naming the last that it said; the key may be used once more."""
    log = EmbeddedLog(data, lambda: LATER_US)
    try:
        reader = Reader(log, 0, TOPICS, dict([HOME]))
        items = await reader.read(10_000)
        by_gateway = [each for each in items if isinstance(each, Heard) and each.source == "gateway:main"]
        last = {each.cause.topic: each for each in by_gateway}
        root = Membership("root", HOME[0], private_key("root"), HOME[1])
        gateway = Membership("gateway:main", HOME[0], private_key("gateway:main"), HOME[1])
        revocation = KeyRevoked(key_id=key_id(raw_public_key(gateway.key)), reason="lost")
        told = draft(revocation, LATER_US, *last.values(), subject=HOME[0])
        await Party(root, log, VirtualClock(LATER_US)).say(told)
        if speaks_on:
            withdrawn = IntentWithdrawn(job_id=GRANTED, agent_key_id="k", agent_proof="p", reason="r")
            [sequence] = [each.cause.sequence for each in last.values() if each.cause.topic == "intents"]
            scribe = Scribe("gateway:main", HOME[0], reader.admission(HOME[0]).writable, {"intents": sequence})
            await log.append(seal_all([scribe.write(draft(withdrawn, LATER_US))], gateway.key))
    finally:
        await log.close()


@pytest.mark.parametrize("speaks_on", [False, True])
def test_a_revoked_key_counts_for_what_it_had_said_and_for_nothing_more(tmp_path: Path, speaks_on: bool) -> None:
    data = restore(golden_logs()[0], tmp_path / "data")
    asyncio.run(revoked(data, speaks_on=speaks_on))
    audit, report = asyncio.run(verify(data)), standalone.verify(bundle_from(data, GRANTED), HOME[1])
    assert standalone.VERDICTS[report.verdict] == audit.verdict.word == ("tampered" if speaks_on else "sound")
    assert [finding.reason for finding in report.findings] == ["key_revoked"] * speaks_on
