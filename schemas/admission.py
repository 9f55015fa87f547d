"""Verify before decode: from a stored record to an event that may be believed, or the reason why not.

`Admission` holds what one reader knows of one site: keys, schemas, sequences. It is itself a fold over the records the
reader has read, in the order in which it read them, so an auditor who repeats the order repeats every verdict.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.avro_text import avro_text
from schemas.codec import (
    FRAME_BYTES,
    VALUE_BYTES_MAX,
    Schema,
    Undecodable,
    decode,
    decode_all,
    frame,
    own_schemas,
    published,
    unframe,
)
from schemas.envelope import (
    HEADER_BYTES_MAX,
    Cause,
    EnvelopeInvalid,
    Inputs,
    Record,
    Stray,
    causes_of,
    digest_of,
    inputs_of,
    number_of,
    raw_digest,
    statement,
    time_us_of,
    why_stray,
)
from schemas.events import GapAccepted, KeyEnrolled, KeyRevoked, SchemaPublished
from schemas.keys import KeyInvalid, check_public_key, key_id
from schemas.merkle import leaf_hash, root_from_path, tree_levels
from schemas.seal import PREFIX_BYTES, Seal, batch_begun, batch_message, batch_seals, seal_of
from schemas.topics import STAGES, WRITERS, Role
from schemas.words import Event, wire_name

CLOCK_SKEW_US_MAX = 5 * 60 * 1_000_000
"""An event may be dated at most this long after the log took it in."""

ROOT_SOURCE = "root"
_MANY = 4
"""From so many bodies on it pays to decode them in one go."""
_ENROLLABLE = frozenset(role.value for role in Role) - {Role.ROOT.value}
_STAGE_ROLES = frozenset(role.value for role in STAGES)
_WRITERS = {
    (topic, wire_name(event_type)): frozenset(role.value for role in roles)
    for topic, types in WRITERS.items()
    for event_type, roles in types.items()
}


class Stored(NamedTuple):
    """A record with its place on the log."""

    topic: str
    partition: int
    offset: int
    append_time_us: int
    record: Record | Stray


class Admitted(NamedTuple):
    """An event that may be believed, with all that was verified about it."""

    event: Event
    digest: bytes
    stored: Stored
    source: str
    role: str
    key_id: str
    sequence: int
    time_us: int
    causes: tuple[Cause, ...]
    inputs: Inputs | None

    @property
    def cause(self) -> Cause:
        """This event as the cause of another."""
        return Cause(self.stored.topic, self.source, self.sequence, self.digest.hex())


class Refused(NamedTuple):
    """A record that is not believed, and the stable code of the reason."""

    stored: Stored
    reason: str
    detail: str
    digest: bytes
    source: str = ""


@dataclass(slots=True)
class EnrolledKey:
    """A key as governance events describe it.

    A revocation names as causes the last that the key's source had said in each topic: those numbers stand in
    `counts_to`. Up to them the key's records count wherever they are read, beyond them nowhere.
    """

    key_id: str
    public_key: Ed25519PublicKey
    source: str
    role: str
    devices: tuple[str, ...]
    assurance: str
    revoked: bool = False
    counts_to: dict[str, int] | None = None


Sealed = tuple[EnrolledKey, Schema, bytes, bytes]
"""What is known of a record whose seal holds: the key, the schema, the digest, and the body to be decoded."""


@dataclass
class Admission:
    """What one reader of `topics` knows of one site. Begins with the root key, the one trust anchor, and nothing else.

    `writable` are the published schemas, by wire name, that are word for word those of this release.
    """

    root_public_key: bytes
    site: str
    topics: frozenset[str] = frozenset(WRITERS)
    keys: dict[str, EnrolledKey] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)
    writable: dict[str, Schema] = field(default_factory=dict)
    sequences: dict[tuple[str, str], int] = field(default_factory=dict)
    suspended: set[tuple[str, str]] = field(default_factory=set)
    accepted_gaps: set[tuple[str, str, int]] = field(default_factory=set)
    passes_over_revocations: bool = False
    signatures: int = 0
    _framed: dict[bytes, Schema] = field(default_factory=dict)
    _held: tuple[bytes, int, bytes | None] | None = None

    def __post_init__(self) -> None:
        """Enrol the root key; know the schema of SchemaPublished, which is number 1 for ever."""
        if not self.keys:
            identity = key_id(self.root_public_key)
            self.keys[identity] = EnrolledKey(
                identity, check_public_key(self.root_public_key), ROOT_SOURCE, Role.ROOT, (), "file"
            )
        for schema in tuple(self.schemas.values()) or (next(own_schemas()),):
            self._learn(schema)

    def admit(self, records: Sequence[Stored]) -> Iterator[Admitted | Refused]:
        """Judge records of one topic-partition, in their order. Governance among them counts from the next one on.

        The iterator may be left at any record: those not yet taken from it have changed nothing.
        """
        at = 0
        while at < len(records):
            group = records[at : _batch_end(records, at)]
            at += len(group)
            try:
                sealed = self._check_seals(group)
                believed = self._believe(group, sealed, self._following(group))
            except (EnvelopeInvalid, Undecodable):
                for stored in group:
                    yield self._judge(stored)
            else:
                if group[0].topic == "governance":
                    yield from map(self._take_in, believed)
                    continue
                author = (believed[0].source, group[0].topic)
                for admitted in believed:
                    self.sequences[author] = admitted.sequence
                    yield admitted

    def _judge(self, stored: Stored) -> Admitted | Refused:
        """Judge a record alone, as the neighbours it came with do not all hold."""
        record, digest, source = stored.record, b"", ""
        try:
            [sealed] = self._check_seals([stored])
            if isinstance(record, Stray):
                raise why_stray(record)
            digest, source = sealed[2], record.source
            sequence = self._count(record, sealed[0])
            [admitted] = self._believe([stored], [sealed], [sequence])
        except EnvelopeInvalid as error:
            return Refused(stored, error.reason, str(error), digest or raw_digest(record), source)
        except Undecodable as error:
            reason = "body_undecodable" if digest else "frame_malformed"
            return Refused(stored, reason, str(error), digest or raw_digest(record), source)
        return self._take_in(admitted)

    def _take_in(self, admitted: Admitted) -> Admitted | Refused:
        """Let an event count from the next record on."""
        topic = admitted.stored.topic
        self.sequences[admitted.source, topic] = admitted.sequence
        if topic == "governance":
            try:
                self._govern(admitted.event, admitted.causes)
            except EnvelopeInvalid as error:
                return Refused(admitted.stored, error.reason, str(error), admitted.digest, admitted.source)
            except Undecodable as error:
                return Refused(admitted.stored, "body_undecodable", str(error), admitted.digest, admitted.source)
        return admitted

    def _believe(self, group: Sequence[Stored], sealed: Sequence[Sealed], sequences: Sequence[int]) -> list[Admitted]:
        """The events of neighbours under one key whose seals hold and whose sequence numbers count; changes nothing."""
        key, _, _, _ = sealed[0]
        self._check_revoked(key, group[0].topic, sequences[-1])
        role, source, topic, devices, key_id_ = key.role, key.source, group[0].topic, key.devices, key.key_id
        decides = role in _STAGE_ROLES
        believed: list[Admitted] = []
        time, time_us = "", 0
        events = self._events(group, sealed, role)
        for stored, (_, _, digest, _), sequence, event in zip(group, sealed, sequences, events, strict=True):
            record = stored.record
            if isinstance(record, Stray):
                raise why_stray(record)
            if record.time != time:
                time, time_us = record.time, time_us_of(record.time)
            if time_us > stored.append_time_us + CLOCK_SKEW_US_MAX:
                raise EnvelopeInvalid("time_ahead", f"dated {time}, long after the log took it in")
            causes = causes_of(record.causes)
            if causes:
                self._find(causes, source, topic, sequence)
            inputs = None
            if decides:
                inputs = inputs_of(record.inputs)
            elif record.inputs:
                raise EnvelopeInvalid("inputs_malformed", "only a stage says what it had read")
            if devices and getattr(event, "device", devices[0]) not in devices:
                raise EnvelopeInvalid("device_forbidden", f"the key {key_id_} may not speak for this device")
            known = event, digest, stored, source, role, key_id_, sequence, time_us, causes, inputs
            believed.append(tuple.__new__(Admitted, known))  # in half the time that the class takes
        return believed

    def _events(self, group: Sequence[Stored], sealed: Sequence[Sealed], role: str) -> list[Event]:
        """The events in the bodies of neighbours, if the role may write them where they stand."""
        schemas = {id(schema): schema for _, schema, _, _ in sealed}
        topic = group[0].topic
        for schema in schemas.values():
            if role not in _WRITERS.get((topic, schema.event_type), ()):
                raise EnvelopeInvalid("role_forbidden", f"role {role} may not write {schema.event_type} to {topic}")
        events = None
        if len(schemas) == 1 and len(group) >= _MANY:
            events = decode_all([body for _, _, _, body in sealed], sealed[0][1])
        return events or [decode(body, schema) for _, schema, _, body in sealed]

    def _check_revoked(self, key: EnrolledKey, topic: str, sequence: int) -> None:
        if not key.revoked:
            return
        counts = self.passes_over_revocations if key.counts_to is None else sequence <= key.counts_to.get(topic, 0)
        if not counts:
            raise EnvelopeInvalid("key_revoked", f"the key {key.key_id} was revoked")

    def _following(self, group: Sequence[Stored]) -> range:
        """The sequence numbers of neighbours of one author, if they are just those that are due."""
        records = [stored.record for stored in group if isinstance(stored.record, Record)]
        author = (records[0].source, records[0].topic)
        due = self.sequences.get(author, 0) + 1
        sequences = range(due, due + len(group))
        if author in self.suspended or [record.sequence for record in records] != list(map(str, sequences)):
            raise EnvelopeInvalid("sequence_gap", f"{author[0]} does not go on with {due}")
        return sequences

    def _count(self, record: Record, key: EnrolledKey) -> int:
        """Use up a record's sequence number: a number seen before or a gap is refused, a gap suspends the author."""
        author = (record.source, record.topic)
        due = self.sequences.get(author, 0) + 1
        sequence = number_of(record.sequence, "sequence")
        self._check_revoked(key, record.topic, sequence)
        if sequence < due:
            raise EnvelopeInvalid("sequence_repeated", f"{record.source} has used the number {sequence} before")
        if sequence > due or author in self.suspended:
            if (*author, sequence) not in self.accepted_gaps:
                self.suspended.add(author)
                raise EnvelopeInvalid("sequence_gap", f"{record.source} lacks {due} to {sequence - 1}: see GapAccepted")
            self.suspended.discard(author)
        self.sequences[author] = sequence
        return sequence

    def _find(self, causes: Sequence[Cause], source: str, topic: str, sequence: int) -> None:
        """Refuse an event that names a cause, in the topics read here, that has not been read."""
        for cause in causes if self.topics else ():
            if cause.topic in self.topics:
                own = cause.source == source and cause.topic == topic
                if cause.sequence > (sequence - 1 if own else self.sequences.get((cause.source, cause.topic), 0)):
                    raise EnvelopeInvalid(
                        "cause_absent",
                        f"its cause {cause.topic}/{cause.source}/{cause.sequence} is not on the log before it",
                    )

    def _govern(self, event: Event, causes: Sequence[Cause]) -> None:
        match event:
            case KeyEnrolled():
                self._enrol(event)
            case KeyRevoked():
                self._revoke(event.key_id, causes)
            case SchemaPublished():
                self._publish(event)
            case GapAccepted():
                self.accepted_gaps.add((event.source, event.topic, event.next_sequence))
            case _:
                pass

    def _revoke(self, revoked: str, causes: Sequence[Cause]) -> None:
        key = self.keys.get(revoked)
        if key is not None and not key.revoked:
            key.revoked = True
            key.counts_to = {cause.topic: cause.sequence for cause in causes if cause.source == key.source} or None

    def _enrol(self, event: KeyEnrolled) -> None:
        try:
            public_key = check_public_key(event.public_key)
        except KeyInvalid as error:
            raise EnvelopeInvalid("key_invalid", str(error)) from None
        if event.key_id != key_id(event.public_key) or event.role not in _ENROLLABLE:
            raise EnvelopeInvalid("key_invalid", "the key id or the role does not fit")
        if event.key_id in self.keys:
            raise EnvelopeInvalid("key_known", f"the key {event.key_id} was enrolled before")
        self.keys[event.key_id] = EnrolledKey(
            event.key_id, public_key, event.source, event.role, event.devices, event.assurance
        )

    def _publish(self, event: SchemaPublished) -> None:
        schema = published(event.schema_id, event.text)
        known = self.schemas.get(event.schema_id)
        if known is not None and known.digest != schema.digest:
            raise EnvelopeInvalid("schema_known", f"the number {event.schema_id} is another schema's")
        if schema.event_type != event.event_type:
            raise EnvelopeInvalid("schema_invalid", "the schema is of another event type")
        self._learn(schema)
        own = Event.types.get(schema.event_type)
        if own is not None and schema.text == avro_text(own):
            self.writable[schema.event_type] = schema

    def _learn(self, schema: Schema) -> None:
        self.schemas[schema.schema_id] = schema
        self._framed[frame(schema.schema_id, b"")] = schema

    def _check_seals(self, group: Sequence[Stored]) -> list[Sealed]:
        """Check the seals of neighbours that claim one batch.

        A whole batch has its tree built once, and its seals are compared with those they must be. In a part of a batch
        each record is checked by its own path.
        """
        records = [stored.record for stored in group]
        seal, key = self._claim(records[0])
        opened = self._open(records, key)
        leaves = [leaf_hash(digest) for _, _, digest, _ in opened]
        if seal.size == len(records):
            levels = tree_levels(leaves)
            if batch_seals(seal.prefix, levels) == [record[-1] for record in records]:
                self._check_signature(seal, key, levels[-1][0])
                return opened
        for record, leaf in zip(records, leaves, strict=True):
            seal, _ = self._claim(record)
            self._check_signature(seal, key, root_from_path(leaf, seal.place, seal.size, seal.path))
        return opened

    def _claim(self, record: Record | Stray) -> tuple[Seal, EnrolledKey]:
        """The seal of a record, and the key that it says has made it."""
        if isinstance(record, Stray):
            raise why_stray(record)
        if len(record.seal) > HEADER_BYTES_MAX:
            raise EnvelopeInvalid("header_oversized", f"the header qb_seal has {len(record.seal)} bytes")
        seal = seal_of(record.seal)
        key = self.keys.get(seal.key_id)
        if key is None:
            raise EnvelopeInvalid("key_unknown", f"the key {seal.key_id} is not enrolled")
        return seal, key

    def _open(self, records: Sequence[Record | Stray], key: EnrolledKey) -> list[Sealed]:
        """The digests of records, over their bytes as they are, if all of them may have been said under this key."""
        opened: list[Sealed] = []
        for record in records:
            if isinstance(record, Stray):
                raise why_stray(record)
            value = record.value
            if len(value) > VALUE_BYTES_MAX:
                raise EnvelopeInvalid("value_oversized", f"the value has {len(value)} bytes")
            if record.key != self.site:
                raise EnvelopeInvalid("site_foreign", f"the key {record.key[:64]!r} is not this site")
            if record.source != key.source:
                raise EnvelopeInvalid("source_forbidden", f"the key {key.key_id} is not of {record.source[:64]}")
            schema = self._framed.get(value[:FRAME_BYTES])
            if schema is None:
                raise EnvelopeInvalid("schema_unknown", f"no schema {unframe(value)[0]} is published")
            if schema.event_type != record.type:
                raise EnvelopeInvalid("type_mismatch", f"schema {schema.schema_id} is not of {record.type[:64]}")
            body = value[FRAME_BYTES:]
            text = statement(record, schema.digest, sha256(body).hexdigest())
            if len(text) + len(record.seal) > HEADER_BYTES_MAX:
                raise EnvelopeInvalid("header_oversized", f"the headers have over {HEADER_BYTES_MAX} bytes")
            opened.append((key, schema, digest_of(text), body))
        return opened

    def _check_signature(self, seal: Seal, key: EnrolledKey, root: bytes | None) -> None:
        """Check a batch signature; the one that held last is remembered, for batches read in parts."""
        batch = (seal.prefix, seal.size, root)
        if root is None:
            raise EnvelopeInvalid("seal_broken", "the audit path has another length than the batch's size asks for")
        if batch == self._held:
            return
        self.signatures += 1
        try:
            key.public_key.verify(seal.signature, batch_message(root, seal.size))
        except InvalidSignature:
            raise EnvelopeInvalid("seal_broken", "the seal does not hold for these bytes") from None
        self._held = batch


def _batch_end(records: Sequence[Stored], at: int) -> int:
    """The end of the neighbours from `at` on that may be of one batch, by what their seals claim.

    What governance says counts from the next record on, so its records are judged one by one.
    """
    record, end = records[at].record, at + 1
    if isinstance(record, Stray) or record.topic == "governance":
        return end
    prefix = record.seal[:PREFIX_BYTES]
    whole = at + batch_begun(record.seal)
    if at < whole <= len(records) and _begins(records[whole - 1], prefix):
        return whole
    while end < len(records) and _begins(records[end], prefix):
        end += 1
    return end


def _begins(stored: Stored, prefix: bytes) -> bool:
    return isinstance(stored.record, Record) and stored.record.seal.startswith(prefix)
