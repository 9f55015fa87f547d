"""A log as text: records go in, one line of canonical JSON (RFC 8785) a record comes out, and back, with nothing lost.

    {"format":1,"hash":"7b…","kind":"qpubus log","log":"4f…","partitions":1,"topics":["governance","intents",…]}
    {"append_time_us":"17…","hash":"9f…","offset":0,"partition":0,"record":{…,"value":"AA…="},"topic":"governance"}
    {"append_time_us":"17…","hash":"c1…","offset":0,"partition":0,"stray":{…,"value":null},"topic":"intents"}
    {"hash":"e3…","records":2}

Bytes are base64; all of a stray is, header names too, as they need not be text. Lines stand in the order of topics,
partitions and offsets. The hash of a line is the chain of its record (`streams.log.layout`): it covers the append time
and all that stood before in the topic-partition. The last line has the number of records and the SHA-256 of all bytes
before it, so a file that was cut is noticed. What a reader would not itself have written is refused with its line.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from hashlib import sha256
from typing import Any, BinaryIO, NamedTuple, NoReturn

import orjson
import rfc8785

from schemas.admission import Stored
from schemas.digests import sha256_hex
from schemas.envelope import Record, Stray
from streams.log.database import Settings
from streams.log.layout import (
    FORMAT,
    PARTITIONS_MAX,
    TOPICS_MAX,
    chain_after,
    genesis,
    record_texts,
    stray_bytes,
    stray_of,
)
from streams.log.port import LogError

KIND = "qpubus log"
LINE_BYTES_MAX = 64 << 20
"""Sixty times what a value may have: only a file that is no export has a longer line."""
_TIME_END_US = 1 << 63
_TEXTS = ("causes", "id", "inputs", "key", "sequence", "source", "subject", "time", "traceparent", "type")


class ExportInvalid(LogError):
    """A file that is no whole export, and the number of the line where that shows."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}; export the log again, or bring a sound copy of the file")
        self.line = line


class Chains:
    """The chains of all topic-partitions of a log, record by record."""

    def __init__(self, settings: Settings) -> None:
        self.sizes: dict[tuple[str, int], int] = {}
        self._settings = settings
        self._chains: dict[tuple[str, int], bytes] = {}

    def copy(self) -> "Chains":
        """The same chains once more."""
        other = Chains(self._settings)
        other.sizes, other._chains = dict(self.sizes), dict(self._chains)
        return other

    def after(self, stored: Stored) -> bytes:
        """The chain with one more record; `LogError` if that does not stand where the one before it ends."""
        line = topic, partition = stored.topic, stored.partition
        size = self.sizes.get(line, 0)
        if topic not in self._settings.topics or not 0 <= partition < self._settings.partitions:
            raise LogError(f"the log has no partition {partition} of a topic {topic[:64]!r}")
        if stored.offset != size:
            raise LogError(f"{topic} partition {partition} goes on at offset {size}, not at {stored.offset}")
        if not -_TIME_END_US <= stored.append_time_us < _TIME_END_US:
            raise LogError(f"{topic} partition {partition} offset {size}: the append time does not fit in eight bytes")
        before = self._chains.get(line) or genesis(self._settings.log_id, topic, partition)
        record = stored.record
        if isinstance(record, Record):
            texts, value, seal = record_texts(record), record.value, record.seal
            chain = chain_after(before, stored.append_time_us, texts, value, seal)
        else:
            chain = chain_after(before, stored.append_time_us, None, stray_bytes(record), None)
        self._chains[line], self.sizes[line] = chain, size + 1
        return chain


def export_lines(settings: Settings, records: Iterable[Stored]) -> Iterator[bytes]:
    """All lines of an export; `records` is the whole log, in the order of topics, partitions and offsets."""
    chains, running, count = Chains(settings), sha256(), 0
    first = header_line(settings)
    running.update(first)
    yield first
    for count, stored in enumerate(records, 1):  # noqa: B007 (the count goes into the last line)
        line = record_line(stored, chains.after(stored))
        if len(line) > LINE_BYTES_MAX:
            place = f"{stored.topic} partition {stored.partition} offset {stored.offset}"
            raise LogError(f"{place}: the record is too large for an export; copy the data directory as a whole")
        running.update(line)
        yield line
    yield closing_line(count, running.hexdigest())


