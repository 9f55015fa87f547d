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
from schemas.seal import PREFIX_BYTES, Seal, batch_message, batch_seals, seal_of
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
    """A key as governance events describe it."""

    key_id: str
    public_key: Ed25519PublicKey
    source: str
    role: str
    devices: tuple[str, ...]
    assurance: str
    revoked: bool = False


Sealed = tuple[EnrolledKey, Schema, bytes]
"""What is known of a record whose seal holds: the key, the schema and the digest."""


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
    _held: tuple[bytes, int, bytes] | None = None

    def __post_init__(self) -> None:
        """Enrol the root key; know the schema of SchemaPublished, which is number 1 for ever."""
        if not self.keys:
            identity = key_id(self.root_public_key)
            self.keys[identity] = EnrolledKey(
                identity, check_public_key(self.root_public_key), ROOT_SOURCE, Role.ROOT, (), "file"
            )
        if not self.schemas:
            self.schemas[1] = next(own_schemas())

    def admit(self, records: Sequence[Stored]) -> Iterator[Admitted | Refused]:
        """Judge records of one topic-partition, in their order. Governance among them counts from the next one on.

        The iterator may be left at any record: those not yet taken from it have changed nothing.
        """
        at = 0
        while at < len(records):
            group = records[at : _batch_end(records, at)]
            checked = self._check_seals(group)
            events = self._decode_ahead(group, checked)
            for stored, sealed, event in zip(group, checked, events, strict=True):
                yield self._judge(stored, sealed, event)
            at += len(group)

    def _judge(self, stored: Stored, sealed: Sealed | EnvelopeInvalid, event: Event | None) -> Admitted | Refused:
        record = stored.record
        if isinstance(sealed, EnvelopeInvalid) or isinstance(record, Stray):
            error = sealed if isinstance(sealed, EnvelopeInvalid) else EnvelopeInvalid("stray", "")
            return Refused(stored, error.reason, str(error), raw_digest(record))
        try:
            return self._believe(stored, record, sealed, event)
        except EnvelopeInvalid as error:
            return Refused(stored, error.reason, str(error), sealed[2], record.source)
        except Undecodable as error:
            return Refused(stored, "body_undecodable", str(error), sealed[2], record.source)

    def _believe(self, stored: Stored, record: Record, sealed: Sealed, event: Event | None) -> Admitted:
        key, schema, digest = sealed
        if key.revoked and not self.passes_over_revocations:
            raise EnvelopeInvalid("key_revoked", f"the key {key.key_id} was revoked")
        topic, type_, source, role = record.topic, record.type, record.source, key.role
        sequence = self._count(source, topic, record.sequence)
        if role not in _WRITERS.get((topic, type_), ()):
            raise EnvelopeInvalid("role_forbidden", f"role {role} may not write {type_} to {topic}")
        time_us = time_us_of(record.time)
        if time_us > stored.append_time_us + CLOCK_SKEW_US_MAX:
            raise EnvelopeInvalid("time_ahead", f"dated {record.time}, long after the log took it in")
        causes = causes_of(record.causes)
        self._find(causes)
        inputs = None
        if role in _STAGE_ROLES:
            inputs = inputs_of(record.inputs)
        elif record.inputs:
            raise EnvelopeInvalid("inputs_malformed", "only a stage says what it had read")
        if event is None:
            event = decode(record.value[FRAME_BYTES:], schema)
        if key.devices and getattr(event, "device", key.devices[0]) not in key.devices:
            raise EnvelopeInvalid("device_forbidden", f"the key {key.key_id} may not speak for this device")
        if topic == "governance":
            self._govern(event)
        return Admitted._make((event, digest, stored, source, role, key.key_id, sequence, time_us, causes, inputs))

    def _count(self, source: str, topic: str, text: str) -> int:
        """Use up a record's sequence number: a number seen before or a gap is refused, a gap suspends the author."""
        author = (source, topic)
        following = self.sequences.get(author, 0) + 1
        sequence = following if text == str(following) else number_of(text, "sequence")
        if sequence < following:
            raise EnvelopeInvalid("sequence_repeated", f"{source} has used the number {sequence} before")
        if sequence > following or author in self.suspended:
            if (source, topic, sequence) not in self.accepted_gaps:
                self.suspended.add(author)
                raise EnvelopeInvalid(
                    "sequence_gap", f"{source} lacks {following} to {sequence - 1}: see GapAccepted"
                )
            self.suspended.discard(author)
        self.sequences[author] = sequence
        return sequence

    def _find(self, causes: Sequence[Cause]) -> None:
        """Refuse an event that names a cause, in the topics read here, that has not been read."""
        for cause in causes:
            if cause.topic in self.topics and self.sequences.get((cause.source, cause.topic), 0) < cause.sequence:
                raise EnvelopeInvalid(
                    "cause_absent",
                    f"its cause {cause.topic}/{cause.source}/{cause.sequence} is not on the log before it",
                )

    def _govern(self, event: Event) -> None:
        match event:
            case KeyEnrolled():
                self._enrol(event)
            case KeyRevoked():
                if event.key_id in self.keys:
                    self.keys[event.key_id].revoked = True
            case SchemaPublished():
                self._publish(event)
            case GapAccepted():
                self.accepted_gaps.add((event.source, event.topic, event.next_sequence))
            case _:
                pass

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
        self.schemas[event.schema_id] = schema
        own = Event.types.get(schema.event_type)
        if own is not None and schema.text == avro_text(own):
            self.writable[schema.event_type] = schema

    def _check_seals(self, group: Sequence[Stored]) -> list[Sealed | EnvelopeInvalid]:
        """Check the seals of neighbours that claim one batch.

        A whole batch has its tree built once, and its seals are compared with those they must be. In any other group
        each record is checked by its own path.
        """
        records = [stored.record for stored in group]
        try:
            seal, key = self._claim(records[0])
            if seal.size == len(records):
                opened = self._open(records, key)
                levels = tree_levels([leaf_hash(digest) for _, _, digest in opened])
                expected = batch_seals(seal.prefix, levels)
                if expected == [record[-1] for record in records] and self._signature_holds(seal, key, levels[-1][0]):
                    return [*opened]
        except (EnvelopeInvalid, Undecodable):
            pass
        return [self._check_alone(record) for record in records]

    def _check_alone(self, record: Record | Stray) -> Sealed | EnvelopeInvalid:
        try:
            seal, key = self._claim(record)
            sealed = self._open([record], key)[0]
        except EnvelopeInvalid as error:
            return error
        except Undecodable as error:
            return EnvelopeInvalid("frame_malformed", str(error))
        root = root_from_path(leaf_hash(sealed[2]), seal.place, seal.size, seal.path)
        if root is None or not self._signature_holds(seal, key, root):
            return EnvelopeInvalid("seal_broken", "the seal does not hold for these bytes")
        return sealed

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
            schema_id, body = unframe(value)
            schema = self.schemas.get(schema_id)
            if schema is None:
                raise EnvelopeInvalid("schema_unknown", f"no schema {schema_id} is published")
            if schema.event_type != record.type:
                raise EnvelopeInvalid("type_mismatch", f"schema {schema_id} is not of {record.type[:64]}")
            text = statement(record, schema.digest, sha256(body).hexdigest())
            if len(text) + len(record.seal) > HEADER_BYTES_MAX:
                raise EnvelopeInvalid("header_oversized", f"the headers have over {HEADER_BYTES_MAX} bytes")
            opened.append((key, schema, digest_of(text)))
        return opened

    def _decode_ahead(
        self, group: Sequence[Stored], checked: Sequence[Sealed | EnvelopeInvalid]
    ) -> Sequence[Event | None]:
        """The events of neighbours that are of one type and may be believed so far; None for what is decoded later."""
        first, record = checked[0], group[0].record
        later = [None] * len(group)
        if len(group) < _MANY or isinstance(first, EnvelopeInvalid) or isinstance(record, Stray):
            return later
        key, schema, _ = first
        if key.role not in _WRITERS.get((record.topic, record.type), ()):
            return later
        bodies = [
            stored.record.value[FRAME_BYTES:]
            for stored, sealed in zip(group, checked, strict=True)
            if isinstance(stored.record, Record) and not isinstance(sealed, EnvelopeInvalid) and sealed[1] is schema
        ]
        return (len(bodies) == len(group) and decode_all(bodies, schema)) or later

    def _signature_holds(self, seal: Seal, key: EnrolledKey, root: bytes) -> bool:
        """Check a batch signature; the one that held last is remembered, for batches read in parts."""
        batch = (seal.prefix, seal.size, root)
        if batch == self._held:
            return True
        self.signatures += 1
        try:
            key.public_key.verify(seal.signature, batch_message(root, seal.size))
        except InvalidSignature:
            return False
        self._held = batch
        return True


def _batch_end(records: Sequence[Stored], at: int) -> int:
    """The end of the neighbours from `at` on whose seals begin alike: they claim one batch.

    What governance says counts from the next record on, so its records are judged one by one.
    """
    record, end = records[at].record, at + 1
    if isinstance(record, Record) and record.topic != "governance":
        prefix = record.seal[:PREFIX_BYTES]
        while end < len(records):
            following = records[end].record
            if isinstance(following, Stray) or not following.seal.startswith(prefix):
                break
            end += 1
    return end
