"""A stranger at the file of an embedded log: rows are changed behind its back, record by record."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import apsw

from schemas.admission import Stored
from schemas.envelope import Record, Stray
from schemas.topics import TOPICS
from streams.log.head import Memory, head_text, slot_bytes
from streams.log.layout import Row, base_of, batch_parts, chain_after, genesis, record_texts, records_of

DATABASE = "log.sqlite"
Records = list[Record | Stray]


class Rows:
    """The rows of a closed log with one partition."""

    def __init__(self, data: Path, log_id: str) -> None:
        self._data = data
        self._log_id = log_id

    def flip(self, stored: Stored, rng: Random) -> None:
        """Flip a bit of a record in one of the columns that hold it."""
        row = self._row(stored)
        column = rng.choice(("texts", "value", "seal"))
        whole = bytes(row[2], "ascii") if column == "texts" else row[3 if column == "value" else 4]
        start, end = _span(column, row, stored)
        at = rng.randrange(start, end)
        changed = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(7)]) + whole[at + 1 :]
        value = changed.decode("ascii") if column == "texts" else changed
        self._execute(f"UPDATE records SET {column} = ? WHERE position = ?", value, row[0])  # noqa: S608 (ours)

    def drop(self, stored: Stored) -> None:
        """Take a record out of its row, or its row away; all others stay where they stand."""
        self._edit(stored, lambda records, at: records[:at] + records[at + 1 :])

    def leave_out(self, stored: Stored) -> None:
        """Take a record out, and move up all that follow in its topic."""
        self.drop(stored)
        position = _position(stored)
        for (following,) in self._execute(
            "SELECT position FROM records WHERE position >= ? AND position < ? ORDER BY position",
            position,
            base_of(TOPICS.index(stored.topic), 1),
        ):
            self._execute("UPDATE records SET position = ? WHERE position = ?", following - 1, following)

    def cut(self, stored: Stored) -> None:
        """Take away a record and all that follow in its topic."""
        end = base_of(TOPICS.index(stored.topic), 1)
        row = self._row(stored)
        self._execute("DELETE FROM records WHERE position > ? AND position < ?", row[0], end)
        self._edit(stored, lambda records, at: records[:at])
        self._execute("UPDATE records SET position = ? WHERE position = ?", _position(stored) - 1, row[0])

    def swap(self, one: Stored, other: Stored) -> None:
        """Put two records of a topic in each other's place."""
        for here, there in ((one, other), (other, one)):
            self._edit(here, partial(_with, there.record))

    def forge(self, *, forget: bool = True) -> None:
        """Make every chain and the head fit what the rows now hold; and let this account forget what it knew."""
        lines = []
        for number, topic in enumerate(TOPICS):
            chain, size = genesis(self._log_id, topic, 0), 0
            bounds = (base_of(number, 0), base_of(number, 1))
            for row in self._execute("SELECT * FROM records WHERE position >= ? AND position < ?", *bounds):
                chain = chain_after(chain, *row[1:5])
                self._execute("UPDATE records SET chain = ? WHERE position = ?", chain, row[0])
                size = row[0] + 1 - base_of(number, 0)
            if size:
                lines.append(f"{topic} 0 {size} {chain.hex()}")
        head = head_text(self._log_id, 1_000, lines).ljust(slot_bytes(len(TOPICS)), b"\n")
        (self._data / "head").write_bytes(2 * head)
        memory = Memory(self._log_id).path
        if forget and memory:
            memory.unlink(missing_ok=True)

    def _row(self, stored: Stored) -> Row:
        row: Row
        [row] = self._execute("SELECT * FROM records WHERE position >= ? ORDER BY position LIMIT 1", _position(stored))
        return row

    def _edit(self, stored: Stored, edit: Callable[[Records, int], Records]) -> None:
        row = self._row(stored)
        records: Records = [each.record for each in records_of(stored.topic, 0, row)]
        after = edit(records, stored.offset - (row[0] & 0xFFFFFFFF) - 1 + len(records))
        if not after:
            self._execute("DELETE FROM records WHERE position = ?", row[0])
            return
        columns: Sequence[Any] = batch_parts(after)[1:]
        if "\n" not in row[2]:
            [record] = after
            assert isinstance(record, Record)
            columns = (record_texts(record), record.value, record.seal)
        self._execute("UPDATE records SET texts = ?, value = ?, seal = ? WHERE position = ?", *columns, row[0])

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        connection = apsw.Connection(str(self._data / DATABASE))
        try:
            connection.pragma("synchronous", "off")
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()


def _with(new: Record | Stray, records: Records, at: int) -> Records:
    return [*records[:at], new, *records[at + 1 :]]


def _position(stored: Stored) -> int:
    return base_of(TOPICS.index(stored.topic), 0) | stored.offset


def _span(column: str, row: Row, stored: Stored) -> tuple[int, int]:
    """Where a record's own bytes stand in a column of its row; to the first of a batch belongs what all share."""
    whole = row[2] if column == "texts" else row[3 if column == "value" else 4]
    if "\n" not in row[2]:
        return 0, len(whole)
    records = [each.record for each in records_of(stored.topic, 0, row)]
    at = stored.offset - (row[0] & 0xFFFFFFFF) - 1 + len(records)
    if column == "texts":
        lines = row[2].split("\n")
        start = sum(len(line) + 1 for line in lines[: at + 1])
        return (0 if at == 0 else start), start + len(lines[at + 1])
    parts = [getattr(record, column) for record in records]
    start = len(whole) - sum(map(len, parts)) + sum(map(len, parts[:at]))
    return start, start + len(parts[at])
