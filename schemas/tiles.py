"""Where things lie in a published tree, as C2SP tlog-tiles has it: pure arithmetic, no file.

    checkpoint                     the signed note of the tree as it stands
    tile/0/x001/x234/067           256 leaf hashes, those of records 1234067·256 and following
    tile/1/000.p/17                the first 17 roots of full tiles of level 0; there are no more yet
    tile/entries/000               256 entries, each after its length in two bytes

An entry of ours is the digest of a record, never its text.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

WIDTH = 256
CHECKPOINT = "checkpoint"


class Tile(NamedTuple):
    """A tile: its level, its number in the level, and how many hashes it has. Entries have the level −1."""

    level: int
    number: int
    width: int

    @property
    def path(self) -> str:
        """Where it lies."""
        kind = "entries" if self.level < 0 else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{kind}/{number_path(self.number)}{partial}"


def number_path(number: int) -> str:
    """A number in groups of three digits, all but the last with an x before: `x001/x234/067`."""
    groups = [f"{number % 1_000:03d}"]
    while number := number // 1_000:
        groups.append(f"x{number % 1_000:03d}")
    return "/".join(reversed(groups))


def edge_tiles(size: int) -> Iterator[Tile]:
    """The partial tiles at the right edge of a tree, lowest level first: with them a tree can be grown on."""
    level = 0
    while size:
        if size % WIDTH:
            yield Tile(level, size // WIDTH, size % WIDTH)
        level, size = level + 1, size // WIDTH


def bundle(entries: Sequence[bytes]) -> bytes:
    """Entries as they are published."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
