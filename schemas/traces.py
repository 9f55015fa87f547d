r"""Decision traces: why an agent declared its job. A summary stays for good, the full text can be erased.

The agent's signed manifest names a trace by one digest, which binds both parts:

    text digest   SHA-256(`qpubus trace text 1\n` ‖ salt (32 bytes) ‖ RFC 8785 of the trace)
    trace digest  SHA-256(`qpubus trace 1\n` ‖ SHA-256(RFC 8785 of the summary) ‖ text digest)

On the log stand the summary and the text digest, so anybody can check for ever that they are what the agent signed.
Text and salt lie in a vault (`agents.vault`). Without the salt the text digest says nothing about the text, however few
texts there could have been.
"""

from hashlib import sha256
from typing import Annotated

import rfc8785
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field, StringConstraints, model_validator

from schemas.manifest import plain
from schemas.words import HexDigest, Identifier, Words

SALT_BYTES = 32
SUMMARY_CHARS_MAX = 280
TEXT_BYTES_MAX = 64 * 1024
_Text = Annotated[str, StringConstraints(min_length=1, max_length=16_384)]
_Said = Annotated[str, StringConstraints(max_length=SUMMARY_CHARS_MAX)]
_Salt = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class TraceOption(Words):
    """Something that could have been done."""

    name: Identifier
    text: _Text


class DecisionTrace(Words):
    """The full text: what was wanted, what could have been done, what was chosen and why, on what evidence."""

    goal: _Text
    options: tuple[TraceOption, ...] = Field(min_length=1, max_length=16)
    choice: Identifier = Field(description="the name of the option that was taken")
    reason: _Text
    evidence: tuple[HexDigest, ...] = Field(default=(), max_length=64, description="SHA-256 of what was looked at")

    @model_validator(mode="after")
    def _choice_is_an_option(self) -> "DecisionTrace":
        if self.choice not in {option.name for option in self.options}:
            raise ValueError("the choice is none of the options")
        return self


class TraceSummary(Words):
    """What of a trace stays on the log for good. It must hold nothing that somebody may want erased."""

    options: tuple[Identifier, ...]
    choice: Identifier
    evidence: tuple[HexDigest, ...] = ()
    said: _Said = Field(default="", description="one sentence for everybody")


class SealedTrace(Words):
    """A trace on its way to the vault beside the manifest that names it. `subject` is whose it is, a pseudonym."""

    trace: DecisionTrace
    said: _Said = ""
    subject: Identifier
    salt: _Salt

    @property
    def summary(self) -> TraceSummary:
        """What of it goes on the log."""
        names = tuple(option.name for option in self.trace.options)
        return TraceSummary(options=names, choice=self.trace.choice, evidence=self.trace.evidence, said=self.said)

    @property
    def text_digest(self) -> str:
        """The salted digest of the full text."""
        return sha256(b"qpubus trace text 1\n" + bytes.fromhex(self.salt) + self._text).hexdigest()

    @property
    def text_bytes(self) -> int:
        """How long the full text is."""
        return len(self._text)

    @property
    def _text(self) -> bytes:
        return rfc8785.dumps(plain(self.trace))

    @property
    def digest(self) -> str:
        """What the manifest names."""
        return trace_digest(self.summary, self.text_digest)


def trace_digest(summary: TraceSummary, text_digest: str) -> str:
    """The digest in a manifest, from what stands on the log."""
    public = sha256(rfc8785.dumps(plain(summary))).digest()
    return sha256(b"qpubus trace 1\n" + public + bytes.fromhex(text_digest)).hexdigest()


def seal_trace(trace: DecisionTrace, said: str, subject: str, job_id: str, key: Ed25519PrivateKey) -> SealedTrace:
    """A trace sealed by its agent. The salt follows from key and job id: no chance is in it, nobody can guess it."""
    derived = HKDF(hashes.SHA256(), SALT_BYTES, salt=None, info=f"qpubus trace salt 1\n{job_id}".encode())
    salt = derived.derive(key.private_bytes_raw())
    return SealedTrace(trace=trace, said=said, subject=subject, salt=salt.hex())
