r"""Reasons that can be erased: the text lies in a vault, a pointer stands where it would stand on the log.

    text digest  SHA-256(`qpubus reason 1\n` ‖ salt (32 bytes) ‖ UTF-8 of the text)
    pointer      `vault:` subject `/` text digest, in hexadecimal

A person, or an agent, signs the pointer in place of the text, and whatever follows from the reason repeats the pointer:
so no event, state or export ever has the text, and every signature holds when it is gone. `subject` is whose text it
is. Without the salt the digest says nothing about the text, however few texts there could have been.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Annotated

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field, StringConstraints

from schemas.words import Identifier, Words

REASON_CHARS_MAX = 1_000
_SALT_BYTES = 32
_POINTER = re.compile(r"vault:([A-Za-z0-9][A-Za-z0-9._:@+-]{0,127})/([0-9a-f]{64})(?![0-9a-f])")


class KeptReason(Words):
    """A reason as the vault keeps it."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=REASON_CHARS_MAX)]
    subject: Identifier
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def text_digest(self) -> str:
        """The salted digest of the text."""
        return sha256(b"qpubus reason 1\n" + bytes.fromhex(self.salt) + self.text.encode()).hexdigest()

    @property
    def pointer(self) -> str:
        """What stands on the log in place of the text."""
        return f"vault:{self.subject}/{self.text_digest}"


def keep_reason(text: str, subject: str, about: str, secret: bytes) -> KeptReason:
    """A reason to be kept, for something said about a job, a halt, a key or whatever has a name.

    The salt follows from the subject's secret: the same said again has the same pointer.
    """
    derived = HKDF(hashes.SHA256(), _SALT_BYTES, salt=None, info=f"qpubus reason salt 1\n{about}\n{text}".encode())
    return KeptReason(text=text, subject=subject, salt=derived.derive(secret).hex())


def pointed_at(reason: str) -> tuple[str, str] | None:
    """Subject and text digest of a reason that is a pointer and nothing else."""
    found = _POINTER.fullmatch(reason)
    return (found[1], found[2]) if found else None


def with_texts(text: str, text_of: Callable[[str, str], str]) -> str:
    """A text with `text_of(subject, text digest)` in place of each pointer."""
    return _POINTER.sub(lambda found: text_of(found[1], found[2]), text)
