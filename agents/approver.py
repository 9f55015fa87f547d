"""An approver: a statement that they have been shown goes in, their signed yes or no comes out."""

from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.replies import Answer
from schemas.events import ApprovalStatement, HumanProof
from schemas.keys import key_id, raw_public_key
from schemas.proofs import approval_payload


class Signer(Protocol):
    """Whatever a person signs with."""

    @property
    def key_id(self) -> str:
        """The id of their key."""
        ...

    def sign(self, payload: bytes) -> HumanProof:
        """Their signature over a payload."""
        ...


@dataclass(frozen=True)
class PlainSigner:
    """An Ed25519 key that lies in a file."""

    key: Ed25519PrivateKey

    @property
    def key_id(self) -> str:
        """The id of the key."""
        return key_id(raw_public_key(self.key))

    def sign(self, payload: bytes) -> HumanProof:
        """The signature over a payload."""
        return HumanProof(proof_type="ed25519", key_id=self.key_id, signature=self.key.sign(payload))


def grant(statement: ApprovalStatement, signer: Signer) -> Answer:
    """Yes to exactly this statement. To be shown it is the business of whoever asks the signer."""
    return Answer(statement.job_id, statement.intent_digest, signer.sign(approval_payload(statement, "grant")))


def deny(statement: ApprovalStatement, reason: str, signer: Signer) -> Answer:
    """No, with a reason that the agent gets to read."""
    return Answer(statement.job_id, statement.intent_digest, signer.sign(approval_payload(statement, "deny", reason)))


@dataclass(frozen=True)
class Approver:
    """A person with a plain key of their own."""

    source: str
    key: Ed25519PrivateKey

    def grant(self, statement: ApprovalStatement) -> Answer:
        """Yes to exactly this statement."""
        return grant(statement, PlainSigner(self.key))

    def deny(self, statement: ApprovalStatement, reason: str) -> Answer:
        """No, with a reason that the agent gets to read."""
        return deny(statement, reason, PlainSigner(self.key))
