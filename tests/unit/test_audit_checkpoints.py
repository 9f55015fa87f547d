"""An audit against checkpoints: what storage no longer shows, rounds show; what rounds no longer show, witnesses do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents.witness.submission import Submission
from replay.audit import verify
from replay.verdict import Audit, Verdict
from replay.witnessed import Asked, read_asked
from schemas.envelope import Stray
from schemas.events import CheckpointSealed, CheckpointWitnessed, TreeHead
from schemas.quorum import PolicyInvalid
from streams.author import Draft
from streams.log.embedded import EmbeddedLog
from streams.log.port import LogCorrupt, LogIncomplete
from tests.support.rewriting import rewrite
from tests.support.scene import SITE
from tests.support.sealing import Sealing, on_disk
from tests.support.witnesses import Witnesses


@pytest.fixture(autouse=True)
def _memory_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@dataclass
class Case:
    """A town on disk with three rounds, each seen by its witnesses."""

    town: Sealing
    directory: Path
    witnesses: Witnesses

    async def go_on(self, rounds: int = 3) -> None:
        """Let governance and alarms grow; each time a round is sealed and submitted."""
        sealer, submission = self.town.sealer(), submission_of(self.town, self.witnesses)
        for _ in range(rounds):
            await self.town.budget(5)
            await self.town.alarm(2)
            await self.town.pass_time(sealer)
            while await submission.step():
                pass

    async def close(self) -> None:
        await self.town.log.close()

    async def audit(self, asked: Asked | None = None) -> Audit:
        return await verify(self.directory, asked=asked)


def submission_of(town: Sealing, witnesses: Witnesses) -> Submission:
    chosen = list(witnesses.policy.witnesses.values())
    return Submission(town.member("witness:main"), town.log, town.clock, chosen, witnesses.send)


async def case(tmp_path: Path, count: int = 1, least: int = 1, *, away: Sequence[int] = ()) -> Case:
    """Three rounds on disk, closed."""
    town = await on_disk(tmp_path / "data")
    made = Case(town, tmp_path / "data", Witnesses(town, tmp_path, count, least, set(away)))
    await made.go_on()
    await made.close()
    return made


async def test_a_sealed_log_is_sound(tmp_path: Path) -> None:
    made = await case(tmp_path)
    audit = await made.audit()
    assert (audit.findings, audit.verdict, audit.rounds) == ([], Verdict.SOUND, 3)


async def test_an_unsealed_tail_is_sound(tmp_path: Path) -> None:
    town = await on_disk(tmp_path / "data")
    await town.pass_time(town.sealer())
    await town.budget(3)
    await town.log.close()
    assert (await verify(tmp_path / "data")).verdict is Verdict.SOUND


async def tell_other_alarms(made: Case, count: int, *, keep_rounds: bool) -> None:
    """Rewrite the log with the true authors' keys: all alarms are others, and there are so many of them."""
    gone = {"alarms"} if keep_rounds else {"alarms", "checkpoints"}
    await rewrite(made.directory, lambda records: [each for each in records if each.topic not in gone])
    await reopened(made)
    made.town.scene.scribes.pop("clock:main")
    if count:
        await made.town.alarm(count)


async def test_records_that_are_others_are_found_by_a_round(tmp_path: Path) -> None:
    made = await case(tmp_path)
    await tell_other_alarms(made, 6, keep_rounds=True)
    await made.close()
    audit = await made.audit()
    assert [(each.topic, each.offset, each.reason) for each in audit.findings] == [
        ("alarms", 0, "sealed_record_changed")
    ]
    assert audit.verdict is Verdict.TAMPERED


async def test_a_topic_that_was_cut_is_found_by_a_round(tmp_path: Path) -> None:
    made = await case(tmp_path)
    await rewrite(made.directory, lambda records: [each for each in records if each.topic != "alarms"])
    audit = await made.audit()
    assert [(each.topic, each.offset, each.reason) for each in audit.findings] == [
        ("alarms", 0, "sealed_record_missing")
    ]
    assert audit.verdict is Verdict.INCOMPLETE


async def test_the_place_is_narrowed_to_what_is_new_since_the_last_round_that_fits(tmp_path: Path) -> None:
    made = await case(tmp_path)
    await rewrite(made.directory, lambda records: [each for each in records if each[:3] != ("alarms", 0, 5)])
    audit = await made.audit()
    assert [(each.topic, each.offset, each.reason) for each in audit.findings] == [
        ("alarms", 5, "sealed_record_missing")
    ]


