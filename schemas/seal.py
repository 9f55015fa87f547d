"""The seal of a batch: one Ed25519 signature over the RFC 6962 root of many events; each still verifies alone.

The header `qb_seal` of each event of a batch, in bytes:

    version     1    01
    key id     16    first bytes of SHA-256(public key)
    signature  64    Ed25519 over DSSE PAE(`application/vnd.qpubus.batch.v1`, root ‖ size as 8 bytes)
    index       4    place of the event in the batch, from 0, big-endian
    size        4    events in the batch
    path     32·n    audit path of the event's digest, lowest sibling first

All events of a batch have one topic, one key and one source. A batch of one has an empty path.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.envelope import EnvelopeInvalid, Record
from schemas.keys import KEY_ID_BYTES, key_id, raw_public_key
from schemas.merkle import audit_paths, leaf_hashes, tree_levels

PAYLOAD_TYPE = b"application/vnd.qpubus.batch.v1"
BATCH_MAX = 4_096
_VERSION = b"\x01"
PREFIX_BYTES = 1 + KEY_ID_BYTES + 64
"""Version, key id and signature: the part that all seals of a batch share."""
_PLACE = struct.Struct(">II").pack
_SIZE_AT = PREFIX_BYTES + 4
_FIXED_BYTES = PREFIX_BYTES + 8
_PATH_BYTES_MAX = 32 * 12
SEAL_BYTES_MAX = _FIXED_BYTES + _PATH_BYTES_MAX
"""The longest seal: that of an event in a batch of `BATCH_MAX`."""


class Seal(NamedTuple):
    """A seal taken apart. `prefix` (version, key id, signature) is the same bytes for all events of a batch."""

    prefix: bytes
    key_id: str
    signature: bytes
    place: int
    size: int
    path: bytes


def pae(payload_type: bytes, payload: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding: what is signed for a payload of a type."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type, len(payload), payload)


def batch_message(root: bytes, size: int) -> bytes:
    """The bytes that a batch seal signs."""
    return pae(PAYLOAD_TYPE, root + size.to_bytes(8, "big"))


def seal_batch(records: Sequence[Record], digests: Sequence[bytes], key: Ed25519PrivateKey) -> list[Record]:
    """The same records, each with its seal; `digests` are theirs in order (a digest does not depend on the seal)."""
    return seal_leaves(records, leaf_hashes(digests), key)


def seal_leaves(records: Sequence[Record], leaves: Sequence[bytes], key: Ed25519PrivateKey) -> list[Record]:
    """The same, by the leaf hashes of the digests."""
    levels = tree_levels(leaves)
    signature = key.sign(batch_message(levels[-1][0], len(leaves)))
    prefix = _VERSION + bytes.fromhex(key_id(raw_public_key(key))) + signature
    seals = batch_seals(prefix, levels)
    return [tuple.__new__(Record, (*record[:12], seal)) for record, seal in zip(records, seals, strict=True)]


def batch_seals(prefix: bytes, levels: Sequence[Sequence[bytes]]) -> list[bytes]:
    """The seals of all events of a batch, in order: `prefix` is what they share, `levels` the tree over the batch."""
    size = len(levels[0])
    return [prefix + _PLACE(index, size) + path for index, path in enumerate(audit_paths(levels))]


def batch_begun(header: bytes) -> int:
    """The size of the batch whose first seal this claims to be; 0 for any other header."""
    return batch_size(header) if header[PREFIX_BYTES:_SIZE_AT] == bytes(4) else 0


def batch_size(header: bytes) -> int:
    """How many events the batch has that this claims to be a seal of."""
    return int.from_bytes(header[_SIZE_AT:_FIXED_BYTES], "big")


def seal_of(header: bytes) -> Seal:
    """A seal from its header bytes; `EnvelopeInvalid` if they are no seal."""
    path_bytes = len(header) - _FIXED_BYTES
    if path_bytes < 0 or path_bytes % 32 or path_bytes > _PATH_BYTES_MAX or header[:1] != _VERSION:
        raise EnvelopeInvalid("seal_malformed", "the header qb_seal is no seal of version 1")
    index = int.from_bytes(header[PREFIX_BYTES : PREFIX_BYTES + 4], "big")
    size = int.from_bytes(header[PREFIX_BYTES + 4 : _FIXED_BYTES], "big")
    if not index < size <= BATCH_MAX:
        raise EnvelopeInvalid("seal_malformed", f"a seal for place {index} of {size}")
    prefix = header[:PREFIX_BYTES]
    return Seal(
        prefix,
        prefix[1 : 1 + KEY_ID_BYTES].hex(),
        prefix[1 + KEY_ID_BYTES :],
        index,
        size,
        header[_FIXED_BYTES:],
    )
