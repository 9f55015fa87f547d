"""Authors: a scribe counts and writes events under one source name, an author also seals them with its key."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any, NamedTuple

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
    preimages,
    statement,
    time_text,
)
from schemas.merkle import leaf_hashes
from schemas.seal import BATCH_MAX, SEAL_BYTES_MAX, seal_leaves
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


class SchemaUnpublished(KeyError):
    """An event whose schema the log does not have word for word, as on a log that another release began."""

    def __init__(self, event_type: str) -> None:
        super().__init__(event_type)
        self.event_type = event_type

    def __str__(self) -> str:
        return (
            f"the log has no schema of {self.event_type} as this release writes it, so it cannot be said there; "
            "publish what is lacking: qpubus log upgrade"
        )


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
        """The record of a draft; uses up the next number of its topic.

        `SchemaUnpublished` if it cannot be said on this log, `EventOversized` if no reader would take it; like any
        error that leaves the count as it was. `body` is the event's Avro body, where it is encoded already.
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

    def write_all(self, drafts: Sequence[Draft], bodies: Sequence[bytes] | None = None) -> list[Written]:
        """What `write` makes of each draft, in less time a draft the more of them there are in a topic.

        An error leaves the count as it was, and nothing is written.
        """
        written: list[Written] = []
        counted = dict(self.sequences)
        try:
            for _, neighbours in groupby(drafts, key=itemgetter(0)):
                group = list(neighbours)
                start = len(written)
                here = bodies[start : start + len(group)] if bodies else [encode(draft.event) for draft in group]
                written += self._write_group(group, here)
        except (ValueError, KeyError):
            self.sequences = counted
            raise
        return written

    def _write_group(self, drafts: Sequence[Draft], bodies: Sequence[bytes]) -> list[Written]:
        """The records of drafts of one topic, made column by column."""
        topics, events, subjects, times_us, causes, traceparents, inputs, ids = zip(*drafts, strict=True)
        topic, count, first = topics[0], len(drafts), self.sequences.get(topics[0], 0) + 1
        schemas = [self._schema(type(event)) for event in events]
        frames = {schema.schema_id: frame(schema.schema_id, b"") for schema in schemas}
        times = {time_us: time_text(time_us) for time_us in {*times_us}}
        named = {id(each): causes_text(each) for each in causes}
        numbers = list(map(str, range(first, first + count)))
        columns: list[Sequence[Any]] = [
            (self.site,) * count,
            [frames[schema.schema_id] + body for schema, body in zip(schemas, bodies, strict=True)],
            [chosen or f"{topic}.{self.site}.{number}" for chosen, number in zip(ids, numbers, strict=True)],
            [schema.event_type for schema in schemas],
            (self.source,) * count,
            [times[time_us] for time_us in times_us],
            subjects,
            traceparents,
            [named[id(each)] for each in causes],
            numbers,
            [inputs_text(each) if each else "" for each in inputs],
            (b"",) * count,
        ]
        digests = [schema.digest for schema in schemas]
        stated = preimages(topic, columns, digests, [sha256(body).hexdigest() for body in bodies])
        if (
            max(map(len, columns[1])) > VALUE_BYTES_MAX
            or max(map(len, stated)) - 1 + SEAL_BYTES_MAX > HEADER_BYTES_MAX
            or max(map(len, causes)) > CAUSES_MAX
        ):
            return [self.write(draft, body) for draft, body in zip(drafts, bodies, strict=True)]  # says which one
        self.sequences[topic] = first + count - 1
        records = map(_new, repeat(Record), zip(topics, *columns, strict=True))
        named_by = (sha256(each).digest() for each in stated)
        return list(map(_new, repeat(Written), zip(records, named_by, strict=True)))

    def _schema(self, event_type: type[Event]) -> Schema:
        schema = self._by_type.get(event_type)
        if schema is None:
            name = wire_name(event_type)
            if name not in self._schemas:
                raise SchemaUnpublished(name)
            schema = self._by_type[event_type] = self._schemas[name]
        return schema


class Sealed(list[Record]):
    """Records that this process has sealed, and the leaf hash of each."""

    def __init__(self) -> None:
        """Nothing is sealed yet."""
        super().__init__()
        self.leaves: list[bytes] = []

    def add(self, records: Iterable[Record], leaves: Iterable[bytes]) -> None:
        """Put records behind the others."""
        self += records
        self.leaves += leaves


def seal_all(written: Sequence[Written], key: Ed25519PrivateKey) -> Sealed:
    """Seal what one scribe wrote; topics in order of first occurrence, records in theirs.

    A topic's records are one batch, or several where they are more than a batch can have.
    """
    batches: dict[str, list[Written]] = {}
    for each in written:
        batches.setdefault(each.record.topic, []).append(each)
    sealed = Sealed()
    for written_there in batches.values():
        for begin in range(0, len(written_there), BATCH_MAX):
            batch = written_there[begin : begin + BATCH_MAX]
            leaves = leaf_hashes(each.digest for each in batch)
            sealed.add(seal_leaves([each.record for each in batch], leaves, key), leaves)
    return sealed
