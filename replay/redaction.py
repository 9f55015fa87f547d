"""What a redacted bundle shows of a record: who said what kind of thing when and because of what, and not its words.

A statement holds the SHA-256 of its event's body, so without the body every seal, cause and inclusion proof can still
be checked. Bodies go along only where nothing could be believed without them, or where they are nothing but
identifiers, digests and signatures. That list is short and says what is shown: an event that is new is withheld.

A body's digest has no salt. Whoever can guess a whole body, field by field, can find out that they guessed right: what
has few possible values, such as the price that was captured, is hidden from readers and not from who tries them all.
"""

from schemas.codec import FRAME_BYTES
from schemas.digests import sha256_hex
from schemas.envelope import Record
from schemas.events import ApprovalGranted, EventRejected, KeyEnrolled, KeyRevoked, SchemaPublished
from schemas.words import wire_name

_SHOWN = frozenset(
    wire_name(each) for each in (SchemaPublished, KeyEnrolled, KeyRevoked, EventRejected, ApprovalGranted)
)
"""What tells schemas and keys, what excuses a refused record, and who granted which intent by which key."""
_MUST_BE_SEEN = "governance"
"""The topic in which a stranger must see for himself of each record that it revokes no key."""


def withheld(topic: str, record: object, preimage: bytes) -> tuple[bytes, str] | None:
    """What is left of the value of a record whose words are withheld, and the SHA-256 of these; None if they are shown.

    `preimage` is that of the record's digest. With a statement the frame is left, which names the schema. A record
    that has none is no event, and nothing is left of it: the digest is its own.
    """
    if preimage[:1] != b"\0":
        return None if topic == _MUST_BE_SEEN else (b"", sha256_hex(preimage))
    if not isinstance(record, Record) or record.type in _SHOWN:
        return None
    return record.value[:FRAME_BYTES], sha256_hex(record.value[FRAME_BYTES:])
