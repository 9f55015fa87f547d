"""Verify before decode: from a stored record to an event that may be believed, or the reason why not.

`Admission` holds what one reader knows of one site: keys, schemas, sequences. It is itself a fold over the records the
reader has read, in the order in which it read them, so an auditor who repeats the order repeats every verdict.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.avro_text import avro_text
from schemas.batch import Batch, Stored, batch_end
from schemas.codec import Schema, Undecodable, decode, decode_all, devices_of, own_schemas, published
from schemas.envelope import (
    Cause,
    EnvelopeInvalid,
    Inputs,
    Record,
    Stray,
    causes_of,
    inputs_of,
    number_of,
    raw_digest,
    time_us_of,
    why_stray,
)
from schemas.events import GapAccepted, KeyEnrolled, KeyRevoked, SchemaPublished
from schemas.keys import KeyInvalid, check_public_key, key_id
from schemas.opening import EnrolledKey, Opened, Opener
from schemas.people import ED25519, PersonKey, check_person_key
from schemas.said import Said
from schemas.topics import PEOPLE, STAGES, WRITERS, Role
from schemas.words import Event, wire_name

__all__ = ["CLOCK_SKEW_US_MAX", "ROOT_SOURCE", "UNREAD", "Admission", "Admitted", "EnrolledKey", "Refused", "Stored"]

CLOCK_SKEW_US_MAX = 5 * 60 * 1_000_000
"""An event may be dated at most this long after the log took it in."""

ROOT_SOURCE = "root"
UNREAD = Event()
"""Stands for an event whose body nobody asked for: all was verified, but not that the body can be decoded."""
_new = tuple.__new__
"""What makes a named tuple in half the time that its class takes."""
_MANY = 4
"""From so many bodies on it pays to decode them in one go."""
_ENROLLABLE = frozenset(role.value for role in Role) - {Role.ROOT.value}
_STAGE_ROLES = frozenset(role.value for role in STAGES)
_WRITERS = {
    (topic, wire_name(event_type)): frozenset(role.value for role in roles)
    for topic, types in WRITERS.items()
    for event_type, roles in types.items()
}


Place = tuple[str, str, int]
"""Where an author said something: source, topic, number."""


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


class Believed(NamedTuple):
    """Neighbours of one author that may all be believed, in columns; `sequences` are their numbers."""

    batch: Batch
    opened: Opened
    events: Sequence[Event]
    sequences: Sequence[int]
    causes: Sequence[tuple[Cause, ...]]
    inputs: Sequence[Inputs | None]

    def admitted(self) -> list[Admitted]:
        """The same one by one."""
        key, times = self.opened.key, self.batch.columns[5]
        by = (repeat(key.source), repeat(key.role), repeat(key.key_id))
        known = (self.events, self.opened.digests, self.batch, *by, self.sequences, map(time_us_of, times))
        return list(map(_new, repeat(Admitted), zip(*known, self.causes, self.inputs, strict=False)))


class Refused(NamedTuple):
    """A record that is not believed, and the stable code of the reason."""

    stored: Stored
    reason: str
    detail: str
    digest: bytes
    source: str = ""


@dataclass
class Admission:
    """What one reader of `topics` knows of one site. Begins with the root key, the one trust anchor, and nothing else.

    `writable` are the published schemas, by wire name, that are word for word those of this release. `reads` are the
    types of event whose bodies are decoded besides governance, None for all; others are admitted as `UNREAD`.
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
    reads: frozenset[str] | None = None
    said: Said = field(default_factory=Said)
    _opener: Opener = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Enrol the root key; know the schema of SchemaPublished, which is number 1 for ever."""
        if not self.keys:
            identity = key_id(self.root_public_key)
            self.keys[identity] = EnrolledKey(
                identity, check_public_key(self.root_public_key), ROOT_SOURCE, Role.ROOT, (), "file"
            )
        self._opener = Opener(self.site, self.keys, self.schemas)
        for schema in tuple(self.schemas.values()) or (next(own_schemas()),):
            self._opener.learn(schema)

    @property
    def signatures(self) -> int:
        """How many batch signatures have been checked."""
        return self._opener.signatures

    def admit(self, records: Sequence[Stored]) -> Iterator[Admitted | Refused]:
        """Judge records of one topic-partition, in their order. Governance among them counts from the next one on.

        The iterator may be left at any record: those not yet taken from it have changed nothing.
        """
        for group in _groups(records):
            if not isinstance(group, Batch) and isinstance(group[0].record, Stray):
                yield self._judge(group[0])
                continue
            batch = Batch.of(group)
            try:
                opened = self._opener.check(batch)
                believed = self._believe(batch, opened, self._following(batch)).admitted()
            except (EnvelopeInvalid, Undecodable):
                for stored in group:
                    yield self._judge(stored)
            else:
                if batch.topic == "governance":
                    yield from map(self._take_in, believed)
                    continue
                author = (opened.key.source, batch.topic)
                for admitted in believed:
                    self.sequences[author] = admitted.sequence
                    if self.topics:
                        self.said.add(*author, admitted.sequence, admitted.digest)
                    yield admitted

    def admit_all(self, batch: Batch) -> Believed | None:
        """Judge neighbours together. None, and nothing has changed, where they must be judged one by one."""
        if batch.topic == "governance":
            return None
        try:
            opened = self._opener.check(batch)
            believed = self._believe(batch, opened, self._following(batch))
        except (EnvelopeInvalid, Undecodable):
            return None
        source, first = opened.key.source, believed.sequences[0]
        self.sequences[source, batch.topic] = believed.sequences[-1]
        if self.topics:
            self.said.add(source, batch.topic, first, b"".join(opened.digests))
        return believed

    def _judge(self, stored: Stored) -> Admitted | Refused:
        """Judge a record alone, as the neighbours it came with do not all hold."""
        record, digest, source = stored.record, b"", ""
        try:
            if isinstance(record, Stray):
                raise why_stray(record)
            batch = Batch.of([stored])
            opened = self._opener.check(batch)
            [digest], source = opened.digests, record.source
            sequence = self._count(record, opened.key)
            if self.topics:
                self.said.add(source, record.topic, sequence, digest)
            [admitted] = self._believe(batch, opened, [sequence]).admitted()
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

    def _believe(self, batch: Batch, opened: Opened, sequences: Sequence[int]) -> Believed:
        """The events of neighbours under one key whose seals hold and whose sequence numbers count; changes nothing."""
        key, topic = opened.key, batch.topic
        self._check_revoked(key, topic, sequences[-1])
        _, _, _, _, _, times, _, _, causes_texts, _, inputs_texts, _ = batch.columns
        if max(map(time_us_of, {*times})) > min(batch.append_times_us) + CLOCK_SKEW_US_MAX:
            raise EnvelopeInvalid("time_ahead", f"dated {max(times)}, long after the log took it in")
        causes = list(map(causes_of, causes_texts))
        if self.topics:
            fresh = {
                (key.source, topic, number): digest for number, digest in zip(sequences, opened.digests, strict=True)
            }
            for named, sequence in zip(causes, sequences, strict=True):
                self._find(named, (key.source, topic, sequence), fresh)
        inputs: list[Inputs | None] = [None] * len(batch)
        if key.role in _STAGE_ROLES:
            inputs = list(map(inputs_of, inputs_texts))
        elif any(inputs_texts):
            raise EnvelopeInvalid("inputs_malformed", "only a stage says what it had read")
        events = self._events(topic, opened)
        if key.devices and not _devices(events, opened) <= {*key.devices, ""}:
            raise EnvelopeInvalid("device_forbidden", f"the key {key.key_id} may not speak for this device")
        return Believed(batch, opened, events, sequences, causes, inputs)

    def _events(self, topic: str, opened: Opened) -> list[Event]:
        """The events in the bodies of neighbours, if the role may write them to this topic."""
        schemas, role = {id(schema): schema for schema in opened.schemas}.values(), opened.key.role
        for schema in schemas:
            if role not in _WRITERS.get((topic, schema.event_type), ()):
                raise EnvelopeInvalid("role_forbidden", f"role {role} may not write {schema.event_type} to {topic}")
        if (
            topic != "governance"
            and self.reads is not None
            and self.reads.isdisjoint(schema.event_type for schema in schemas)
        ):
            return [UNREAD] * len(opened.bodies)
        events = None
        if len(schemas) == 1 and len(opened.bodies) >= _MANY:
            events = decode_all(opened.bodies, opened.schemas[0])
        return events or list(map(decode, opened.bodies, opened.schemas))

    def _check_revoked(self, key: EnrolledKey, topic: str, sequence: int) -> None:
        if not key.revoked:
            return
        counts = self.passes_over_revocations if key.counts_to is None else sequence <= key.counts_to.get(topic, 0)
        if not counts:
            raise EnvelopeInvalid("key_revoked", f"the key {key.key_id} was revoked")

    def _following(self, batch: Batch) -> range:
        """The sequence numbers of neighbours of one author, if they are just those that are due."""
        author = (batch.columns[4][0], batch.topic)
        due = self.sequences.get(author, 0) + 1
        sequences = range(due, due + len(batch))
        if author in self.suspended or list(batch.columns[9]) != list(map(str, sequences)):
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

    def _find(self, causes: Sequence[Cause], own: Place, fresh: Mapping[Place, bytes]) -> None:
        """Refuse an event, at the place `own`, that names a cause in the topics read here which was not read before it.

        `fresh` are the digests of the neighbours that are being judged with it.
        """
        for cause in causes:
            if cause.topic not in self.topics:
                continue
            place = (cause.source, cause.topic, cause.sequence)
            is_neighbour = place in fresh and cause.sequence < own[2]
            known = is_neighbour or cause.sequence <= self.sequences.get(place[:2], 0)
            if not known or place == own:
                raise EnvelopeInvalid(
                    "cause_absent",
                    f"its cause {cause.topic}/{cause.source}/{cause.sequence} is not on the log before it",
                )
            differs = fresh[place].hex() != cause.digest if is_neighbour else self.said.fault(cause) == "cause_differs"
            if differs:
                raise EnvelopeInvalid(
                    "cause_differs", f"its cause {cause.topic}/{cause.source}/{cause.sequence} is another event"
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
            if causes:
                key.counts_to = {cause.topic: cause.sequence for cause in causes if cause.source == key.source}

    def _enrol(self, event: KeyEnrolled) -> None:
        try:
            public_key = _checked(event)
        except KeyInvalid as error:
            raise EnvelopeInvalid("key_invalid", str(error)) from None
        if event.key_id != key_id(event.public_key) or event.role not in _ENROLLABLE:
            raise EnvelopeInvalid("key_invalid", "the key id or the role does not fit")
        if event.key_id in self.keys:
            raise EnvelopeInvalid("key_known", f"the key {event.key_id} was enrolled before")
        self.keys[event.key_id] = EnrolledKey(
            event.key_id,
            public_key,
            event.source,
            event.role,
            event.devices,
            event.assurance,
            PersonKey.of(event) if event.role in PEOPLE else None,
            event.reads,
        )

    def _publish(self, event: SchemaPublished) -> None:
        schema = published(event.schema_id, event.text)
        known = self.schemas.get(event.schema_id)
        if known is not None and known.digest != schema.digest:
            raise EnvelopeInvalid("schema_known", f"the number {event.schema_id} is another schema's")
        if schema.event_type != event.event_type:
            raise EnvelopeInvalid("schema_invalid", "the schema is of another event type")
        self._opener.learn(schema)
        own = Event.types.get(schema.event_type)
        if own is not None and schema.text == avro_text(own):
            self.writable[schema.event_type] = schema


def _checked(event: KeyEnrolled) -> Ed25519PublicKey | None:
    """The key that an event enrols; none for a person's P-256 key, which signs statements and no records."""
    if event.role in PEOPLE:
        check_person_key(PersonKey.of(event))
    elif event.algorithm != ED25519 or event.proof_type != "ed25519":
        raise KeyInvalid(f"a key of role {event.role} signs records: it must be a plain Ed25519 key")
    return check_public_key(event.public_key) if event.algorithm == ED25519 else None


def _groups(records: Sequence[Stored]) -> Iterator[Sequence[Stored]]:
    """Records in groups that may each be of one batch. Governance is judged record by record."""
    if isinstance(records, Batch) and records.topic != "governance":
        yield records
        return
    at = 0
    while at < len(records):
        end = batch_end(records, at)
        yield records[at:end]
        at = end


def _devices(events: Sequence[Event], opened: Opened) -> set[str]:
    """The devices that events name, all read or all unread; empty for an event that names none."""
    if events[0] is not UNREAD:
        return {getattr(event, "device", "") for event in events}
    bodies, schemas = opened.bodies, opened.schemas
    if schemas.count(schemas[0]) == len(schemas):
        return devices_of(bodies, schemas[0])
    return set().union(*(devices_of([body], schema) for body, schema in zip(bodies, schemas, strict=True)))
