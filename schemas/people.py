"""What a person signs with a key of their own: a plain Ed25519 key, an SSH key, or a passkey. One check for all three.

The payload is RFC 8785 JSON of what was put to the person. Each kind of proof is checked from stored bytes alone:

- `ed25519`: RFC 8032 over the payload.
- `sshsig`: what `ssh-keygen -Y sign -n qpubus` makes of the payload, without its armour (OpenSSH, PROTOCOL.sshsig; keys
  that live in hardware: PROTOCOL.u2f).
- `webauthn`: an assertion whose challenge is SHA-256 of the payload (W3C WebAuthn level 3, section 7.2), with the user
  verified.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256, sha512

import orjson
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.events.approvals import HumanProof
from schemas.events.governance import KeyEnrolled
from schemas.keys import KeyInvalid, check_public_key
from schemas.words import Event, wire_name

SSH_NAMESPACE = "qpubus"
"""What `ssh-keygen -Y sign` is given as `-n`: a signature made for another purpose does not count here."""
PROOF_BYTES_MAX = 8 * 1024
ED25519, ES256 = "Ed25519", "ES256"
_P256_POINT_BYTES = 65
_USER_PRESENT, _USER_VERIFIED = 0x01, 0x04
_RP_ID_HASH_BYTES, _FLAGS_AT, _AUTHENTICATOR_BYTES_MIN = 32, 32, 37
_SSH_MAGIC = b"SSHSIG"
_ARMOUR_BEGIN, _ARMOUR_END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_SSH_HASHES: dict[bytes, Callable[[bytes], bytes]] = {
    b"sha512": lambda data: sha512(data).digest(),
    b"sha256": lambda data: sha256(data).digest(),
}


@dataclass(frozen=True, slots=True)
class PersonKey:
    """A person's key as governance enrolled it.

    `public_key`: 32 raw bytes for Ed25519, the uncompressed point of P-256 (65 bytes) for ES256. `relying_party`: a
    passkey's RP id, or the application of an SSH key in hardware (`ssh:`), empty for a key in a file. `origin`: where a
    passkey is used.
    """

    public_key: bytes
    proof_type: str = "ed25519"
    algorithm: str = ED25519
    relying_party: str = ""
    origin: str = ""

    @classmethod
    def of(cls, enrolled: KeyEnrolled) -> "PersonKey":
        """The key that an event enrols."""
        return cls(
            enrolled.public_key, enrolled.proof_type, enrolled.algorithm, enrolled.relying_party, enrolled.origin
        )


class SignatureMalformed(ValueError):
    """A text that is no SSH signature or no SSH public key."""


def signed_words(event: Event, site: str) -> bytes:
    """What a person signs of an event that is theirs: RFC 8785 JSON of its type, site, and fields but the proof.

    A field at its default is left out, so that a later release, with more fields, asks for the same bytes.
    """
    fields = event.model_dump(mode="json", exclude={"proof"}, exclude_defaults=True)
    return rfc8785.dumps({"fields": fields, "site": site, "type": wire_name(type(event))})


def check_person_key(key: PersonKey) -> None:
    """`KeyInvalid` for a key that must not be enrolled: no point of its curve, low order, or lacking settings."""
    if key.algorithm == ES256:
        _p256(key.public_key)
        if key.proof_type == "ed25519":
            raise KeyInvalid("a plain key is an Ed25519 key")
    else:
        check_public_key(key.public_key)
    if key.proof_type == "webauthn" and not (key.relying_party and key.origin):
        raise KeyInvalid("a passkey needs its relying party and its origin")


def person_signed(payload: bytes, proof: HumanProof, key: PersonKey) -> bool:
    """Whether a person's signature over a payload holds, made by their key in the way that it was enrolled for."""
    sizes = len(proof.signature) + len(proof.client_data) + len(proof.authenticator_data)
    if proof.proof_type != key.proof_type or sizes > PROOF_BYTES_MAX:
        return False
    try:
        check_person_key(key)
        match proof.proof_type:
            case "ed25519":
                return _holds(key, proof.signature, payload)
            case "sshsig":
                return _ssh_holds(key, proof.signature, payload)
            case "webauthn":
                return _passkey_holds(key, proof, sha256(payload).digest())
    except (KeyInvalid, SignatureMalformed):
        return False


