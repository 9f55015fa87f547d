"""The embedded engine: appends go into one SQLite file through one thread, all that wait in one durable transaction."""

import asyncio
import fcntl
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from schemas.envelope import Record, Stray
from schemas.topics import TOPICS
from streams.log import database
from streams.log.head import (
    DISK,
    Disk,
    HeadFile,
    Memory,
    Tip,
    head_text,
    read_head,
    slot_bytes,
    sync_directory,
    tip_line,
)
from streams.log.layout import PARTITIONS_MAX, TOPICS_MAX, Row, chain_after, insert, record_texts, stray_bytes
from streams.log.port import AppendUnknown, LogError, Place, partition_of
from streams.log.reading import DATABASE, HEAD, LOCK, EmbeddedReader

MEMORY_EVERY_S = 1.0
_PARTITIONED_KEYS = 4_096
_ROWS_A_STEP = 1_000
_NOTHING_WRITTEN = (apsw.FullError, apsw.BusyError, apsw.ReadOnlyError)

Line = tuple[str, int]
"""A topic-partition: the topic and the partition number."""


_Entry = tuple[Line, str | None, bytes, bytes | None]
"""A record ready to be written but for its place, time and chain: texts, value and seal as its row has them."""


class _Waiting(NamedTuple):
    """An append that waits for the writer; without entries, it waits for the writer to end."""

    entries: list[_Entry]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[Place]]


_Woken = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]
"""Somebody who waits for records, and the loop in which to wake them."""


def create(directory: Path, partitions: int = 1, topics: Sequence[str] = TOPICS, log_id: str = "") -> None:
    """Make an empty log in `directory`. `log_id` is 32 hex digits, random unless a test fixes it."""
    if not 1 <= partitions <= PARTITIONS_MAX or not 1 <= len(topics) <= TOPICS_MAX:
        raise LogError(f"a log has 1 to {PARTITIONS_MAX} partitions and 1 to {TOPICS_MAX} topics")
    settings = database.Settings(log_id or secrets.token_hex(16), partitions, tuple(topics))
    path = directory / DATABASE
    with database.faults(directory, "making a log in"):
        directory.mkdir(parents=True, exist_ok=True)
        lock = _locked(directory)
        try:
            if path.exists():
                raise LogError(f"there is a log in {directory} already; name another data directory, or use it")
            fresh = directory / f"{DATABASE}.new"
            fresh.unlink(missing_ok=True)
            database.make(fresh, settings)
            slot = slot_bytes(partitions * len(topics))
            HeadFile.make(directory / HEAD, slot, head_text(settings.log_id, 0, []))
            fresh.replace(path)
            sync_directory(directory)
        finally:
            os.close(lock)


