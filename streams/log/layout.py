"""Where a record lies in the embedded log and how it is hashed there: pure arithmetic and bytes, no file.

One table holds everything. A row's position is its topic's number, partition and offset in one integer:

    position = topic number << 56 | partition << 40 | offset

Each row keeps the running hash of its topic-partition, its chain:

    chain = SHA-256(chain before ‖ kind ‖ append time ‖ length of each part ‖ parts)

A record (kind 01) has the parts value, seal and texts: key and header texts with a quotation mark between them, which
no header text may hold. One column of them is twice as fast to write and to read as a column each. A stray (kind 02)
has one part, `stray_bytes`, in the column of the value; its texts and seal are null.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

from schemas.admission import Stored
from schemas.envelope import Record, Stray
from streams.log.port import Bare, LogCorrupt, LogError

FORMAT = 1
TOPICS_MAX = 128
PARTITIONS_MAX = 1 << 16
OFFSET_BITS = 40
OFFSET_MASK = (1 << OFFSET_BITS) - 1

SCHEMA = """
CREATE TABLE log(name PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE topics(number INTEGER PRIMARY KEY, name);
CREATE TABLE records(position INTEGER PRIMARY KEY, append_time_us, texts, value, seal, chain);
"""
"""Columns have no types on purpose: SQLite's own check then judges the structure of the file and we judge the rows."""
SELECT = "SELECT * FROM records WHERE position >= ? AND position < ? ORDER BY position LIMIT ?"

Row = tuple[Any, ...]
"""A row of the table: position, append time, texts, value, seal, chain."""

_RECORD_TYPES = (int, int, str, bytes, bytes, bytes)
_STRAY_TYPES = (int, int, type(None), bytes, type(None), bytes)
_RECORD_HEAD = struct.Struct(">BqIII").pack
_STRAY_HEAD = struct.Struct(">BqQ").pack
_QUOTES = 9
_new = tuple.__new__
"""What makes a named tuple in half the time that its class takes."""


@lru_cache(128)
def insert(rows: int) -> str:
    """The statement that inserts so many rows in one step, so that a busy event loop delays it only once."""
    return "INSERT INTO records VALUES" + ",".join(["(?,?,?,?,?,?)"] * rows)


def base_of(topic_number: int, partition: int) -> int:
    """The position of the first record of a topic-partition."""
    return topic_number << 56 | partition << OFFSET_BITS


def genesis(log_id: str, topic: str, partition: int) -> bytes:
    """The chain before the first record of a topic-partition."""
    return sha256(f"qpubus log {FORMAT}\n{log_id}\n{topic}\n{partition}\n".encode()).digest()


def record_texts(record: Record) -> str:
    """Key and header texts of a record in one line; `LogError` if one holds what no header text may hold."""
    texts = '"'.join((record[1], *record[3:12]))
    if texts.count('"') != _QUOTES or "\\" in texts or not (record[1] and texts.isascii() and texts.isprintable()):
        raise LogError(
            f"{record.topic}: a record has an empty key, or a text with a quotation mark, a backslash or no ASCII; "
            "append it as a Stray if it must be kept"
        )
    return texts


def chain_after(before: bytes, append_time_us: int, texts: str | None, value: bytes, seal: bytes | None) -> bytes:
    """The chain of a record, or of a stray, after the chain `before`."""
    if texts is None or seal is None:
        return sha256(before + _STRAY_HEAD(2, append_time_us, len(value)) + value).digest()
    line = texts.encode()
    head = _RECORD_HEAD(1, append_time_us, len(value), len(seal), len(line))
    return sha256(b"".join((before, head, value, seal, line))).digest()


def stray_bytes(stray: Stray) -> bytes:
    """A stray record in bytes: key, value, name and text of each header, each after its length (absent: eight FF)."""
    parts = [stray.key, stray.value]
    for name, text in stray.headers:
        parts += [name.encode("utf-8", "surrogateescape"), text]
    return b"".join(b"\xff" * 8 if part is None else len(part).to_bytes(8, "big") + part for part in parts)


def stray_of(topic: str, blob: bytes) -> Stray:
    """The stray record in bytes that `stray_bytes` wrote; `ValueError` for any others."""
    parts: list[bytes | None] = []
    at = 0
    while at < len(blob):
        size = blob[at : at + 8]
        at += 8
        if size == b"\xff" * 8:
            parts.append(None)
            continue
        end = at + int.from_bytes(size, "big")
        if len(size) < 8 or end > len(blob):
            raise ValueError("a part is cut short")
        parts.append(blob[at:end])
        at = end
    key, value, *headers = parts
    named = [part for part in headers if part is not None]
    if len(named) % 2 or len(named) != len(headers):
        raise ValueError("a header has no text")
    names = [name.decode("utf-8", "surrogateescape") for name in named[::2]]
    stray = Stray(topic, key, value, tuple(zip(names, named[1::2], strict=True)))
    if stray_bytes(stray) != blob:
        raise ValueError("another writing of the same record")
    return stray


def stored_of(topic: str, partition: int, row: Row) -> Stored:
    """The record in a row; `LogCorrupt` if the row's columns do not hold what a row holds."""
    types = tuple(map(type, row))
    position, append_time_us, texts, value, seal, _ = row
    offset = position & OFFSET_MASK
    if types == _RECORD_TYPES:
        key, *headers = texts.split('"')
        if len(headers) == _QUOTES:
            record = _new(Record, (topic, key, value, *headers, seal))
            return _new(Stored, (topic, partition, offset, append_time_us, record))
    if types == _STRAY_TYPES:
        try:
            return Stored(topic, partition, offset, append_time_us, stray_of(topic, value))
        except ValueError as error:
            raise LogCorrupt(f"{topic} partition {partition} offset {offset}: no stray record: {error}") from None
    raise LogCorrupt(f"{topic} partition {partition} offset {offset}: a column holds another kind of value")


def all_stored(topic: str, partition: int, rows: Sequence[Row]) -> Iterator[Stored]:
    """The records in neighbouring rows: what `stored_of` gives for each, and mostly in half the time."""
    positions, append_times, texts, values, seals, chains = zip(*rows, strict=True)
    kinds = [{*map(type, column)} for column in (positions, append_times, texts, values, seals, chains)]
    fields = [text.split('"') for text in texts] if kinds == [{kind} for kind in _RECORD_TYPES] else []
    if {*map(len, fields)} != {_QUOTES + 1}:
        return (stored_of(topic, partition, row) for row in rows)
    records = [
        _new(Record, (topic, key, value, *headers, seal))
        for (key, *headers), value, seal in zip(fields, values, seals, strict=True)
    ]
    places = zip(positions, append_times, records, strict=True)
    return (_new(Stored, (topic, partition, at & OFFSET_MASK, us, record)) for at, us, record in places)


def bare_of(row: Row) -> Bare:
    """The record in position, texts and value of a row, of which nothing is checked."""
    position, texts, value = row
    if texts is None:
        return Bare(position & OFFSET_MASK, "", b"", "")
    key, _, _, _, time, _ = texts.split('"', 5)
    return Bare(position & OFFSET_MASK, key, value, time)
