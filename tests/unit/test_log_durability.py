"""No acknowledged record is lost: not by a power cut, not by a kill, not by a disk that is full or fails."""

import asyncio
import errno
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import apsw
import pytest

from schemas.envelope import Record
from streams.disk import Disk
from streams.log.embedded import EmbeddedLog, create
from streams.log.port import AppendUnknown, LogError
from streams.log.reading import open_copy
from tests.support.media import FailingMedium, ForgetfulMedium
from tests.support.records import record

APPENDS = 120
STEPS = 900
"""Fewer steps than so many appends take, so that every cut is reached."""


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def opened(directory: Path, disk: Disk | None = None) -> EmbeddedLog:
    ticks = itertools.count(1_700_000_000_000_000)
    return EmbeddedLog(directory, lambda: next(ticks), *([disk] if disk else []))


def batches(random: Random) -> list[list[Record]]:
    """Appends of 1 to 8 records over three topics, each record with a number of its own."""
    numbers = itertools.count(1)
    topics = ("intents", "results", "alarms")
    return [
        [record(random.choice(topics), next(numbers), size=8 * random.randrange(1, 200)) for _ in range(size)]
        for size in (random.randrange(1, 9) for _ in range(APPENDS))
    ]


def records_in(directory: Path) -> set[Record]:
    """All records of a log, each row's chain verified."""
    with open_copy(directory) as log:
        assert list(log.check()) == []
        return {
            stored.record for topic in log.topics for stored in log.rows(topic, 0) if isinstance(stored.record, Record)
        }


def power_cuts(tmp_path: Path, seed: int, cuts: int, prepare: Callable[[EmbeddedLog], None]) -> list[tuple[bool, bool]]:
    """Cut the power at seeded steps of many appends; was all acknowledged kept, and no append halved."""
    random = Random(seed)  # noqa: S311 (seeded on purpose)
    said = batches(random)
    acknowledged: list[Record] = []
    images: list[tuple[dict[str, bytes], set[Record]]] = []
    create(tmp_path / "data")
    made = {name: (tmp_path / "data" / name).read_bytes() for name in ("log.sqlite", "head")}
    medium = ForgetfulMedium(
        random,
        lambda files: images.append((made | files, set(acknowledged))),
        frozenset(random.sample(range(1, STEPS), cuts)),
    )

    async def append_all() -> None:
        log = opened(tmp_path / "data", medium.disk(tmp_path / "data" / "head"))
        prepare(log)
        for batch in said:
            await log.append(batch)
            acknowledged.extend(batch)
        await log.close()

    asyncio.run(append_all())
    assert len(images) == cuts
    return [_left(tmp_path / f"cut-{number}", *image, said) for number, image in enumerate(images)]


def _left(
    directory: Path, files: dict[str, bytes], acknowledged: set[Record], said: list[list[Record]]
) -> tuple[bool, bool]:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    os.environ["XDG_STATE_HOME"] = str(directory / "state")  # what the account remembers went with the power
    try:
        asyncio.run(opened(directory).close())
        left = records_in(directory)
    except LogError:
        return False, False
    return acknowledged <= left, all(left.issuperset(batch) or left.isdisjoint(batch) for batch in said)


def checkpoint_often(log: EmbeddedLog) -> None:
    log._writing.wal_autocheckpoint(40)


def sync_less(log: EmbeddedLog) -> None:
    checkpoint_often(log)
    log._writing.pragma("synchronous", "normal")


def test_twenty_power_cuts_lose_nothing_acknowledged_and_halve_no_append(tmp_path: Path) -> None:
    assert power_cuts(tmp_path, 1, 20, checkpoint_often) == [(True, True)] * 20


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
def test_two_hundred_power_cuts_lose_nothing_acknowledged_and_halve_no_append(tmp_path: Path, seed: int) -> None:
    assert power_cuts(tmp_path, seed, 20, checkpoint_often) == [(True, True)] * 20


def test_the_power_cut_would_find_a_log_that_syncs_too_little(tmp_path: Path) -> None:
    assert min(power_cuts(tmp_path, 1, 20, sync_less)) != (True, True)


WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from streams.log.embedded import EmbeddedLog
from tests.support.records import record

async def append():
    log = EmbeddedLog(Path(sys.argv[1]), lambda: 1)
    for number in itertools.count(int(sys.argv[2])):
        await log.append([record("intents", number), record("results", number)])
        print(number, flush=True)

