"""Kafka's record batches: the bytes of a fetch go in, committed records with their places come out, or what is corrupt.

The layout is that of message format 2 (https://kafka.apache.org/documentation/#recordbatch). aiokafka's own consumer
would do, but that it cannot be asked for one place and be told where the log ends, and that it stumbles for ever over a
header name that is no UTF-8, which anyone who may write can put there.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c, decode_varint

from schemas.admission import Stored
from schemas.envelope import HEADERS, Record, Stray, received, texts_of
from streams.log.port import Bare, LogCorrupt, LogError

_HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH_END = 12
_CRC_END = 21
_COMPRESSED, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_ABORT = b"\x00\x00"
_TIME = HEADERS.index("ce_time") - HEADERS.index("ce_id")


class Line(NamedTuple):
    """A topic-partition."""

    topic: str
    partition: int


class Kept(NamedTuple):
    """A record as the broker keeps it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class _Batch(NamedTuple):
    """What the header of a batch says, and its bytes."""

    base: int
    last_delta: int
    attributes: int
    max_timestamp: int
    producer: int
    records: int
    data: memoryview


def committed(line: Line, data: bytes, aborted: Sequence[tuple[int, int]], offset: int) -> tuple[list[Kept], int]:
    """The committed records at and after `offset` in what was fetched there, and the place to go on from.

    `aborted` are producer and first offset of the transactions of which nothing counts. `LogCorrupt` names the place
    of what is not as it was written.
    """
    begun, dropped = sorted(aborted, key=lambda each: each[1], reverse=True), set()
    found: list[Kept] = []
    following = offset
    for batch in _batches(line, data, offset):
        while begun and begun[-1][1] <= batch.base:
            dropped.add(begun.pop()[0])
        if batch.attributes & _CONTROL:
            if _records(line, batch)[0].key[2:4] == _ABORT:
                dropped.discard(batch.producer)
        elif not (batch.attributes & _TRANSACTIONAL and batch.producer in dropped):
            records = _records(line, batch)
            found += records if batch.base >= offset else [each for each in records if each.offset >= offset]
        following = max(following, batch.base + batch.last_delta + 1)
    return found, following


def stored_of(line: Line, place: int, kept: Kept) -> Stored:
    """A record as a reader of the log sees it at its place. A header that has no value at all makes it a stray one."""
    record: Record | Stray
    topic, key, value, headers = line.topic, kept.key, kept.value, kept.headers
    if None in [text for _, text in headers]:
        record = Stray(topic, key, value, tuple((name, text or b"") for name, text in headers))
    else:
        record = received(topic, key, value, headers)  # type: ignore[arg-type]  # none is None
    return tuple.__new__(Stored, (topic, line.partition, place, kept.timestamp * 1_000, record))


def bare_of(place: int, kept: Kept) -> Bare:
    """The same record without what proves it."""
    key, value = kept.key, kept.value
    if value is not None and key and (texts := _texts(key, kept.headers)):
        return tuple.__new__(Bare, (place, key.decode(), value, texts[_TIME].decode()))
    return Bare(place, "", b"", "")


def _texts(key: bytes, headers: Sequence[tuple[str, bytes | None]]) -> tuple[bytes, ...]:
    """The texts of a record's headers from `ce_id` to `qb_inputs`; none where a header has no value at all."""
    try:
        texts = texts_of(key, headers)  # type: ignore[arg-type]  # None cannot be joined, and a seal is looked at here
    except TypeError:
        return ()
    return () if headers[-1][1] is None else texts


def _batches(line: Line, data: bytes, offset: int) -> Iterator[_Batch]:
    view, at, expected = memoryview(data), 0, -1
    while len(data) - at >= _LENGTH_END:
        length = int.from_bytes(data[at + 8 : at + _LENGTH_END], "big", signed=True)
        end = at + _LENGTH_END + length
        if end > len(data) and at:
            return  # the broker cuts off what it may send no more of, but never within the first batch
        if length < _HEADER.size - _LENGTH_END or end > len(data):
            raise corrupt(line, max(offset, expected), "the length of its batch cannot be")
        base, _, _, magic, crc, attributes, delta, _, latest, producer, _, _, count = _HEADER.unpack_from(data, at)
        if magic != 2 or base < expected or base + delta < base:
            raise corrupt(line, max(offset, expected), "the header of its batch cannot be")
        if calc_crc32c(view[at + _CRC_END : end]) != crc:
            raise corrupt(line, max(offset, base), "its batch is not the one that was written (CRC)")
        if attributes & _COMPRESSED:
            raise LogError(
                f"{line.topic} partition {line.partition} offset {base}: the batch is compressed, and ledger topics "
                "keep records as they are; see what wrote it, and set compression.type=uncompressed"
            )
        yield _Batch(base, delta, attributes, latest, producer, count, view[at:end])
        expected, at = base + delta + 1, end


def _records(line: Line, batch: _Batch) -> list[Any]:
    """The records of a batch; by aiokafka's compiled reader, if that can read them."""
    try:
        return list(DefaultRecordBatch(batch.data))
    except UnicodeDecodeError:
        return list(_slowly(line, batch))
    except CorruptRecordException as error:
        raise corrupt(line, batch.base, str(error)) from None


def _slowly(line: Line, batch: _Batch) -> Iterator[Kept]:
    """The same, byte by byte: header names that are no text keep their bytes as surrogates."""
    data, at = bytearray(batch.data), _HEADER.size
    first_timestamp = int.from_bytes(data[27:35], "big", signed=True)

    def number() -> int:
        nonlocal at
        value, at = decode_varint(data, at)
        return int(value)

    def piece() -> bytes | None:
        nonlocal at
        length = number()
        if length < 0:
            return None
        at += length
        if at > len(data):
            raise IndexError
        return bytes(data[at - length : at])

    try:
        for _ in range(batch.records):
            number(), number()  # the record's length, and attributes that have no meaning yet
            elapsed, offset = number(), batch.base + number()
            latest = bool(batch.attributes & _LOG_APPEND_TIME)
            key, value = piece(), piece()
            headers = [((piece() or b"").decode("utf-8", "surrogateescape"), piece()) for _ in range(number())]
            yield Kept(offset, batch.max_timestamp if latest else first_timestamp + elapsed, key, value, headers)
    except (IndexError, ValueError):
        raise corrupt(line, batch.base, "its batch holds no whole records") from None


def corrupt(line: Line, offset: int, what: str) -> LogCorrupt:
    """The error that names a place whose bytes are not those that were acknowledged."""
    return LogCorrupt(f"{line.topic} partition {line.partition} offset {offset}: {what}")
