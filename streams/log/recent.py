"""The leaf hashes of what was appended last, as this process sealed it: so that a sealer need not read it back.

A log keeps them only if somebody has asked for it, and only the last few thousand.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

KEPT_MAX = 8_192
"""So many records of a topic-partition are kept; a sealer's round is due after fewer."""

Named = tuple[str, bytes]
"""The key of a record, and the frame of its value, which names its schema."""


class Leaves(NamedTuple):
    """Leaf hashes of neighbours, by their statements; `named` are the schemas that those statements go by."""

    first: int
    hashes: Sequence[bytes]
    named: frozenset[Named]

    @property
    def end(self) -> int:
        """The place behind the last."""
        return self.first + len(self.hashes)


class Recent:
    """Leaf hashes by topic-partition, handed out once and in order."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, int], deque[Leaves]] = {}
        self._sizes: dict[tuple[str, int], int] = {}

    def add(self, line: tuple[str, int], leaves: Leaves) -> None:
        """Take in what was just appended."""
        runs = self._runs.setdefault(line, deque())
        runs.append(leaves)
        self._sizes[line] = self._sizes.get(line, 0) + len(leaves.hashes)
        while self._sizes[line] > KEPT_MAX:
            self._sizes[line] -= len(runs.popleft().hashes)

    def take(self, topic: str, partition: int, start: int, end: int) -> Leaves | None:
        """Those from place `start` on as far as they follow each other, at most up to `end`; None if there are none."""
        line, hashes, named = (topic, partition), list[bytes](), set[Named]()
        runs = self._runs.get(line) or deque()
        while runs and runs[0].first <= (at := start + len(hashes)) and at < end:
            run = runs[0]
            hashes += run.hashes[at - run.first : end - run.first]
            named |= run.named
            if run.end > end:
                break
            self._sizes[line] -= len(runs.popleft().hashes)
        return Leaves(start, hashes, frozenset(named)) if hashes else None


@runtime_checkable
class KeepsLeaves(Protocol):
    """A log that can tell what was appended to it by its own process."""

    def keep_leaves(self) -> Recent:
        """From now on keep leaf hashes there."""
        ...
