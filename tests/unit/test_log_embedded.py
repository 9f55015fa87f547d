"""What the embedded log adds to the port: one writer, other processes that read, errors that say what to do."""

import asyncio
import itertools
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from schemas.events import AlarmRang
from streams.log.embedded import EmbeddedLog, create
from streams.log.port import LogError, _murmur2
from streams.log.reading import EmbeddedReader
from tests.support.records import record
from tests.support.signed import Signers


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    create(tmp_path / "data")
    return tmp_path / "data"


def opened(directory: Path) -> EmbeddedLog:
    ticks = itertools.count(1_700_000_000_000_000)
    return EmbeddedLog(directory, lambda: next(ticks))


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    ],
)
def test_keys_are_hashed_as_kafkas_own_tests_say(key: str, hashed: int) -> None:
    assert _murmur2(key.encode()) == hashed % (1 << 32)


def test_a_second_writer_is_told_who_writes(data: Path) -> None:
    log = opened(data)
    with pytest.raises(LogError, match=r"process \d+ writes the log in .*/data or audits it; only one process may"):
        opened(data)
    asyncio.run(log.close())


def test_the_lock_is_given_back_with_the_log(data: Path) -> None:
    asyncio.run(opened(data).close())
    asyncio.run(opened(data).close())


def test_a_refused_opening_gives_the_lock_back(data: Path) -> None:
    head = (data / "head").read_bytes()
    (data / "head").unlink()
    with pytest.raises(LogError):
        opened(data)
    (data / "head").write_bytes(head)
    asyncio.run(opened(data).close())


def test_a_closed_log_takes_nothing(data: Path) -> None:
    async def story() -> None:
        log = opened(data)
        await log.close()
        with pytest.raises(LogError, match="is closed"):
            await log.append([record()])
        await log.close()

    asyncio.run(story())


def test_a_close_writes_what_waits(data: Path) -> None:
    async def story() -> None:
        log = opened(data)
        waiting = asyncio.create_task(log.append([record()]))
        await asyncio.sleep(0)
        await log.close()
        assert len(await waiting) == 1

    asyncio.run(story())


def test_a_closed_log_is_one_file_beside_head_and_lock(data: Path) -> None:
    async def story() -> None:
        log = opened(data)
        await log.append([record()])
        await log.close()

    asyncio.run(story())
    assert sorted(path.name for path in data.iterdir()) == ["head", "lock", "log.sqlite"]


def test_appends_that_wait_together_share_a_time(data: Path) -> None:
    async def story() -> None:
        log = opened(data)
        await asyncio.gather(*(log.append([record(number=number)]) for number in range(1, 101)))
        times = {stored.append_time_us for stored in await log.read("intents", 0, 0, 200)}
        assert len(times) < 50
        await log.close()

    asyncio.run(story())


def test_a_cancelled_append_harms_no_other(data: Path) -> None:
    async def story() -> None:
        log = opened(data)
        cancelled = asyncio.create_task(log.append([record(number=1)]))
        other = asyncio.create_task(log.append([record(number=2)]))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert len(await other) == 1
        await log.close()

    asyncio.run(story())


def test_a_text_that_no_header_may_hold_is_refused(data: Path) -> None:
    async def story() -> None:
        log = opened(data)
        for text in ('"', "\\", "\n", "é"):
            with pytest.raises(LogError, match="append it as a Stray"):
                await log.append([record()._replace(subject=text)])
        assert await log.read("intents", 0, 0, 10) == []
        await log.close()

    asyncio.run(story())


READER = """
import asyncio, sys
from pathlib import Path
from streams.log.reading import EmbeddedReader

async def follow():
    log = EmbeddedReader(Path(sys.argv[1]))
    offset = 0
    print("ready", flush=True)
    while offset < 5:
        await log.wait(0, {"intents": offset}, 20)
        offset += len(await log.read("intents", 0, offset, 10))
        print(offset, flush=True)
    await log.close()

asyncio.run(follow())
"""


