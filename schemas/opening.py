"""Records to digests: whether neighbours claim one batch, and whether their seals hold over the bytes as they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.batch import Batch
from schemas.codec import FRAME_BYTES, Schema, frame, unframe
from schemas.envelope import HEADER_BYTES_MAX, VALUE_BYTES_MAX, EnvelopeInvalid, preimages
from schemas.keys import KeyInvalid
from schemas.merkle import leaf_hashes, root_from_path, tree_levels
from schemas.people import PersonKey
from schemas.seal import Seal, batch_message, batch_seals, seal_of


@dataclass(slots=True)
class EnrolledKey:
    """A key as governance events describe it.

    A revocation names as causes the last that the key's source had said in each topic: those numbers stand in
    `counts_to`. Up to them the key's records count wherever they are read, beyond them nowhere. Of a source that had
    said nothing it names the enrolment instead, and nothing counts; without any cause it leaves open what counts, and
    `counts_to` is None. `person` is there for
    keys of people; theirs may be of a kind that signs no records, and then `record_key` is not.
    """

    key_id: str
    record_key: Ed25519PublicKey | None
    source: str
    role: str
    devices: tuple[str, ...]
    assurance: str
    person: PersonKey | None = None
    reads: str = "own"
    revoked: bool = False
    counts_to: dict[str, int] | None = None

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The key of a part or an agent; `KeyInvalid` for a person's key of a kind that signs no records."""
        if self.record_key is None:
            raise KeyInvalid("the key is a person's and signs no records")
        return self.record_key


class Opened(NamedTuple):
    """What is known of neighbours whose seals hold: their key; of each its schema, digest, leaf hash and body."""

    key: EnrolledKey
    schemas: list[Schema]
    digests: list[bytes]
    leaves: list[bytes]
    bodies: list[bytes]


@dataclass
class Opener:
    """Checks seals by the keys and schemas of one site, as far as they are known by now."""

    site: str
    keys: dict[str, EnrolledKey] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)
    signatures: int = 0
    _framed: dict[bytes, Schema] = field(default_factory=dict)
    _held: tuple[bytes, int, bytes | None] | None = None

    def learn(self, schema: Schema) -> None:
        """Take in a published schema."""
        self.schemas[schema.schema_id] = schema
        self._framed[frame(schema.schema_id, b"")] = schema

    def check(self, group: Batch) -> Opened:
        """Check the seals of neighbours that claim one batch; a reason that is given is exact for a group of one.

        A whole batch has its tree built once, and its seals are compared with those they must be. In a part of a batch
        each record is checked by its own path.
        """
        seals: Sequence[bytes] = group.columns[-1]
        seal, key = self._claim(seals[0])
        opened = self._open(group, key)
        if seal.size == len(seals):
            levels = tree_levels(opened.leaves)
            if batch_seals(seal.prefix, levels) == list(seals):
                self._check_signature(seal, key, levels[-1][0])
                return opened
        for header, leaf in zip(seals, opened.leaves, strict=True):
            seal, claimed = self._claim(header)
            if claimed is not key:
                raise EnvelopeInvalid("seal_broken", "neighbours name different keys: they are of no one batch")
            self._check_signature(seal, key, root_from_path(leaf, seal.place, seal.size, seal.path))
        return opened

    def _claim(self, header: bytes) -> tuple[Seal, EnrolledKey]:
        """The seal of a record, and the key that it says has made it."""
        if len(header) > HEADER_BYTES_MAX:
            raise EnvelopeInvalid("header_oversized", f"the header qb_seal has {len(header)} bytes")
        seal = seal_of(header)
        key = self.keys.get(seal.key_id)
        if key is None:
            raise EnvelopeInvalid("key_unknown", f"the key {seal.key_id} is not enrolled")
        return seal, key

    def _open(self, group: Batch, key: EnrolledKey) -> Opened:
        """The digests of records, over their bytes as they are, if all of them may have been said under this key."""
        keys, values, _, types, sources, *_, seals = group.columns
        if (longest := max(map(len, values))) > VALUE_BYTES_MAX:
            raise EnvelopeInvalid("value_oversized", f"the value has {longest} bytes")
        for other in {*keys} - {self.site}:
            raise EnvelopeInvalid("site_foreign", f"the key {other[:64]!r} is not this site")
        for other in {*sources} - {key.source}:
            raise EnvelopeInvalid("source_forbidden", f"the key {key.key_id} is not of {other[:64]}")
        schemas = [schema for value in values if (schema := self._framed.get(value[:FRAME_BYTES]))]
        if len(schemas) < len(values):
            raise EnvelopeInvalid("schema_unknown", f"no schema {unframe(values[len(schemas)])[0]} is published")
        if [schema.event_type for schema in schemas] != list(types):
            raise EnvelopeInvalid("type_mismatch", f"schema {schemas[0].schema_id} is not of {types[0][:64]}")
        bodies = [value[FRAME_BYTES:] for value in values]
        texts = preimages(
            group.topic,
            group.columns,
            [schema.digest for schema in schemas],
            [sha256(body).hexdigest() for body in bodies],
        )
        if max(map(len, texts)) - 1 + max(map(len, seals)) > HEADER_BYTES_MAX:
            raise EnvelopeInvalid("header_oversized", f"the headers have over {HEADER_BYTES_MAX} bytes")
        digests = [sha256(text).digest() for text in texts]
        return Opened(key, schemas, digests, leaf_hashes(digests), bodies)

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
        except KeyInvalid as error:
            raise EnvelopeInvalid("seal_broken", str(error)) from None
        except InvalidSignature:
            raise EnvelopeInvalid("seal_broken", "the seal does not hold for these bytes") from None
        self._held = batch
