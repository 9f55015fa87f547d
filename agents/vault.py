"""The vault: texts that must be erasable go in, under a key of their subject, and come out until that is erased.

    VAULT/<SHA-256 of the subject>/key             32 random bytes, AES-256
    VAULT/<SHA-256 of the subject>/<text digest>   nonce (12 bytes) ‖ AES-GCM of the sealed trace, bound to both names

It lies outside the log. Erasing destroys the key first and then the texts: from the first step on, no copy of the texts
can be opened without a copy of the key. A backup of the vault that holds both must be erased too; that of the log need
not be.
"""

import os
import tempfile
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from schemas.digests import is_digest
from schemas.traces import SealedTrace

_KEY = "key"
_KEY_BYTES = 32
_NONCE_BYTES = 12


class VaultError(Exception):
    """A text could not be kept or opened; the message says why and what to do."""


class Vault:
    """A directory of texts, each under its subject's key."""

    def __init__(self, directory: Path) -> None:
        """The directory is made when something is kept."""
        self._directory = directory

    def keep(self, sealed: SealedTrace) -> None:
        """Keep a text durably under its subject's key, which is made with the subject's first text."""
        folder = self._folder(sealed.subject)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (folder / _KEY).exists():
                _write(folder / _KEY, token_bytes(_KEY_BYTES))
            path = folder / sealed.text_digest
            if not path.exists():
                nonce = token_bytes(_NONCE_BYTES)
                text = sealed.model_dump_json().encode()
                _write(path, nonce + AESGCM(_key(folder)).encrypt(nonce, text, _names(sealed.subject, path.name)))
        except OSError as error:
            raise VaultError(f"the text could not be kept in {self._directory}: {error.strerror}") from None

    def open(self, subject: str, text_digest: str) -> SealedTrace | None:
        """A text, checked against its digest; None if it is not there, or not any more."""
        folder = self._folder(subject)
        try:
            kept, key = (folder / text_digest).read_bytes(), _key(folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VaultError(f"{folder} cannot be read: {error.strerror}") from None
        try:
            text = AESGCM(key).decrypt(kept[:_NONCE_BYTES], kept[_NONCE_BYTES:], _names(subject, text_digest))
            sealed = SealedTrace.model_validate_json(text)
        except (InvalidTag, ValueError, ValidationError):
            raise VaultError(f"the text {text_digest} in {folder} was changed; restore it from a copy") from None
        if sealed.text_digest != text_digest:
            raise VaultError(f"the text {text_digest} in {folder} is another; restore it from a copy")
        return sealed

    def digests(self, subject: str) -> tuple[str, ...]:
        """The digests of the texts that are kept of a subject."""
        folder = self._folder(subject)
        return tuple(sorted(path.name for path in folder.glob("*") if is_digest(path.name)))

    def erase(self, subject: str) -> None:
        """Destroy a subject's key, then its texts. Once begun, doing it again goes on with it."""
        folder = self._folder(subject)
        if not folder.is_dir():
            return
        try:
            for path in (folder / _KEY, *sorted(folder.iterdir())):
                if path.exists():
                    _overwrite(path)
                    path.unlink()
                    _sync(folder)
            folder.rmdir()
            _sync(self._directory)
        except OSError as error:
            raise VaultError(f"{folder} could not be erased: {error.strerror}; mend that and erase again") from None

    def _folder(self, subject: str) -> Path:
        return self._directory / sha256(subject.encode()).hexdigest()


def _key(folder: Path) -> bytes:
    return (folder / _KEY).read_bytes()


def _names(subject: str, text_digest: str) -> bytes:
    return f"{subject}\n{text_digest}".encode()


def _write(path: Path, content: bytes) -> None:
    """Put a whole file in its place, mode 0600, or none."""
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=".aside-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(aside).replace(path)
    _sync(path.parent)


def _overwrite(path: Path) -> None:
    """Write over a file before it is unlinked. Where the medium keeps old blocks, this alone erases nothing."""
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
