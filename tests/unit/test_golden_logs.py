"""Logs of earlier releases: today's code reads them, believes them, and decides as the code of their day did."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.clock import VirtualClock
from agents.drafts import draft
from agents.party import Membership, Party
from qpubus.governing import lacking_schemas
from replay.audit import verify_log
from replay.redecide import redecide
from replay.stages import OLDER, STAGES
from replay.then import ScribeOfThen
from replay.verdict import Verdict
from schemas.admission import Admission
from schemas.codec import encode_by, own_schemas, published
from schemas.events import AlarmSet, IntentDeclared, IntentRefused
from schemas.topics import TOPICS, Role
from streams.author import Draft
from streams.log.embedded import EmbeddedLog
from streams.log.reading import EmbeddedReader, open_copy
from streams.policy import POLICY
from streams.reader import Reader
from streams.stage import AnyStage, Heard, Output
from streams.worker import Site, Worker
from tests.support.golden_log import golden_logs, restore, root_public_key
from tests.support.signed import private_key
from tests.support.town import SITE

ROOTS = {SITE: root_public_key()}
LATER_US = 1_800_000_000_000_000


@pytest.fixture(scope="module", params=golden_logs(), ids=lambda path: path.stem)
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedReader]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        path: Path = request.param
        with open_copy(restore(path, tmp_path_factory.mktemp("golden") / "data")) as opened:
            yield opened


def test_there_is_a_golden_log() -> None:
    assert golden_logs()


async def test_a_log_of_another_day_is_sound(log: EmbeddedReader) -> None:
    audit = await verify_log(log, ROOTS)
    assert (audit.verdict, audit.findings) == (Verdict.SOUND, [])
    assert audit.rounds > 0


async def test_every_decision_of_another_day_is_taken_again_to_the_same_bytes(log: EmbeddedReader) -> None:
    again = await redecide(log, ROOTS)
    assert again.differences == [], (
        "rules changed: keep the old ones in replay/stages.py and give the new ones a version"
    )
    assert set(again.decisions) == {stage.source for stage in STAGES}
    assert all(count > 0 for count in again.decisions.values())


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.role.value)
async def test_a_change_of_any_rule_is_seen(log: EmbeddedReader, stage: AnyStage) -> None:
    def silent(state: Any, heard: Any) -> list[Any]:
        return stage.decide(state, heard)[:-1]  # type: ignore[return-value]  # a list in all stages

    again = await redecide(log, ROOTS, stages=[replace(stage, decide=silent)])
    assert [difference.stage for difference in again.differences] == [stage.source]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.role.value)
async def test_rules_of_a_new_version_leave_old_decisions_to_the_old_ones(log: EmbeddedReader, stage: AnyStage) -> None:
    new = replace(stage, version=stage.version + 1, decide=lambda *_: ())
    again = await redecide(log, ROOTS, stages=[new, stage, *OLDER])
    assert again.is_same
    assert again.decisions[stage.source] > 0


async def test_a_log_whose_rules_are_not_at_hand_is_not_called_the_same(log: EmbeddedReader) -> None:
    [policy] = [stage for stage in STAGES if stage.role is Role.POLICY]
    again = await redecide(log, ROOTS, stages=[replace(policy, version=9)])
    [difference] = again.differences
    assert f"version {policy.version} of its rules" in difference.place


def decide_in_other_words(state: Any, heard: Heard) -> list[Output]:
    return [
        output._replace(event=output.event.model_copy(update={"message": "no"}))
        if isinstance(output.event, IntentRefused)
        else output
        for output in POLICY.decide(state, heard)
    ]


async def declared_again(log: EmbeddedLog) -> None:
    """The root publishes what is lacking, and the gateway says the first intent again, which policy refuses."""
    reader = Reader(log, 0, TOPICS, ROOTS)
    items = await reader.read(10_000)
    root = Party(Membership("root", SITE, private_key("root"), root_public_key()), log, VirtualClock(LATER_US))
    await root.say(*(draft(each, LATER_US, subject=SITE) for each in lacking_schemas(reader.admission(SITE))))
    intent = next(item.event for item in items if isinstance(item, Heard) and isinstance(item.event, IntentDeclared))
    member = Membership("gateway:main", SITE, private_key("gateway:main"), root_public_key())
    await Party(member, log, VirtualClock(LATER_US)).say(draft(intent, LATER_US))


async def test_each_decision_is_taken_again_by_the_rules_of_its_own_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    new = replace(POLICY, version=2, decide=decide_in_other_words)
    log = EmbeddedLog(restore(golden_logs()[0], tmp_path / "data"), lambda: LATER_US)
    try:
        before = await redecide(log, ROOTS, stages=[POLICY])
        await declared_again(log)
        worker = Worker(new, log, 0, {SITE: Site(root_public_key(), private_key(POLICY.source))})
        while await worker.step():
            pass
        both = await redecide(log, ROOTS, stages=[new, POLICY])
        old_alone = await redecide(log, ROOTS, stages=[POLICY])
        wrong = await redecide(log, ROOTS, stages=[replace(POLICY, version=2), POLICY])
    finally:
        await log.close()
    assert both.is_same
    assert both.decisions[POLICY.source] == before.decisions[POLICY.source] + 1
    assert "version 2 of its rules" in old_alone.differences[0].place
    assert [name for name, _, _ in wrong.differences[0].parts] == ["body"]


def test_a_decision_on_an_old_log_is_written_by_the_schema_that_was_published_there() -> None:
    alarm = AlarmSet(alarm_id="a", rings_us=7)
    own = next(schema for schema in own_schemas() if schema.event_type == "qpubus.AlarmSet")
    old = published(99, own.text.replace("A stage wants", "Some stage wants"))
    admission = Admission(root_public_key(), SITE, schemas={old.schema_id: old})
    written = ScribeOfThen("stage:policy", SITE, admission).write(Draft("alarms", alarm, "a", 0))
    assert written.record.value[:5] == b"\0\0\0\0\x63"
    assert written.record.value[5:] == encode_by(alarm, own)


def test_an_event_that_an_old_schema_cannot_say_is_refused() -> None:
    own = next(schema for schema in own_schemas() if schema.event_type == "qpubus.AlarmSet")
    old = published(99, own.text.replace('"alarm_id"', '"alarm_name"'))
    with pytest.raises(ValueError, match="has other fields"):
        encode_by(AlarmSet(alarm_id="a", rings_us=7), old)