def _holds(key: PersonKey, signature: bytes, message: bytes) -> bool:
    """Whether a signature holds; for ES256 it is in DER form, as passkeys give it."""
    try:
        if key.algorithm == ES256:
            _p256(key.public_key).verify(signature, message, ec.ECDSA(hashes.SHA256()))
        else:
            check_public_key(key.public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _p256(point: bytes) -> ec.EllipticCurvePublicKey:
    if len(point) != _P256_POINT_BYTES or point[0] != 4:  # one form a key, so that a key has one id
        raise KeyInvalid("an ES256 key is the uncompressed point of P-256: 65 bytes, the first of them 4")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise KeyInvalid("the key is not a point of P-256") from None


def _passkey_holds(key: PersonKey, proof: HumanProof, asked: bytes) -> bool:
    challenge = base64.urlsafe_b64encode(asked).rstrip(b"=").decode()
    try:
        client = orjson.loads(proof.client_data)
    except orjson.JSONDecodeError:
        return False
    wanted = {"type": "webauthn.get", "challenge": challenge, "origin": key.origin}
    if not isinstance(client, dict) or {name: client.get(name) for name in wanted} != wanted:
        return False
    if client.get("crossOrigin", False) is not False:
        return False
    data = proof.authenticator_data
    if len(data) < _AUTHENTICATOR_BYTES_MIN or data[:_RP_ID_HASH_BYTES] != sha256(key.relying_party.encode()).digest():
        return False
    needed = _USER_PRESENT | _USER_VERIFIED
    if data[_FLAGS_AT] & needed != needed:
        return False
    return _holds(key, proof.signature, data + sha256(proof.client_data).digest())


def _ssh_holds(key: PersonKey, signature: bytes, payload: bytes) -> bool:
    outer = _Fields(signature)
    if outer.take(len(_SSH_MAGIC)) != _SSH_MAGIC or outer.number() != 1:
        return False
    signer, namespace, reserved, hash_name = outer.text(), outer.text(), outer.text(), outer.text()
    inner = _Fields(outer.text())
    outer.end()
    kind = inner.text()
    if signer != ssh_blob(key) or kind != _ssh_kind(key) or hash_name not in _SSH_HASHES:
        return False
    if namespace != SSH_NAMESPACE.encode():
        return False
    digest = _SSH_HASHES[hash_name](payload)
    message = _SSH_MAGIC + b"".join(map(_text, (namespace, reserved, hash_name, digest)))
    body = inner.text()
    if key.relying_party:
        flags, counter = inner.take(1), inner.take(4)
        if not flags[0] & _USER_PRESENT:
            return False
        message = sha256(key.relying_party.encode()).digest() + flags + counter + sha256(message).digest()
    inner.end()
    return _holds(key, _as_der(body) if key.algorithm == ES256 else body, message)


def _as_der(body: bytes) -> bytes:
    """An ECDSA signature of SSH, two numbers, in the form that passkeys and `cryptography` use."""
    fields = _Fields(body)
    numbers = [int.from_bytes(fields.text()), int.from_bytes(fields.text())]
    fields.end()
    return encode_dss_signature(*numbers)


def _ssh_kind(key: PersonKey) -> bytes:
    kind = b"ecdsa-sha2-nistp256" if key.algorithm == ES256 else b"ssh-ed25519"
    if not key.relying_party:
        return kind
    return b"sk-ecdsa-sha2-nistp256@openssh.com" if key.algorithm == ES256 else b"sk-ssh-ed25519@openssh.com"


def ssh_blob(key: PersonKey) -> bytes:
    """A key as SSH writes it: the base64 part of a line in a `.pub` file, decoded."""
    fields = [_ssh_kind(key), *([b"nistp256"] if key.algorithm == ES256 else []), key.public_key]
    return b"".join(map(_text, [*fields, *([key.relying_party.encode()] if key.relying_party else [])]))


def read_ssh_key(line: str) -> PersonKey:
    """The key in a line of a `.pub` file (`ssh-ed25519 AAAA... comment`); `SignatureMalformed` for others."""
    parts = line.split()
    try:
        fields = _Fields(base64.b64decode(parts[1], validate=True))
    except (IndexError, binascii.Error):
        raise SignatureMalformed("a public SSH key is one line: its kind, its base64, a comment") from None
    kind = fields.text().decode(errors="replace")
    if kind != parts[0] or kind not in _SSH_KINDS:
        known = ", ".join(_SSH_KINDS)
        raise SignatureMalformed(f"an SSH key of kind {parts[0][:40]} is not taken: make one of {known}")
    algorithm, is_hardware = _SSH_KINDS[kind]
    if algorithm == ES256:
        fields.text()
    public_key = fields.text()
    application = fields.text().decode(errors="replace") if is_hardware else ""
    fields.end()
    key = PersonKey(public_key, "sshsig", algorithm, application)
    try:
        check_person_key(key)
    except KeyInvalid as error:
        raise SignatureMalformed(str(error)) from None
    return key


_SSH_KINDS = {
    "ssh-ed25519": (ED25519, False),
    "sk-ssh-ed25519@openssh.com": (ED25519, True),
    "ecdsa-sha2-nistp256": (ES256, False),
    "sk-ecdsa-sha2-nistp256@openssh.com": (ES256, True),
}


def read_ssh_signature(armoured: str) -> bytes:
    """The bytes in what `ssh-keygen -Y sign` writes; `SignatureMalformed` if it is something else."""
    lines = [line.strip() for line in armoured.strip().splitlines()]
    if len(lines) < 3 or lines[0] != _ARMOUR_BEGIN or lines[-1] != _ARMOUR_END:
        raise SignatureMalformed(f"an SSH signature begins with {_ARMOUR_BEGIN} and ends with {_ARMOUR_END}")
    try:
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error:
        raise SignatureMalformed("what stands between the armour lines is not base64") from None


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """The 65 bytes by which a P-256 key is enrolled."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data


class _Fields:
    """The length-prefixed fields of SSH (RFC 4251 section 5), read from the front."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def take(self, size: int) -> bytes:
        if len(self._left) < size:
            raise SignatureMalformed("it ends in the middle of a field")
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(4))

    def text(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self._left:
            raise SignatureMalformed("something stands behind its last field")
