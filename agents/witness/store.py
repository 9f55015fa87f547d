"""What a witness remembers: of each log the last checkpoint it cosigned, in a file of its own."""

import fcntl
import os
from hashlib import sha256
from pathlib import Path

from schemas.note import Note, NoteInvalid, notes_text, parse_note
from streams.disk import DISK, PRIVATE, Disk, put


class StoreBroken(Exception):
    """A store that is not as it must be; nothing is cosigned before somebody has looked at it."""


class WitnessStore:
    """One directory, one file a log, named by the SHA-256 of the log's origin. A file is replaced as a whole."""

    def __init__(self, directory: Path, disk: Disk = DISK) -> None:
        """Take the directory; `StoreBroken` if another process has it."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._disk = disk
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StoreBroken(f"another witness is at work in {directory}; only one process may be") from None

    def close(self) -> None:
        """Give the directory back."""
        os.close(self._lock)

    def read(self, origin: str) -> Note | None:
        """The last note of a log; None if it was never cosigned."""
        path = self._path(origin)
        try:
            return parse_note(path.read_bytes())
        except FileNotFoundError:
            return None
        except NoteInvalid as error:
            raise StoreBroken(
                f"{path}: {error}; bring it back from a copy, or a rewritten log could be cosigned"
            ) from None

    def write(self, origin: str, note: Note) -> None:
        """Put a note in the place of the one before. When this returns, it outlasts a loss of power."""
        put(self._path(origin), note.data, PRIVATE, self._disk)

    def all(self) -> bytes:
        """All last notes in one file, as an auditor asks for them."""
        notes = [parse_note(path.read_bytes()) for path in sorted(self._directory.glob("*.note"))]
        return notes_text(notes)

    def _path(self, origin: str) -> Path:
        return self._directory / f"{sha256(origin.encode()).hexdigest()}.note"
