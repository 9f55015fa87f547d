"""An export of 10,000 events in which one byte is another, or lines and fields are others: no such file is imported.

A line is read by what stood before it and by nothing else, so the lines from the first that is changed are given to a
copy of the state in which they would be read. A sample goes through the command, as whole files.
"""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from random import Random

import orjson
import pytest

from streams.log.lines import ExportInvalid, Lines
from tests.support.commands import qpubus
from tests.support.exported import EVENTS, export, states

FLIPS, EDITS = 10_000, 10_000
FLIPS_BY_COMMAND, EDITS_BY_COMMAND = 200, 100
SHARDS = 4
FIELDS = ("append_time_us", "hash", "offset", "partition", "topic")
OF_RECORD = (
    *("causes", "id", "inputs", "key", "seal", "sequence", "source", "subject", "time", "traceparent", "type", "value"),
)

Edit = tuple[int, list[bytes]]
"""The place of the first line that is another, and all lines from there on."""


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def refused(state: Lines | None, lines: Sequence[bytes]) -> int:
    """The number of the line at which a file is refused that goes on like this and then ends; 0 if it is taken."""
    try:
        reading, rest = (Lines(lines[0]), lines[1:]) if state is None else (state.copy(), lines)
        for line in (*rest, b""):
            if reading.take(line) is None:
                return 0
    except ExportInvalid as error:
        return error.line
    return 0


def flipped(number: int, at: int, mask: int) -> list[bytes]:
    """The line of that place and the next, with one byte changed; that may end a line early, or not at all."""
    line, following = export()[number], b"".join(export()[number + 1 : number + 2])
    changed = line[:at] + bytes([line[at] ^ mask]) + line[at + 1 :] + following
    return _lines(changed)


def _lines(data: bytes) -> list[bytes]:
    """The lines of a file as they are read: only a newline ends one."""
    *whole, last = data.split(b"\n")
    return [each + b"\n" for each in whole] + ([last] if last else [])


def test_a_flipped_byte_is_refused_at_its_line() -> None:
    rng, lines = Random(1), export()  # noqa: S311 (seeded on purpose)
    assert len(lines) == EVENTS + len(("first", "tombstone", "repeated", "not UTF-8", "last"))
    ends = list(accumulate(map(len, lines)))
    places = sorted(rng.sample(range(ends[-1]), FLIPS), reverse=True)
    for number, state in enumerate(states()):
        while places and places[-1] < ends[number]:
            at = places.pop() - ends[number] + len(lines[number])
            assert refused(state, flipped(number, at, rng.randrange(1, 256))) == number + 1
    assert not places


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_flipped_byte_is_refused_at_its_line(shard: int) -> None:
    rng = Random(shard)  # noqa: S311 (seeded on purpose)
    for number, state in enumerate(states()):
        if number % SHARDS == shard:
            for at in range(len(export()[number])):
                assert refused(state, flipped(number, at, rng.randrange(1, 256))) == number + 1


def test_a_flipped_byte_is_refused_by_the_command(tmp_path: Path) -> None:
    rng, whole = Random(2), b"".join(export())  # noqa: S311 (seeded on purpose)
    for _ in range(FLIPS_BY_COMMAND):
        at = rng.randrange(len(whole))
        changed = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
        assert imported(tmp_path, changed) == whole.count(b"\n", 0, at) + 1


def imported(directory: Path, content: bytes) -> int:
    """The line at which `log import` refuses a file, and makes no log of it."""
    (directory / "file").write_bytes(content)
    done = qpubus("log", "import", directory / "file", "--data", directory / "data")
    assert done.code == 1
    assert not (directory / "data" / "log.sqlite").exists()
    return int(done.err.removeprefix("error: line ").partition(":")[0])


def test_edited_lines_are_refused_at_the_first_of_them() -> None:
    rng = Random(3)  # noqa: S311 (seeded on purpose)
    edits = sorted((edit(rng) for _ in range(EDITS)), key=lambda each: each[0], reverse=True)
    for number, state in enumerate(states()):
        while edits and edits[-1][0] == number:
            _, lines = edits.pop()
            assert refused(state, lines) in {number + 1, where_it_shows(number, lines)}
    assert not edits


def test_edited_lines_are_refused_by_the_command(tmp_path: Path) -> None:
    rng = Random(4)  # noqa: S311 (seeded on purpose)
    for _ in range(EDITS_BY_COMMAND):
        number, lines = edit(rng)
        line = imported(tmp_path, b"".join([*export()[:number], *lines]))
        assert line in {number + 1, where_it_shows(number, lines)}


def where_it_shows(number: int, lines: Sequence[bytes]) -> int:
    """Where the last records of a topic are gone and nothing else, the line shows it that tells how many there are."""
    before = export()[number:]
    gone = len(before) - len(lines)
    is_cut = gone > 0 and list(lines) == list(before[gone:]) and place(before[0])[0] != place(lines[0])[0]
    return number + len(lines) if is_cut else 0


def place(line: bytes) -> tuple[str, int]:
    said = orjson.loads(line)
    return said.get("topic", ""), said.get("offset", 0)


def edit(rng: Random) -> Edit:
    """Lines or fields that are dropped, swapped, doubled, moved or put together anew, so that something is another."""
    while True:
        lines = list(export())
        one, other = sorted(rng.sample(range(1, len(lines) - 1), 2))
        changed = rng.choice(EDITED)(lines, one, other, rng)
        if changed != list(export()[one:]):
            return one, changed


def _drop(lines: list[bytes], one: int, _: int, __: Random) -> list[bytes]:
    return lines[one + 1 :]


def _drop_many(lines: list[bytes], _: int, other: int, __: Random) -> list[bytes]:
    return lines[other:]


def _swap(lines: list[bytes], one: int, other: int, _: Random) -> list[bytes]:
    lines[one], lines[other] = lines[other], lines[one]
    return lines[one:]


def _double(lines: list[bytes], one: int, other: int, _: Random) -> list[bytes]:
    return [lines[other], *lines[one:]]


def _move(lines: list[bytes], one: int, other: int, _: Random) -> list[bytes]:
    return [lines[other], *lines[one:other], *lines[other + 1 :]]


def _cut(lines: list[bytes], one: int, _: int, rng: Random) -> list[bytes]:
    return [lines[one][: rng.randrange(len(lines[one]))]]


def _splice(lines: list[bytes], one: int, other: int, rng: Random) -> list[bytes]:
    at = rng.randrange(min(len(lines[one]), len(lines[other])))
    return _lines(lines[one][:at] + lines[other][at:]) + lines[one + 1 :]


def _put_field(lines: list[bytes], one: int, other: int, rng: Random) -> list[bytes]:
    said, others = orjson.loads(lines[one]), orjson.loads(lines[other])
    name = rng.choice([*FIELDS, *OF_RECORD])
    if name in FIELDS:
        said[name] = others[name]
    elif "record" in said and "record" in others:
        said["record"][name] = others["record"][name]
    return [orjson.dumps(said, option=orjson.OPT_SORT_KEYS) + b"\n", *lines[one + 1 :]]


EDITED = (_drop, _drop_many, _swap, _double, _move, _cut, _splice, _put_field)
