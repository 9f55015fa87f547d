"""Authors: a scribe counts and writes events under one source name, an author also seals them with its key."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.codec import Schema, encode, frame
from schemas.envelope import (
    CAUSES_MAX,
    HEADER_BYTES_MAX,
    VALUE_BYTES_MAX,
    Cause,
    Inputs,
    Record,
    causes_text,
    digest_of,
    inputs_text,
    statement,
    time_text,
)
from schemas.seal import BATCH_MAX, SEAL_BYTES_MAX, seal_batch
from schemas.words import Event, wire_name

_new = tuple.__new__
"""Makes a named tuple of ours in half the time of a call; whoever uses it counts the fields."""


class Draft(NamedTuple):
    """An event before it is written. Without an id it gets one from topic, site and number: `results.lab.41`."""

    topic: str
    event: Event
    subject: str
    time_us: int
    causes: tuple[Cause, ...] = ()
    traceparent: str = ""
    inputs: Inputs | None = None
    id: str = ""


class EventOversized(ValueError):
    """An event that every reader would refuse for its size, so it is not written; `draft` is the one."""

    def __init__(self, draft: Draft, what: str, size: int, most: int) -> None:
        name = wire_name(type(draft.event))
        super().__init__(f"{name} of {draft.subject or draft.topic}: {what} {size}, readers take {most} at most")
        self.draft = draft


class Written(NamedTuple):
    """A record without its seal, and its digest."""

    record: Record
    digest: bytes

    @property
    def cause(self) -> Cause:
        """It as the cause of what follows from it."""
        return Cause(self.record.topic, self.record.source, int(self.record.sequence), self.digest.hex())


class Scribe:
    """Writes events of one source for one site. All of a record but its seal follows from the draft and the count.

    `schemas` gives the published schema of each wire name, `sequences` the last number used in each topic. Whoever
    reads the log knows both, so after a failed append a new scribe is made from what the log then says.
    """

    def __init__(
        self, source: str, site: str, schemas: Mapping[str, Schema], sequences: Mapping[str, int] | None = None
    ) -> None:
        self.source = source
        self.site = site
        self.sequences = dict(sequences or {})
        self._schemas = schemas
        self._by_type: dict[type[Event], Schema] = {}

    def write(self, draft: Draft, body: bytes | None = None) -> Written:
        """The record of a draft; uses up the next number of its topic. `KeyError` if its schema is not published.

        `EventOversized` if no reader would take it; like any error it leaves the count as it was. `body` is the event's
        Avro body, where it is encoded already.
        """
        topic, event, subject, time_us, causes, traceparent, inputs, chosen_id = draft
        schema = self._schema(type(event))
        sequence = self.sequences.get(topic, 0) + 1
        if body is None:
            body = encode(event)
        source, site = self.source, self.site
        texts = (
            chosen_id or f"{topic}.{site}.{sequence}",
            schema.event_type,
            source,
            time_text(time_us),
            subject,
            traceparent,
            causes_text(causes),
            str(sequence),
            inputs_text(inputs) if inputs else "",
        )
        value = frame(schema.schema_id, body)
        record = _new(Record, (topic, site, value, *texts, b""))
        stated = statement(record, schema.digest, sha256(body).hexdigest())
        if len(value) > VALUE_BYTES_MAX:
            raise EventOversized(draft, "the bytes of its value are", len(value), VALUE_BYTES_MAX)
        if len(stated) + SEAL_BYTES_MAX > HEADER_BYTES_MAX:
            raise EventOversized(draft, "the bytes of its headers are", len(stated) + SEAL_BYTES_MAX, HEADER_BYTES_MAX)
        if len(causes) > CAUSES_MAX:
            raise EventOversized(draft, "its causes are", len(causes), CAUSES_MAX)
        self.sequences[topic] = sequence
        return _new(Written, (record, digest_of(stated)))

    def _schema(self, event_type: type[Event]) -> Schema:
        schema = self._by_type.get(event_type)
        if schema is None:
            schema = self._by_type[event_type] = self._schemas[wire_name(event_type)]
        return schema


def seal_all(written: Sequence[Written], key: Ed25519PrivateKey) -> list[Record]:
    """Seal what one scribe wrote; topics in order of first occurrence, records in theirs.

    A topic's records are one batch, or several where they are more than a batch can have.
    """
    batches: dict[str, list[Written]] = {}
    for each in written:
        batches.setdefault(each.record.topic, []).append(each)
    sealed = []
    for written_there in batches.values():
        for begin in range(0, len(written_there), BATCH_MAX):
            batch = written_there[begin : begin + BATCH_MAX]
            sealed += seal_batch([each.record for each in batch], [each.digest for each in batch], key)
    return sealed
