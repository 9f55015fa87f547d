"""RFC 6962 trees over SHA-256: leaf and node hashes, roots, growing trees; audit paths, consistency, their checks."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Hash of a leaf: SHA-256(00 ‖ entry), RFC 6962 §2.1."""
    return sha256(b"\x00" + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """`leaf_hash` of each entry, without the calls."""
    return [sha256(b"\x00" + entry).digest() for entry in entries]


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


class Frontier:
    """The right edge of a growing tree: the roots of its full subtrees, the largest first, one a binary digit of size.

    It holds all that roots of larger trees and proofs of consistency need of the leaves so far. A leaf costs one node
    hash on average, however large the tree is.
    """

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """An empty tree, or one of `size` leaves by the roots of its full subtrees."""
        if len(hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} full subtrees, not {len(hashes)}")
        self.size = size
        self.hashes = list(hashes)

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Grow by leaf hashes, level by level: what has a sibling is joined, what has none is a full subtree."""
        row, level = list(leaves), 0
        self.size, size = self.size + len(row), self.size
        alone: list[bytes] = []
        while row or size >> level:
            if size >> level & 1:
                row.insert(0, self.hashes.pop())
            if len(row) & 1:
                alone.append(row.pop())
            row = [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
            level += 1
        self.hashes = alone[::-1]

    def root(self) -> bytes:
        """The root of the tree as it stands."""
        return _joined(self.hashes) if self.hashes else EMPTY_ROOT

    def copy(self) -> "Frontier":
        """One that grows on its own."""
        return Frontier(self.size, self.hashes)


def consistency_proof(before: Frontier, leaves: Sequence[bytes]) -> list[bytes]:
    """The RFC 6962 §2.1.2 proof that the tree grown by leaf hashes `leaves` begins with the tree before.

    Of the old leaves it needs only the frontier: each old subtree that a proof names is one of the frontier's.
    """
    old, start, end = before.size, 0, before.size + len(leaves)
    if old in {0, end}:
        return []
    peaks, known = list(before.hashes), 0
    proof: list[bytes] = []
    while end > old:
        split = start + (1 << (end - start - 1).bit_length() - 1)
        if old <= split:
            proof.append(root_hash(leaves[split - old : end - old]))
            end = split
        else:
            proof.append(peaks[known])
            known += 1
            start = split
    if start:
        proof.append(peaks[known])
    return proof[::-1]


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that the tree of `new` leaves begins with the tree of `old` leaves (RFC 9162 §2.1.4.2)."""
    if not 0 <= old <= new or any(len(each) != len(EMPTY_ROOT) for each in (old_root, new_root, *proof)):
        return False
    if old in {0, new}:
        return not proof and old_root == (EMPTY_ROOT if old == 0 else new_root)
    trail = list(proof) if old & (old - 1) else [old_root, *proof]
    if not trail:
        return False
    old_at, new_at = old - 1, new - 1
    while old_at & 1:
        old_at, new_at = old_at >> 1, new_at >> 1
    old_seen = new_seen = trail[0]
    for hash_ in trail[1:]:
        if new_at == 0:
            return False
        if old_at & 1 or old_at == new_at:
            old_seen, new_seen = node_hash(hash_, old_seen), node_hash(hash_, new_seen)
            while old_at and not old_at & 1:
                old_at, new_at = old_at >> 1, new_at >> 1
        else:
            new_seen = node_hash(new_seen, hash_)
        old_at, new_at = old_at >> 1, new_at >> 1
    return new_at == 0 and (old_seen, new_seen) == (old_root, new_root)


def _joined(hashes: Sequence[bytes]) -> bytes:
    """The root over neighbouring full subtrees, the largest first."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root
