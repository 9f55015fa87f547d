"""The sealer: when a round is due, what it covers, and that it never seals against what it sealed before."""

from pathlib import Path

import pytest

from agents.sealer import RECORDS_MAX
from replay.audit import verify
from replay.verdict import Verdict
from schemas.admission import Stored
from schemas.checkpoints import head_holds, origin_of
from schemas.envelope import Stray, raw_digest
from schemas.events import CheckpointSealed, TreeHead
from schemas.keys import raw_public_key
from schemas.merkle import EMPTY_ROOT, leaf_hash, root_hash
from schemas.topics import TOPICS
from streams.log.port import AppendUnknown, Log, LogCorrupt, LogError, LogIncomplete
from streams.log.reading import EmbeddedReader
from streams.trees import Trees
from tests.support.memory_log import MemoryLog
from tests.support.scene import EPOCH_US, SITE
from tests.support.sealing import SECOND_US, in_memory, on_disk


def head(sealed: CheckpointSealed, topic: str) -> TreeHead:
    return next(each for each in sealed.heads if each.topic == topic)


async def test_what_is_new_is_sealed_a_second_later() -> None:
    town = await in_memory()
    sealer = town.sealer()
    await sealer.step()
    assert (await town.rounds(), sealer.next_due_us()) == ([], EPOCH_US + SECOND_US)
    await town.pass_time(sealer)
    assert [sealed.round for sealed in await town.rounds()] == [1]


async def test_a_thousand_records_are_sealed_at_once() -> None:
    town = await in_memory()
    sealer = town.sealer()
    await town.pass_time(sealer)
    await town.budget(RECORDS_MAX)
    await sealer.step()
    assert len(await town.rounds()) == 2


async def test_until_a_round_is_due_few_records_are_no_reason_to_wake_it() -> None:
    town = await in_memory()
    sealer = town.sealer()
    before = sealer.patience
    await sealer.step()
    assert (before, sealer.patience * len(TOPICS) <= RECORDS_MAX, sealer.patience > 0) == (0, True, True)


async def test_a_round_covers_every_topic() -> None:
    town = await in_memory()
    await town.pass_time(town.sealer())
    [sealed] = await town.rounds()
    assert tuple(each.topic for each in sealed.heads) == TOPICS


async def test_an_empty_topic_has_the_root_of_no_leaves() -> None:
    town = await in_memory()
    await town.pass_time(town.sealer())
    [sealed] = await town.rounds()
    assert (head(sealed, "results").size, head(sealed, "results").root) == (0, EMPTY_ROOT.hex())


async def test_the_root_is_that_over_the_digests_of_all_events() -> None:
    town = await in_memory()
    await town.pass_time(town.sealer())
    [sealed] = await town.rounds()
    digests = await town.digests("governance")
    assert head(sealed, "governance").root == root_hash([leaf_hash(digest) for digest in digests]).hex()


async def test_a_stray_has_a_leaf_of_its_raw_bytes() -> None:
    town = await in_memory()
    stray = Stray("results", SITE.encode(), b"no event", (("x", b"1"),))
    await town.log.append([stray])
    await town.pass_time(town.sealer())
    [sealed] = await town.rounds()
    assert head(sealed, "results").root == leaf_hash(raw_digest(stray)).hex()


async def test_alarms_alone_cause_no_round() -> None:
    town = await in_memory()
    sealer = town.sealer()
    await town.pass_time(sealer)
    await town.alarm()
    await town.pass_time(sealer)
    assert len(await town.rounds()) == 1


async def test_alarms_are_covered_by_the_next_round() -> None:
    town = await in_memory()
    sealer = town.sealer()
    await town.pass_time(sealer)
    await town.alarm(3)
    await town.budget()
    await town.pass_time(sealer)
    sealed = (await town.rounds())[-1]
    assert (head(sealed, "alarms").size, head(sealed, "checkpoints").size) == (3, 1)


async def test_every_head_is_signed_as_a_note() -> None:
    town = await in_memory()
    await town.pass_time(town.sealer())
    [sealed] = await town.rounds()
    key = raw_public_key(town.scene.keys["sealer:main"])
    root = town.scene.root
    assert [each.topic for each in sealed.heads if head_holds(origin_of(root, each.topic, 0), each, key)] == list(
        TOPICS
    )


async def test_after_a_restart_rounds_go_on() -> None:
    town = await in_memory()
    await town.pass_time(town.sealer())
    await town.budget()
    await town.pass_time(town.sealer())
    assert [sealed.round for sealed in await town.rounds()] == [1, 2]


async def test_a_restart_alone_seals_nothing() -> None:
    town = await in_memory()
    await town.pass_time(town.sealer())
    await town.pass_time(town.sealer())
    assert len(await town.rounds()) == 1


async def test_an_append_of_unknown_outcome_leads_to_no_second_round() -> None:
    town = await in_memory()
    assert isinstance(town.log, MemoryLog)
    sealer = town.sealer()
    await sealer.step()
    town.clock.advance_to(EPOCH_US + SECOND_US)
    town.log.failure = AppendUnknown("nobody knows")
    with pytest.raises(LogError):
        await sealer.step()
    await town.pass_time(sealer)
    assert [sealed.round for sealed in await town.rounds()] == [1]