def test_another_process_reads_while_this_one_writes(data: Path) -> None:
    async def story() -> None:
        log = opened(data)
        reader = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, str(data), stdout=subprocess.PIPE)
        assert reader.stdout is not None
        assert await reader.stdout.readline() == b"ready\n"
        for number in range(1, 6):
            await log.append([record(number=number)])
            line = await asyncio.wait_for(reader.stdout.readline(), 10)
            assert line == b"%d\n" % number
        assert await reader.wait() == 0
        await log.close()

    asyncio.run(story())


def test_a_reader_follows_a_writer(data: Path) -> None:
    async def story() -> None:
        log = opened(data)
        reader = EmbeddedReader(data)
        waiting = asyncio.create_task(reader.wait(0, await reader.ends(0), 30))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await log.append([record()])
        await asyncio.wait_for(waiting, 5)
        assert (await reader.ends(0))["intents"] == 1
        await reader.close()
        await log.close()

    asyncio.run(story())


def test_a_directory_without_a_log_is_told_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="make one with: qpubus init --data"):
        opened(tmp_path)
    with pytest.raises(LogError, match="make one with: qpubus init --data"):
        EmbeddedReader(tmp_path)


def test_a_log_is_not_made_over_another(data: Path) -> None:
    with pytest.raises(LogError, match=r"there is a log in .* already"):
        create(data)


def test_a_foreign_file_is_named(data: Path) -> None:
    (data / "log.sqlite").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(LogError, match="this is no qpubus log"):
        opened(data)


def test_a_foreign_database_is_named(data: Path) -> None:
    (data / "log.sqlite").unlink()
    connection = apsw.Connection(str(data / "log.sqlite"))
    connection.execute("CREATE TABLE records(id)")
    connection.close()
    with pytest.raises(LogError, match="this is no qpubus log"):
        opened(data)


def test_a_newer_format_asks_for_a_newer_release(data: Path) -> None:
    connection = apsw.Connection(str(data / "log.sqlite"))
    connection.execute("UPDATE log SET value = 2 WHERE name = 'format'")
    connection.close()
    with pytest.raises(LogError, match="has format 2, this release knows 1; install a newer qpubus"):
        opened(data)


def test_an_unknown_topic_or_partition_is_named(data: Path) -> None:
    log = opened(data)
    with pytest.raises(LogError, match="no partition 1 of a topic 'intents'"):
        asyncio.run(log.read("intents", 1, 0, 1))
    with pytest.raises(LogError, match="no partition 0 of a topic 'nowhere'"):
        asyncio.run(log.read("nowhere", 0, 0, 1))
    asyncio.run(log.close())


def test_many_topic_partitions_have_room_in_the_head(tmp_path: Path) -> None:
    async def story() -> None:
        create(tmp_path / "wide", partitions=64)
        log = opened(tmp_path / "wide")
        keys = [f"site-{number}" for number in range(600)]
        await log.append([record(topic, 1, key) for topic in log.topics for key in keys])
        ends = [await log.ends(partition) for partition in range(64)]
        await log.close()
        again = opened(tmp_path / "wide")
        assert [await again.ends(partition) for partition in range(64)] == ends
        await again.close()

    asyncio.run(story())


def test_a_sealed_batch_is_read_from_any_place_and_to_any_other(data: Path) -> None:
    events = [AlarmRang(alarm_id=f"alarm-{number}", rings_us=1) for number in range(5)]
    batch = Signers().batch("clock:main", *events, topic="alarms")

    async def story() -> None:
        log = opened(data)
        await log.append([*batch, record("alarms", 6), *batch])
        said = [*batch, record("alarms", 6), *batch]
        for offset in range(len(said) + 1):
            for limit in range(1, len(said) + 1):
                there = await log.read("alarms", 0, offset, limit)
                assert [each.record for each in there] == said[offset : offset + limit]
                assert [each.offset for each in there] == list(range(offset, min(offset + limit, len(said))))
                bare = await log.read_bare("alarms", 0, offset, limit)
                assert [each.value for each in bare] == [each.value for each in said[offset : offset + limit]]
        await log.close()

    asyncio.run(story())
    connection = apsw.Connection(str(data / "log.sqlite"))
    assert [row[0] for row in connection.execute("SELECT count(*) FROM records")] == [3]
    connection.close()
