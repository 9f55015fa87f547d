"""The bytes around an event: record, headers, statement, digest.

A record of the log, as a Kafka tool shows it:

    topic            approvals
    key              site-a
    value            00 0000000f <Avro body>
    ce_specversion   1.0
    content-type     application/vnd.confluent.avro
    ce_id            5c7b6f0e9d3a41f2b8c4a7d1e0f39b62                   (of a party: topic.site.sequence)
    ce_type          qpubus.IntentAdmitted
    ce_source        stage:policy
    ce_time          2026-11-22T12:00:00.000000Z
    ce_subject       poctest-2026-01-18-001
    traceparent      00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01   (may be empty)
    qb_causes        intents/gateway:main/17/9f…e1                              (blank between causes; may be empty)
    qb_sequence      41
    qb_inputs        12/1 governance:3 intents:1                                (only stages; else empty)
    qb_seal          <binary, see schemas.seal>

Its statement is RFC 8785 JSON: member names in order, no white space, texts as they stand in the headers. The texts may
hold printable ASCII only, without quotation mark and backslash, so no member needs an escape and the bytes follow from
one template. The digest, SHA-256(00 ‖ statement), names the event everywhere.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

HEADERS = (
    "ce_specversion",
    "content-type",
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_time",
    "ce_subject",
    "traceparent",
    "qb_causes",
    "qb_sequence",
    "qb_inputs",
    "qb_seal",
)
"""Every header of a record, in the order in which it is written; each is there exactly once."""

SPECVERSION = b"1.0"
CONTENT_TYPE = b"application/vnd.confluent.avro"
HEADER_BYTES_MAX = 16_384
"""The most that a record's statement, which holds all header texts, and its seal may have together."""
VALUE_BYTES_MAX = 1 << 20
"""The largest value that is read. Every item of our arrays and maps has at least one byte, so this caps counts too."""
CAUSES_MAX = 64
INPUT_RUNS_MAX = 256

_TEXTS = HEADERS[2:11]
_FIRST_HEADERS = (("ce_specversion", SPECVERSION), ("content-type", CONTENT_TYPE))

RawHeaders = tuple[tuple[str, bytes], ...]


class EnvelopeInvalid(ValueError):
    """A record that is not in the form above; `reason` is the code an EventRejected carries."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Record(NamedTuple):
    """A record in the form above, before it has a place on the log. Texts are header texts, byte for byte."""

    topic: str
    key: str
    value: bytes
    id: str
    type: str
    source: str
    time: str
    subject: str
    traceparent: str
    causes: str
    sequence: str
    inputs: str
    seal: bytes


class Stray(NamedTuple):
    """A record that is not in the form above, as it was received: key, value (None is a tombstone), headers."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: RawHeaders


class Cause(NamedTuple):
    """An event named by where and by whom it was said: topic, author, the author's sequence there, digest in hex."""

    topic: str
    source: str
    sequence: int
    digest: str


class Inputs(NamedTuple):
    """What a stage had read before an output: its decision number, the version of its rules, and the runs since then.

    A run is a topic and how many records of the site the stage read there in a row.
    """

    decision: int
    version: int
    runs: tuple[tuple[str, int], ...]


_TEXT_BYTES = bytes(code for code in range(0x20, 0x7F) if chr(code) not in '"\\')
_CAUSE = re.compile(r"([a-z]+)/([^/ ]+)/([1-9][0-9]{0,17})/([0-9a-f]{64})\Z")
_DECIDED = re.compile(r"([1-9][0-9]{0,17})/([1-9][0-9]{0,17})\Z")
_RUN = re.compile(r"([a-z]+):([1-9][0-9]{0,17})\Z")
_NO_HEADER_TEXT = "a header text holds a quotation mark, a backslash or no ASCII"
_NUMBER = re.compile(r"[1-9][0-9]{0,17}\Z")
_SECOND = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.\Z")
_SECOND_CHARS = 20
_MICROS_END = 26
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS_KEPT = 1_024
"""Neighbours on a log often share their second and their causes: the meanings of that many texts are kept."""


def headers_of(record: Record) -> RawHeaders:
    """The headers of a record in the order of `HEADERS`."""
    texts = zip(_TEXTS, map(str.encode, record[3:12]), strict=True)
    return (*_FIRST_HEADERS, *texts, ("qb_seal", record[12]))


