"""The artefact store: documents too large for an event, kept under their SHA-256 and checked whenever they are read."""

import errno
import re
from hashlib import sha256
from pathlib import Path

from streams.disk import PRIVATE, put

ARTIFACT_BYTES_MAX = 16 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class ArtifactError(Exception):
    """A document could not be stored or read. `reason` is a stable code; the message says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ArtifactStore:
    """A directory of documents. What is written once under a digest never changes; writing it again costs one check."""

    def __init__(self, directory: Path, bytes_max: int = ARTIFACT_BYTES_MAX) -> None:
        """The directory is made if it is missing."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._bytes_max = bytes_max

    def put(self, content: bytes) -> str:
        """Store a document durably and return its digest; a damaged copy of it is replaced.

        A killed process leaves a whole document or none.
        """
        if len(content) > self._bytes_max:
            raise ArtifactError(
                "artifact_oversized", f"the document has {len(content)} bytes, the limit is {self._bytes_max}"
            )
        digest = sha256(content).hexdigest()
        if not self.has(digest):
            try:
                put(self._directory / digest, content, PRIVATE)
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                raise ArtifactError(
                    "storage_full" if full else "storage_failed",
                    "there is no room left for artefacts: free some and try again"
                    if full
                    else f"the artefact could not be stored: {error.strerror}",
                ) from None
        return digest

    def get(self, digest: str) -> bytes:
        """A document whose bytes still have this digest; `ArtifactError` if it is missing or damaged."""
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise ArtifactError("artifact_missing", f"no artefact {digest} is stored: store it first") from None
        except OSError as error:
            raise ArtifactError("storage_failed", f"the artefact {digest} cannot be read: {error.strerror}") from None
        if sha256(content).hexdigest() != digest:
            raise ArtifactError("artifact_damaged", f"the bytes stored as {digest} have changed: store it again")
        return content

    def holds(self, digest: str) -> bool:
        """Whether a document was stored; who reads it finds out whether it is still whole."""
        return self._path(digest).is_file()

    def has(self, digest: str) -> bool:
        """Whether a document is there, whole."""
        try:
            self.get(digest)
        except ArtifactError:
            return False
        return True

    def _path(self, digest: str) -> Path:
        if not _DIGEST.match(digest):
            raise ArtifactError("digest_malformed", "an artefact is named by a SHA-256 in lower-case hex")
        return self._directory / digest
