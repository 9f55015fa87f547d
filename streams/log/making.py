"""Making a log: its files are written aside and put in their places together, so there is a whole log or none.

A new log may be born with records that another log held, each with the append time that it had there. This is the only
door through which an append time that is not the clock's gets in: it shuts when the log is put in its place, and a log
that stands has no way of being dated back.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from schemas.batch import Stored
from schemas.envelope import Record
from schemas.seal import BATCH_MAX, PREFIX_BYTES
from streams.disk import sync_directory
from streams.log import database
from streams.log.database import Settings
from streams.log.head import HeadFile, Tip, head_text, slot_bytes, tip_line
from streams.log.layout import Row, base_of, chain_after, genesis, insert, parts_of
from streams.log.lines import Chains
from streams.log.port import LogError
from streams.log.reading import DATABASE, HEAD, LOCK

_ROWS_HELD = 256


class NewLog:
    """A log that is being made."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._checked = Chains(settings)
        self._tips: dict[tuple[str, int], Tip] = {}
        self._numbers = {topic: number for number, topic in enumerate(settings.topics)}
        self._together: list[Stored] = []
        self._rows: list[Row] = []
        with database.faults(path, "making"):
            path.unlink(missing_ok=True)
            database.make(path, settings)
            self._writing = database.connect(path, writing=True)
            self._writing.pragma("journal_mode", "off")  # nobody reads the file before it is whole
            self._writing.pragma("synchronous", "off")

    def take(self, stored: Stored) -> None:
        """One more record, with the append time it had; it stands at the offset where its topic-partition ends."""
        self._checked.after(stored)
        if self._together and not (_claims(self._together[-1]) == _claims(stored) and len(self._together) < BATCH_MAX):
            self._place()
        self._together.append(stored)

    def finish(self) -> list[str]:
        """Write what is held, make all of it durable; the lines of the head."""
        self._place()
        self._write()
        with database.faults(self._path, "making"):
            self._writing.pragma("journal_mode", "wal")
            self._writing.close()
            descriptor = os.open(self._path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return [tip_line(*line, tip) for line, tip in sorted(self._tips.items())]

    def drop(self) -> None:
        """Leave nothing behind."""
        self._writing.close()
        for end in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)

    def _place(self) -> None:
        """Make rows of what goes together."""
        if not self._together:
            return
        topic, partition, _, append_time_us, _ = self._together[0]
        size, chain = self._tips.get((topic, partition)) or (0, genesis(self._settings.log_id, topic, partition))
        base = base_of(self._numbers[topic], partition)
        for count, texts, value, seal in parts_of([stored.record for stored in self._together]):
            chain = chain_after(chain, append_time_us, texts, value, seal)
            size += count
            self._rows.append((base + size - 1, append_time_us, texts, value, seal, chain))
        self._tips[topic, partition] = Tip(size, chain)
        self._together = []
        if len(self._rows) >= _ROWS_HELD:
            self._write()

    def _write(self) -> None:
        with database.faults(self._path, "making"), self._writing:
            self._writing.executemany(insert(1), self._rows)
        self._rows = []


def _claims(stored: Stored) -> tuple[str, int, int, bytes]:
    """What neighbours have in common that may be of one batch: their line, their append time, and how seals begin."""
    seal = stored.record.seal[:PREFIX_BYTES] if isinstance(stored.record, Record) else b""
    return stored.topic, stored.partition, stored.append_time_us, seal


@contextmanager
def new_log(directory: Path, settings: Settings) -> Iterator[NewLog]:
    """A log to be put in `directory`, which must have none, when the context ends; an error leaves none there."""
    with database.faults(directory, "making a log in"):
        directory.mkdir(parents=True, exist_ok=True)
        lock = locked(directory)
    try:
        if (directory / DATABASE).exists():
            raise LogError(f"there is a log in {directory} already; name another data directory, or use it")
        new = NewLog(directory / f"{DATABASE}.new", settings)
        with ExitStack() as undoing:
            undoing.callback(new.drop)
            yield new
            tips = new.finish()
            with database.faults(directory, "making a log in"):
                slot = slot_bytes(settings.partitions * len(settings.topics))
                HeadFile.make(directory / HEAD, slot, head_text(settings.log_id, 0, tips))
                (directory / f"{DATABASE}.new").replace(directory / DATABASE)
                sync_directory(directory)
            undoing.pop_all()
    finally:
        os.close(lock)


def locked(directory: Path) -> int:
    """The open lock file of a log, locked; `LogError` if somebody else writes it."""
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise LogError(
            f"process {holder or 'unknown'} writes the log in {directory} or audits it; only one process may: "
            "use that one, or wait"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
