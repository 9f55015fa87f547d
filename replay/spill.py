"""What an audit keeps for later and what grows with the log: in memory while it is little, in a temporary file then."""

import os
import tempfile
from typing import IO, Self

IN_MEMORY_BYTES = 1 << 18
_BLOCK_BYTES = 1 << 14


class Spill:
    """Bytes that only grow, as a `bytearray` does by `+=`; all but the last quarter of a megabyte lie on disk."""

    def __init__(self) -> None:
        self._tail = bytearray()
        self._file: IO[bytes] | None = None
        self._kept = 0
        self._block, self._block_at = b"", 0

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
        start, end, _ = part.indices(self._kept + len(self._tail))
        at = start - self._block_at
        if at >= 0 and end - self._block_at <= len(self._block):
            return self._block[at : end - self._block_at]
        if self._file is None or start >= self._kept:
            return bytes(self._tail[start - self._kept : end - self._kept])
        size = min(end, self._kept) - start
        read = os.pread(self._file.fileno(), max(size, min(_BLOCK_BYTES, self._kept - start)), start)
        if size <= _BLOCK_BYTES:  # who asks for a little asks for what follows next
            self._block, self._block_at = read, start
        kept = read[:size]
        return kept + bytes(self._tail[: max(end - self._kept, 0)])

    def close(self) -> None:
        """Give the file back."""
        if self._file:
            self._file.close()
