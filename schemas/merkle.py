"""RFC 6962 trees over SHA-256: leaf and node hashes, roots, audit paths and their check."""

from collections.abc import Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Hash of a leaf: SHA-256(00 ‖ entry), RFC 6962 §2.1."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(01 ‖ left ‖ right), RFC 6962 §2.1."""
    return sha256(b"\x01" + left + right).digest()


def tree_levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels of the tree over leaf hashes, leaves first, root last; a lone right node rises unchanged.

    Rising unchanged gives the RFC 6962 tree: its left part is always the largest full power of two.
    """
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        above = [sha256(b"\x01" + below[i] + below[i + 1]).digest() for i in range(0, len(below) - 1, 2)]
        if len(below) % 2:
            above.append(below[-1])
        levels.append(above)
    return levels


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """Root of the tree over leaf hashes; of no leaves, SHA-256 of nothing."""
    return tree_levels(leaves)[-1][0] if leaves else EMPTY_ROOT


def audit_paths(levels: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Of each leaf, the sibling hashes from it up to the root, lowest first, joined. Made from the root downwards."""
    paths = [b""]
    for level in reversed(levels[:-1]):
        above, size = paths, len(level)
        paths = [level[i ^ 1] + above[i >> 1] if i ^ 1 < size else above[i >> 1] for i in range(size)]
    return paths


def root_from_path(leaf: bytes, index: int, size: int, path: bytes) -> bytes | None:
    """The root that `leaf` at `index` of `size` leaves and its path lead to; None if the path has another length."""
    if not 0 <= index < size or len(path) % 32:
        return None
    at, last, hash_ = 0, size - 1, leaf
    while last:
        if index & 1 or index < last:
            sibling = path[at : at + 32]
            if len(sibling) < 32:
                return None
            at += 32
            hash_ = node_hash(sibling, hash_) if index & 1 else node_hash(hash_, sibling)
        index >>= 1
        last >>= 1
    return hash_ if at == len(path) else None
