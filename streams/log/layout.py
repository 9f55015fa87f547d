"""Where a record lies in the embedded log and how it is hashed there: pure arithmetic and bytes, no file.

One table holds everything. A row is one record, or one whole sealed batch that was appended at once. Its position is
that of its last record: the topic's number, the partition and the offset in one integer:

    position = topic number << 56 | partition << 40 | offset

Each row keeps the running hash of its topic-partition, its chain:

    chain = SHA-256(chain before ‖ kind ‖ append time ‖ length of each part ‖ parts)

A record (kind 01) has the parts value, seal and texts: key and header texts with a quotation mark between them, which
no header text may hold. A stray (kind 02) has one part, `stray_bytes`, in the column of the value; its texts and seal
are null. A batch (kind 01, its texts have several lines) has the same parts:

    texts   what its records share, as the texts of a record, with a backslash for each text that may differ; then for
            each record a line with the texts in which it differs
    value   the number of records, the length of each value and of each seal, in 4 bytes each, big-endian; the values
    seal    the seals

One insert and one hash serve the whole batch, and what a hundred records share is written once.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from schemas.batch import Batch, Stored
from schemas.envelope import Record, Stray
from schemas.seal import PREFIX_BYTES, batch_begun
from streams.log.port import Bare, LogCorrupt, LogError

FORMAT = 1
TOPICS_MAX = 128
PARTITIONS_MAX = 1 << 12
"""Each costs an audit two milliseconds, so a log that claims more is refused before anyone counts through them."""
OFFSET_BITS = 40
OFFSET_MASK = (1 << OFFSET_BITS) - 1

SCHEMA = """
CREATE TABLE log(name PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE topics(number INTEGER PRIMARY KEY, name);
CREATE TABLE records(position INTEGER PRIMARY KEY, append_time_us, texts, value, seal, chain);
"""
"""Columns have no types on purpose: SQLite's own check then judges the structure of the file and we judge the rows."""
SELECT = "SELECT * FROM records WHERE position >= ? AND position < ? ORDER BY position"

Row = tuple[Any, ...]
"""A row of the table: position, append time, texts, value, seal, chain."""

_RECORD_TYPES = [int, int, str, bytes, bytes, bytes]
_STRAY_TYPES = [int, int, type(None), bytes, type(None), bytes]
_RECORD_HEAD = struct.Struct(">BqIII").pack
_STRAY_HEAD = struct.Struct(">BqQ").pack
_QUOTES = 9
_TEXTS = 10
_DIFFERS = "\\"
_BATCH_BYTES_MAX = 1 << 24
"""A batch of more bytes is stored record by record: SQLite takes no row of any size, and nor does a reader."""
_new = tuple.__new__
"""What makes a named tuple in half the time that its class takes."""


class Parts(NamedTuple):
    """What a row holds of a record, a stray or a whole batch, before it has a place: how many records, and columns."""

    records: int
    texts: str | None
    value: bytes
    seal: bytes | None


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
        raise _no_text(record.topic)
    return texts


def parts_of(records: Sequence[Record | Stray]) -> Iterator[Parts]:
    """Records of one topic-partition, to be appended at once, as the rows that will hold them."""
    at = 0
    while at < len(records):
        record, end = records[at], whole_batch_end(records, at)
        if isinstance(record, Stray):
            yield Parts(1, None, stray_bytes(record), None)
        elif end == at + 1:
            yield Parts(1, record_texts(record), record.value, record.seal)
        else:
            yield batch_parts(records[at:end])
        at = end


def whole_batch_end(records: Sequence[Record | Stray], at: int) -> int:
    """The end of the sealed batch that begins at `at`, if all of it is there and one row may hold it; else `at + 1`."""
    first = records[at]
    if isinstance(first, Stray):
        return at + 1
    end = at + batch_begun(first.seal)
    prefix, key = first.seal[:PREFIX_BYTES], first.key
    size = 0
    for record in records[at:end] if at + 1 < end <= len(records) else ():
        if isinstance(record, Stray) or record.key != key or not record.seal.startswith(prefix):
            return at + 1
        size += len(record.value)
    return end if 0 < size < _BATCH_BYTES_MAX else at + 1


def batch_parts(records: Sequence[Any]) -> Parts:
    """Records of one topic-partition as the one row that will hold them; `LogError` as in `record_texts`."""
    (topic, *_), keys, values, *columns, seals = zip(*records, strict=True)
    count, sequences, shared, differing = len(keys), columns[-2], [], []
    for column in (keys, *columns):
        is_shared = column is not sequences and column.count(column[0]) == count
        shared.append(column[0] if is_shared else _DIFFERS)
        if not is_shared:
            differing.append(column)
    texts = "\n".join(('"'.join(shared), *map('"'.join, zip(*differing, strict=True))))
    plain = texts.replace("\n", "")
    if (
        len(texts) - len(plain) != count
        or texts.count('"') != _QUOTES + count * (len(differing) - 1)
        or texts.count(_DIFFERS) != len(differing)
        or not (keys[0] and plain.isascii() and plain.isprintable())
    ):
        raise _no_text(topic)
    lengths = struct.pack(f">{2 * count + 1}I", count, *map(len, values), *map(len, seals))
    return Parts(count, texts, b"".join((lengths, *values)), b"".join(seals))


def _no_text(topic: str) -> LogError:
    return LogError(
        f"{topic}: a record has an empty key, or a text with a quotation mark, a backslash or no ASCII; "
        "append it as a Stray if it must be kept"
    )


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


def records_of(topic: str, partition: int, row: Row) -> Sequence[Stored]:
    """The record, or the records of the batch, in a row; `LogCorrupt` if its columns do not hold what a row holds."""
    position, append_time_us, texts, value, seal, _ = row
    types = list(map(type, row))
    if types == _RECORD_TYPES and "\n" in texts:
        return _batch_of(topic, partition, row)
    offset = position & OFFSET_MASK
    if types == _RECORD_TYPES:
        key, *headers = texts.split('"')
        if len(headers) == _QUOTES:
            record = _new(Record, (topic, key, value, *headers, seal))
            return [_new(Stored, (topic, partition, offset, append_time_us, record))]
    if types == _STRAY_TYPES:
        try:
            return [Stored(topic, partition, offset, append_time_us, stray_of(topic, value))]
        except ValueError as error:
            raise LogCorrupt(f"{topic} partition {partition} offset {offset}: no stray record: {error}") from None
    raise _other_kind(topic, partition, offset)


def _batch_of(topic: str, partition: int, row: Row) -> Batch:
    position, append_time_us, texts, value, seal, _ = row
    end, count = (position & OFFSET_MASK) + 1, int.from_bytes(value[:4], "big")
    columns = _text_columns(texts, count)
    lengths = _lengths(value, count)
    if columns is None or lengths is None or sum(lengths[count:]) != len(seal):
        raise _other_kind(topic, partition, max(end - count, 0) + _first_odd(texts) if lengths else end - 1)
    values = _cut(value, lengths[:count], 4 * (2 * count + 1))
    seals = _cut(seal, lengths[count:], 0)
    offsets = range(end - count, end)
    return Batch(topic, partition, offsets, [append_time_us] * count, [columns[0], values, *columns[1:], seals])


def _text_columns(texts: str, count: int) -> list[list[str]] | None:
    """Key and headers of a batch, column by column; None if they are not as many as they should be."""
    first, _, rest = texts.partition("\n")
    shared = first.split('"')
    width = shared.count(_DIFFERS)
    flat = rest.replace("\n", '"').split('"')
    if len(shared) != _TEXTS or not width or len(flat) != width * count or texts.count("\n") != count:
        return None
    differing = (flat[at::width] for at in range(width))
    return [next(differing) if text == _DIFFERS else [text] * count for text in shared]


def _lengths(value: bytes, count: int) -> tuple[int, ...] | None:
    """The lengths of the values and seals of a batch; None if they do not fit."""
    words = 2 * count + 1
    if len(value) < 4 * words:
        return None
    said, *lengths = struct.unpack_from(f">{words}I", value)
    return tuple(lengths) if said == count and sum(lengths[:count]) == len(value) - 4 * words else None


def _cut(data: bytes, lengths: Sequence[int], at: int) -> list[bytes]:
    return [data[start:end] for start, end in pairwise(accumulate(lengths, initial=at))]


def _first_odd(texts: str) -> int:
    """Which record of a batch has not as many texts as the others should have; the first, if that tells nothing."""
    first, *lines = texts.split("\n")
    quotes = first.count(_DIFFERS) - 1
    return next((at for at, line in enumerate(lines) if line.count('"') != quotes), 0)


def _other_kind(topic: str, partition: int, offset: int) -> LogCorrupt:
    return LogCorrupt(f"{topic} partition {partition} offset {offset}: a column holds another kind of value")


def bare_of(row: Row) -> list[Bare]:
    """The records in position, texts and value of a row, of which nothing is checked."""
    position, texts, value = row
    offset = position & OFFSET_MASK
    if texts is None:
        return [Bare(offset, "", b"", "")]
    count = texts.count("\n")
    if not count:
        key, _, _, _, time, _ = texts.split('"', 5)
        return [Bare(offset, key, value, time)]
    columns, lengths = _text_columns(texts, count), _lengths(value, count)
    if columns is None or lengths is None:
        raise LogCorrupt(f"offset {offset}: a batch in the log is damaged; find out where with: qpubus audit verify")
    values = _cut(value, lengths[:count], 4 * (2 * count + 1))
    return list(map(Bare, range(offset + 1 - count, offset + 1), columns[0], values, columns[4]))
