"""Reading the embedded log: records of a topic-partition come out in order, or the place where that is not possible."""

import asyncio
import errno
import fcntl
import os
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path

import apsw

from schemas.batch import Batch, Stored
from schemas.envelope import Record
from schemas.seal import batch_size
from streams.disk import DISK, Disk, open_plain
from streams.log import database
from streams.log.head import Memory, Tip, Tips, read_head
from streams.log.layout import (
    OFFSET_BITS,
    OFFSET_MASK,
    SELECT,
    Row,
    bare_of,
    base_of,
    chain_after,
    genesis,
    records_of,
)
from streams.log.port import Bare, LogCorrupt, LogError, LogIncomplete

DATABASE = "log.sqlite"
HEAD = "head"
LOCK = "lock"
_POLL_S = 0.015
_LONE = 1 << OFFSET_BITS
_PIECE_BYTES = 1 << 20
_BARE = "SELECT position, texts, value FROM records WHERE position >= ? AND position < ? ORDER BY position"
_NEXT = "SELECT position FROM records WHERE position >= ? AND position < ? ORDER BY position LIMIT 1"
_LAST = "SELECT position, chain FROM records WHERE position >= ? AND position < ? ORDER BY position DESC LIMIT 1"


class EmbeddedReader:
    """A log that is only read. Others may write it meanwhile; what a statement sees is one state of it."""

    def __init__(
        self, directory: Path, disk: Disk = DISK, files: Path | None = None, *, stands_still: bool = False
    ) -> None:
        """Open the log in `directory`, or a copy of it in `files`; `LogError` says why that cannot be."""
        self.directory = directory
        self.files = files or directory
        self.stands_still = stands_still
        self._path = self.files / DATABASE
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
        at, stored = max(offset, 0), list[Stored]()
        with self._lock, database.faults(self._path, "reading"):
            for row in self._rows(SELECT, topic, partition, at):
                records = records_of(topic, partition, row)
                stored += records[max(at - records[0].offset, 0) :]
                if 0 <= limit <= len(stored):
                    break
        for expected, each in enumerate(stored, at):
            if each.offset != expected:
                raise missing(topic, partition, expected)
        return stored[:limit] if limit >= 0 else stored

    async def read_bare(self, topic: str, partition: int, offset: int, limit: int) -> list[Bare]:
        """At most `limit` records from `offset` on, without what proves them."""
        at, found = max(offset, 0), list[Bare]()
        with self._lock, database.faults(self._path, "reading"):
            for row in self._rows(_BARE, topic, partition, at):
                bare = bare_of(row)
                found += bare[max(at - bare[0].offset, 0) :]
                if 0 <= limit <= len(found):
                    break
        return found[:limit] if limit >= 0 else found

    def _rows(self, select: str, topic: str, partition: int, offset: int) -> Iterator[Row]:
        """The rows of a topic-partition from the one on that holds `offset`: a row's position is its last record's."""
        base = self._base(topic, partition)
        return self._connection.execute(select, (base + offset, base + _LONE))

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

    async def settle(self, partition: int) -> None:
        """Nothing to wait for: whoever sees one topic of an append sees the others."""

    async def close(self) -> None:
        """Give the connection back."""
        self.close_now()

    def close_now(self) -> None:
        """Give the connection back, from code that is not asynchronous."""
        self._connection.close()

    def rows(self, topic: str, partition: int, offset: int = 0, *, hashed: bool = True) -> Iterator[Stored]:
        """Every record from `offset` on; see `batches`."""
        batches = chain.from_iterable(self.batches(topic, partition, offset, hashed=hashed))
        return (stored for stored in batches if stored.offset >= offset)

    def batches(
        self, topic: str, partition: int, offset: int = 0, *, hashed: bool = True
    ) -> Iterator[Sequence[Stored]]:
        """Every record from the row on that holds `offset`, row by row and fast, for one thread: what an audit reads.

        Ends only where the log does: too few records for the head raise `LogIncomplete`, a row that holds something
        else raises `RowChanged`, both with the place. `hashed` also recomputes the chain of each row, without which a
        change in a stray record or an append time is not seen. If SQLite finds the file itself out of order, it is a
        `LogError`.
        """
        head = self.head_tips().get((topic, partition))
        at, before = offset, None
        after_row: int | None = None
        try:
            for row in self._rows(SELECT, topic, partition, offset):
                after_row = (row[0] & OFFSET_MASK) + 1
                records = records_of(topic, partition, row)
                if before is None:
                    at = min(at, records[0].offset)
                    before = self.chain_before(topic, partition, at)
                if records[0].offset != at:
                    fault = _misplaced(topic, partition, at, records)
                    if isinstance(fault, LogIncomplete) and records[0].offset > at:
                        after_row = records[0].offset
                    raise fault
                _, append_time_us, texts, value, seal, after = row
                if hashed and chain_after(before, append_time_us, texts, value, seal) != after:
                    raise RowChanged(topic, partition, at, records)
                before = after
                at += len(records)
                if head and at >= head.size > at - len(records) and (at > head.size or after != head.chain):
                    raise RowChanged(topic, partition, at - len(records), records)
                yield records
            after_row = None
            if head and at < head.size:
                raise missing(topic, partition, at)
        except (LogCorrupt, apsw.Error, UnicodeDecodeError) as error:
            judged = self._judged(error, topic, partition, at)
            if isinstance(judged, LogCorrupt):
                judged.next_offset = after_row
            raise judged from None

    def tip(self, topic: str, partition: int) -> Tip:
        """Count and chain of a topic-partition, as its last row has them."""
        with self._lock, database.faults(self._path, "reading"):
            return self._tip(topic, partition)

    def rehashed(self, topic: str, partition: int, size: int) -> bytes:
        """The chain after the first `size` records, from the bytes of their rows; empty if no rows are just those.

        No seal is looked at: this shows whether the rows are what they were, and not what they are worth.
        """
        at, after, base = 0, genesis(self.log_id, topic, partition), self._base(topic, partition)
        try:
            for position, append_time_us, texts, value, seal, _ in self._connection.execute(
                SELECT, (base, base + size)
            ):
                at += int.from_bytes(value[:4], "big") if texts is not None and "\n" in texts else 1
                if position != base + at - 1:
                    return b""
                after = chain_after(after, append_time_us, texts, value, seal)
        except (apsw.Error, UnicodeDecodeError, TypeError, AttributeError, struct.error):
            return b""
        return after if at == size else b""

    def row_end(self, topic: str, partition: int, offset: int) -> int:
        """The first offset from `offset` on at which a row begins; the count of records, if there is none."""
        if offset == 0:
            return 0
        base = self._base(topic, partition)
        with self._lock, database.faults(self._path, "reading"):
            row = self._connection.execute(_NEXT, (base + offset - 1, base + _LONE)).fetchone()
        return (row[0] & OFFSET_MASK) + 1 if row else self.tip(topic, partition).size

    def head_tips(self) -> Tips:
        """What the file `head` says; records beyond it are sound, records short of it are not."""
        return self._frozen if self._frozen is not None else read_head(self.files / HEAD, self.log_id).tips

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
            elif self.chain_before(topic, partition, tip.size) != tip.chain:
                yield LogCorrupt(f"{place} {tip.size - 1}: by {said_by} this record, or one before it, was another")

    def chain_before(self, topic: str, partition: int, offset: int) -> bytes:
        """The chain after the first `offset` records, as the row that ends there has it; empty if none does."""
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