async def test_a_missing_round_is_found(tmp_path: Path) -> None:
    town = await on_disk(tmp_path / "data")
    await town.pass_time(town.sealer())
    [true] = await town.rounds()
    await seal_by_hand(town, 3, true.heads, said=1)
    await town.log.close()
    assert [each.reason for each in (await verify(tmp_path / "data")).findings] == ["checkpoint_gap"]


async def test_strays_that_were_sealed_belong_to_the_tree(tmp_path: Path) -> None:
    town = await on_disk(tmp_path / "data")
    await town.log.append([Stray("deadletters", SITE.encode(), b"x", ())])
    await town.pass_time(town.sealer())
    await town.log.close()
    audit = await verify(tmp_path / "data")
    assert [each.reason for each in audit.findings] == ["header_missing"]


async def test_a_record_before_its_schema_belongs_to_the_tree_by_its_bytes(tmp_path: Path) -> None:
    town = await on_disk(tmp_path / "data")
    await town.log.append([town.of_schema(900)])
    await town.pass_time(town.sealer())
    await town.publish(900)
    await town.pass_time(town.sealer())
    await town.log.close()
    audit = await verify(tmp_path / "data")
    assert not {"sealed_record_changed", "sealed_record_missing"} & {each.reason for each in audit.findings}


async def test_a_round_that_lies_is_found(tmp_path: Path) -> None:
    town = await on_disk(tmp_path / "data")
    await town.pass_time(town.sealer())
    [true] = await town.rounds()
    heads = [head.model_copy(update={"root": "ab" * 32}) if head.topic == "alarms" else head for head in true.heads]
    await town.alarm()
    await seal_by_hand(town, 2, heads, said=1)
    await town.log.close()
    reasons = {(each.topic, each.reason) for each in (await verify(tmp_path / "data")).findings}
    assert reasons == {("alarms", "sealed_record_changed"), ("checkpoints", "note_signature_broken")}


async def test_a_tree_that_shrinks_is_found(tmp_path: Path) -> None:
    town = await on_disk(tmp_path / "data")
    await town.pass_time(town.sealer())
    [true] = await town.rounds()
    heads = [head.model_copy(update={"size": 1}) if head.topic == "governance" else head for head in true.heads]
    await seal_by_hand(town, 2, heads, said=1)
    await town.log.close()
    assert [each.reason for each in (await verify(tmp_path / "data")).findings] == ["checkpoint_malformed"]


async def seal_by_hand(town: Sealing, number: int, heads: Sequence[TreeHead], said: int) -> None:
    """Say a round with the sealer's own key, after so many that it has said itself."""
    await town.scene.say("sealer:main")
    town.scene.scribes["sealer:main"].sequences["checkpoints"] = said
    event = CheckpointSealed(round=number, partition=0, heads=tuple(heads))
    await town.scene.say("sealer:main", Draft("checkpoints", event, SITE, town.clock.now_us()))


async def test_a_log_that_its_witness_covers_is_sound(tmp_path: Path) -> None:
    made = await case(tmp_path)
    audit = await made.audit(made.witnesses.asked())
    assert (audit.findings, audit.verdict, audit.uncovered) == ([], Verdict.SOUND, [])


async def test_a_tail_that_no_witness_covers_is_told(tmp_path: Path) -> None:
    made = await case(tmp_path)
    town = made.town
    await reopened(made)
    before = (await town.log.ends(0))["governance"]
    await town.budget()
    await made.close()
    audit = await made.audit(made.witnesses.asked())
    assert (audit.verdict, audit.uncovered) == (
        Verdict.UNCOVERED,
        [f"governance partition 0 offset {before} to {before}"],
    )


async def reopened(made: Case) -> None:
    made.town.scene.log = EmbeddedLog(made.directory, made.town.clock.now_us)


async def test_without_being_asked_for_a_witness_an_uncovered_tail_is_sound(tmp_path: Path) -> None:
    made = await case(tmp_path, away=[1])
    assert (await made.audit()).verdict is Verdict.SOUND


async def test_two_of_three_witnesses_are_enough(tmp_path: Path) -> None:
    made = await case(tmp_path, 3, 2, away=[2])
    assert (await made.audit(made.witnesses.asked())).verdict is Verdict.SOUND


