"""The audit of a whole log: what it calls sound, what it finds, and that it changes nothing."""

import shutil
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from replay.audit import verify
from replay.verdict import Audit, Verdict
from schemas.admission import CLOCK_SKEW_US_MAX
from schemas.codec import frame, own_schemas
from schemas.envelope import Cause, Inputs, Stray, record_digest
from schemas.events import (
    AlarmRang,
    BudgetHeld,
    EventRejected,
    GapAccepted,
    HaltOrdered,
    HumanProof,
    KeyRevoked,
    ShotsMeasured,
    TraceSealed,
)
from schemas.keys import key_id, raw_public_key
from schemas.seal import seal_batch
from schemas.traces import TraceSummary
from streams.author import Draft, Scribe
from streams.log.embedded import EmbeddedLog, create
from streams.policy.stage import POLICY
from streams.worker import Site, Worker
from tests.support.scene import EPOCH_US, SITE, Scene
from tests.support.signed import private_key

SUMMARY = TraceSummary(options=("run", "wait"), choice="run", said="it pays")
SEALED = TraceSealed(job_id="job-1", subject="agent:a", summary=SUMMARY, text_digest="ab" * 32)
RANG = AlarmRang(alarm_id="a", rings_us=1)
Story = Callable[[Scene], Awaitable[None]]


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


async def tell(directory: Path, *stories: Story) -> Path:
    """A closed log of a site, founded and then written by these stories."""
    create(directory, log_id="5c7b6f0e9d3a41f2b8c4a7d1e0f39b62")
    log = EmbeddedLog(directory, lambda: EPOCH_US)
    scene = Scene(log)
    try:
        await scene.found()
        (directory / "root.pub").write_text(scene.root.hex())
        for story in stories:
            await story(scene)
    finally:
        await log.close()
    return directory


async def chunks(scene: Scene) -> None:
    """A batch of chunks, an alarm caused by one of them, and single events."""
    drafts = [Draft("results", chunk(number), "job-1", EPOCH_US + number) for number in range(20)]
    because = await scene.say("device:trap", *drafts)
    await scene.say("clock:main", Draft("alarms", RANG, "a", EPOCH_US, (because[3],)))
    for number in range(5):
        await scene.say("gateway:main", Draft("intents", SEALED, f"job-{number}", EPOCH_US))


async def decide(scene: Scene) -> None:
    """Let the policy stage read everything."""
    worker = Worker(POLICY, scene.log, 0, {SITE: Site(scene.root, scene.keys["stage:policy"])})
    while await worker.step():
        pass


def chunk(number: int) -> ShotsMeasured:
    return ShotsMeasured(
        job_id="job-1",
        step=0,
        circuit=number,
        chunk=0,
        device="trap",
        shots=100,
        counts={"00": 50, "11": 50},
        started_us=EPOCH_US,
        ended_us=EPOCH_US,
    )


async def go_on_as_root(scene: Scene) -> None:
    """Let the root key go on counting where the founding ended."""
    ends = await scene.log.ends(0)
    schemas = {schema.event_type: schema for schema in own_schemas()}
    scene.scribes["root"] = Scribe("root", SITE, schemas, {"governance": ends["governance"]})


async def revoke_gateway(scene: Scene) -> None:
    key = key_id(raw_public_key(scene.keys["gateway:main"]))
    await scene.say("root", Draft("governance", KeyRevoked(key_id=key, reason="lost"), SITE, EPOCH_US))


def say(source: str, topic: str, event: Any, **fields: Any) -> Story:
    async def story(scene: Scene) -> None:
        await scene.say(source, Draft(topic, event, "job-1", EPOCH_US)._replace(**fields))

    return story


def stray(topic: str) -> Story:
    async def story(scene: Scene) -> None:
        await scene.log.append([Stray(topic, SITE.encode(), b"\0junk", (("who", b"me"),))])

    return story


def found(audit: Audit) -> tuple[Verdict, str, int, str]:
    """Verdict and first divergence: topic, offset and reason."""
    first = audit.first_divergence
    assert first is not None
    return audit.verdict, first.topic, first.offset, first.reason


