"""SHA-256 as lower-case hex: of bytes, and of a list of parts that cannot be mistaken for another list."""

import re
from hashlib import sha256

_HEX = re.compile(r"[0-9a-f]{64}\Z")


def sha256_hex(data: bytes) -> str:
    """The digest of bytes."""
    return sha256(data).hexdigest()


def digest_of_parts(*parts: str | int) -> str:
    """The digest of parts, each preceded by its length in bytes."""
    texts = [str(part).encode() for part in parts]
    return sha256_hex(b"".join(b"%d:%s" % (len(text), text) for text in texts))


def is_digest(text: str) -> bool:
    """Whether a text is a digest in the form above."""
    return _HEX.match(text) is not None
