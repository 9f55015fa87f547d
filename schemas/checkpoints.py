"""What a round of checkpoints seals: the names of the trees, their leaves from records, their checkpoints as notes.

There is one tree a topic-partition. A record's place in the tree is its place among the committed records, its leaf the
RFC 6962 leaf hash of its digest: of its statement, or of its raw bytes if it has none. The text of a schema goes into
the statement, so a record has one if its schema was published in time: `Vocabulary` says when that is.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from operator import itemgetter

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.admission import Admission, Admitted
from schemas.batch import Batch, Stored
from schemas.codec import FRAME_BYTES
from schemas.envelope import EnvelopeInvalid, Record, Stray, preimages, raw_preimage, statement
from schemas.events import SchemaPublished, TreeHead
from schemas.keys import key_id
from schemas.note import Checkpoint, Kind, Note, NoteKey, Signature, sign_text

Sizes = Mapping[str, int]
"""Of each topic, how many records."""


def origin_of(root_public_key: bytes, topic: str, partition: int) -> str:
    """The name of a tree. It follows from the root key, so no second history of a topic can go by another name."""
    return f"{home_of(root_public_key)}{topic}/{partition}"


def home_of(root_public_key: bytes) -> str:
    """What the names of all trees under a root key begin with."""
    return f"qpubus/{key_id(root_public_key)}/"


def head_of(origin: str, topic: str, size: int, root: bytes, key: Ed25519PrivateKey) -> TreeHead:
    """A signed tree head."""
    text = Checkpoint(origin, size, root).text
    return TreeHead(topic=topic, size=size, root=root.hex(), signature=sign_text(key, origin, text).signature)


def note_of(origin: str, head: TreeHead, sealer: bytes) -> Note:
    """The signed note of a tree head; `sealer` is the public key that signed it."""
    text = Checkpoint(origin, head.size, bytes.fromhex(head.root)).text
    return Note(text, (Signature(origin, NoteKey(origin, Kind.TEXT, sealer).key_id, head.signature),))


def head_holds(origin: str, head: TreeHead, sealer: bytes) -> bool:
    """Whether the signature on a tree head is the sealer's."""
    note = note_of(origin, head, sealer)
    return NoteKey(origin, Kind.TEXT, sealer).holds(note.signatures[0], note.text)


class Vocabulary:
    """Tells which records have a statement: a fold over governance and rounds, the same for sealer and auditor.

    A schema counts for a record if it is published on governance as far as the round goes that first covers the
    record. So a record that names a schema before anyone has published it has a leaf that no later event can change.
    """

    def __init__(self, roots: Mapping[str, bytes]) -> None:
        """`roots` gives the root public key of each site on the partition number."""
        self._admissions = {
            site: Admission(root, site, topics=frozenset(), passes_over_revocations=True)
            for site, root in roots.items()
        }
        first = {site: admission.schemas[1] for site, admission in self._admissions.items()}
        self._digests = {(site, _frame(1)): schema.digest for site, schema in first.items()}
        self._late: dict[tuple[str, bytes], Sizes] = {}
        self._steps: list[tuple[int, Sizes]] = []
        self._sealed: Sizes = {}

    def seal(self, sizes: Sizes) -> None:
        """Take in a round: how far it goes in each topic."""
        if sizes.get("governance", 0) > self._sealed.get("governance", 0):
            self._steps.append((sizes["governance"], self._sealed))
        self._sealed = dict(sizes)

    def read(self, records: Sequence[Stored]) -> None:
        """Take in records of governance, in their order. The rounds that cover them come before, if there are any."""
        for stored in records:
            site = stored.record.key
            admission = self._admissions.get(site) if isinstance(site, str) else None
            for verdict in admission.admit([stored]) if admission else ():
                if isinstance(verdict, Admitted) and isinstance(verdict.event, SchemaPublished):
                    self._publish(stored.record.key, verdict.event, stored.offset)

    def first_places(self, topic: str) -> int:
        """From this place on, records of a topic have a statement by every schema that is published."""
        return max((sizes.get(topic, 0) for sizes in self._late.values()), default=0)

    def knows(self, named: frozenset[tuple[str, bytes]]) -> bool:
        """Whether all records with these keys and frames have a statement by the schema of that number."""
        return not self._late and named <= self._digests.keys()

    def digests(self, records: Sequence[Stored]) -> list[bytes]:
        """The digests of records of one topic, from their bytes."""
        with suppress(EnvelopeInvalid):
            if records and not self._late and not any(isinstance(stored.record, Stray) for stored in records):
                return self._digests_of_statements(Batch.of(records))
        return [sha256(self.preimage(stored)).digest() for stored in records]

    def _digests_of_statements(self, batch: Batch) -> list[bytes]:
        """The digests of records that all have a statement, in less time; `EnvelopeInvalid` if one has none."""
        keys, values = batch.columns[:2]
        named = [(key, value[:FRAME_BYTES]) for key, value in zip(keys, values, strict=True)]
        schemas = [digest for each in named if (digest := self._digests.get(each))]
        if len(schemas) < len(named):
            raise EnvelopeInvalid("schema_unknown", "no schema of it is published")
        bodies = [sha256(value[FRAME_BYTES:]).hexdigest() for value in values]
        return [sha256(text).digest() for text in preimages(batch.topic, batch.columns, schemas, bodies)]

    def preimage(self, stored: Stored) -> bytes:
        """The bytes of which a record's digest is the SHA-256: 00 ‖ its statement, or 01 ‖ its parts as received."""
        record = stored.record
        if isinstance(record, Stray):
            return raw_preimage(record)
        schema = self._digests.get((record.key, record.value[:FRAME_BYTES]))
        if schema is None or (self._late and self._is_early(stored, record)):
            return raw_preimage(record)
        try:
            return b"\x00" + statement(record, schema, sha256(record.value[FRAME_BYTES:]).hexdigest())
        except EnvelopeInvalid:
            return raw_preimage(record)

    def _publish(self, site: object, event: SchemaPublished, offset: int) -> None:
        named = (str(site), _frame(event.schema_id))
        if named in self._digests:
            return
        self._digests[named] = sha256(event.text.encode()).hexdigest()
        step = bisect_right(self._steps, offset, key=itemgetter(0))
        before = self._steps[step][1] if step < len(self._steps) else self._sealed
        if any(before.values()):
            self._late[named] = before

    def _is_early(self, stored: Stored, record: Record) -> bool:
        before = self._late.get((record.key, record.value[:FRAME_BYTES]))
        return before is not None and stored.offset < before.get(stored.topic, 0)


def _frame(schema_id: int) -> bytes:
    return b"\x00" + schema_id.to_bytes(FRAME_BYTES - 1, "big")
