"""The sealer: when a round is due, what it covers, and that it never seals against what it sealed before."""

import pytest

from agents.sealer import RECORDS_MAX
from schemas.checkpoints import head_holds, origin_of
from schemas.envelope import Stray, raw_digest
from schemas.events import CheckpointSealed, TreeHead
from schemas.keys import raw_public_key
from schemas.merkle import EMPTY_ROOT, leaf_hash, root_hash
from schemas.topics import TOPICS
from streams.log.port import AppendUnknown, LogCorrupt, LogError, LogIncomplete
from tests.support.memory_log import MemoryLog
from tests.support.scene import EPOCH_US, SITE
from tests.support.sealing import SECOND_US, in_memory


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
