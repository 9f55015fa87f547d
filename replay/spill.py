"""What an audit keeps for later and what grows with the log: in memory while it is little, in a temporary file then."""

import os
import tempfile
from typing import IO, Self

IN_MEMORY_BYTES = 1 << 18


class Spill:
    """Bytes that only grow, as a `bytearray` does by `+=`; all but the last quarter of a megabyte lie on disk."""

    def __init__(self) -> None:
        self._tail = bytearray()
        self._file: IO[bytes] | None = None
        self._kept = 0

    def __len__(self) -> int:
        return self._kept + len(self._tail)

    def __iadd__(self, data: bytes) -> Self:
        self._tail += data
        if len(self._tail) >= IN_MEMORY_BYTES:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (`close` closes it)
            self._kept += self._file.write(self._tail)
            self._tail.clear()
        return self

    def __getitem__(self, part: slice) -> bytes:
        start, end, _ = part.indices(len(self))
        if self._file is None or start >= self._kept:
            return bytes(self._tail[start - self._kept : end - self._kept])
        kept = os.pread(self._file.fileno(), min(end, self._kept) - start, start)
        return kept + bytes(self._tail[: max(end - self._kept, 0)])

    def close(self) -> None:
        """Give the file back."""
        if self._file:
            self._file.close()
