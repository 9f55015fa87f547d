"""The embedded log notices what was changed behind its back, and says where."""

import asyncio
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random

import apsw
import pytest

from schemas.envelope import Record, Stray
from streams.log.embedded import EmbeddedLog, create
from streams.log.head import Memory
from streams.log.port import LogCorrupt, LogError, LogIncomplete
from streams.log.reading import EmbeddedReader, open_copy
from tests.support.media import flipped
from tests.support.records import record

LOG_ID = "5c7b6f0e9d3a41f2b8c4a7d1e0f39b62"
CHANGED_TEXTS = [
    ("site-a", "site-b"),
    ("job-1", "job-2"),
    ("gateway", "gatewaz"),
    ('"3"', '"4"'),
    ('job-1""', '"job-1"'),
]
STRAY = Stray("intents", b"site-a", b"no event", (("x", b"1"), ("x", b"2")))


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A closed log: intents 0 to 4 with a stray at 5, results 0."""
    create(tmp_path / "data", log_id=LOG_ID)
    append(tmp_path / "data", [*(record(number=number) for number in range(1, 6)), STRAY, record("results", 6)])
    return tmp_path / "data"


def append(directory: Path, records: Sequence[Record | Stray]) -> None:
    async def appended() -> None:
        ticks = itertools.count(1_700_000_000_000_000)
        log = EmbeddedLog(directory, lambda: next(ticks))
        await log.append(records)
        await log.close()

    asyncio.run(appended())


def change(directory: Path, offset: int, assignments: str) -> None:
    """Change the row of a record of `intents` as a stranger would."""
    sql(directory, f"UPDATE records SET {assignments} WHERE position = ?", 1 << 56 | offset)  # noqa: S608 (ours)


def drop(directory: Path, offset: int) -> None:
    """Delete the row of a record of `intents` as a stranger would."""
    sql(directory, "DELETE FROM records WHERE position = ?", 1 << 56 | offset)


def sql(directory: Path, statement: str, *bindings: int) -> None:
    connection = apsw.Connection(str(directory / "log.sqlite"))
    connection.execute(statement, bindings)
    connection.close()


def opened(directory: Path) -> None:
    """Open for writing and close again."""
    asyncio.run(EmbeddedLog(directory, lambda: 1).close())


def audited(directory: Path) -> list[Record | Stray]:
    """Every record, in the order topics have, with all that an audit of the log itself checks."""
    with open_copy(directory) as log:
        for finding in log.check():
            raise finding
        return [stored.record for topic in log.topics for p in range(log.partitions) for stored in log.rows(topic, p)]


def contents(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and the time it was last changed."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}


def test_an_untouched_log_is_sound(data: Path) -> None:
    assert audited(data) == [*(record(number=number) for number in range(1, 6)), STRAY, record("results", 6)]


@pytest.mark.parametrize(
    "changed",
    [
        "value = CAST(value || x'00' AS BLOB)",
        "seal = x'01'",
        "append_time_us = append_time_us + 1",
        "chain = zeroblob(32)",
        *(f"texts = replace(texts, '{old}', '{new}')" for old, new in CHANGED_TEXTS),
    ],
)
def test_a_changed_field_is_found_and_its_place_named(data: Path, changed: str) -> None:
    change(data, 2, changed)
    with pytest.raises(LogCorrupt, match="intents partition 0 offset 2: the record is not the one"):
        audited(data)


@pytest.mark.parametrize("value", ["NULL", "7", "1.5", "x'ff'", "'one text'"])
def test_a_column_of_another_kind_is_found_and_its_place_named(data: Path, value: str) -> None:
    change(data, 2, f"texts = {value}")
    with pytest.raises(LogCorrupt, match="intents partition 0 offset 2: a column holds another kind"):
        audited(data)


def test_a_text_that_is_no_text_is_found_and_its_place_named(data: Path) -> None:
    change(data, 2, "texts = CAST(x'ff' AS TEXT)")
    with pytest.raises(LogCorrupt, match="intents partition 0 offset 2: the row cannot be read"):
        audited(data)


def test_a_changed_stray_is_found_and_its_place_named(data: Path) -> None:
    change(data, 5, "value = CAST(replace(value, '1', '3') AS BLOB)")
    with pytest.raises(LogCorrupt, match="intents partition 0 offset 5"):
        audited(data)


def test_a_dropped_record_is_found_and_its_place_named(data: Path) -> None:
    drop(data, 2)
    with pytest.raises(LogIncomplete, match="intents partition 0 offset 2: the record is missing"):
        audited(data)


def test_a_reader_stops_at_a_dropped_record(data: Path) -> None:
    drop(data, 2)
    reader = EmbeddedReader(data)
    with pytest.raises(LogIncomplete, match="offset 2"):
        asyncio.run(reader.read("intents", 0, 0, 10))
    reader.close_now()


def test_swapped_records_are_found_and_their_place_named(data: Path) -> None:
    change(data, 1, "position = -1")
    change(data, 2, "position = position - 1")
    sql(data, "UPDATE records SET position = ? WHERE position = -1", 1 << 56 | 2)
    with pytest.raises(LogCorrupt, match="intents partition 0 offset 1"):
        audited(data)


def test_records_cut_from_the_end_are_found_and_their_place_named(data: Path) -> None:
    drop(data, 4)
    drop(data, 5)
    with pytest.raises(LogIncomplete, match="intents partition 0 offset 4: by its head there are 6 records, but 4"):
        audited(data)
    with pytest.raises(LogIncomplete, match="intents partition 0 offset 4"):
        opened(data)


def test_another_last_record_is_found_when_the_log_is_opened(data: Path) -> None:
    change(data, 5, "chain = zeroblob(32)")
    with pytest.raises(LogCorrupt, match="intents partition 0 offset 5: by its head this record, or one before"):
        opened(data)


def test_a_log_ahead_of_its_head_is_sound_and_its_head_is_mended(data: Path) -> None:
    before = (data / "head").read_bytes()
    append(data, [record(number=7), record(number=8)])
    (data / "head").write_bytes(before)
    shutil.rmtree(data.parent / "state")
    opened(data)
    assert len(audited(data)) == 9
    with open_copy(data) as log:
        assert log.head_tips()["intents", 0].size == 8


def test_a_broken_record_beyond_the_head_is_not_taken_over(data: Path) -> None:
    before = (data / "head").read_bytes()
    append(data, [record(number=7), record(number=8)])
    (data / "head").write_bytes(before)
    shutil.rmtree(data.parent / "state")
    change(data, 6, "value = x'00'")
    with pytest.raises(LogCorrupt, match="intents partition 0 offset 6"):
        opened(data)


@pytest.mark.parametrize("slot", [0, 1])
def test_a_head_torn_in_one_slot_still_stands_in_the_other(data: Path, slot: int) -> None:
    head = bytearray((data / "head").read_bytes())
    at = slot * len(head) // 2
    head[at + 30 : at + 60] = bytes(30)
    (data / "head").write_bytes(head)
    opened(data)


def test_a_head_torn_in_both_slots_is_refused(data: Path) -> None:
    (data / "head").write_bytes(bytes(8_192))
    with pytest.raises(LogCorrupt, match="holds no whole head of this log"):
        opened(data)


def test_a_missing_head_is_refused(data: Path) -> None:
    (data / "head").unlink()
    with pytest.raises(LogCorrupt, match=r"head is missing.*restore it"):
        opened(data)


def test_an_older_copy_of_the_whole_directory_is_reported(data: Path) -> None:
    shutil.copytree(data, data.parent / "older")
    append(data, [record(number=7)])
    shutil.rmtree(data)
    shutil.copytree(data.parent / "older", data)
    with pytest.raises(LogIncomplete, match=r"intents partition 0 offset 6: .* an older copy of .* was put back"):
        opened(data)
    with pytest.raises(LogIncomplete, match="an older copy"):
        audited(data)


def test_an_older_copy_that_went_another_way_is_reported(data: Path) -> None:
    older = data.parent / "older"
    shutil.copytree(data, older)
    append(data, [record(number=7)])
    state = data.parent / "state" / "qpubus" / "heads" / LOG_ID
    remembered = state.read_bytes()
    state.unlink()
    append(older, [record(number=8)])
    state.write_bytes(remembered)
    with pytest.raises(LogCorrupt, match="intents partition 0 offset 6: by what was here before this record"):
        opened(older)


def test_a_log_without_a_memory_is_no_error(data: Path) -> None:
    shutil.rmtree(data.parent / "state")
    opened(data)
    assert Memory(LOG_ID).read()["intents", 0].size == 6


def test_a_memory_that_is_no_text_counts_as_none(data: Path) -> None:
    (data.parent / "state" / "qpubus" / "heads" / LOG_ID).write_bytes(b"\xff")
    opened(data)


def test_an_audit_changes_no_file_of_a_closed_log(data: Path) -> None:
    before = contents(data)
    audited(data)
    assert contents(data) == before


def test_an_audit_reads_the_wal_of_a_killed_writer_and_changes_no_file(data: Path) -> None:
    async def killed() -> None:
        log = EmbeddedLog(data, lambda: 1)
        await log.append([record(number=7)])
        shutil.copytree(data, data.parent / "killed")
        await log.close()

    asyncio.run(killed())
    left = data.parent / "killed"
    assert (left / "log.sqlite-wal").stat().st_size > 0
    before = contents(left)
    assert record(number=7) in audited(left)
    assert contents(left) == before


def test_an_audit_beside_a_writer_sees_one_state(data: Path) -> None:
    async def story() -> None:
        log = EmbeddedLog(data, lambda: 1)
        await log.append([record(number=7)])
        with open_copy(data) as copy:
            await log.append([record(number=8)])
            assert list(copy.check()) == []
            assert [one.offset for one in copy.rows("intents", 0)] == list(range(7))
        await log.append([record(number=9)])
        await log.close()

    asyncio.run(story())
    assert len(audited(data)) == 10


def test_a_flipped_bit_never_changes_a_record_unseen(data: Path) -> None:
    whole = (data / "log.sqlite").read_bytes()
    said = audited(data)
    outcomes = set()
    for changed in itertools.islice(flipped(whole, Random(1)), 400):  # noqa: S311 (seeded on purpose)
        (data / "log.sqlite").write_bytes(changed)
        try:
            assert audited(data) == said
            outcomes.add("same")
        except LogError as error:
            outcomes.add(type(error).__name__)
    assert outcomes == {"same", "RowChanged", "LogCorrupt", "LogIncomplete", "LogError"}


def test_every_flipped_byte_of_a_record_is_found_and_its_place_named(data: Path) -> None:
    whole = (data / "log.sqlite").read_bytes()
    value = record(number=3).value
    start = whole.index(value)
    for at in range(start, start + len(value)):
        (data / "log.sqlite").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(LogCorrupt, match="intents partition 0 offset 2"):
            audited(data)
