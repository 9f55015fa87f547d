"""Reading the embedded log: records of a topic-partition come out in order, or the place where that is not possible."""

import asyncio
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path

import apsw

from schemas.admission import Stored
from streams.log import database
from streams.log.head import DISK, Disk, Memory, Tip, Tips, read_head
from streams.log.layout import (
    OFFSET_BITS,
    OFFSET_MASK,
    SELECT,
    Row,
    all_stored,
    bare_of,
    base_of,
    chain_after,
    genesis,
    stored_of,
)
from streams.log.port import Bare, LogCorrupt, LogError, LogIncomplete

DATABASE = "log.sqlite"
HEAD = "head"
LOCK = "lock"
_POLL_S = 0.015
_PORTION = 256
_LONE = 1 << OFFSET_BITS
_BARE = "SELECT position, texts, value FROM records WHERE position >= ? AND position < ? ORDER BY position LIMIT ?"
_LAST = "SELECT position, chain FROM records WHERE position >= ? AND position < ? ORDER BY position DESC LIMIT 1"


class EmbeddedReader:
    """A log that is only read. Others may write it meanwhile; what a statement sees is one state of it."""

    def __init__(
        self, directory: Path, disk: Disk = DISK, files: Path | None = None, *, stands_still: bool = False
    ) -> None:
        """Open the log in `directory`, or a copy of it in `files`; `LogError` says why that cannot be."""
        self.directory = directory
        self._files = files or directory
        self._path = self._files / DATABASE
        if not self._path.exists():
            raise LogError(f"there is no log in {directory}; make one with: qpubus init --data {directory}")
        self._frozen: Tips | None = None
        self._lock = threading.Lock()
        with database.faults(self._path, "opening"):
            self._connection = database.connect(self._path, disk.vfs, stands_still=stands_still)
            with ExitStack() as otherwise:
                otherwise.callback(self._connection.close)
                self.settings = database.settings_of(self._connection, self._path)
                otherwise.pop_all()
        self._numbers = {topic: number for number, topic in enumerate(self.settings.topics)}

    @property
    def log_id(self) -> str:
        """The name of this log, random when it was made."""
        return self.settings.log_id

    @property
    def partitions(self) -> int:
        """How many partitions each topic has."""
        return self.settings.partitions

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics of the log."""
        return self.settings.topics

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        """At most `limit` records from `offset` on. Offsets have no gaps here, so one means that a record was lost."""
        base = self._base(topic, partition)
        bounds = (base + max(offset, 0), base + _LONE, limit)
        with self._lock, database.faults(self._path, "reading"):
            rows = self._connection.execute(SELECT, bounds).fetchall()
        stored = [stored_of(topic, partition, row) for row in rows]
        if stored and stored[-1].offset != max(offset, 0) + len(stored) - 1:
            raise _missing(topic, partition, next(at for at, s in enumerate(stored, max(offset, 0)) if s.offset != at))
        return stored

    async def read_bare(self, topic: str, partition: int, offset: int, limit: int) -> list[Bare]:
        """At most `limit` records from `offset` on, without what proves them."""
        base = self._base(topic, partition)
        bounds = (base + max(offset, 0), base + _LONE, limit)
        with self._lock, database.faults(self._path, "reading"):
            return [bare_of(row) for row in self._connection.execute(_BARE, bounds)]

    async def ends(self, partition: int) -> Mapping[str, int]:
        """For each topic, the offset of its next record."""
        return {topic: self._tip(topic, partition).size for topic in self.topics}

    async def wait(self, partition: int, ends: Mapping[str, int], timeout_s: float) -> None:
        """Return when a topic has grown past `ends`; what another process appends is seen within 15 ms."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        version = None
        while True:
            with self._lock, database.faults(self._path, "reading"):
                now = self._connection.pragma("data_version")
            if now != version:
                version = now
                grown = await self.ends(partition)
                if any(count > ends.get(topic, 0) for topic, count in grown.items()):
                    return
            left = until - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(min(_POLL_S, left))

    async def close(self) -> None:
        """Give the connection back."""
        self.close_now()

    def close_now(self) -> None:
        """Give the connection back, from code that is not asynchronous."""
        self._connection.close()

    def rows(self, topic: str, partition: int, offset: int = 0, *, hashed: bool = True) -> Iterator[Stored]:
        """Every record from `offset` on, fast, for one thread: what an audit reads.

        Ends only where the log does: too few records for the head raise `LogIncomplete`, a row that holds something
        else raises `LogCorrupt`, both with the place. `hashed` also recomputes the chain of each row (about 2 µs),
        without which a change in a stray record or an append time is not seen. If SQLite finds the file itself out of
        order, it is a `LogError`.
        """
        base = self._base(topic, partition)
        head = self.head_tips().get((topic, partition))
        at = offset
        try:
            chain = self._chain_before(topic, partition, offset) if hashed else b""
            for rows in _portions(self._connection.execute(SELECT, (base + offset, base + _LONE, -1))):
                for row, stored in zip(rows, all_stored(topic, partition, rows), strict=True):
                    if row[0] != base + at:
                        raise _missing(topic, partition, at)
                    _, append_time_us, texts, value, seal, after = row
                    if hashed and chain_after(chain, append_time_us, texts, value, seal) != after:
                        raise _changed(topic, partition, at)
                    chain = after
                    at += 1
                    if head and at == head.size and chain != head.chain:
                        raise _changed(topic, partition, at - 1)
                    yield stored
            if head and at < head.size:
                raise _missing(topic, partition, at)
        except (LogCorrupt, apsw.Error, UnicodeDecodeError) as error:
            raise self._judged(error, topic, partition, at) from None

    def tip(self, topic: str, partition: int) -> Tip:
        """Count and chain of a topic-partition, as its last row has them."""
        with self._lock, database.faults(self._path, "reading"):
            return self._tip(topic, partition)

    def head_tips(self) -> Tips:
        """What the file `head` says; records beyond it are sound, records short of it are not."""
        return self._frozen if self._frozen is not None else read_head(self._files / HEAD, self.log_id).tips

    def freeze(self) -> None:
        """From now on see the log as it stands now, head included."""
        with database.faults(self._path, "reading"):
            self._frozen = self.head_tips()
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM log").fetchall()

    def check(self) -> Iterator[LogCorrupt]:
        """What is wrong with the ends of the log by its head and by what this account remembers."""
        yield from self._behind(self.head_tips(), "its head")
        memory = Memory(self.log_id)
        for finding in self._behind(memory.read(), "what was here before"):
            yield type(finding)(
                f"{finding}; an older copy of {self.directory} was put back, or another log goes by the same name: "
                f"bring the newer one back, or accept the loss by removing {memory.path}"
            )

    def _behind(self, tips: Tips, said_by: str) -> Iterator[LogCorrupt]:
        for (topic, partition), tip in sorted(tips.items()):
            place = f"{topic} partition {partition} offset"
            if topic not in self._numbers or partition >= self.partitions:
                yield LogIncomplete(f"{place} 0: by {said_by} the log has this topic-partition, and it has not")
                continue
            size = self.tip(topic, partition).size
            if size < tip.size:
                yield LogIncomplete(f"{place} {size}: by {said_by} there are {tip.size} records, but {size} are left")
            elif self._chain_before(topic, partition, tip.size) != tip.chain:
                yield LogCorrupt(f"{place} {tip.size - 1}: by {said_by} this record, or one before it, was another")

    def _chain_before(self, topic: str, partition: int, offset: int) -> bytes:
        if offset == 0:
            return genesis(self.log_id, topic, partition)
        position = self._base(topic, partition) + offset - 1
        with database.faults(self._path, "reading"):
            row = self._connection.execute("SELECT chain FROM records WHERE position = ?", (position,)).fetchone()
        return row[0] if row and isinstance(row[0], bytes) else b""

    def _tip(self, topic: str, partition: int) -> Tip:
        base = self._base(topic, partition)
        row = self._connection.execute(_LAST, (base, base + _LONE)).fetchone()
        if row is None:
            return Tip(0, genesis(self.log_id, topic, partition))
        return Tip((row[0] & OFFSET_MASK) + 1, row[1] if isinstance(row[1], bytes) else b"")

    def _base(self, topic: str, partition: int) -> int:
        if topic not in self._numbers or not 0 <= partition < self.partitions:
            raise LogError(f"{self.directory} has no partition {partition} of a topic {topic!r}")
        return base_of(self._numbers[topic], partition)

    def _judged(self, error: Exception, topic: str, partition: int, at: int) -> LogError:
        """Where the fault lies: in the file, if SQLite finds its structure out of order; else in this row."""
        if not database.is_whole(self._connection):
            return LogError(f"{self._path} is damaged at or near {topic} partition {partition} offset {at}: {error}")
        if isinstance(error, LogCorrupt):
            return error
        return LogCorrupt(f"{topic} partition {partition} offset {at}: the row cannot be read: {error}")


