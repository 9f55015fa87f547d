"""The temporary index of an audit: what grows with a log and is asked for again, as tables of a database of its own.

While they are small the tables lie in memory. What no longer fits into a few megabytes SQLite writes to a nameless file
in the directory for temporary files (`TMPDIR`), which is gone when the index is.
"""

import errno
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar

import apsw

CACHE_BYTES = 2 << 20
_WAITING_MAX = 256
"""So many rows are put in at once: one call for many takes a third of the time."""

Row = tuple[Any, ...]
"""Texts, whole numbers and bytes."""
T = TypeVar("T")


class Index:
    """A database that nobody else sees."""

    def __init__(self) -> None:
        self._connection = apsw.Connection("")
        self._tables = 0
        for name, value in (("cache_size", -CACHE_BYTES // 1024), ("journal_mode", "off"), ("synchronous", "off")):
            self._connection.pragma(name, value)
        self.execute("BEGIN")

    def table(self, columns: Iterable[str], key: Sequence[str] = ()) -> str:
        """Make a table of these columns, in the order of `key` if there is one; its name."""
        self._tables += 1
        name = f"t{self._tables}"
        if key:
            self.execute(f"CREATE TABLE {name}({', '.join(columns)}, PRIMARY KEY({', '.join(key)})) WITHOUT ROWID")
        else:
            self.execute(f"CREATE TABLE {name}({', '.join(columns)})")
        return name

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows that a statement gives."""
        with _room():
            return self._connection.execute(sql, values)

    def put(self, name: str, width: int, rows: Iterable[Row], otherwise: str = "", then: str = "") -> None:
        """Put rows of so many columns into a table.

        What becomes of one that is there already say `otherwise` (`OR IGNORE`) or `then` (`ON CONFLICT …`).
        """
        sql = f"INSERT {otherwise} INTO {name} VALUES({', '.join('?' * width)}) {then}"
        with _room():
            self._connection.executemany(sql, rows)

    def close(self) -> None:
        """Give all of it back."""
        self._connection.close()


class Table(Protocol):
    """What can be handed over row by row."""

    def rows(self) -> Iterator[Row]: ...
    def take(self, rows: Iterable[Row]) -> None: ...


class Rows(Generic[T]):
    """Rows in the order in which they came. With `is_looked_up`, those are found that have a first cell."""

    def __init__(
        self, index: Index, fields: Sequence[str], make: Callable[[Iterable[Any]], T], *, is_looked_up: bool = False
    ) -> None:
        self._index, self._make, self._width = index, make, len(fields)
        self._first = fields[0]
        self.name = index.table(fields)
        self._waiting: list[Row] = []
        if is_looked_up:
            index.execute(f"CREATE INDEX {self.name}_first ON {self.name}({fields[0]})")

    def append(self, row: Row) -> None:
        """Put a row behind the others."""
        self._waiting.append(row)
        if len(self._waiting) == _WAITING_MAX:
            self.flush()

    def take(self, rows: Iterable[Row]) -> None:
        """Put rows behind the others."""
        for row in rows:
            self.append(tuple(row))

    def flush(self) -> None:
        """Let statements on the table see all rows."""
        if self._waiting:
            self._index.put(self.name, self._width, self._waiting)
            self._waiting.clear()

    def of(self, first: str) -> list[T]:
        """The rows with this first cell."""
        self.flush()
        found = self._index.execute(f"SELECT * FROM {self.name} WHERE {self._first} = ? ORDER BY rowid", (first,))  # noqa: S608 (names are our own)
        return list(map(self._make, found))

    def rows(self) -> Iterator[Row]:
        """All of them as they are stored."""
        self.flush()
        return self._index.execute(f"SELECT * FROM {self.name} ORDER BY rowid")  # noqa: S608 (names are our own)

    def __iter__(self) -> Iterator[T]:
        return map(self._make, self.rows())


class Places(Generic[T]):
    """One row at most for each topic and offset, in the order of these."""

    def __init__(self, index: Index, fields: Sequence[str], make: Callable[[Iterable[Any]], T]) -> None:
        self._index, self._make, self._width = index, make, 2 + len(fields)
        self._fields = ", ".join(fields)
        self.name = index.table(("at_topic", "at_offset", *fields), ("at_topic", "at_offset"))
        self._waiting: list[Row] = []
        self._is_empty = True

    def put(self, topic: str, offset: int, row: Row) -> None:
        """Put a row at a place, where it replaces another one."""
        self._is_empty = False
        self._waiting.append((topic, offset, *row))
        if len(self._waiting) == _WAITING_MAX:
            self.flush()

    def flush(self) -> None:
        """Let statements on the table see all rows."""
        if self._waiting:
            self._index.put(self.name, self._width, self._waiting, "OR REPLACE")
            self._waiting.clear()

    def get(self, topic: str, offset: int) -> T | None:
        """The row at a place."""
        if self._is_empty:
            return None
        self.flush()
        sql = f"SELECT {self._fields} FROM {self.name} WHERE at_topic = ? AND at_offset = ?"  # noqa: S608 (names are our own)
        return next(map(self._make, self._index.execute(sql, (topic, offset))), None)

    def take(self, rows: Iterable[Row]) -> None:
        """Put rows at the places that are their first two cells."""
        for topic, offset, *row in rows:
            self.put(topic, offset, tuple(row))

    def rows(self) -> Iterator[Row]:
        """Every row, behind its topic and offset."""
        self.flush()
        return self._index.execute(f"SELECT * FROM {self.name} ORDER BY at_topic, at_offset")  # noqa: S608 (names are our own)

    def items(self) -> Iterator[tuple[str, int, T]]:
        """Every row with its topic and offset."""
        return ((topic, offset, self._make(row)) for topic, offset, *row in self.rows())

    def offsets(self, topic: str) -> Iterator[int]:
        """The offsets of a topic."""
        self.flush()
        sql = f"SELECT at_offset FROM {self.name} WHERE at_topic = ? ORDER BY at_offset"  # noqa: S608 (names are our own)
        return (offset for (offset,) in self._index.execute(sql, (topic,)))

    def __iter__(self) -> Iterator[T]:
        return (row for _, _, row in self.items())

    def __bool__(self) -> bool:
        return not self._is_empty


class Texts:
    """A set of texts, in the order of their bytes."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.name = index.table(("text",), ("text",))
        self._waiting: set[str] = set()

    def add(self, text: str) -> None:
        """Put a text in, if it is not there."""
        self._waiting.add(text)
        if len(self._waiting) == _WAITING_MAX:
            self._flush()

    def update(self, texts: Iterable[str]) -> None:
        """Put texts in."""
        for text in texts:
            self.add(text)

    def take(self, rows: Iterable[Row]) -> None:
        """Put texts in, each the one cell of a row."""
        self.update(text for (text,) in rows)

    def rows(self) -> Iterator[Row]:
        """Every text as a row."""
        return ((text,) for text in self)

    def __contains__(self, text: str) -> bool:
        self._flush()
        return any(self._index.execute(f"SELECT 1 FROM {self.name} WHERE text = ?", (text,)))  # noqa: S608 (names are our own)

    def __iter__(self) -> Iterator[str]:
        self._flush()
        return chain.from_iterable(self._index.execute(f"SELECT text FROM {self.name} ORDER BY text"))  # noqa: S608 (names are our own)

    def __len__(self) -> int:
        self._flush()
        [(count,)] = self._index.execute(f"SELECT count(*) FROM {self.name}")  # noqa: S608 (names are our own)
        return int(count)

    def _flush(self) -> None:
        if self._waiting:
            self._index.put(self.name, 1, ((text,) for text in sorted(self._waiting)), "OR IGNORE")
            self._waiting.clear()


def storable(text: str) -> str:
    """A text that SQLite takes: what strangers wrote need not be one in UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError) as error:
        what = f"the audit's temporary index cannot grow ({error}); make room there, or name a directory by TMPDIR"
        raise OSError(errno.ENOSPC, what, tempfile.gettempdir()) from None
