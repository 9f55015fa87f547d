"""Key files: private keys as PKCS #8 PEM that only their owner can read."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.keys import KeyInvalid


def write_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write a private key as PKCS #8 PEM, mode 0600 from its first byte; an existing file is never overwritten."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key file; `KeyInvalid` says why it cannot be used (absent, readable by others, not Ed25519)."""
    try:
        mode = path.stat().st_mode & 0o777
        pem = path.read_bytes()
    except OSError as error:
        raise KeyInvalid(f"cannot read the key file {path}: {error.strerror}") from None
    if mode & 0o077:
        raise KeyInvalid(f"the key file {path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyInvalid(f"{path} is not an unencrypted PEM private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyInvalid(f"{path} holds another kind of key; an Ed25519 key is needed")
    return key
