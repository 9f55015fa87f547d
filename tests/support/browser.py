"""An authenticator and its browser: passkeys are registered and used as WebAuthn level 3 has it, JSON in and out."""

import base64
from hashlib import sha256
from typing import Any

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import encode_cbor

_PRESENT, _VERIFIED, _ATTESTED = 0x01, 0x04, 0x40


class Browser:
    """A browser at one origin, with one passkey in a P-256 authenticator."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._credential = sha256(b"credential").digest()[:16]

    def create(self, options: dict[str, Any], *, verified: bool = True) -> bytes:
        """Answer `navigator.credentials.create` (RegistrationResponseJSON)."""
        asked = options["publicKey"]
        numbers = self._key.public_key().public_numbers()
        cose = encode_cbor({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)})
        attested = bytes(16) + len(self._credential).to_bytes(2) + self._credential + cose
        data = self._data(asked["rp"]["id"], _ATTESTED, verified=verified) + attested
        client = self._client("webauthn.create", asked["challenge"])
        attestation = encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})
        return self._json({"clientDataJSON": _url(client), "attestationObject": _url(attestation)})

    def get(self, payload: bytes, relying_party: str, *, verified: bool = True) -> bytes:
        """Answer `navigator.credentials.get` whose challenge is SHA-256 of a payload (AuthenticationResponseJSON)."""
        client = self._client("webauthn.get", _url(sha256(payload).digest()))
        data = self._data(relying_party, 0, verified=verified)
        signature = self._key.sign(data + sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        parts = {"clientDataJSON": _url(client), "authenticatorData": _url(data), "signature": _url(signature)}
        return self._json(parts)

    def _data(self, relying_party: str, flags: int, *, verified: bool) -> bytes:
        flags |= _PRESENT | (_VERIFIED if verified else 0)
        return sha256(relying_party.encode()).digest() + bytes([flags]) + bytes(4)

    def _client(self, type_: str, challenge: str) -> bytes:
        return orjson.dumps({"type": type_, "challenge": challenge, "origin": self.origin, "crossOrigin": False})

    def _json(self, response: dict[str, str]) -> bytes:
        name = _url(self._credential)
        return orjson.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})


def _url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
