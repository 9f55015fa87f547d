"""The vault: texts that must be erasable go in, under a key of their subject, and come out until that is erased.

    VAULT/<SHA-256 of the subject>/key             32 random bytes, AES-256
    VAULT/<SHA-256 of the subject>/<text digest>   nonce (12 bytes) ‖ AES-GCM of the text's JSON, bound to both names

Texts are decision traces (`schemas.traces`) and reasons (`schemas.reasons_kept`).

It lies outside the log. Erasing destroys the key first and then the texts: from the first step on, no copy of the texts
can be opened without a copy of the key. A backup of the vault that holds both must be erased too; that of the log need
not be.
"""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from schemas.digests import is_digest
from schemas.reasons_kept import KeptReason, keep_reason, with_texts
from schemas.traces import SealedTrace
from streams.disk import PRIVATE, put, sync_directory

ERASED = "(erased, or kept in another vault)"
"""What is shown in place of a text that is not in this vault."""
_KEY = "key"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_Text = TypeVar("_Text", SealedTrace, KeptReason)


class VaultError(Exception):
    """A text could not be kept or opened; the message says why and what to do."""


class Vault:
    """A directory of texts, each under its subject's key."""

    def __init__(self, directory: Path) -> None:
        """The directory is made when something is kept."""
        self._directory = directory

    def keep(self, sealed: SealedTrace | KeptReason) -> None:
        """Keep a text durably under its subject's key, which is made with the subject's first text."""
        try:
            folder = self._keyed(sealed.subject)
            path = folder / sealed.text_digest
            if not path.exists():
                nonce = token_bytes(_NONCE_BYTES)
                text = sealed.model_dump_json().encode()
                locked = AESGCM(_key(folder)).encrypt(nonce, text, _names(sealed.subject, path.name))
                put(path, nonce + locked, PRIVATE)
        except OSError as error:
            raise VaultError(f"the text could not be kept in {self._directory}: {error.strerror}") from None

    def keep_reason(self, text: str, subject: str, about: str) -> str:
        """Keep why somebody said something of a job, a halt, a key…; the pointer to it stands on the log."""
        try:
            kept = keep_reason(text, subject, about, _key(self._keyed(subject)))
        except OSError as error:
            raise VaultError(f"the text could not be kept in {self._directory}: {error.strerror}") from None
        self.keep(kept)
        return kept.pointer

    def open(self, subject: str, text_digest: str) -> SealedTrace | None:
        """A trace, checked against its digest; None if it is not there, or not any more."""
        return self._open(subject, text_digest, SealedTrace)

    def open_reason(self, subject: str, text_digest: str) -> KeptReason | None:
        """A reason, checked against its digest; None if it is not there, or not any more."""
        return self._open(subject, text_digest, KeptReason)

    def told(self, text: str) -> str:
        """A text with reasons in place of pointers to them, as far as they are here.

        Where there is no vault at all, as at an auditor's, pointers stay.
        """
        return with_texts(text, self._told) if "vault:" in text and self._directory.is_dir() else text

    def _told(self, subject: str, text_digest: str) -> str:
        try:
            kept = self.open_reason(subject, text_digest)
        except VaultError as error:
            return f"({error})"
        return kept.text if kept else ERASED

    def _open(self, subject: str, text_digest: str, kind: type[_Text]) -> _Text | None:
        folder = self._folder(subject)
        try:
            kept, key = (folder / text_digest).read_bytes(), _key(folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VaultError(f"{folder} cannot be read: {error.strerror}") from None
        try:
            text = AESGCM(key).decrypt(kept[:_NONCE_BYTES], kept[_NONCE_BYTES:], _names(subject, text_digest))
            sealed = kind.model_validate_json(text)
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
                    sync_directory(folder)
            folder.rmdir()
            sync_directory(self._directory)
        except OSError as error:
            raise VaultError(f"{folder} could not be erased: {error.strerror}; mend that and erase again") from None

    def _keyed(self, subject: str) -> Path:
        """The folder of a subject, with a key in it."""
        folder = self._folder(subject)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / _KEY).exists():
            # Bus and commands write here side by side, and whose key comes second must not take the other's place.
            own = folder / f"{_KEY}.{token_hex(4)}"
            put(own, token_bytes(_KEY_BYTES), PRIVATE)
            with suppress(FileExistsError):
                os.link(own, folder / _KEY)
            own.unlink()
            sync_directory(folder)
        return folder

    def _folder(self, subject: str) -> Path:
        return self._directory / sha256(subject.encode()).hexdigest()


def _key(folder: Path) -> bytes:
    return (folder / _KEY).read_bytes()


def _names(subject: str, text_digest: str) -> bytes:
    return f"{subject}\n{text_digest}".encode()


def _overwrite(path: Path) -> None:
    """Write over a file before it is unlinked. Where the medium keeps old blocks, this alone erases nothing."""
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