def header_line(settings: Settings) -> bytes:
    """The first line: which log this is, and the SHA-256 of the line as it is without that hash."""
    named = {"log": settings.log_id, "partitions": settings.partitions, "topics": list(settings.topics)}
    said: dict[str, Any] = {"format": FORMAT, "kind": KIND} | named
    return rfc8785.dumps(said | {"hash": sha256_hex(rfc8785.dumps(said))}) + b"\n"


def closing_line(records: int, running: str) -> bytes:
    """The last line: how many records there are, and the SHA-256 of all lines before."""
    return b'{"hash":"%s","records":%d}\n' % (running.encode(), records)


def record_line(stored: Stored, chain: bytes) -> bytes:
    """The line of a record. Its texts need no escape, so its RFC 8785 form follows from one template."""
    topic, partition, offset, append_time_us, record = stored
    place = f'{{"append_time_us":"{append_time_us}","hash":"{chain.hex()}","offset":{offset},"partition":{partition}'
    if isinstance(record, Stray):
        headers = [[_base64(name.encode("utf-8", "surrogateescape")), _base64(text)] for name, text in record.headers]
        said = {"headers": headers, "key": _or_null(record.key), "value": _or_null(record.value)}
        return f'{place},"stray":{rfc8785.dumps(said).decode()},"topic":"{topic}"}}\n'.encode()
    return (
        f'{place},"record":{{"causes":"{record.causes}","id":"{record.id}","inputs":"{record.inputs}",'
        f'"key":"{record.key}","seal":"{_base64(record.seal)}","sequence":"{record.sequence}",'
        f'"source":"{record.source}","subject":"{record.subject}","time":"{record.time}",'
        f'"traceparent":"{record.traceparent}","type":"{record.type}","value":"{_base64(record.value)}"}},'
        f'"topic":"{topic}"}}\n'
    ).encode()


class _Line(NamedTuple):
    """A line as read: its number, its bytes and the object in it."""

    number: int
    text: bytes
    said: Mapping[str, Any]


class Lines:
    """An export up to some line: what the next one may be follows from it."""

    def __init__(self, first: bytes) -> None:
        """Begin with the first line; `ExportInvalid` if it is not that of an export."""
        self._number = 0
        line = self._parsed(first)
        self.settings = _settings_of(line)
        self._number = 1
        self._chains = Chains(self.settings)
        self._order = {topic: number for number, topic in enumerate(self.settings.topics)}
        self._last = (0, 0)
        self._running = sha256(first)

    def take(self, text: bytes) -> Stored | None:
        """Take in the next line, its end included; its record, or None if it is the last line and all is well.

        `ExportInvalid` names the line if it is not one that may follow. After that, go on with a copy from before.
        """
        line = self._parsed(text)
        self._number = line.number
        if "records" in line.said:
            self._close(line)
            return None
        stored = _stored_of(line)
        try:
            chain = self._chains.after(stored)
        except LogError as error:
            raise ExportInvalid(line.number, str(error)) from None
        if record_line(stored, chain) != text:
            _refuse(line, stored, chain)
        before, self._last = self._last, (self._order[stored.topic], stored.partition)
        if before > self._last:
            raise ExportInvalid(line.number, "the record stands after records of a later topic or partition")
        self._running.update(text)
        return stored

    def copy(self) -> "Lines":
        """The same state once more, for two ways of going on."""
        other = copy(self)
        other._chains, other._running = self._chains.copy(), self._running.copy()  # noqa: SLF001 (its own class)
        return other

    def _parsed(self, text: bytes) -> _Line:
        number = self._number + 1
        if not text.endswith(b"\n"):
            cut = "the line is too long" if len(text) > LINE_BYTES_MAX else "the file was cut: it has no last line"
            raise ExportInvalid(number, cut)
        try:
            said = orjson.loads(text)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict):
            raise ExportInvalid(number, "no JSON object in canonical form")
        return _Line(number, text, said)

    def _close(self, line: _Line) -> None:
        said, count = line.said["records"], sum(self._chains.sizes.values())
        if said != count:
            raise ExportInvalid(line.number, f"by its last line the file has {said} records, but {count} are there")
        if line.text != closing_line(count, self._running.hexdigest()):
            raise ExportInvalid(line.number, "the last line is not that of the lines before it")