async def test_one_of_three_witnesses_is_not_enough_for_two(tmp_path: Path) -> None:
    made = await case(tmp_path, 3, 2, away=[1, 2])
    assert (await made.audit(made.witnesses.asked())).verdict is Verdict.UNCOVERED


async def test_a_witness_that_was_away_catches_up(tmp_path: Path) -> None:
    made = await case(tmp_path, 3, 3, away=[3])
    await reopened(made)
    made.witnesses.away.clear()
    await made.go_on(1)
    await made.close()
    assert (await made.audit(made.witnesses.asked())).verdict is Verdict.SOUND


@pytest.mark.parametrize("count", [6, 5, 0], ids=["others", "others, and fewer", "cut"])
async def test_who_has_every_key_but_the_witness_cannot_rewrite_what_it_saw(count: int, tmp_path: Path) -> None:
    made = await case(tmp_path)
    await tell_other_alarms(made, count, keep_rounds=False)
    await made.town.pass_time(made.town.sealer())  # the attacker has the sealer's key and seals the new history
    await made.close()
    assert (await made.audit()).verdict is Verdict.SOUND, "the log itself shows nothing"
    found = await made.audit(made.witnesses.asked(1))
    assert [each.topic for each in found.findings] == ["alarms", "checkpoints"]
    assert found.verdict is (Verdict.TAMPERED if count == 6 else Verdict.INCOMPLETE)


async def test_a_rewritten_log_is_not_covered_even_if_no_witness_can_be_asked(tmp_path: Path) -> None:
    made = await case(tmp_path)
    await tell_other_alarms(made, 6, keep_rounds=False)
    await made.town.pass_time(made.town.sealer())
    await made.close()
    assert (await made.audit(made.witnesses.asked())).verdict is Verdict.UNCOVERED


async def test_a_rewritten_log_is_not_cosigned_again(tmp_path: Path) -> None:
    made = await case(tmp_path)
    await tell_other_alarms(made, 6, keep_rounds=False)
    await made.town.budget()
    await made.town.pass_time(made.town.sealer())
    with pytest.raises(LogCorrupt, match=r"alarms partition 0 .* w1\.example has cosigned"):
        await submission_of(made.town, made.witnesses).step()
    await made.close()


async def test_a_log_that_was_cut_is_not_cosigned_again(tmp_path: Path) -> None:
    made = await case(tmp_path)
    await tell_other_alarms(made, 1, keep_rounds=False)
    await made.town.budget()
    await made.town.pass_time(made.town.sealer())
    with pytest.raises(LogIncomplete, match=r"w1\.example has cosigned 6 records, and 1 are left"):
        await submission_of(made.town, made.witnesses).step()
    await made.close()


async def test_a_forged_cosignature_is_found(tmp_path: Path) -> None:
    made = await case(tmp_path)
    await reopened(made)
    said = [item for item in await made.town.all_events() if isinstance(item, CheckpointWitnessed)]
    forged = tuple(each.model_copy(update={"signature": bytes(72)}) for each in said[-1].cosignatures)
    await made.town.scene.say("witness:main")
    made.town.scene.scribes["witness:main"].sequences["checkpoints"] = len(said)
    event = said[-1].model_copy(update={"cosignatures": forged})
    await made.town.scene.say("witness:main", Draft("checkpoints", event, SITE, made.town.clock.now_us()))
    await made.close()
    audit = await made.audit(made.witnesses.asked())
    assert {each.reason for each in audit.findings} == {"cosignature_broken"}


async def test_a_policy_that_lists_another_log_is_covered_by_nothing(tmp_path: Path) -> None:
    made = await case(tmp_path)
    policy = made.witnesses.policy
    other = policy._replace(logs=(next(iter(policy.witnesses.values())).key,))
    audit = await made.audit(Asked(other))
    assert audit.verdict is Verdict.UNCOVERED


async def test_files_of_a_policy_and_of_checkpoints_are_told_apart(tmp_path: Path) -> None:
    made = await case(tmp_path)
    key = made.witnesses.all[1].key
    policy = f"witness W1 {key.text}\nquorum W1\n".encode()
    asked = read_asked([made.witnesses.all[1].store.all(), policy])
    assert (asked.policy.quorum, len(asked.notes)) == ("W1", 3)


@pytest.mark.parametrize("files", [[], [b"quorum none\n", b"quorum none\n"]], ids=["none", "two policies"])
def test_exactly_one_file_is_a_policy(files: list[bytes]) -> None:
    with pytest.raises(PolicyInvalid):
        read_asked(files)
