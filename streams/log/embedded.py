"""The embedded engine: appends go into one SQLite file, all that wait at one time in one durable transaction."""

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from itertools import chain, groupby, repeat
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import apsw

from schemas.admission import Stored
from schemas.codec import FRAME_BYTES
from schemas.envelope import Record, Stray
from schemas.topics import TOPICS
from streams.author import Sealed
from streams.disk import DISK, Disk
from streams.log import database
from streams.log.head import HeadFile, Memory, Tip, head_text, read_head, slot_bytes, tip_line
from streams.log.layout import PARTITIONS_MAX, TOPICS_MAX, Parts, Row, chain_after, insert, parts_of
from streams.log.making import locked, new_log
from streams.log.port import AppendUnknown, LogError, Place, partition_of
from streams.log.reading import DATABASE, HEAD, EmbeddedReader
from streams.log.recent import Leaves, Recent

MEMORY_EVERY_S = 1.0
_PARTITIONED_KEYS = 4_096
_ROWS_A_STEP = 1_000
_NOTHING_WRITTEN = (apsw.FullError, apsw.BusyError, apsw.ReadOnlyError)

_new = tuple.__new__
"""What makes a named tuple in half the time that its class takes."""

Line = tuple[str, int]
"""A topic-partition: the topic and the partition number."""


class _Waiting(NamedTuple):
    """An append that waits to be written, as the rows it will be, and who waits for it."""

    rows: list[tuple[Line, Parts]]
    future: asyncio.Future[list[Place]]
    leaves: Sequence[tuple[Line, Leaves]] = ()


def create(directory: Path, partitions: int = 1, topics: Sequence[str] = TOPICS, log_id: str = "") -> None:
    """Make an empty log in `directory`. `log_id` is 32 hex digits, random unless a test fixes it."""
    if not 1 <= partitions <= PARTITIONS_MAX or not 1 <= len(topics) <= TOPICS_MAX:
        raise LogError(f"a log has 1 to {PARTITIONS_MAX} partitions and 1 to {TOPICS_MAX} topics")
    settings = database.Settings(log_id or secrets.token_hex(16), partitions, tuple(topics))
    with new_log(directory, settings):
        pass


