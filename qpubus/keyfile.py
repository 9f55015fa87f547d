"""Key files: private keys as PKCS #8 PEM that only their owner can read, under a passphrase where one is wanted.

A passphrase is typed at a terminal, or lies in a file of its own that QPUBUS_PASSPHRASE_FILE names (for services). It
is never an argument and never itself in the environment, where others could see it.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.keys import KeyInvalid
from streams.disk import PRIVATE, put

PASSPHRASE_FILE = "QPUBUS_PASSPHRASE_FILE"  # noqa: S105 (the name of a variable)
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"

_opening: list[bytes] = []
"""Passphrases that have opened a file in this process: a bus opens many under one, and asks for it once."""


def write_key(path: Path, key: Ed25519PrivateKey, passphrase: bytes = b"") -> None:
    """Write a private key as PKCS #8 PEM, mode 0600 from its first byte; an existing file is never overwritten.

    With a passphrase the file is of no use to who does not know it.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_pem(key, passphrase))
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key file; `KeyInvalid` says why it cannot be used (absent, readable by others, not Ed25519).

    For one that is encrypted, the passphrase is fetched or asked for.
    """
    pem = _read_own(path, "key")
    if not pem.startswith(_ENCRYPTED):
        return _opened(path, pem, None)
    for known in _opening:
        with suppress(KeyInvalid):
            return _opened(path, pem, known)
    passphrase = fetch_passphrase(f"Passphrase of {path}")
    key = _opened(path, pem, passphrase)
    _opening.append(passphrase)
    return key


def _opened(path: Path, pem: bytes, passphrase: bytes | None) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        wrong = f"the passphrase does not open {path}" if passphrase else f"{path} is not a PEM private key"
        raise KeyInvalid(wrong) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyInvalid(f"{path} holds another kind of key; an Ed25519 key is needed")
    return key


def replace_key(path: Path, key: Ed25519PrivateKey, passphrase: bytes = b"") -> None:
    """Put a private key in the place of the one in `path`, at once."""
    put(path, _pem(key, passphrase), PRIVATE)


def _pem(key: Ed25519PrivateKey, passphrase: bytes) -> bytes:
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)


def is_encrypted(path: Path) -> bool:
    """Whether a key file asks for a passphrase."""
    return _read_own(path, "key").startswith(_ENCRYPTED)


def fetch_passphrase(asked: str, *, new: bool = False) -> bytes:
    """The passphrase in the file that QPUBUS_PASSPHRASE_FILE names, else what is typed, twice where it is `new`."""
    if named := os.environ.get(PASSPHRASE_FILE):
        typed = _read_own(Path(named), "passphrase").rstrip(b"\r\n")
    elif sys.stdin.isatty():
        typed = str(typer.prompt(asked, hide_input=True, confirmation_prompt=new, err=True)).encode()
    else:
        raise KeyInvalid(f"{asked}: nobody is there to type it; let {PASSPHRASE_FILE} name a file that holds it")
    if not typed:
        raise KeyInvalid(f"{asked}: it is empty")
    return typed


def _read_own(path: Path, what: str) -> bytes:
    """The content of a file that nobody else can read."""
    try:
        mode = path.stat().st_mode & 0o777
        content = path.read_bytes()
    except OSError as error:
        raise KeyInvalid(f"cannot read the {what} file {path}: {error.strerror}") from None
    if mode & 0o077:
        raise KeyInvalid(f"the {what} file {path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")
    return content