def received(
    topic: str, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> Record | Stray:
    """What came from a broker or a file: a `Record` if it is in the form above, else a `Stray` with every byte."""
    pairs = tuple(headers)
    if value is not None and key and (texts := texts_of(key, pairs)):
        return tuple.__new__(Record, (topic, key.decode(), value, *map(bytes.decode, texts), pairs[11][1]))
    return Stray(topic, key, value, pairs)


def texts_of(key: bytes, headers: Sequence[tuple[str, bytes]]) -> tuple[bytes, ...]:
    """The texts of a record's headers from `ce_id` to `qb_inputs`; none if headers or key are not in the form above."""
    if len(headers) != len(HEADERS):
        return ()
    names, said = zip(*headers, strict=True)
    texts: tuple[bytes, ...] = said[2:11]
    if names != HEADERS or said[0] != SPECVERSION or said[1] != CONTENT_TYPE or _beyond_text(key + b"".join(texts)):
        return ()
    return texts


def _beyond_text(said: bytes) -> bytes:
    """What is in some bytes that no header text may hold."""
    return said.translate(None, _TEXT_BYTES)


def why_stray(stray: Stray) -> EnvelopeInvalid:
    """The reason why a stray record is refused."""
    names = [name for name, _ in stray.headers]
    if stray.value is None:
        return EnvelopeInvalid("tombstone", "the record has no value")
    if not stray.key or _beyond_text(stray.key):
        return EnvelopeInvalid("key_malformed", "the key is no site id in printable ASCII")
    for name in HEADERS:
        if name not in names:
            return EnvelopeInvalid("header_missing", f"the header {name} is missing")
    for name in names:
        if name not in HEADERS:
            return EnvelopeInvalid("header_unknown", f"the header {name[:64]!r} is not known")
        if names.count(name) > 1:
            return EnvelopeInvalid("header_repeated", f"the header {name} is there more than once")
    if tuple(names) != HEADERS:
        return EnvelopeInvalid("header_order", "the headers are not in their order")
    return EnvelopeInvalid("header_malformed", "a header holds another text than its form allows")


def statement(record: Record, schema_digest: str, body_digest: str) -> bytes:
    """The statement of a record; both digests are SHA-256 in hex. `EnvelopeInvalid` if a text needs an escape."""
    topic, key, _, id_, type_, source, time, subject, traceparent, causes, sequence, inputs, _ = record
    text = (
        f'{{"body":"{body_digest}","causes":"{causes}","id":"{id_}","inputs":"{inputs}","key":"{key}",'
        f'"schema":"{schema_digest}","sequence":"{sequence}","source":"{source}","subject":"{subject}",'
        f'"time":"{time}","topic":"{topic}","traceparent":"{traceparent}","type":"{type_}","version":"1"}}'
    )
    texts = f"{topic}{key}{id_}{type_}{source}{time}{subject}{traceparent}{causes}{sequence}{inputs}"
    if not _is_plain(texts):
        raise EnvelopeInvalid("header_malformed", _NO_HEADER_TEXT)
    return text.encode("ascii")


def preimages(
    topic: str, columns: Sequence[Sequence[Any]], schema_digests: Sequence[str], body_digests: Sequence[str]
) -> list[bytes]:
    """Of each of many records 00 ‖ its `statement`; what they share is written and looked at once.

    `columns` are those of `Record` without its topic; digests are SHA-256 in hex, one for each record.
    """
    keys, _, ids, types, sources, times, subjects, traceparents, causes, sequences, inputs, _ = columns
    members = {
        "causes": causes,
        "id": ids,
        "inputs": inputs,
        "key": keys,
        "schema": schema_digests,
        "sequence": sequences,
        "source": sources,
        "subject": subjects,
        "time": times,
        "topic": (topic,) * len(keys),
        "traceparent": traceparents,
        "type": types,
    }
    template, said, differing = '\x00{"body":"%s"', "", [body_digests]
    for name, column in members.items():
        if column.count(column[0]) == len(column):
            said += column[0]
            template += f',"{name}":"{column[0]}"'.replace("%", "%%")
        else:
            said += "".join(column)
            template += f',"{name}":"%s"'
            differing.append(column)
    if not _is_plain(said):
        raise EnvelopeInvalid("header_malformed", _NO_HEADER_TEXT)
    template += ',"version":"1"}'
    return "\n".join(map(template.__mod__, zip(*differing, strict=True))).encode("ascii").split(b"\n")


def _is_plain(text: str) -> bool:
    """Whether a text needs no escape in JSON and has one form."""
    return '"' not in text and "\\" not in text and text.isascii() and text.isprintable()


def digest_of(statement_bytes: bytes) -> bytes:
    """SHA-256(00 ‖ statement): the name of the event."""
    return sha256(b"\x00" + statement_bytes).digest()


def record_digest(record: Record, schema_digest: str) -> bytes:
    """The digest of a record whose value is framed and whose schema text has `schema_digest`."""
    return digest_of(statement(record, schema_digest, sha256(record.value[5:]).hexdigest()))


def raw_digest(record: Record | Stray) -> bytes:
    """The name of a record that has no statement: SHA-256(01 ‖ its parts as received, each with its length)."""
    return sha256(raw_preimage(record)).digest()


def raw_preimage(record: Record | Stray) -> bytes:
    """01 ‖ topic, key, value, then name and text of each header: each with its length as 8 bytes, FF × 8 for None."""
    if isinstance(record, Record):
        record = Stray(record.topic, record.key.encode(), record.value, headers_of(record))
    parts = [record.topic.encode(), record.key, record.value]
    for name, text in record.headers:
        parts += [name.encode("utf-8", "surrogateescape"), text]
    return b"\x01" + b"".join(b"\xff" * 8 if part is None else len(part).to_bytes(8, "big") + part for part in parts)


@lru_cache(_TEXTS_KEPT)
def time_text(time_us: int) -> str:
    """UTC microseconds as `2026-11-22T12:00:00.000000Z`."""
    second, microsecond = divmod(time_us, 1_000_000)
    minute, second = divmod(second, 60)
    day, minute = divmod(minute, 1_440)
    return f"{_day_text(day)}T{minute // 60:02d}:{minute % 60:02d}:{second:02d}.{microsecond:06d}Z"


@lru_cache(1024)
def _day_text(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).strftime("%Y-%m-%d")


def time_us_of(text: str) -> int:
    """The microseconds of a time text in exactly the form that `time_text` writes."""
    micros = text[_SECOND_CHARS:_MICROS_END]
    if text[_MICROS_END:] != "Z" or not (micros.isascii() and micros.isdigit()):
        raise EnvelopeInvalid("time_malformed", f"{text[:40]!r} is not a UTC time with six decimals")
    return _second_us(text[:_SECOND_CHARS]) + int(micros)


@lru_cache(_TEXTS_KEPT)
def _second_us(text: str) -> int:
    """The microseconds of a time text up to its decimal point."""
    if not _SECOND.match(text):
        raise EnvelopeInvalid("time_malformed", f"{text!r} does not begin a UTC time with six decimals")
    try:
        return (datetime.fromisoformat(f"{text}000000Z") - _EPOCH) // timedelta(microseconds=1)
    except ValueError:
        raise EnvelopeInvalid("time_malformed", f"{text!r} is no time of the calendar") from None


def number_of(text: str, name: str) -> int:
    """A positive number in its only form: no sign, no leading zero."""
    if not _NUMBER.match(text):
        raise EnvelopeInvalid(f"{name}_malformed", f"the {name} {text[:40]!r} is no positive number")
    return int(text)


def causes_text(causes: Sequence[Cause]) -> str:
    """Causes as the header `qb_causes` holds them."""
    return " ".join([f"{topic}/{source}/{sequence}/{digest}" for topic, source, sequence, digest in causes])


@lru_cache(_TEXTS_KEPT)
def causes_of(text: str) -> tuple[Cause, ...]:
    """The causes in a header text; at most `CAUSES_MAX`."""
    if not text:
        return ()
    words = text.split(" ")
    if len(words) > CAUSES_MAX:
        raise EnvelopeInvalid("causes_malformed", f"an event names at most {CAUSES_MAX} causes")
    causes = []
    for word in words:
        match = _CAUSE.match(word)
        if match is None:
            raise EnvelopeInvalid("causes_malformed", f"{word[:80]!r} does not name a cause")
        causes.append(Cause(match[1], match[2], int(match[3]), match[4]))
    return tuple(causes)


def inputs_text(inputs: Inputs) -> str:
    """Inputs as the header `qb_inputs` holds them."""
    return " ".join((f"{inputs.decision}/{inputs.version}", *(f"{topic}:{count}" for topic, count in inputs.runs)))


def inputs_of(text: str) -> Inputs:
    """The inputs in a header text; at most `INPUT_RUNS_MAX` runs."""
    numbers, *words = text.split(" ")
    decided = _DECIDED.match(numbers)
    if decided is None:
        raise EnvelopeInvalid("inputs_malformed", f"{numbers[:40]!r} is no decision number and version")
    if len(words) > INPUT_RUNS_MAX:
        raise EnvelopeInvalid("inputs_malformed", f"an output names at most {INPUT_RUNS_MAX} runs")
    runs = []
    for word in words:
        match = _RUN.match(word)
        if match is None:
            raise EnvelopeInvalid("inputs_malformed", f"{word[:40]!r} is no run")
        runs.append((match[1], int(match[2])))
    return Inputs(int(decided[1]), int(decided[2]), tuple(runs))
