"""Causes that were named before they came, kept until all is read: in memory while few, in a temporary file then."""

import tempfile
from collections.abc import Iterator

from replay.spill import IN_MEMORY_BYTES
from schemas.envelope import Cause

_LINES_KEPT = 512


class Awaited:
    """Causes, each with the place of the event that names it."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, "w+")  # noqa: SIM115 (`close` closes it)

    def add(self, cause: Cause, topic: str, offset: int) -> None:
        """Await a cause that the event at this offset of a topic names."""
        home, source, sequence, digest = cause
        self._lines.append(f"{topic} {offset} {home} {source} {sequence} {digest}\n")
        if len(self._lines) == _LINES_KEPT:
            self.add_text("")

    def add_text(self, text: str) -> None:
        """Await what another awaited, as its `text` has it."""
        self._file.write("".join((*self._lines, text)))
        self._lines.clear()

    def text(self) -> str:
        """All that is awaited."""
        self.add_text("")
        self._file.seek(0)
        return self._file.read()

    def __iter__(self) -> Iterator[tuple[Cause, str, int]]:
        """Each cause, and the place of the event that names it."""
        self.add_text("")
        self._file.seek(0)
        for line in self._file:
            topic, offset, home, source, sequence, digest = line.split()
            yield Cause(home, source, int(sequence), digest), topic, int(offset)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()