class EmbeddedLog(EmbeddedReader):
    """The one writer of a log, and a reader of it.

    `now_us` gives append times; it is called in the writer's thread, once for all appends that share a transaction.
    Cancelling an append does not take it back.
    """

    def __init__(self, directory: Path, now_us: Callable[[], int], disk: Disk = DISK) -> None:
        """Take the lock of the log in `directory` and check its ends against head and memory.

        `LogCorrupt` names the place where acknowledged records are gone; `LogError` what else stands in the way.
        """
        if not (directory / DATABASE).exists():
            raise LogError(f"there is no log in {directory}; make one with: qpubus init --data {directory}")
        with database.faults(directory, "opening"):
            self._lock_file = _locked(directory)
        try:
            super().__init__(directory, disk)
            try:
                self._start(now_us, disk)
            except BaseException:
                self.close_now()
                raise
        except BaseException:
            os.close(self._lock_file)
            raise

    def _start(self, now_us: Callable[[], int], disk: Disk) -> None:
        for finding in self.check():
            raise finding
        head = read_head(self.directory / HEAD, self.log_id)
        self._tips = {(t, p): self.tip(t, p) for t in self.topics for p in range(self.partitions)}
        for (topic, partition), tip in self._tips.items():
            known = head.tips.get((topic, partition))
            if known is None or known.size < tip.size:  # what the head does not cover yet: verify it, then cover it
                for _ in self.rows(topic, partition, known.size if known else 0):
                    pass
        self._bases = {(topic, p): self._base(topic, p) for topic, p in self._tips}
        self._lines = {line: tip_line(*line, tip) for line, tip in sorted(self._tips.items()) if tip.size}
        self._generation = head.generation
        self._now_us = now_us
        self._memory = Memory(self.log_id)
        self._remembered_s = 0.0
        self._queue: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        self._waiters: set[_Woken] = set()
        self._closed = False
        self._failed = ""
        with database.faults(self.directory, "opening"):
            self._writing = database.connect(self._path, disk.vfs, writing=True)
            try:
                HeadFile.make(self.directory / HEAD, slot_bytes(len(self._tips)), self._head())
                self._head_file = HeadFile(self.directory / HEAD, slot_bytes(len(self._tips)), disk)
            except BaseException:
                self._writing.close()
                raise
        self._remember()
        self._thread = threading.Thread(target=self._write, name=f"log {self.directory}", daemon=True)
        self._thread.start()

    async def append(self, records: Sequence[Record | Stray]) -> list[Place]:
        """Append records, all or none; they are durable and covered by the head when this returns."""
        self._alive()
        if not records:
            return []
        loop = asyncio.get_running_loop()
        waiting = _Waiting([self._entry(record) for record in records], loop, loop.create_future())
        self._queue.put(waiting)
        return await waiting.future

    async def ends(self, partition: int) -> Mapping[str, int]:
        """For each topic, the offset of its next record."""
        self._base(self.topics[0], partition)
        return {topic: self._tips[topic, partition].size for topic in self.topics}

    async def wait(self, partition: int, ends: Mapping[str, int], timeout_s: float) -> None:
        """Return as soon as a topic of the partition number has grown past `ends`, or after the time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while True:
            self._alive()
            woken = (loop, loop.create_future())
            self._waiters.add(woken)
            try:
                grown = await self.ends(partition)
                left = until - loop.time()
                if left <= 0 or any(count > ends.get(topic, 0) for topic, count in grown.items()):
                    return
                await asyncio.wait([woken[1]], timeout=left)
            finally:
                self._waiters.discard(woken)

    async def close(self) -> None:
        """Write what waits, fold the WAL into the database, remember the head and give the lock back."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        last = _Waiting([], loop, loop.create_future())
        self._queue.put(last)
        await last.future
        self._thread.join()
        self.close_now()
        with database.faults(self._path, "closing"):
            self._writing.close()
        self._head_file.close()
        os.close(self._lock_file)

    def _alive(self) -> None:
        if self._closed or self._failed:
            raise LogError(self._failed or f"the log in {self.directory} is closed")

    def _entry(self, record: Record | Stray) -> _Entry:
        if record.topic not in self._numbers:
            raise LogError(f"{self.directory} has no topic {record.topic!r}; its topics: {', '.join(self.topics)}")
        if isinstance(record, Record):
            line = (record.topic, _partition(record.key, self.partitions))
            return line, record_texts(record), record.value, record.seal
        line = (record.topic, partition_of(record.key, self.partitions) if record.key else 0)
        return line, None, stray_bytes(record), None

    # The rest runs in the writer's thread.

    def _write(self) -> None:
        """Take whatever waits, write it, answer; until an append without entries asks for the end."""
        ended: list[_Waiting] = []
        while not ended:
            group = [self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get_nowait())
            ended = [waiting for waiting in group if not waiting.entries]
            if appends := [waiting for waiting in group if waiting.entries]:
                _tell(self._answers(appends), list(self._waiters))
        self._remember()
        _tell([(waiting, []) for waiting in ended], list(self._waiters))

    def _answers(self, appends: list[_Waiting]) -> list[tuple[_Waiting, list[Place] | LogError]]:
        try:
            return list(zip(appends, self._appended(appends), strict=True))
        except LogError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 (whoever appends must get an answer, whatever went wrong)
            failed = self._fail(f"{type(error).__name__}: {error}")
        return [(waiting, failed) for waiting in appends]

    def _appended(self, appends: list[_Waiting]) -> list[list[Place]]:
        if self._failed:
            raise LogError(self._failed)
        tips = dict(self._tips)
        rows, places = self._rows(appends, tips)
        with database.faults(self._path, "appending to"):
            self._commit(rows)
        try:
            self._cover(tips)
        except OSError as error:
            raise self._fail(f"the head could not be written: {error.strerror or error}") from None
        return places

    def _fail(self, why: str) -> AppendUnknown:
        self._failed = (
            f"the log in {self.directory} is closed, as nobody can say whether its last append took place ({why}); "
            "check the disk, start again and read what is there"
        )
        return AppendUnknown(self._failed)

    def _rows(self, appends: list[_Waiting], tips: dict[Line, Tip]) -> tuple[list[Row], list[list[Place]]]:
        now_us = self._now_us()
        rows: list[Row] = []
        places = []
        for waiting in appends:
            answer: list[Place] = []
            for line, entries in groupby(waiting.entries, key=itemgetter(0)):
                first, before = tips[line]
                position = self._bases[line] + first
                for at, (_, texts, value, seal) in enumerate(entries, position):
                    before = chain_after(before, now_us, texts, value, seal)
                    rows.append((at, now_us, texts, value, seal, before))
                end = first + rows[-1][0] + 1 - position
                tips[line] = Tip(end, before)
                topic, partition = line
                answer += [Place(topic, partition, offset) for offset in range(first, end)]
            places.append(answer)
        return rows, places

    def _commit(self, rows: list[Row]) -> None:
        """All rows or none. Mostly in one step, in which the loop runs on: each other step would wait for it."""
        try:
            if len(rows) <= _ROWS_A_STEP:
                self._writing.execute(insert(len(rows)), tuple(chain.from_iterable(rows)))
            else:
                self._writing.execute("BEGIN IMMEDIATE")
                self._writing.executemany(insert(1), rows)
                self._writing.execute("COMMIT")
        except apsw.Error as error:
            try:
                if not self._writing.get_autocommit():
                    self._writing.execute("ROLLBACK")
            except apsw.Error as second:
                raise self._fail(str(second)) from None
            if not isinstance(error, _NOTHING_WRITTEN):
                raise self._fail(str(error)) from None
            raise

    def _cover(self, tips: dict[Line, Tip]) -> None:
        for line, tip in tips.items():
            if tip is not self._tips[line]:
                self._lines[line] = tip_line(*line, tip)
        self._generation += 1
        self._head_file.write(self._generation, self._head())
        self._tips = tips
        if time.monotonic() - self._remembered_s >= MEMORY_EVERY_S:
            self._remember()

    def _head(self) -> bytes:
        return head_text(self.log_id, self._generation, list(self._lines.values()))

    def _remember(self) -> None:
        self._remembered_s = time.monotonic()
        self._memory.write(self._head())


@lru_cache(_PARTITIONED_KEYS)
def _partition(key: str, partitions: int) -> int:
    return partition_of(key.encode(), partitions)


def _locked(directory: Path) -> int:
    """The open lock file of a log, locked; `LogError` if somebody else writes it."""
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise LogError(
            f"process {holder or 'unknown'} writes the log in {directory}; only one process may: use that one"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _tell(answers: Sequence[tuple[_Waiting, list[Place] | LogError]], waiters: Sequence[_Woken]) -> None:
    """Answer appends in the loops they came from and wake who waits for records; each loop is called once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], list[Place] | LogError | None]]] = {}
    for waiting, answer in answers:
        by_loop.setdefault(waiting.loop, []).append((waiting.future, answer))
    for loop, future in waiters:
        by_loop.setdefault(loop, []).append((future, None))
    for loop, settled in by_loop.items():
        with suppress(RuntimeError):  # a loop that is closed has nobody left to tell
            loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: Sequence[tuple[asyncio.Future[Any], list[Place] | LogError | None]]) -> None:
    for future, answer in settled:
        if future.done():
            continue
        if isinstance(answer, LogError):
            future.set_exception(type(answer)(str(answer)))
        else:
            future.set_result(answer)