def contents(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


async def test_a_log_as_it_was_written_is_sound(tmp_path: Path) -> None:
    audit = await verify(await tell(tmp_path / "log", chunks))
    assert (audit.verdict, audit.findings, audit.refused) == (Verdict.SOUND, [], 0)
    assert audit.events > 26 + 40
    assert audit.signatures == 1 + 1 + 1 + 5


async def test_an_audit_changes_nothing(tmp_path: Path) -> None:
    directory = await tell(tmp_path / "log", chunks)
    before = contents(directory)
    await verify(directory)
    assert contents(directory) == before


async def test_an_audit_beside_its_writer_is_sound(tmp_path: Path) -> None:
    async def audited(_: Scene) -> None:
        assert (await verify(tmp_path / "log")).verdict is Verdict.SOUND

    await tell(tmp_path / "log", chunks, audited)


async def test_progress_ends_with_all_records(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    audit = await verify(await tell(tmp_path / "log", chunks), progress=lambda *step: told.append(step))
    assert told[-1] == (audit.events, audit.events)


async def test_a_record_that_the_stage_in_charge_rejected_is_no_finding(tmp_path: Path) -> None:
    audit = await verify(await tell(tmp_path / "log", stray("intents"), decide))
    assert (audit.verdict, audit.refused) == (Verdict.SOUND, 1)


async def test_a_refused_record_that_no_stage_rejected_is_found(tmp_path: Path) -> None:
    audit = await verify(await tell(tmp_path / "log", decide, stray("intents")))
    assert found(audit) == (Verdict.TAMPERED, "intents", 0, "header_missing")


UNREJECTED: dict[str, tuple[Story, tuple[Verdict, str, int, str]]] = {
    "the wrong role": (
        say("gateway:main", "alarms", RANG),
        (Verdict.TAMPERED, "alarms", 0, "role_forbidden"),
    ),
    "another's device": (
        say("device:trap", "results", chunk(0).model_copy(update={"device": "chip"})),
        (Verdict.TAMPERED, "results", 0, "device_forbidden"),
    ),
    "back-dated the other way": (
        say("clock:main", "alarms", RANG, time_us=EPOCH_US + CLOCK_SKEW_US_MAX + 1),
        (Verdict.TAMPERED, "alarms", 0, "time_ahead"),
    ),
    "a cause that is not there": (
        say("clock:main", "alarms", RANG, causes=(Cause("intents", "gateway:main", 1, "0" * 64),)),
        (Verdict.INCOMPLETE, "alarms", 0, "cause_absent"),
    ),
    "an output without its journal": (
        say("stage:policy", "approvals", BudgetHeld(job_id="j", amount_microusd=1), inputs=Inputs(2, 1, ())),
        (Verdict.INCOMPLETE, "approvals", 0, "journal_gap"),
    ),
    "more inputs than there are": (
        say(
            "stage:policy",
            "approvals",
            BudgetHeld(job_id="j", amount_microusd=1),
            inputs=Inputs(1, 1, (("intents", 1),)),
        ),
        (Verdict.INCOMPLETE, "approvals", 0, "inputs_missing"),
    ),
}


@pytest.mark.parametrize("defect", UNREJECTED)
async def test_an_event_that_should_not_be_there_is_found(tmp_path: Path, defect: str) -> None:
    story, expected = UNREJECTED[defect]
    assert found(await verify(await tell(tmp_path / "log", story))) == expected


async def test_a_cause_that_is_there_with_another_digest_is_found(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        [cause] = await scene.say("gateway:main", Draft("intents", SEALED, "j", EPOCH_US))
        other = cause._replace(digest="0" * 64)
        await scene.say("clock:main", Draft("alarms", RANG, "a", EPOCH_US, (other,)))

    audit = await verify(await tell(tmp_path / "log", story))
    assert found(audit) == (Verdict.TAMPERED, "alarms", 0, "cause_differs")


async def test_an_event_read_before_its_key_was_revoked_counts(tmp_path: Path) -> None:
    directory = await tell(tmp_path / "log", go_on_as_root, chunks, decide, revoke_gateway)
    audit = await verify(directory)
    assert (audit.verdict, audit.refused) == (Verdict.SOUND, 0)
    assert "revoked" in audit.notes[0]


async def test_an_event_read_after_its_key_was_revoked_is_rejected_and_that_is_sound(tmp_path: Path) -> None:
    late = say("gateway:main", "intents", SEALED)
    audit = await verify(await tell(tmp_path / "log", go_on_as_root, revoke_gateway, late, decide))
    assert (audit.verdict, audit.refused) == (Verdict.SOUND, 1), audit.findings


async def test_a_body_that_cannot_be_decoded_and_was_rejected_for_it_is_sound(tmp_path: Path) -> None:
    async def garbled(scene: Scene) -> None:
        schemas = {schema.event_type: schema for schema in own_schemas()}
        schema = schemas["qpubus.TraceSealed"]
        scribe = Scribe("gateway:main", SITE, schemas)
        record = scribe.write(Draft("intents", SEALED, "j", EPOCH_US)).record
        record = record._replace(value=frame(schema.schema_id, b"\xff"))
        digest = record_digest(record, schema.digest)
        await scene.log.append(seal_batch([record], [digest], scene.keys["gateway:main"]))

    audit = await verify(await tell(tmp_path / "log", garbled, decide))
    assert (audit.verdict, audit.refused) == (Verdict.SOUND, 1), audit.findings


async def test_a_rejection_of_a_sound_record_is_found(tmp_path: Path) -> None:
    async def reject(scene: Scene) -> None:
        [cause] = await scene.say("gateway:main", Draft("intents", SEALED, "j", EPOCH_US))
        rejected = EventRejected(
            topic="intents", partition=0, offset=0, digest=cause.digest, reason="seal_broken", detail="it is not"
        )
        ends = await scene.log.ends(0)
        read = Inputs(1, 1, (("governance", ends["governance"]), ("intents", 1)))
        await scene.say("stage:policy", Draft("deadletters", rejected, SITE, EPOCH_US, (cause,), inputs=read))

    audit = await verify(await tell(tmp_path / "log", reject))
    assert found(audit) == (Verdict.TAMPERED, "deadletters", 0, "rejection_unfounded")


async def test_a_rejection_for_another_reason_is_found(tmp_path: Path) -> None:
    async def reject(scene: Scene) -> None:
        await stray("intents")(scene)
        rejected = EventRejected(topic="intents", partition=0, offset=0, digest="0" * 64, reason="tombstone", detail="")
        ends = await scene.log.ends(0)
        read = Inputs(1, 1, (("governance", ends["governance"]), ("intents", 1)))
        await scene.say("stage:policy", Draft("deadletters", rejected, SITE, EPOCH_US, inputs=read))

    audit = await verify(await tell(tmp_path / "log", reject))
    assert found(audit) == (Verdict.TAMPERED, "intents", 0, "header_missing")


async def test_a_gap_that_was_looked_into_is_sound(tmp_path: Path) -> None:
    async def skip(scene: Scene) -> None:
        await scene.say("gateway:main", Draft("intents", SEALED, "j", EPOCH_US))
        scene.scribes["gateway:main"].sequences["intents"] = 7

    accepted = GapAccepted(topic="intents", source="gateway:main", next_sequence=8, reason="looked into")
    stories = (
        go_on_as_root,
        skip,
        say("root", "governance", accepted),
        say("gateway:main", "intents", SEALED),
        decide,
    )
    audit = await verify(await tell(tmp_path / "log", *stories))
    assert (audit.verdict, audit.refused) == (Verdict.SOUND, 0), audit.findings


async def test_a_gap_is_told_as_records_missing(tmp_path: Path) -> None:
    async def skip(scene: Scene) -> None:
        await scene.say("gateway:main", Draft("intents", SEALED, "j", EPOCH_US))
        scene.scribes["gateway:main"].sequences["intents"] = 7
        await scene.say("gateway:main", Draft("intents", SEALED, "j", EPOCH_US))

    audit = await verify(await tell(tmp_path / "log", skip))
    assert found(audit) == (Verdict.INCOMPLETE, "intents", 1, "sequence_gap")


async def test_a_directory_without_a_log_is_unreadable(tmp_path: Path) -> None:
    audit = await verify(tmp_path)
    assert audit.verdict is Verdict.UNREADABLE
    assert "there is no log" in audit.notes[0]


async def test_a_log_without_its_trust_anchor_is_unreadable(tmp_path: Path) -> None:
    directory = await tell(tmp_path / "log")
    (directory / "root.pub").unlink()
    assert (await verify(directory)).verdict is Verdict.UNREADABLE


async def test_another_trust_anchor_believes_nothing(tmp_path: Path) -> None:
    directory = await tell(tmp_path / "log")
    (directory / "root.pub").write_text(raw_public_key(private_key("another")).hex())
    assert found(await verify(directory)) == (Verdict.TAMPERED, "governance", 0, "key_unknown")


async def test_an_older_copy_put_back_is_found(tmp_path: Path) -> None:
    directory = await tell(tmp_path / "log", chunks)
    shutil.copytree(directory, tmp_path / "older")

    log = EmbeddedLog(directory, lambda: EPOCH_US)
    await log.append([Stray("intents", SITE.encode(), b"\0junk", ())])
    await log.close()
    shutil.rmtree(directory)
    shutil.copytree(tmp_path / "older", directory)

    assert found(await verify(directory)) == (Verdict.INCOMPLETE, "intents", 5, "record_missing")


async def test_a_halt_that_no_person_signed_is_found(tmp_path: Path) -> None:
    proof = HumanProof(proof_type="ed25519", key_id="0" * 32, signature=bytes(64))
    halted = HaltOrdered(
        halt_id="h", scope="site", target=SITE, person="approver:tester", reason="r", ordered_us=1, proof=proof
    )
    audit = await verify(await tell(tmp_path / "log", say("gateway:main", "governance", halted)))
    verdict, topic, _, reason = found(audit)
    assert (verdict, topic, reason) == (Verdict.TAMPERED, "governance", "proof_invalid")
