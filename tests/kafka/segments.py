"""What a disk may do to a broker's own files."""

from pathlib import Path


def flip(directory: Path, value: bytes) -> None:
    """Flip one bit of a stored value in the one segment of a topic-partition."""
    (segment,) = directory.glob("*.log")
    stored = bytearray(segment.read_bytes())
    stored[stored.index(value) + len(value) // 2] ^= 1
    segment.write_bytes(stored)
