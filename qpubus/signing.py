"""What a person signs with: a key file goes in, their signatures come out; and signatures that were made elsewhere.

An SSH key signs through `ssh-keygen`, so that a key in hardware is touched, an agent is asked and a passphrase typed
where its owner is used to it. Nothing here sees the private half of such a key.
"""

import base64
import binascii
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agents.approver import PlainSigner, Signer
from qpubus.keyfile import read_key
from qpubus.problem import Problem
from schemas.events import HumanProof, KeyEnrolled
from schemas.keys import KeyInvalid, key_id, raw_public_key
from schemas.people import SSH_NAMESPACE, PersonKey, SignatureMalformed, read_ssh_key, read_ssh_signature
from streams.disk import read_small

_FILE_BYTES_MAX = 1 << 14
_OPENSSH_PRIVATE = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_SSH_SIGNATURE = b"-----BEGIN SSH SIGNATURE-----"
_SSH_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-")
_SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class SshSigner:
    """An SSH key: a private key file, or a `.pub` file whose private half an agent or a security key holds."""

    file: Path
    key: PersonKey

    @property
    def key_id(self) -> str:
        """The id of the key."""
        return key_id(self.key.public_key)

    def sign(self, payload: bytes) -> HumanProof:
        """The signature that `ssh-keygen -Y sign` makes; it asks for touch or passphrase by itself."""
        armoured = _ssh_keygen("-q", "-Y", "sign", "-n", SSH_NAMESPACE, "-f", str(self.file), payload=payload)
        return HumanProof(proof_type="sshsig", key_id=self.key_id, signature=read_ssh_signature(armoured))


def signer_of(file: Path) -> Signer:
    """What a person's key file signs with: our PEM, an OpenSSH private key, or an OpenSSH public key."""
    content = read_small(file, _FILE_BYTES_MAX)
    if content.startswith(_SSH_PUBLIC):
        return SshSigner(file, ssh_key_in(file))
    if content.startswith(_OPENSSH_PRIVATE):
        public = file.with_name(f"{file.name}.pub")
        line = public.read_text() if public.is_file() else _ssh_keygen("-y", "-f", str(file))
        return SshSigner(file, _read_line(line, public))
    return PlainSigner(read_key(file))


def ssh_key_in(file: Path) -> PersonKey:
    """The key in an OpenSSH `.pub` file; `KeyInvalid` says why it is none that a person can be enrolled with."""
    return _read_line(read_small(file, _FILE_BYTES_MAX).decode(errors="replace"), file)


def _read_line(line: str, file: Path) -> PersonKey:
    try:
        return read_ssh_key(line)
    except SignatureMalformed as error:
        raise KeyInvalid(f"{file}: {error}") from None


def _ssh_keygen(*arguments: str, payload: bytes = b"") -> str:
    try:
        done = subprocess.run(["ssh-keygen", *arguments], input=payload, stdout=subprocess.PIPE, check=False)  # noqa: S603, S607 (the user's own, by the user's own PATH)
    except FileNotFoundError:
        raise Problem("ssh-keygen is not on the PATH", "Install OpenSSH, or sign elsewhere: --statement") from None
    if done.returncode != 0:
        raise Problem(
            f"ssh-keygen did not sign (exit {done.returncode}); what it says stands above",
            "For a .pub file its private half must be in the agent (ssh-add -l) or beside it.",
            code="not_signed",
        )
    return done.stdout.decode(errors="replace")


def key_id_in(file: Path) -> str:
    """The id of the public key in a file: OpenSSH's form, or PEM."""
    content = read_small(file, _FILE_BYTES_MAX)
    if content.startswith(_SSH_PUBLIC):
        return key_id(ssh_key_in(file).public_key)
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyInvalid(f"{file} holds no public key, neither in OpenSSH's form nor in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyInvalid(f"{file} holds another kind of key; an Ed25519 key is needed")
    return key_id(raw_public_key(key))


def signature_in(file: Path, public_key: Path | None, enrolled: Iterable[KeyEnrolled]) -> HumanProof:
    """A signature that was made elsewhere: of OpenSSH, of a passkey (its assertion as JSON), or 64 plain bytes.

    A passkey is known among those `enrolled` by its credential id; for the others the public key must be named.
    """
    content = read_small(file, _FILE_BYTES_MAX)
    if content.lstrip().startswith(b"{"):
        return _assertion(file, content, enrolled)
    if public_key is None:
        raise Problem(f"nothing says whose signature {file} is", "Name the public key: --key FILE.pub")
    name = key_id_in(public_key)
    if content.startswith(_SSH_SIGNATURE):
        try:
            signature = read_ssh_signature(content.decode(errors="replace"))
        except SignatureMalformed as error:
            raise Problem(f"{file}: {error}", code="proof_malformed") from None
        return HumanProof(proof_type="sshsig", key_id=name, signature=signature)
    return HumanProof(proof_type="ed25519", key_id=name, signature=_plain_signature(file, content))


def _plain_signature(file: Path, content: bytes) -> bytes:
    if len(content) == _SIGNATURE_BYTES:
        return content
    text = content.decode(errors="replace").strip()
    for decoded in (bytes.fromhex, lambda each: base64.b64decode(each, validate=True)):
        try:
            signature = decoded(text)
        except (ValueError, binascii.Error):
            continue
        if len(signature) == _SIGNATURE_BYTES:
            return signature
    raise Problem(f"{file} holds no signature that is known here", code="proof_malformed")


def _assertion(file: Path, content: bytes, enrolled: Iterable[KeyEnrolled]) -> HumanProof:
    """A passkey's assertion as `PublicKeyCredential.toJSON()` gives it (WebAuthn, AuthenticationResponseJSON)."""
    try:
        said = orjson.loads(content)
        parts = {
            name: _unpadded(said["response"][at])
            for name, at in (
                ("signature", "signature"),
                ("client_data", "clientDataJSON"),
                ("authenticator_data", "authenticatorData"),
            )
        }
        credential = str(said["id"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise Problem(f"{file} is no assertion of a passkey", "Save what `credential.toJSON()` gives.") from None
    for each in enrolled:
        if each.credential_id == credential:
            return HumanProof.model_validate({"proof_type": "webauthn", "key_id": each.key_id} | parts)
    raise Problem(
        "the passkey of this assertion is not enrolled here", "List them: qpubus keys list", code="key_unknown"
    )


def _unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