asyncio.run(append())
"""


def test_a_killed_writer_has_lost_nothing_it_acknowledged(tmp_path: Path) -> None:
    create(tmp_path / "data")
    acknowledged = 0
    for kill in range(1, 4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "data"), str(1_000 * kill)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(20 * kill)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        numbers = [int(line) for line in lines if line.endswith("\n")]
        acknowledged += len(numbers)
        left = records_in(tmp_path / "data")
        assert left >= {record(topic, number) for topic in ("intents", "results") for number in numbers}
    assert acknowledged >= 120


def test_on_a_full_disk_nothing_is_appended_and_afterwards_the_log_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        create(tmp_path / "data")
        medium = FailingMedium()
        log = opened(tmp_path / "data", Disk(medium.name))
        await log.append([record(number=1)])
        medium.failure = lambda step, _path: apsw.FullError("full") if step == "write" else None
        with pytest.raises(LogError, match="the disk is full; free some space") as refused:
            await log.append([record(number=2), record("results", 2)])
        assert not isinstance(refused.value, AppendUnknown)
        assert len(await log.read("intents", 0, 0, 10)) == 1
        medium.failure = lambda _step, _path: None
        await log.append([record(number=3)])
        await log.close()

    asyncio.run(story())
    assert records_in(tmp_path / "data") == {record(number=1), record(number=3)}


def test_a_disk_that_fails_while_many_append_answers_each_of_them(tmp_path: Path) -> None:
    async def story() -> None:
        create(tmp_path / "data")
        medium = FailingMedium(lambda step, _path: apsw.FullError("full") if step == "write" else None)
        log = opened(tmp_path / "data", Disk(medium.name))
        answers = await asyncio.gather(*(log.append([record(number=n)]) for n in range(50)), return_exceptions=True)
        assert all(isinstance(answer, LogError) for answer in answers)
        await log.close()

    asyncio.run(story())
    assert records_in(tmp_path / "data") == set()


def test_a_sync_that_fails_leaves_the_outcome_unknown_and_closes_the_log(tmp_path: Path) -> None:
    async def story() -> None:
        create(tmp_path / "data")
        medium = FailingMedium()
        log = opened(tmp_path / "data", Disk(medium.name))
        await log.append([record(number=1)])
        medium.failure = lambda step, _path: apsw.IOError("no answer") if step == "sync" else None
        with pytest.raises(AppendUnknown, match="start again and read"):
            await log.append([record(number=2)])
        with pytest.raises(LogError, match="is closed"):
            await log.append([record(number=3)])
        medium.failure = lambda _step, _path: None
        await log.close()

    asyncio.run(story())
    assert record(number=1) in records_in(tmp_path / "data") <= {record(number=1), record(number=2)}


def test_a_head_that_cannot_be_written_leaves_the_outcome_unknown_and_closes_the_log(tmp_path: Path) -> None:
    def refuse(_descriptor: int, _data: bytes, _offset: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def story() -> None:
        create(tmp_path / "data")
        log = opened(tmp_path / "data", Disk(pwrite=refuse))
        with pytest.raises(AppendUnknown, match="head could not be written: Input/output error"):
            await log.append([record(number=1)])
        with pytest.raises(LogError, match="is closed"):
            await log.wait(0, {}, 10)
        await log.close()

    asyncio.run(story())
    assert records_in(tmp_path / "data") == {record(number=1)}


def test_a_disk_turned_read_only_is_named(tmp_path: Path) -> None:
    async def story() -> None:
        create(tmp_path / "data")
        medium = FailingMedium(lambda step, _path: apsw.ReadOnlyError("read only") if step == "write" else None)
        log = opened(tmp_path / "data", Disk(medium.name))
        with pytest.raises(LogError, match=r"data/log\.sqlite: read only; check that file and directory may be"):
            await log.append([record(number=1)])
        await log.close()

    asyncio.run(story())


def test_a_clock_that_fails_answers_the_append(tmp_path: Path) -> None:
    def broken() -> int:
        raise RuntimeError("no time")

    async def story() -> None:
        create(tmp_path / "data")
        log = EmbeddedLog(tmp_path / "data", broken)
        with pytest.raises(LogError, match="no time"):
            await log.append([record(number=1)])
        await log.close()

    asyncio.run(story())