def _portions(found: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows some at a time. What was read before an error comes out before the error does."""
    while True:
        rows: list[Row] = []
        try:
            rows.extend(islice(found, _PORTION))
        except (apsw.Error, UnicodeDecodeError):
            if rows:
                yield rows
            raise
        if not rows:
            return
        yield rows


def _missing(topic: str, partition: int, offset: int) -> LogIncomplete:
    return LogIncomplete(f"{topic} partition {partition} offset {offset}: the record is missing")


def _changed(topic: str, partition: int, offset: int) -> LogCorrupt:
    return LogCorrupt(f"{topic} partition {partition} offset {offset}: the record is not the one that was acknowledged")


@contextmanager
def open_copy(directory: Path) -> Iterator[EmbeddedReader]:
    """The log in `directory` as it stands now, for an audit: neither database, WAL nor head is changed.

    While nobody writes and no WAL is left, the files are read where they are, and nobody may write until the end. With
    a WAL they are read from a private copy, as even a reader changes SQLite's files then. While somebody writes, they
    are read beside the writer in one long transaction; copying would drop the locks of a writer in this process.
    """
    with ExitStack() as stack:
        is_alone = stack.enter_context(_nobody_writing(directory))
        if not is_alone:
            reader = EmbeddedReader(directory)
            stack.callback(reader.close_now)
            reader.freeze()
        elif (directory / f"{DATABASE}-wal").exists():
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qpubus-audit-")))
            with database.faults(directory, "copying"):
                for name in (DATABASE, f"{DATABASE}-wal", HEAD):
                    if (directory / name).exists():
                        shutil.copyfile(directory / name, copy / name)
            reader = EmbeddedReader(directory, files=copy)
            stack.callback(reader.close_now)
        else:
            reader = EmbeddedReader(directory, stands_still=True)
            stack.callback(reader.close_now)
        yield reader


@contextmanager
def _nobody_writing(directory: Path) -> Iterator[bool]:
    """Keep writers away, if none is there; tells whether that is so."""
    with ExitStack() as stack:
        is_alone = True
        with database.faults(directory, "opening"), suppress(FileNotFoundError):
            lock = os.open(directory / LOCK, os.O_RDONLY)
            stack.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                is_alone = False
        yield is_alone
