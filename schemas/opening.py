"""Records to digests: whether neighbours claim one batch, and whether their seals hold over the bytes as they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.codec import FRAME_BYTES, Schema, frame, unframe
from schemas.envelope import (
    HEADER_BYTES_MAX,
    VALUE_BYTES_MAX,
    EnvelopeInvalid,
    Record,
    Stray,
    statement,
    why_stray,
)
from schemas.merkle import leaf_hashes, root_from_path, tree_levels
from schemas.seal import PREFIX_BYTES, Seal, batch_begun, batch_message, batch_seals, seal_of


class Stored(NamedTuple):
    """A record with its place on the log."""

    topic: str
    partition: int
    offset: int
    append_time_us: int
    record: Record | Stray


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

    def check(self, group: Sequence[Stored]) -> list[Sealed]:
        """Check the seals of neighbours that claim one batch.

        A whole batch has its tree built once, and its seals are compared with those they must be. In a part of a batch
        each record is checked by its own path.
        """
        records = [stored.record for stored in group]
        seal, key = self._claim(records[0])
        opened = self._open(records, key)
        leaves = leaf_hashes([digest for _, _, digest, _ in opened])
        if seal.size == len(records):
            levels = tree_levels(leaves)
            if batch_seals(seal.prefix, levels) == [record[-1] for record in records]:
                self._check_signature(seal, key, levels[-1][0])
                return opened
        for record, leaf in zip(records, leaves, strict=True):
            seal, claimed = self._claim(record)
            if claimed is not key:
                raise EnvelopeInvalid("seal_broken", "neighbours name different keys: they are of no one batch")
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
            opened.append((key, schema, sha256(b"\x00" + text).digest(), body))  # `digest_of`, without the call
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


def batch_end(records: Sequence[Stored], at: int) -> int:
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