class EmbeddedLog(EmbeddedReader):
    """The one writer of a log, and a reader of it.

    It belongs to one event loop. Appends made in one turn of the loop share a transaction, and the loop stands still
    while it is written: a fraction of a millisecond on a local disk, less than handing it to a thread and back.
    `now_us` gives append times, once for all that share a transaction. Cancelling an append does not take it back.
    """

    def __init__(self, directory: Path, now_us: Callable[[], int], disk: Disk = DISK) -> None:
        """Take the lock of the log in `directory` and check its ends against head and memory.

        `LogCorrupt` names the place where acknowledged records are gone; `LogError` what else stands in the way.
        """
        if not (directory / DATABASE).exists():
            raise LogError(f"there is no log in {directory}; make one with: qpubus init --data {directory}")
        with database.faults(directory, "opening"):
            self._lock_file = locked(directory)
        with ExitStack() as otherwise:
            otherwise.callback(os.close, self._lock_file)
            super().__init__(directory, disk)
            otherwise.callback(self.close_now)
            self._start(now_us, disk)
            otherwise.pop_all()

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
        self._waiting: list[_Waiting] = []
        self._watchers: dict[asyncio.Future[None], tuple[int, Mapping[str, int]]] = {}
        self._recent: Recent | None = None
        self._closed = False
        self._failed = ""
        with database.faults(self.directory, "opening"):
            self._writing = database.connect(self._path, disk.vfs, writing=True)
            with ExitStack() as otherwise:
                otherwise.callback(self._writing.close)
                HeadFile.make(self.directory / HEAD, slot_bytes(len(self._tips)), self._head())
                self._head_file = HeadFile(self.directory / HEAD, slot_bytes(len(self._tips)), disk)
                otherwise.pop_all()
        self._remember()

    async def append(self, records: Sequence[Record | Stray]) -> list[Place]:
        """Append records, all or none; they are durable and covered by the head when this returns."""
        self._alive()
        if not records:
            return []
        loop = asyncio.get_running_loop()
        rows: list[tuple[Line, Parts]] = []
        for (topic, key), neighbours in groupby(records, key=itemgetter(0, 1)):
            line = self._line(topic, key)
            rows += [(line, parts) for parts in parts_of(list(neighbours))]
        waiting = _Waiting(rows, loop.create_future(), self._leaves(records) if self._recent else ())
        if not self._waiting:
            loop.call_soon(self._write)
        self._waiting.append(waiting)
        return await waiting.future

    def keep_leaves(self) -> Recent:
        """From now on keep the leaf hashes of what this process has sealed and appends."""
        self._recent = self._recent or Recent()
        return self._recent

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        """At most `limit` records from `offset` on. That there are none is known without asking the database."""
        tip = self._tips.get((topic, partition))
        return [] if tip and offset >= tip.size else await super().read(topic, partition, offset, limit)

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
            left = until - loop.time()
            if left <= 0 or self._has_grown(partition, ends):
                return
            watcher = loop.create_future()
            self._watchers[watcher] = (partition, ends)
            try:
                await asyncio.wait([watcher], timeout=left)
            finally:
                del self._watchers[watcher]

    async def close(self) -> None:
        """Write what waits, fold the WAL into the database, remember the head and give the lock back."""
        if self._closed:
            return
        self._write()
        self._closed = True
        self._remember()
        self.close_now()
        with database.faults(self._path, "closing"):
            self._writing.close()
        self._head_file.close()
        os.close(self._lock_file)

    def _alive(self) -> None:
        if self._closed or self._failed:
            raise LogError(self._failed or f"the log in {self.directory} is closed")

    def _line(self, topic: str, key: str | bytes | None) -> Line:
        if topic not in self._numbers:
            raise LogError(f"{self.directory} has no topic {topic!r}; its topics: {', '.join(self.topics)}")
        return topic, _partition(key, self.partitions) if key else 0

    def _leaves(self, records: Sequence[Record | Stray]) -> list[tuple[Line, Leaves]]:
        """The leaf hashes of records that were sealed here, line by line; they have no places yet."""
        if not isinstance(records, Sealed):
            return []
        found, at = [], 0
        for (topic, key), neighbours in groupby(records, key=itemgetter(0, 1)):
            frames = [record.value[:FRAME_BYTES] for record in neighbours]
            hashes = records.leaves[at : at + len(frames)]
            at += len(frames)
            found.append((self._line(topic, key), Leaves(0, hashes, frozenset((key, each) for each in {*frames}))))
        return found

    def _write(self) -> None:
        """Write whatever waits, answer, and wake who watches."""
        appends, self._waiting = self._waiting, []
        if not appends:
            return
        for waiting, answer in zip(appends, self._answers(appends), strict=True):
            if waiting.future.done():
                continue
            if isinstance(answer, LogError):
                waiting.future.set_exception(answer)
            else:
                waiting.future.set_result(answer)
        for watcher, (partition, ends) in self._watchers.items():
            if not watcher.done() and (self._failed or self._has_grown(partition, ends)):
                watcher.set_result(None)

    def _has_grown(self, partition: int, ends: Mapping[str, int]) -> bool:
        """Whether any topic of the partition number goes past `ends`."""
        return any(self._tips[topic, partition].size > ends.get(topic, 0) for topic in self.topics)

    def _answers(self, appends: list[_Waiting]) -> Sequence[list[Place] | LogError]:
        try:
            return self._appended(appends)
        except LogError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 (whoever appends must get an answer, whatever went wrong)
            failed = self._fail(f"{type(error).__name__}: {error}")
        return [type(failed)(str(failed)) for _ in appends]

    def _appended(self, appends: list[_Waiting]) -> list[list[Place]]:
        if self._failed:
            raise LogError(self._failed)
        tips = dict(self._tips)
        rows, places = self._new_rows(appends, tips)
        with database.faults(self._path, "appending to"):
            self._commit(rows)
        try:
            self._cover(tips)
        except OSError as error:
            raise self._fail(f"the head could not be written: {error.strerror or error}") from None
        if self._recent:
            for waiting, answer in zip(appends, places, strict=True):
                at = 0
                for line, leaves in waiting.leaves:
                    self._recent.add(line, leaves._replace(first=answer[at].offset))
                    at += len(leaves.hashes)
        return places

    def _fail(self, why: str) -> AppendUnknown:
        self._failed = (
            f"the log in {self.directory} is closed, as nobody can say whether its last append took place ({why}); "
            "check the disk, start again and read what is there"
        )
        return AppendUnknown(self._failed)

    def _new_rows(self, appends: list[_Waiting], tips: dict[Line, Tip]) -> tuple[list[Row], list[list[Place]]]:
        now_us = self._now_us()
        rows: list[Row] = []
        places = []
        for waiting in appends:
            answer: list[Place] = []
            for line, (count, texts, value, seal) in waiting.rows:
                first, before = tips[line]
                after = chain_after(before, now_us, texts, value, seal)
                end = first + count
                rows.append((self._bases[line] + end - 1, now_us, texts, value, seal, after))
                tips[line] = Tip(end, after)
                topic, partition = line
                answer += map(
                    _new, repeat(Place), zip(repeat(topic), repeat(partition), range(first, end), strict=False)
                )
            places.append(answer)
        return rows, places

    def _commit(self, rows: list[Row]) -> None:
        """All rows or none, mostly in one statement."""
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
def _partition(key: str | bytes, partitions: int) -> int:
    return partition_of(key.encode() if isinstance(key, str) else key, partitions)