def missing(topic: str, partition: int, offset: int) -> LogIncomplete:
    """What to say where a record is missing."""
    return LogIncomplete(f"{topic} partition {partition} offset {offset}: the record is missing")


def changed(topic: str, partition: int, offset: int) -> LogCorrupt:
    """What to say where a record is another."""
    return LogCorrupt(f"{topic} partition {partition} offset {offset}: the record is not the one that was acknowledged")


class RowChanged(LogCorrupt):
    """A row is not the one that was acknowledged; `records` are those that it holds now, from where they should stand.

    Which of them is another only their seals can tell.
    """

    def __init__(self, topic: str, partition: int, offset: int, records: Sequence[Stored]) -> None:
        what = "the record is not the one that was acknowledged"
        if len(records) > 1:
            what = (
                f"this record, or one of the {len(records) - 1} appended with it, is not the one that was acknowledged"
            )
        super().__init__(f"{topic} partition {partition} offset {offset}: {what}")
        self.records = [stored._replace(offset=offset + number) for number, stored in enumerate(records)]
        self.lacks = isinstance(records, Batch) and len(records) < min(map(_batch_size, records))
        """Whether the row holds a part of a batch: fewer records than the batch that all of them are of."""


def _misplaced(topic: str, partition: int, at: int, records: Sequence[Stored]) -> LogCorrupt:
    """What it means that records stand where another is due: it is gone, or they were one batch with it."""
    if len(records) < (size := _batch_size(records[0])) and at + size == records[-1].offset + 1:
        return RowChanged(topic, partition, at, records)
    return missing(topic, partition, at)


def _batch_size(stored: Stored) -> int:
    return batch_size(stored.record.seal) if isinstance(stored.record, Record) else 0


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
                        _copy_data(directory / name, copy / name)
            reader = EmbeddedReader(directory, files=copy)
            stack.callback(reader.close_now)
        else:
            reader = EmbeddedReader(directory, stands_still=True)
            stack.callback(reader.close_now)
        yield reader


def _copy_data(source: Path, target: Path) -> None:
    """Copy a file without its holes: however long it says it is, this takes the time and room of what it holds."""
    with open_plain(source) as original, target.open("wb") as copy:
        size = os.fstat(original.fileno()).st_size
        copy.truncate(size)
        for start, end in _filled(original.fileno(), size):
            original.seek(start)
            copy.seek(start)
            while (left := end - original.tell()) > 0 and (piece := original.read(min(left, _PIECE_BYTES))):
                copy.write(piece)


def _filled(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file holds something, from and to; all of it on a file system that knows of no holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


@contextmanager
def _nobody_writing(directory: Path) -> Iterator[bool]:
    """Keep writers away, if none is there; tells whether that is so."""
    with ExitStack() as stack:
        is_alone = True
        with database.faults(directory, "opening"), suppress(FileNotFoundError):
            lock = os.open(directory / LOCK, os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                is_alone = False
        yield is_alone
