"""Passkeys at their enrolment: options for a browser come out, what the browser made goes in, checked, as a key.

The challenge follows from whom and where the passkey is for, so that no state is kept between the two steps: what one
person registered cannot be enrolled for another, and the same again is a key that is known already.
"""

import base64
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import rfc8785
from webauthn import verify_registration_response
from webauthn.helpers import decode_credential_public_key
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.decode_credential_public_key import DecodedEC2PublicKey, DecodedOKPPublicKey
from webauthn.helpers.exceptions import WebAuthnException

from qpubus.problem import Problem
from schemas.people import ED25519, ES256, PersonKey
from streams.disk import read_small

_FILE_BYTES_MAX = 1 << 16
_ALGORITHMS = [COSEAlgorithmIdentifier.EDDSA, COSEAlgorithmIdentifier.ECDSA_SHA_256]


def challenge_of(site: str, source: str) -> bytes:
    """What a registration for a person at a site must have signed: SHA-256 of RFC 8785 JSON that says so."""
    return sha256(rfc8785.dumps({"enrol": source, "site": site})).digest()


def creation_options(site: str, source: str, relying_party: str) -> dict[str, Any]:
    """What a browser is given (WebAuthn level 3, PublicKeyCredentialCreationOptionsJSON)."""
    return {
        "rp": {"id": relying_party, "name": f"qpubus {site}"},
        "user": {"id": _unpadded(sha256(f"{site}\0{source}".encode()).digest()), "name": source, "displayName": source},
        "challenge": _unpadded(challenge_of(site, source)),
        "pubKeyCredParams": [{"type": "public-key", "alg": int(each)} for each in _ALGORITHMS],
        "authenticatorSelection": {"userVerification": "required", "residentKey": "preferred"},
        "attestation": "none",
    }


def read_registration(file: Path, site: str, source: str, relying_party: str, origin: str) -> tuple[PersonKey, str]:
    """The passkey in a registration (`credential.toJSON()`), and its credential id; `Problem` if it does not hold."""
    content = read_small(file, _FILE_BYTES_MAX)
    try:
        verified = verify_registration_response(
            credential=content.decode(errors="replace"),
            expected_challenge=challenge_of(site, source),
            expected_rp_id=relying_party,
            expected_origin=origin,
            require_user_verification=True,
            supported_pub_key_algs=_ALGORITHMS,
        )
        public_key = decode_credential_public_key(verified.credential_public_key)
    except (WebAuthnException, orjson.JSONDecodeError, ValueError, KeyError) as error:
        raise Problem(
            f"{file} is no registration of a passkey for {source} at {site}, {origin}: {error}",
            f"Begin anew: qpubus keys passkey {source} --relying-party {relying_party}",
            code="registration_invalid",
        ) from None
    match public_key:
        case DecodedEC2PublicKey(x=x, y=y) if len(x) == len(y) == 32:
            key = PersonKey(b"\x04" + x + y, "webauthn", ES256, relying_party, origin)
        case DecodedOKPPublicKey(x=x):
            key = PersonKey(x, "webauthn", ED25519, relying_party, origin)
        case _:
            raise Problem(f"the passkey in {file} is of a kind that is not taken", "ES256 and Ed25519 are.")
    return key, _unpadded(verified.credential_id)


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