async def test_what_is_left_at_the_end_is_sealed_at_once() -> None:
    town = await in_memory()
    await town.sealer().finish()
    assert len(await town.rounds()) == 1


async def test_with_nothing_left_the_end_adds_no_round() -> None:
    town = await in_memory()
    sealer = town.sealer()
    await sealer.finish()
    await sealer.finish()
    assert len(await town.rounds()) == 1


async def test_nothing_more_is_sealed_on_a_log_that_was_changed() -> None:
    town = await in_memory()
    assert isinstance(town.log, MemoryLog)
    await town.pass_time(town.sealer())
    line = town.log._records["governance", 0]
    line[-2] = line[-2]._replace(record=line[-3].record)
    await town.budget()
    with pytest.raises(LogCorrupt, match=r"governance partition 0 offset \d+: .* round 1 sealed"):
        await town.pass_time(town.sealer())


async def test_nothing_more_is_sealed_on_a_log_that_was_cut() -> None:
    town = await in_memory()
    assert isinstance(town.log, MemoryLog)
    await town.budget()
    sealer = town.sealer()
    await town.pass_time(sealer)
    town.log._records["governance", 0].pop()
    with pytest.raises(LogIncomplete):
        await sealer.step()


async def test_a_schema_published_late_changes_no_leaf_that_was_sealed() -> None:
    town = await in_memory()
    early = town.of_schema(900)
    await town.log.append([early])
    await town.pass_time(town.sealer())
    await town.publish(900)
    await town.budget()
    await town.pass_time(town.sealer())
    first, second = await town.rounds()
    assert head(first, "intents").root == head(second, "intents").root == leaf_hash(raw_digest(early)).hex()


async def test_a_schema_published_in_the_same_round_makes_a_statement() -> None:
    town = await in_memory()
    early = town.of_schema(900)
    await town.log.append([early])
    await town.publish(900)
    await town.pass_time(town.sealer())
    [sealed] = await town.rounds()
    assert head(sealed, "intents").root != leaf_hash(raw_digest(early)).hex()


async def test_saved_trees_grow_on_to_the_roots_over_all_events(tmp_path: Path) -> None:
    town, saved = await in_memory(), tmp_path / "trees.json"
    for _ in range(3):
        await town.budget(3)
        await town.sealer(saved).finish()
        assert saved.exists()
    last = (await town.rounds())[-1]
    leaves = [leaf_hash(digest) for digest in await town.digests("governance")]
    assert (head(last, "governance").size, head(last, "governance").root) == (len(leaves), root_hash(leaves).hex())


@pytest.mark.parametrize(
    "spoiled", [b"", b"{}", b'{"round":1,"trees":{}}', b'{"round":1,"trees":{"intents":[5,"ff"]}}']
)
async def test_saved_trees_that_no_round_sealed_are_grown_anew(tmp_path: Path, spoiled: bytes) -> None:
    town, saved = await in_memory(), tmp_path / "trees.json"
    await town.sealer(saved).finish()
    saved.write_bytes(spoiled)
    await town.budget()
    await town.sealer(saved).finish()
    assert [sealed.round for sealed in await town.rounds()] == [1, 2]


async def test_saved_trees_of_another_log_are_not_believed(tmp_path: Path) -> None:
    saved = tmp_path / "trees.json"
    other = await in_memory()
    await other.alarm(3)
    await other.sealer(saved).finish()
    town = await in_memory()
    await town.budget()
    await town.sealer().finish()
    await town.budget()
    await town.sealer(saved).finish()
    [first, second] = await town.rounds()
    assert (head(second, "alarms").size, head(first, "alarms").size) == (0, 0)
    assert (
        head(second, "governance").root
        == root_hash([leaf_hash(each) for each in await town.digests("governance")]).hex()
    )


async def test_what_this_process_appended_is_sealed_as_it_was_appended(tmp_path: Path) -> None:
    town = await on_disk(tmp_path / "data")
    sealer = town.sealer()
    await town.pass_time(sealer)
    await town.alarm(3)
    read = _reads_of(town.log)
    await town.pass_time(sealer)
    await town.log.close()
    assert "alarms" not in read
    assert (await verify(tmp_path / "data", {SITE: town.scene.root})).verdict is Verdict.SOUND


async def test_what_nobody_sealed_here_is_read_back(tmp_path: Path) -> None:
    town = await on_disk(tmp_path / "data")
    sealer = town.sealer()
    await town.pass_time(sealer)
    await town.alarm(2)
    await town.log.append([Stray("alarms", SITE.encode(), b"no event", ())])
    await town.alarm(2)
    read = _reads_of(town.log)
    await town.pass_time(sealer)
    rounds = await town.rounds()
    await town.log.close()
    log = EmbeddedReader(tmp_path / "data")
    fresh = Trees(log, 0, {SITE: town.scene.root})
    await fresh.compare(rounds[-1])
    await log.close()
    assert "alarms" in read


def _reads_of(log: Log) -> list[str]:
    """The topics that are read from a log from now on, as they are."""
    topics: list[str] = []
    plain = log.read

    async def read(topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        topics.append(topic)
        return await plain(topic, partition, offset, limit)

    log.read = read  # type: ignore[method-assign]  # listens, and changes nothing
    return topics
