"""What an agent signs when it wants a device measured anew: one small JSON value, RFC 8785."""

from typing import Annotated

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, StringConstraints, ValidationError

from schemas.events.intents import CalibrationRequested
from schemas.keys import key_id, raw_public_key
from schemas.manifest import plain
from schemas.proofs import TYPE_CALIBRATION, ProofInvalid, sign_jws, verify_jws
from schemas.words import Identifier, Words

MAX_AGE_S_MAX = 31 * 86_400


class CalibrationWish(Words):
    """One request, named by the agent so that saying it again changes nothing."""

    request_id: Identifier
    site: Identifier
    device: Identifier
    max_age_s: int = Field(ge=0, le=MAX_AGE_S_MAX, description="a calibration younger than this will do")
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1_000)]

    def is_of(self, requested: CalibrationRequested, site: str) -> bool:
        """Whether an event of a site asks for this very thing."""
        asked = (requested.request_id, site, requested.device, requested.max_age_s, requested.reason)
        return asked == (self.request_id, self.site, self.device, self.max_age_s, self.reason)


def sign_calibration(wish: CalibrationWish, key: Ed25519PrivateKey) -> str:
    """The agent's proof: a compact JWS with the wish as its payload."""
    return sign_jws(rfc8785.dumps(plain(wish)), key, key_id(raw_public_key(key)), TYPE_CALIBRATION)


def signed_calibration(proof: str, key: Ed25519PublicKey) -> CalibrationWish:
    """The wish in a proof that holds under this key; `ProofInvalid` if it does not, or holds something else."""
    try:
        return CalibrationWish.model_validate_json(verify_jws(proof, key, TYPE_CALIBRATION))
    except ValidationError as error:
        raise ProofInvalid(f"what was signed is no request for a calibration: {error.errors()[0]['msg']}") from None
