"""The leaf hashes of all records of a partition number, kept in order beside an audit: what its trees are grown from.

A topic's leaves go to a temporary file once they are many, so a long log costs disk and no memory.
"""

import tempfile
from collections.abc import Iterator
from typing import IO

LEAF_BYTES = 32
_IN_MEMORY_BYTES = 1 << 20
_CHUNK = 4_096


class Leaves:
    """One line of leaf hashes a topic; each one's place is that of its record."""

    def __init__(self) -> None:
        self._files: dict[str, IO[bytes]] = {}
        self.counts: dict[str, int] = {}

    def add(self, topic: str, leaves: bytes) -> None:
        """Take in the leaf hashes, joined, of the records that come next in a topic."""
        file = self._files.get(topic)
        if file is None:
            file = self._files[topic] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 (`close` closes it)
        file.write(leaves)
        self.counts[topic] = self.counts.get(topic, 0) + len(leaves) // LEAF_BYTES

    def read(self, topic: str) -> Iterator[list[bytes]]:
        """All leaf hashes of a topic, in portions."""
        file = self._files.get(topic)
        if file is None:
            return
        file.seek(0)
        while chunk := file.read(_CHUNK * LEAF_BYTES):
            yield [chunk[at : at + LEAF_BYTES] for at in range(0, len(chunk), LEAF_BYTES)]

    def close(self) -> None:
        """Give the files back."""
        for file in self._files.values():
            file.close()
