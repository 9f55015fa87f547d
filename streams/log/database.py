"""The SQLite file of the embedded log: opened with the settings it needs, and its errors in words a user can act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import apsw

from streams.disk import NO_PLAIN_FILE
from streams.log.layout import FORMAT, PARTITIONS_MAX, SCHEMA, TOPICS_MAX
from streams.log.port import LogError

APPLICATION_ID = 0x71707562
"""`qpub`, in the file's header: what tells our file from any other."""
PAGE_BYTES = 8_192
BUSY_MS = 5_000
_LOG_ID_DIGITS = 32


class Settings(NamedTuple):
    """What is fixed when a log is made; topics may only be added."""

    log_id: str
    partitions: int
    topics: tuple[str, ...]


@contextmanager
def faults(path: Path, doing: str) -> Iterator[None]:
    """Turn what SQLite and the system raise into `LogError`: what failed, where, what to do."""
    try:
        yield
    except apsw.FullError:
        raise LogError(f"{doing} {path}: the disk is full; free some space and try again") from None
    except (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError, apsw.AuthError, PermissionError) as error:
        raise LogError(f"{doing} {path}: {error}; check that file and directory may be read and written") from None
    except (apsw.BusyError, apsw.LockedError):
        raise LogError(f"{doing} {path}: another program holds the file; end it and try again") from None
    except apsw.NotADBError:
        raise LogError(f"{doing} {path}: this is no qpubus log; name another data directory") from None
    except (apsw.CorruptError, UnicodeDecodeError) as error:
        raise LogError(f"{doing} {path}: the file is damaged ({error}); restore it from a copy") from None
    except NotADirectoryError:
        raise LogError(f"{doing} {path}: this is no directory; name a data directory") from None
    except (apsw.Error, OSError) as error:
        raise LogError(f"{doing} {path}: {error}; check the disk") from None


def make(path: Path, settings: Settings) -> None:
    """Write a new database with no records. It stands alone: nothing of it is left in a WAL."""
    with faults(path, "making"):
        connection = apsw.Connection(str(path))
        try:
            connection.pragma("page_size", PAGE_BYTES)
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", "extra")
            with connection:
                connection.pragma("application_id", APPLICATION_ID)
                connection.execute(SCHEMA)
                named = (("format", FORMAT), ("log_id", settings.log_id), ("partitions", settings.partitions))
                connection.executemany("INSERT INTO log VALUES(?, ?)", named)
                connection.executemany("INSERT INTO topics VALUES(?, ?)", list(enumerate(settings.topics)))
        finally:
            connection.close()


def connect(
    path: Path, vfs: str | None = None, *, writing: bool = False, stands_still: bool = False
) -> apsw.Connection:
    """A connection to an existing log; one that does not write could not if it wanted to.

    Reading a file that `stands_still` (no WAL, and nobody may write it) changes no file, not even one beside it.
    """
    _check_files(path)
    flags = apsw.SQLITE_OPEN_READWRITE if writing else apsw.SQLITE_OPEN_READONLY
    name = f"file:{quote(str(path.absolute()))}?immutable=1" if stands_still else str(path)
    connection = apsw.Connection(name, flags=flags | apsw.SQLITE_OPEN_URI if stands_still else flags, vfs=vfs)
    connection.set_busy_timeout(BUSY_MS)
    if writing:
        connection.pragma("synchronous", "full")
        connection.pragma("temp_store", "memory")  # an insert of many rows keeps a journal of its own meanwhile
        connection.pragma("fullfsync", value=True)
        connection.pragma("checkpoint_fullfsync", value=True)
    return connection


def _check_files(path: Path) -> None:
    """`LogError` if SQLite would open a pipe or a device, on which it would wait for ever."""
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        if each.exists() and not each.is_file():
            raise LogError(f"opening {each}: {NO_PLAIN_FILE}; restore it from a copy")


def _check_schema(connection: apsw.Connection, path: Path) -> None:
    """`LogError` unless the tables are ours and nothing else is there: a view can have rows without end."""
    held = {(kind, sql) for kind, sql in _pairs(connection, "SELECT type, sql FROM sqlite_schema LIMIT 64")}
    if held != {("table", sql.strip()) for sql in SCHEMA.split(";") if sql.strip()}:
        raise LogError(f"opening {path}: its tables are not those of a log; restore it from a copy")


def settings_of(connection: apsw.Connection, path: Path) -> Settings:
    """The settings in a database; `LogError` if it is not one of ours or is newer than this release."""
    if connection.pragma("application_id") != APPLICATION_ID:
        raise LogError(f"opening {path}: this is no qpubus log; name another data directory")
    _check_schema(connection, path)
    named: dict[str, Any] = dict(_pairs(connection, "SELECT name, value FROM log"))
    if named.get("format") != FORMAT:
        raise LogError(f"{path} has format {named.get('format')}, this release knows {FORMAT}; install a newer qpubus")
    topics = dict(_pairs(connection, "SELECT number, name FROM topics ORDER BY number"))
    log_id, partitions = named.get("log_id"), named.get("partitions")
    if (
        not isinstance(log_id, str)
        or not (len(log_id) == _LOG_ID_DIGITS and set(log_id) <= set("0123456789abcdef"))
        or not (isinstance(partitions, int) and 1 <= partitions <= PARTITIONS_MAX)
        or not 1 <= len(topics) <= TOPICS_MAX
        or list(topics) != list(range(len(topics)))
        or not all(isinstance(name, str) for name in topics.values())
    ):
        raise LogError(f"opening {path}: its settings are damaged; restore it from a copy")
    return Settings(log_id, partitions, tuple(topics.values()))


def _pairs(connection: apsw.Connection, sql: str) -> Iterator[tuple[Any, Any]]:
    yield from connection.execute(sql)


def is_whole(connection: apsw.Connection) -> bool:
    """Whether SQLite finds the structure of its file in order; that says nothing about what the rows hold."""
    try:
        return [row[0] for row in connection.execute("PRAGMA quick_check(1)")] == ["ok"]
    except (apsw.Error, UnicodeDecodeError):
        return False
