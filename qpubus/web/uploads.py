"""Uploads in parts: a document that comes in pieces over several requests, and survives a restart in between.

An upload is named by who sends what, so beginning it again goes on with it. Its parts lie in a file of their own until
all are there and the digest is the one that was said.
"""

import fcntl
import os
import re
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from agents.artifacts import ARTIFACT_BYTES_MAX
from qpubus.refusal import Refusal
from streams.disk import put

OPEN_MAX = 8
"""Uploads of one agent that are not complete."""
KEPT_S = 24 * 3_600.0
_NAME = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True)
class Upload:
    """A document on its way in; `offset` is where its next part begins."""

    upload_id: str
    owner: str
    digest: str
    size_bytes: int
    media_type: str
    offset: int

    @property
    def is_whole(self) -> bool:
        """Whether all parts are there."""
        return self.offset == self.size_bytes


class Uploads:
    """The uploads that have begun, in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def begin(self, owner: str, digest: str, size_bytes: int, media_type: str) -> Upload:
        """Begin an upload, or find the one that was begun."""
        if not 0 < size_bytes <= ARTIFACT_BYTES_MAX:
            raise Refusal("artifact_oversized", f"a document has 1 to {ARTIFACT_BYTES_MAX} bytes")
        about = {"owner": owner, "digest": digest, "size_bytes": size_bytes, "media_type": media_type}
        name = sha256(orjson.dumps(about, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
        if not self._about(name).exists():
            self._sweep()
            if sum(self._read(each.stem)["owner"] == owner for each in self._directory.glob("*.json")) >= OPEN_MAX:
                told = f"{OPEN_MAX} uploads are open: complete or drop one"
                raise Refusal("too_many_uploads", told, retry_after_s=60)
            self._directory.mkdir(mode=0o700, exist_ok=True)
            self._parts(name).touch()
            put(self._about(name), orjson.dumps(about))
        return self.find(owner, name)

    def find(self, owner: str, upload_id: str) -> Upload:
        """An upload of somebody's; one of another is as unknown as none."""
        if not _NAME.match(upload_id) or not self._about(upload_id).exists():
            raise Refusal("upload_unknown", "no such upload is open: begin it again, it goes on where it stood")
        about = self._read(upload_id)
        if about["owner"] != owner:
            raise Refusal("upload_unknown", "no such upload is open: begin it again, it goes on where it stood")
        return Upload(upload_id, offset=self._parts(upload_id).stat().st_size, **about)

    def add(self, upload: Upload, offset: int, part: bytes) -> Upload:
        """Add a part where the last one ended. What is answered is on the disk."""
        if offset + len(part) > upload.size_bytes:
            raise Refusal("artifact_oversized", f"the document was to have {upload.size_bytes} bytes")
        with self._parts(upload.upload_id).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the same part may come twice at once
            stands = os.fstat(file.fileno()).st_size
            if offset != stands:
                raise Refusal("upload_conflict", f"the next part begins at {stands}, not at {offset}")
            file.write(part)
            file.flush()
            os.fsync(file.fileno())
        return self.find(upload.owner, upload.upload_id)

    def content(self, upload: Upload) -> bytes:
        """The whole document; an upload whose digest is another than was said is dropped."""
        content = self._parts(upload.upload_id).read_bytes()
        if sha256(content).hexdigest() != upload.digest:
            self.drop(upload)
            raise Refusal("digest_mismatch", "the parts make another document: begin again")
        return content

    def drop(self, upload: Upload) -> None:
        """Forget an upload."""
        self._about(upload.upload_id).unlink(missing_ok=True)
        self._parts(upload.upload_id).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Forget what nobody has gone on with for a day."""
        for parts in self._directory.glob("*.part"):
            if parts.stat().st_mtime < time.time() - KEPT_S:
                parts.with_suffix(".json").unlink(missing_ok=True)
                parts.unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, Any]:
        about: dict[str, Any] = orjson.loads(self._about(name).read_bytes())
        return about

    def _about(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _parts(self, name: str) -> Path:
        return self._directory / f"{name}.part"
