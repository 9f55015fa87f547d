"""An approver: a statement that they have been shown goes in, their signed yes or no comes out."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.replies import Answer
from schemas.events import ApprovalStatement
from schemas.keys import key_id, raw_public_key
from schemas.proofs import approval_payload


@dataclass(frozen=True)
class Approver:
    """A person with a key of their own. To be shown what they sign is the business of whoever asks them."""

    source: str
    key: Ed25519PrivateKey

    def grant(self, statement: ApprovalStatement) -> Answer:
        """Yes to exactly this statement."""
        return self._sign(statement, approval_payload(statement, "grant"))

    def deny(self, statement: ApprovalStatement, reason: str) -> Answer:
        """No, with a reason that the agent gets to read."""
        return self._sign(statement, approval_payload(statement, "deny", reason))

    def _sign(self, statement: ApprovalStatement, payload: bytes) -> Answer:
        signature = self.key.sign(payload)
        return Answer(statement.job_id, statement.intent_digest, key_id(raw_public_key(self.key)), signature)
