"""`log export` and `log import`: nothing is lost on the way, and what was changed on it is refused with its line."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from replay.audit import verify
from replay.verdict import Verdict
from schemas.admission import Stored
from schemas.envelope import Record, Stray
from schemas.topics import TOPICS
from streams.log.database import Settings
from streams.log.embedded import EmbeddedLog, create
from streams.log.lines import Export, ExportInvalid, export_lines
from streams.log.making import new_log
from streams.log.port import LogError
from streams.log.reading import open_copy
from tests.support.commands import qpubus
from tests.support.records import record
from tests.support.scene import SITE, Scene

LOG_ID = "5c7b6f0e9d3a41f2b8c4a7d1e0f39b62"
SETTINGS = Settings(LOG_ID, 2, ("intents", "results"))
TOMBSTONE = Stray("intents", b"site-a", None, ())
REPEATED = Stray("results", b"\xff\x00", b"no event", (("x", b"1"), ("x", b"2")))
NOT_UTF8 = Stray("intents", None, b"", ((b"caf\xe9".decode("utf-8", "surrogateescape"), b"\xff"), ("", b"")))
SAID: Sequence[Record | Stray] = (
    record(number=1),
    TOMBSTONE,
    record(number=2),
    NOT_UTF8,
    record("results", 3),
    REPEATED,
)


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def placed(records: Sequence[Record | Stray], times: Iterator[int] | None = None) -> list[Stored]:
    """Records on partition 1 of `SETTINGS`, in the order of an export."""
    ticks = times or itertools.count(1_768_726_800_000_000)
    offsets = {topic: itertools.count() for topic in SETTINGS.topics}
    in_order = sorted(records, key=lambda each: SETTINGS.topics.index(each.topic))
    return [Stored(each.topic, 1, next(offsets[each.topic]), next(ticks), each) for each in in_order]


def exported(stored: Sequence[Stored]) -> list[bytes]:
    return list(export_lines(SETTINGS, stored))


def read(lines: Sequence[bytes]) -> list[Stored]:
    return list(Export(BytesIO(b"".join(lines))).records())


LINES = exported(placed(SAID))

_blobs = st.binary(max_size=20)
_names = st.binary(max_size=6).map(lambda name: name.decode("utf-8", "surrogateescape"))
_texts = st.text(
    st.characters(codec="ascii", min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=9
)
_topics = st.sampled_from(SETTINGS.topics)
_strays = st.builds(
    Stray, _topics, st.none() | _blobs, st.none() | _blobs, st.lists(st.tuples(_names, _blobs), max_size=3).map(tuple)
)
_records = st.builds(Record, _topics, _texts.filter(bool), _blobs, *[_texts] * 9, _blobs)
_times = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.tuples(_records | _strays, _times), max_size=8))
def test_whatever_a_log_holds_comes_back_byte_for_byte(said: list[tuple[Record | Stray, int]]) -> None:
    stored = placed([each for each, _ in said], iter([time for _, time in said]))

    assert read(exported(stored)) == stored


@given(st.lists(_records | _strays, max_size=4))
def test_every_line_is_in_rfc_8785_form(said: list[Record | Stray]) -> None:
    for line in exported(placed(said)):
        assert line == rfc8785.dumps(orjson.loads(line)) + b"\n"


def test_every_flipped_byte_is_found_and_its_line_named() -> None:
    for number, line in enumerate(LINES, 1):
        for at in range(len(line)):
            for bit in (0x01, 0x20, 0x80):
                changed = line[:at] + bytes([line[at] ^ bit]) + line[at + 1 :]
                with pytest.raises(ExportInvalid) as caught:
                    read([*LINES[: number - 1], changed, *LINES[number:]])
                assert caught.value.line == number


@pytest.mark.parametrize("kept", range(len(LINES)))
def test_a_file_that_was_cut_between_lines_is_noticed(kept: int) -> None:
    with pytest.raises(ExportInvalid, match="cut: it has no last line"):
        read(LINES[:kept])


def test_a_file_that_was_cut_within_its_last_line_is_noticed() -> None:
    with pytest.raises(ExportInvalid, match=f"line {len(LINES)}: the file was cut"):
        read([*LINES[:-1], LINES[-1][:-1]])


@pytest.mark.parametrize("gone", range(1, len(LINES) - 1))
def test_a_line_that_was_taken_out_is_noticed(gone: int) -> None:
    with pytest.raises(ExportInvalid):
        read([*LINES[:gone], *LINES[gone + 1 :]])


@pytest.mark.parametrize("place", range(1, len(LINES) - 2))
def test_swapped_lines_are_noticed_at_the_first_of_them(place: int) -> None:
    with pytest.raises(ExportInvalid) as caught:
        read([*LINES[:place], LINES[place + 1], LINES[place], *LINES[place + 2 :]])
    assert caught.value.line in {place + 1, place + 2}


def test_a_line_after_the_last_is_noticed() -> None:
    with pytest.raises(ExportInvalid, match="something follows after the last line"):
        read([*LINES, b"{}\n"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"append', b'{ "append'),
        (b'"offset":0', b'"offset":0.0'),
        (b'"offset":0', b'"offset":false'),
        (b'"offset":0', b'"offset":0,"offset":0'),
        (b'"topic":"intents"', b'"topic":"\\u0069ntents"'),
        (b'"append_time_us":"', b'"append_time_us":"0'),
        (b'"value":"', b'"value":"\\n'),
        (b'"sequence":"1"', b'"sequence":1'),
        (b'"subject":"job-1"', b'"subject":"job\\u002d1"'),
        (b'"record":{', b'"record":{"more":1,'),
    ],
    ids=["space", "decimal", "boolean", "twice", "escape", "zero", "base64", "number", "subject", "member"],
)
def test_a_line_that_says_the_same_in_another_form_is_refused(old: bytes, new: bytes) -> None:
    assert old in LINES[1]
    with pytest.raises(ExportInvalid, match="line 2"):
        read([LINES[0], LINES[1].replace(old, new, 1), *LINES[2:]])


@pytest.mark.parametrize(
    "first",
    [
        b"\n",
        b"[]\n",
        b'{"kind":"another"}\n',
        LINES[0].replace(b'"format":1', b'"format":2'),
        LINES[0].replace(b'"partitions":2', b'"partitions":true'),
        LINES[0].replace(b'"partitions":2', b'"partitions":65537'),
        LINES[0].replace(b'"intents"', b'"results"'),
        LINES[0].replace(b'"intents"', b'"in tents"'),
        LINES[0].replace(LOG_ID.encode(), b"../../../etc"),
    ],
    ids=["empty", "list", "kind", "format", "boolean", "partitions", "twice", "topic", "log-id"],
)
def test_a_first_line_of_another_kind_is_refused(first: bytes) -> None:
    with pytest.raises(ExportInvalid, match="line 1"):
        read([first, *LINES[1:]])


def test_a_line_without_end_is_not_read_to_its_end() -> None:
    with Path("/dev/zero").open("rb") as endless, pytest.raises(ExportInvalid, match="line 1: the line is too long"):
        Export(endless)


def test_a_log_is_made_with_the_append_times_and_the_chains_of_the_old_one(tmp_path: Path) -> None:
    create(tmp_path / "old", log_id=LOG_ID)

    async def appended() -> None:
        ticks = itertools.count(1_700_000_000_000_000, 7)
        log = EmbeddedLog(tmp_path / "old", lambda: next(ticks))
        for each in SAID:
            await log.append([each])
        await log.close()

    asyncio.run(appended())
    assert qpubus("log", "export", tmp_path / "file", "--data", tmp_path / "old").code == 0
    assert qpubus("log", "import", tmp_path / "file", "--data", tmp_path / "new").code == 0

    with open_copy(tmp_path / "old") as old, open_copy(tmp_path / "new") as new:
        assert new.settings == old.settings
        assert new.head_tips() == old.head_tips()
        for topic in TOPICS:
            assert list(new.rows(topic, 0)) == list(old.rows(topic, 0))


def test_an_imported_log_gives_the_same_verdict_and_can_be_gone_on_with(tmp_path: Path) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "file"
    create(old, log_id=LOG_ID)
    root = asyncio.run(_found(old))
    (old / "root.pub").write_text(root.hex())
    qpubus("log", "export", file, "--data", old)
    done = qpubus("log", "import", file, "--root", old / "root.pub", "--data", new, "--json")
    assert done.code == 0, done.err

    before, after = asyncio.run(verify(old)), asyncio.run(verify(new))
    assert after == before
    assert after.verdict is Verdict.SOUND
    assert after.events == done.json["records"] > 0
    asyncio.run(EmbeddedLog(new, lambda: 1).close())


def test_an_audit_finds_in_an_import_what_it_found_in_the_original(tmp_path: Path) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "file"
    create(old, log_id=LOG_ID)
    roots = {SITE: asyncio.run(_found(old, TOMBSTONE, record(number=9)))}
    qpubus("log", "export", file, "--data", old)
    qpubus("log", "import", file, "--data", new)

    before, after = asyncio.run(verify(old, roots)), asyncio.run(verify(new, roots))
    assert [finding.reason for finding in before.findings] == ["tombstone", "seal_malformed"]
    assert after == before


async def _found(directory: Path, *strange: Record | Stray) -> bytes:
    log = EmbeddedLog(directory, lambda: 1_800_000_000_000_123)
    scene = Scene(log)
    await scene.found()
    await log.append(strange)
    await log.close()
    return scene.root


def test_a_bad_file_makes_no_log(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"".join(LINES[:-1]))
    done = qpubus("log", "import", tmp_path / "file", "--data", tmp_path / "new")

    assert done.code == 1
    assert f"line {len(LINES)}: the file was cut" in done.err
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lock"]


def test_a_directory_that_has_a_log_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"".join(LINES))
    create(tmp_path / "data")
    before = (tmp_path / "data" / "log.sqlite").read_bytes()
    done = qpubus("log", "import", tmp_path / "file", "--data", tmp_path / "data")

    assert done.code == 1
    assert "there is a log in" in done.err
    assert (tmp_path / "data" / "log.sqlite").read_bytes() == before


def test_a_directory_that_somebody_writes_is_left_to_them(tmp_path: Path) -> None:
    with (
        new_log(tmp_path, SETTINGS),
        pytest.raises(LogError, match="only one process may"),
        new_log(tmp_path, SETTINGS),
    ):
        pass


def test_an_import_that_was_killed_leaves_room_for_the_next(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite.new").write_bytes(b"half a log")
    with new_log(tmp_path, SETTINGS) as new:
        for each in placed(SAID):
            new.take(each)
    with open_copy(tmp_path) as log:
        assert [each for topic in log.topics for each in log.rows(topic, 1)] == placed(SAID)


def test_an_export_overwrites_nothing(tmp_path: Path) -> None:
    create(tmp_path / "data")
    (tmp_path / "file").write_text("mine")
    done = qpubus("log", "export", tmp_path / "file", "--data", tmp_path / "data")

    assert (done.code, (tmp_path / "file").read_text()) == (1, "mine")
