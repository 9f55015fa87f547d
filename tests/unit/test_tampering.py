"""A small real log is changed in thousands of ways; no change may make the audit call a changed event sound.

Each way draws its changes from a fixed seed. A change goes into the file behind the log's back, and then the public
function audits the directory: it must name the very record, or call the log unreadable, or find the same events.
"""

import asyncio
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from replay.audit import verify
from replay.verdict import Audit, Verdict
from schemas.admission import Stored
from schemas.events import AlarmRang, SchemaPublished, TraceSealed
from schemas.keys import raw_public_key
from schemas.traces import TraceSummary
from streams.log.embedded import EmbeddedLog, create
from streams.log.reading import open_copy
from tests.support.rows import DATABASE, Rows
from tests.support.signed import MEMBERS, NOW_US, SCHEMAS, Signers, enrolment, private_key

LOG_ID = "5c7b6f0e9d3a41f2b8c4a7d1e0f39b62"
TRACE: dict[str, Any] = {"job_id": "job-1", "subject": "agent:a", "text_digest": "ab" * 32}
FLIPS_OF_RECORDS, FLIPS_OF_FILE, FORGERIES, SWAPS = 1_000, 700, 400, 60


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A closed log of a site: its founding, single events, and batches of one, three and eight events."""
    directory = tmp_path / "data"
    asyncio.run(_write(directory))
    return directory


async def _write(directory: Path) -> None:
    create(directory, log_id=LOG_ID)
    (directory / "root.pub").write_text(raw_public_key(private_key("root")).hex())
    signers = Signers()
    signers.scribes.clear()
    needed = ("SchemaPublished", "KeyEnrolled", "TraceSealed", "AlarmRang")
    published = [SCHEMAS[f"qpubus.{name}"] for name in needed]
    founding = [
        SchemaPublished(schema_id=each.schema_id, event_type=each.event_type, text=each.text) for each in published
    ]
    enrolled = [enrolment(source, role, devices) for source, (role, devices) in MEMBERS.items()]
    log = EmbeddedLog(directory, lambda: NOW_US)
    numbers = count()
    try:
        await log.append(signers.batch("root", *founding, *enrolled))
        for size in (1, 3, 8, 1):
            summaries = [
                TraceSummary(options=("run",), choice="run", said=f"reason {next(numbers)}") for _ in range(size)
            ]
            sealed = [TraceSealed(**TRACE, summary=each) for each in summaries]
            rang = [AlarmRang(alarm_id=f"alarm-{next(numbers)}", rings_us=1) for _ in range(size)]
            await log.append(signers.batch("gateway:main", *sealed, topic="intents"))
            await log.append(signers.batch("clock:main", *rang, topic="alarms"))
    finally:
        await log.close()


def audit(directory: Path) -> Audit:
    return asyncio.run(verify(directory))


def rows(directory: Path) -> list[Stored]:
    with open_copy(directory) as log:
        return [stored for topic in log.topics for stored in log.rows(topic, 0)]


def place(found: Audit) -> tuple[str, int]:
    first = found.first_divergence
    assert first is not None
    return first.topic, first.offset


def flip(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def test_the_log_is_sound_before_it_is_changed(data: Path) -> None:
    assert audit(data).verdict is Verdict.SOUND
    assert len(rows(data)) == 8 + 2 * 13


def test_a_changed_byte_of_a_stored_record_is_found_at_its_place(data: Path) -> None:
    edited = Rows(data, LOG_ID)
    rng, keep, before = Random(1), _saved(data), rows(data)  # noqa: S311 (seeded on purpose)
    for number in range(FLIPS_OF_RECORDS):
        keep()
        stored = before[number % len(before)]
        edited.flip(stored, rng)
        found = audit(data)
        assert found.verdict is Verdict.TAMPERED
        assert place(found) == (stored.topic, stored.offset)


def test_a_changed_byte_anywhere_in_the_file_never_changes_an_event_unseen(data: Path) -> None:
    rng, whole, before = Random(2), (data / DATABASE).read_bytes(), rows(data)  # noqa: S311 (seeded on purpose)
    verdicts = set()
    for _ in range(FLIPS_OF_FILE):
        (data / DATABASE).write_bytes(flip(whole, rng.randrange(len(whole)), 1 << rng.randrange(8)))
        found = audit(data)
        verdicts.add(found.verdict)
        if found.verdict is Verdict.SOUND:
            assert (rows(data), found.events) == (before, len(before))
        elif found.verdict is not Verdict.UNREADABLE:
            assert place(found)[0] in {"governance", "intents", "alarms"}
    assert verdicts >= {Verdict.SOUND, Verdict.TAMPERED}


def test_a_record_that_is_dropped_is_missed_at_its_place(data: Path) -> None:
    keep = _saved(data)
    for stored in rows(data):
        keep()
        Rows(data, LOG_ID).drop(stored)
        found = audit(data)
        assert (found.verdict, place(found)) == (Verdict.INCOMPLETE, (stored.topic, stored.offset))


def test_two_records_that_are_swapped_are_found_at_the_first(data: Path) -> None:
    rng, keep = Random(3), _saved(data)  # noqa: S311 (seeded on purpose)
    intents = [stored for stored in rows(data) if stored.topic == "intents"]
    for _ in range(SWAPS):
        keep()
        first, second = sorted(rng.sample(intents, 2), key=lambda stored: stored.offset)
        Rows(data, LOG_ID).swap(first, second)
        found = audit(data)
        assert (found.verdict, place(found)) == (Verdict.TAMPERED, ("intents", first.offset))


def test_a_cut_at_the_end_is_told_with_the_place_where_the_log_ended(data: Path) -> None:
    keep = _saved(data)
    before = rows(data)
    for topic in ("governance", "intents", "alarms"):
        for stored in before:
            if stored.topic != topic:
                continue
            keep()
            Rows(data, LOG_ID).cut(stored)
            found = audit(data)
            assert (found.verdict, place(found)) == (Verdict.INCOMPLETE, (topic, stored.offset))


def test_a_forger_who_makes_chains_and_head_anew_is_found_by_the_seals(data: Path) -> None:
    """Neither key nor memory: whoever owns the file can make every hash in it fit again, but no signature."""
    edited = Rows(data, LOG_ID)
    rng, keep, before = Random(4), _saved(data), rows(data)  # noqa: S311 (seeded on purpose)
    for _ in range(FORGERIES):
        keep()
        stored = rng.choice(before)
        edited.flip(stored, rng)
        edited.forge()
        found = audit(data)
        assert (found.verdict, place(found)) == (Verdict.TAMPERED, (stored.topic, stored.offset))


def test_a_forger_who_leaves_a_record_out_is_found_by_the_sequences(data: Path) -> None:
    keep, edited = _saved(data), Rows(data, LOG_ID)
    before = rows(data)
    for topic in ("intents", "alarms"):
        lines = [stored for stored in before if stored.topic == topic]
        for stored in lines[:-1]:
            keep()
            edited.leave_out(stored)
            edited.forge()
            found = audit(data)
            assert (found.verdict, place(found)) == (Verdict.INCOMPLETE, (topic, stored.offset))


def test_a_forger_who_cuts_the_end_off_is_found_by_what_this_account_remembers(data: Path) -> None:
    last = [stored for stored in rows(data) if stored.topic == "alarms"][-1]
    edited = Rows(data, LOG_ID)
    edited.drop(last)
    edited.forge(forget=False)
    found = audit(data)
    assert (found.verdict, place(found)) == (Verdict.INCOMPLETE, ("alarms", last.offset))


def _saved(data: Path) -> Any:
    """What puts the directory back as it is now."""
    kept = {name: (data / name).read_bytes() for name in (DATABASE, "head")}

    def keep() -> None:
        for name, content in kept.items():
            (data / name).write_bytes(content)
        (data / f"{DATABASE}-wal").unlink(missing_ok=True)

    return keep
