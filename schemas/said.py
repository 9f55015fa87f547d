"""Every event by its author, topic and number, so that each cause can be found: 32 bytes an event."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Protocol, Self

from schemas.envelope import Cause

_BYTES = 32


class GrowingBytes(Protocol):
    """What a `bytearray` is here."""

    def __len__(self) -> int: ...
    def __iadd__(self, data: bytes, /) -> Self: ...
    def __getitem__(self, part: slice, /) -> bytes | bytearray: ...


class Said:
    """The digests of all admitted events."""

    def __init__(self, growing: Callable[[], GrowingBytes] = bytearray) -> None:
        """`growing` makes what the digests of one author in one topic are kept in."""
        self._growing = growing
        self._digests: dict[tuple[str, str], GrowingBytes] = {}

    def to_text(self) -> dict[str, dict[str, str]]:
        """The same as base64 by topic and source, for JSON. What was said twice is of no use to whoever reads on."""
        shown: dict[str, dict[str, str]] = {}
        for (source, topic), digests in self._digests.items():
            shown.setdefault(topic, {})[source] = b64encode(digests[:]).decode()
        return shown

    def take_over(self, shown: Mapping[str, Mapping[str, str]]) -> None:
        """Know what `to_text` has told, besides what is known already of other authors and topics."""
        for topic, sources in shown.items():
            for source, digests in sources.items():
                if (source, topic) not in self._digests:
                    self.add(source, topic, 1, b64decode(digests))

    def add(self, source: str, topic: str, sequence: int, digest: bytes) -> None:
        """Remember an event, or the digests of several that follow each other from the number `sequence` on.

        Numbers rise; what an accepted gap leaves out stays unknown.
        """
        digests = self._digests.get((source, topic))
        if digests is None:
            digests = self._digests[source, topic] = self._growing()
        if len(digests) != (sequence - 1) * _BYTES:
            digests += bytes((sequence - 1) * _BYTES - len(digests))
        digests += digest

    def digests(self, source: str, topic: str, first: int, last: int | None = None) -> bytes:
        """The digests of an author's events in a topic from the number `first` on, up to `last` if there are more."""
        known = self._digests.get((source, topic), b"")
        return bytes(known[(first - 1) * _BYTES : len(known) if last is None else last * _BYTES])

    def lines(self) -> list[tuple[str, str, int]]:
        """Every author with a topic and the number of the last event there that is known."""
        return [(*author, len(digests) // _BYTES) for author, digests in self._digests.items()]

    def fault(self, cause: Cause) -> str:
        """Empty if the cause is there as it is named, else the code of what is wrong with it."""
        end = cause.sequence * _BYTES
        digest = self._digests.get((cause.source, cause.topic), b"")[end - _BYTES : end]
        if digest == bytes.fromhex(cause.digest):
            return ""
        return "cause_differs" if any(digest) else "cause_absent"
