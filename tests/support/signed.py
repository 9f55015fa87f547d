"""Signed records for tests of admission: a founded site in memory, with keys that never change, and ways to cheat."""

from collections.abc import Callable, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.admission import Admission, Admitted, Refused, Stored
from schemas.codec import Schema, frame, own_schemas
from schemas.envelope import Record, Stray, record_digest
from schemas.events import KeyEnrolled, SchemaPublished
from schemas.keys import key_id, raw_public_key
from schemas.seal import seal_batch
from schemas.words import Event
from streams.author import Draft, Scribe, seal_all

SITE = "site-a"
NOW_US = 1_800_000_000_000_000
SCHEMAS: dict[str, Schema] = {schema.event_type: schema for schema in own_schemas()}
MEMBERS = {
    "gateway:main": ("gateway", ()),
    "stage:policy": ("policy", ()),
    "device:trap": ("device", ("trap",)),
    "clock:main": ("clock", ()),
}


def private_key(name: str) -> Ed25519PrivateKey:
    """A key that follows from a name."""
    return Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"\0"))


def enrolment(source: str, role: str, devices: tuple[str, ...] = (), name: str = "") -> KeyEnrolled:
    """The event that enrols the key of a source."""
    public_key = raw_public_key(private_key(name or source))
    return KeyEnrolled(key_id=key_id(public_key), public_key=public_key, source=source, role=role, devices=devices)


class Signers:
    """All members of a founded site, and a reader that has read the founding."""

    def __init__(self) -> None:
        self.scribes: dict[str, Scribe] = {}
        self.admission = Admission(raw_public_key(private_key("root")), SITE)
        self._offsets: dict[str, int] = {}
        founding = [
            SchemaPublished(schema_id=schema.schema_id, event_type=schema.event_type, text=schema.text)
            for schema in SCHEMAS.values()
        ]
        enrolled = [enrolment(source, role, devices) for source, (role, devices) in MEMBERS.items()]
        assert all(isinstance(each, Admitted) for each in self.judge(*self.batch("root", *founding, *enrolled)))

    def batch(self, source: str, *events: Event, topic: str = "governance", **fields: Any) -> list[Record]:
        """Events in one sealed batch."""
        scribe = self.scribes.setdefault(source, Scribe(source, SITE, SCHEMAS))
        drafts = [Draft(topic, event, "job-1", NOW_US)._replace(**fields) for event in events]
        return seal_all([scribe.write(draft) for draft in drafts], private_key(source))

    def one(self, source: str, event: Event, topic: str, **fields: Any) -> Record:
        """One event in a batch of its own."""
        [record] = self.batch(source, event, topic=topic, **fields)
        return record

    def resealed(self, record: Record, **changes: Any) -> Record:
        """A record changed and sealed again by its author: what a cheat with a key of its own can do."""
        changed = record._replace(**changes)
        schema = next(s for s in SCHEMAS.values() if frame(s.schema_id, b"") == changed.value[:5])
        [sealed] = seal_batch([changed], [record_digest(changed, schema.digest)], private_key(record.source))
        return sealed

    def judge(self, *records: Record | Stray, at_us: int = NOW_US) -> list[Admitted | Refused]:
        """What a reader says that reads these records of one topic next."""
        return list(self.admission.admit(self.stored(*records, at_us=at_us)))

    def stored(self, *records: Record | Stray, at_us: int = NOW_US) -> list[Stored]:
        """Records with the next places of their topic."""
        stored = []
        for record in records:
            offset = self._offsets.get(record.topic, 0)
            self._offsets[record.topic] = offset + 1
            stored.append(Stored(record.topic, 0, offset, at_us, record))
        return stored


Case = Callable[[Signers], Sequence[Record | Stray]]
