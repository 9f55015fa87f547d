"""What witnesses have kept binds a log, whatever else is said in their names and whatever is left of the log."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path

import pytest

from replay.audit import verify
from replay.verdict import Audit, Verdict
from replay.witnessed import Asked, read_asked
from schemas.admission import Stored
from schemas.checkpoints import note_of, origin_of
from schemas.events import CheckpointSealed, CheckpointWitnessed, Cosignature, TreeHead
from schemas.keys import raw_public_key
from schemas.note import Kind, Note, NoteKey, Signature, cosign, notes_text, parse_notes
from streams.log.lines import Export
from streams.log.making import new_log
from tests.support.attacked import WITNESS, Records, kept, placed, policy, rounds_of, truth, with_said
from tests.support.attacks import roll_back
from tests.support.bundled import HOME
from tests.support.golden_log import golden_logs
from tests.support.signed import private_key

OTHER = "v.example"
NOW_S = 1_800_000_000


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def audited(directory: Path, records: Sequence[Stored], asked: Asked) -> Audit:
    with golden_logs()[0].open("rb") as file:
        settings = Export(file).settings
    with new_log(directory, settings) as new:
        for stored in placed(records):
            new.take(stored)
    return asyncio.run(verify(directory, dict([HOME]), asked=asked))


def either() -> bytes:
    """A policy that takes the word of one of two witnesses."""
    keys = [NoteKey(name, Kind.COSIGNATURE, raw_public_key(private_key(name))).text for name in (WITNESS, OTHER)]
    return f"witness W {keys[0]}\nwitness V {keys[1]}\ngroup either any W V\nquorum either\n".encode()


def rolled_back() -> Records:
    """The log rolled back to its last round but one, which the witness has cosigned as well."""
    records = roll_back(list(truth()))
    sealed = rounds_of(records)[-1]
    lines = [(head.topic, cosign(private_key(WITNESS), WITNESS, note(head).text, NOW_S)) for head in sealed.heads]
    said = [
        Cosignature(topic=topic, witness=WITNESS, key_id=line.key_id.hex(), signature=line.signature)
        for topic, line in lines
    ]
    event = CheckpointWitnessed(round=sealed.round, partition=0, cosignatures=tuple(said))
    return with_said(records, "witness:main", event, subject=HOME[0])


def founding() -> Records:
    """The log cut back to what stood there before its first round."""
    first = rounds_of(truth())[0].heads[0]
    return [each for each in truth() if each.topic == first.topic and each.offset < first.size]


def note(head: TreeHead) -> Note:
    return note_of(origin_of(HOME[1], head.topic, 0), head, raw_public_key(private_key("sealer:main")))


def last_round() -> CheckpointSealed:
    return rounds_of(truth())[-1]


def broken(line: Signature) -> Signature:
    return line._replace(signature=line.signature[:-1] + bytes([line.signature[-1] ^ 1]))


def broken_line(of: TreeHead) -> Signature:
    """A line in the other witness's name that does not hold."""
    return broken(cosign(private_key(OTHER), OTHER, note(of).text, NOW_S))


def by_the_other() -> bytes:
    head = last_round().heads[0]
    return notes_text([note(head)._replace(signatures=(broken_line(head),))])


def on_the_same_notes() -> bytes:
    """What the witness has kept, each note with a line before it that does not hold."""
    lines = {note(head).text: broken_line(head) for head in last_round().heads}
    return notes_text([each._replace(signatures=(lines[each.text], *each.signatures)) for each in parse_notes(kept())])


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_no_broken_line_of_another_witness_hides_a_roll_back(tmp_path: Path, order: Sequence[int]) -> None:
    files = either(), by_the_other(), kept()
    audit = audited(tmp_path / "log", rolled_back(), read_asked([files[number] for number in order]))
    assert (audit.verdict, audit.findings[0].reason) == (Verdict.INCOMPLETE, "sealed_record_missing")
    assert len(audit.unheld) == 1


def test_no_broken_line_on_the_same_note_hides_a_roll_back(tmp_path: Path) -> None:
    audit = audited(tmp_path / "log", rolled_back(), read_asked([either(), on_the_same_notes()]))
    assert (audit.verdict, audit.findings[0].reason) == (Verdict.INCOMPLETE, "sealed_record_missing")


def test_the_rolled_back_log_is_sound_to_who_asks_no_witness_itself(tmp_path: Path) -> None:
    assert audited(tmp_path / "log", rolled_back(), read_asked([either()])).verdict is Verdict.SOUND


def of_nobody() -> bytes:
    return notes_text([each._replace(signatures=(cosigned_by("x.example", each),)) for each in parse_notes(kept())])


def cosigned_by(name: str, of: Note) -> Signature:
    return cosign(private_key(name), name, of.text, NOW_S)


def of_another_log() -> bytes:
    return notes_text([renamed(each, f"qpubus/{'0' * 32}/") for each in parse_notes(kept())])


def with_a_tree_more() -> bytes:
    first = parse_notes(kept())[0]
    home, _, _ = origin_of(HOME[1], "t", 7).rpartition("t/7")
    return b"\n".join([kept(), renamed(first, home, "more").data])


def renamed(of: Note, home: str, topic: str = "") -> Note:
    """A note of a tree by another name, cosigned by the witness."""
    origin, rest = of.text.split("\n", 1)
    text = f"{home}{topic or origin.split('/')[2]}/0\n{rest}"
    return Note(text, (cosign(private_key(WITNESS), WITNESS, text, NOW_S),))


NOT_HOLDING = [by_the_other, on_the_same_notes, of_nobody, of_another_log, with_a_tree_more]


@pytest.mark.parametrize("given", NOT_HOLDING, ids=lambda each: each.__name__)
def test_checkpoints_that_do_not_hold_are_told_by_the_verdict(tmp_path: Path, given: Callable[[], bytes]) -> None:
    audit = audited(tmp_path / "log", truth(), read_asked([either(), given()]))
    assert (audit.verdict, audit.findings, audit.uncovered) == (Verdict.UNCOVERED, [], [])
    assert audit.unheld


def test_checkpoints_that_hold_are_sound(tmp_path: Path) -> None:
    audit = audited(tmp_path / "log", truth(), read_asked([either(), kept()]))
    assert (audit.verdict, audit.unheld) == (Verdict.SOUND, [])


@pytest.mark.parametrize("cut", [founding, list], ids=["to its founding", "to nothing"])
def test_a_log_that_was_cut_back_behind_its_first_round_is_found(tmp_path: Path, cut: Callable[[], Records]) -> None:
    audit = audited(tmp_path / "log", cut(), read_asked([policy(), kept()]))
    assert audit.verdict is Verdict.INCOMPLETE
    assert {each.topic for each in audit.findings if each.reason == "sealed_record_missing"} == {
        head.topic for head in last_round().heads if head.size > sum(each.topic == head.topic for each in cut())
    }


def test_a_policy_of_another_sealer_lets_nobody_off(tmp_path: Path) -> None:
    asked = read_asked([policy(), kept()])
    stranger = NoteKey("log.example", Kind.TEXT, raw_public_key(private_key("stranger")))
    audit = audited(tmp_path / "log", rolled_back(), asked._replace(policy=asked.policy._replace(logs=(stranger,))))
    assert audit.findings[0].reason == "sealed_record_missing"