class Export:
    """An export that is read once, from its first line to its last, each line checked before the next is looked at."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the first line; `ExportInvalid` if it is not that of an export."""
        self._file = file
        self._lines = Lines(self._next())

    @property
    def settings(self) -> Settings:
        """The log's settings, as the first line has them."""
        return self._lines.settings

    def records(self) -> Iterator[Stored]:
        """Every record; only when the iterator has ended is it known that the file is whole."""
        count = 1
        while (stored := self._lines.take(self._next())) is not None:
            count += 1
            yield stored
        if self._file.read(1):
            raise ExportInvalid(count + 2, "something follows after the last line")

    def _next(self) -> bytes:
        return self._file.readline(LINE_BYTES_MAX + 1)


def _settings_of(line: _Line) -> Settings:
    said = line.said
    if said.get("kind") != KIND:
        raise ExportInvalid(1, "this is no export of a log")
    if said.get("format") != FORMAT:
        raise ExportInvalid(1, f"the export has format {said.get('format')!r}, this release knows {FORMAT}")
    match said:
        case {"log": str(log_id), "partitions": int(partitions), "topics": [*topics]} if (
            len(log_id) == 32
            and set(log_id) <= set("0123456789abcdef")
            and type(partitions) is int
            and 1 <= partitions <= PARTITIONS_MAX
            and 1 <= len(set(topics)) == len(topics) <= TOPICS_MAX
            and all(isinstance(topic, str) and topic.isascii() and topic.isalnum() for topic in topics)
        ):
            settings = Settings(log_id, partitions, tuple(topics))
            if header_line(settings) == line.text:
                return settings
    raise ExportInvalid(1, "the first line is not in its canonical form")


def _stored_of(line: _Line) -> Stored:
    """The record that a line seems to hold; whether it says so in the one right form is seen by writing it again."""
    try:
        match line.said:
            case {"append_time_us": str(time), "offset": int(offset), "partition": int(partition), "topic": str(topic)}:
                record = _record_of(topic, line.said)
                return Stored(topic, partition, offset, int(time), record)
            case _:
                pass
    except (ValueError, TypeError, KeyError, binascii.Error):
        pass
    raise ExportInvalid(line.number, "the line is not in the form of a record")


def _record_of(topic: str, said: Mapping[str, Any]) -> Record | Stray:
    if "stray" in said:
        stray = said["stray"]
        headers = [(_bytes(name).decode("utf-8", "surrogateescape"), _bytes(text)) for name, text in stray["headers"]]
        key, value = (None if stray[name] is None else _bytes(stray[name]) for name in ("key", "value"))
        return stray_of(topic, stray_bytes(Stray(topic, key, value, tuple(headers))))
    record = said["record"]
    texts = {name: record[name] for name in _TEXTS}
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError
    return Record(topic=topic, value=_bytes(record["value"]), seal=_bytes(record["seal"]), **texts)


def _refuse(line: _Line, stored: Stored, chain: bytes) -> NoReturn:
    place = f"{stored.topic} partition {stored.partition} offset {stored.offset}"
    said = line.said.get("hash")
    try:
        is_hash = isinstance(said, str) and record_line(stored, bytes.fromhex(said)) == line.text
    except ValueError:
        is_hash = False
    if is_hash:
        raise ExportInvalid(line.number, f"{place}: the record has the hash {chain.hex()}, the line says {said}")
    raise ExportInvalid(line.number, f"{place}: the line is not in canonical form")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _or_null(data: bytes | None) -> str | None:
    return None if data is None else _base64(data)


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError
    return base64.b64decode(text, validate=True)
