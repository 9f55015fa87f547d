"""Topic `checkpoints`: how far the log had grown and what it held then, sealed by its operator, seen by witnesses."""

from pydantic import Field

from schemas.words import Count, Event, HexDigest, Words


class TreeHead(Words):
    """The tree of one topic: how many records it has and the RFC 6962 root over their digests.

    `signature` is the sealer's, over the text of this tree's C2SP checkpoint (`schemas.note`): so anyone can publish
    the signed note without having the key.
    """

    topic: str
    size: Count
    root: HexDigest
    signature: bytes = Field(min_length=64, max_length=64)


class CheckpointSealed(Event):
    """A round: the trees of all topics of one partition number. Rounds are counted from 1."""

    round: int = Field(ge=1, lt=1 << 62)
    partition: Count
    heads: tuple[TreeHead, ...]


class Cosignature(Words):
    """What a witness said of one tree of a round: its name and key id, and the signature as its note line has it."""

    topic: str
    witness: str = Field(max_length=512)
    key_id: str = Field(pattern=r"^[0-9a-f]{8}$")
    signature: bytes = Field(min_length=72, max_length=72, description="UNIX time in 8 bytes, then Ed25519")


class CheckpointWitnessed(Event):
    """A witness found trees of a round consistent with all that it had seen before, and cosigned them."""

    round: int = Field(ge=1, lt=1 << 62)
    partition: Count
    cosignatures: tuple[Cosignature, ...]
