"""Growing trees: the published roots, frontiers, proofs of consistency."""

import itertools
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    is_consistent,
    leaf_hash,
    root_hash,
)

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
LEAVES = [leaf_hash(bytes([number])) for number in range(40)]
SIZES = [(old, new) for new in range(1, len(LEAVES) + 1) for old in range(new + 1)]


def vectors(name: str) -> bytes:
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"the published vectors {name} are not beside this tree")
    return path.read_bytes()


def frontier(size: int) -> Frontier:
    made = Frontier()
    made.extend(LEAVES[:size])
    return made


def proof_by_the_rfc(old: int, leaves: list[bytes], *, is_whole: bool = True) -> list[bytes]:
    """RFC 6962 §2.1.2, word for word."""
    if old == len(leaves):
        return [] if is_whole else [root_hash(leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if old <= split:
        return [*proof_by_the_rfc(old, leaves[:split], is_whole=is_whole), root_hash(leaves[split:])]
    return [*proof_by_the_rfc(old - split, leaves[split:], is_whole=False), root_hash(leaves[:split])]


def test_a_growing_tree_has_the_published_roots() -> None:
    published = orjson.loads(vectors("rfc6962_constants.json"))
    growing, roots = Frontier(), {}
    for entry in published["eight_leaf_inputs_hex"]:
        growing.extend([leaf_hash(bytes.fromhex(entry))])
        roots[str(growing.size)] = growing.root().hex()
    assert roots == published["root_by_tree_size"]


def test_a_tree_grown_leaf_by_leaf_is_the_tree_over_all_leaves() -> None:
    assert [frontier(size).root() for size in range(len(LEAVES))] == [
        root_hash(LEAVES[:size]) for size in range(len(LEAVES))
    ]


def test_a_frontier_goes_on_from_its_hashes() -> None:
    before = frontier(21)
    after = Frontier(before.size, before.hashes)
    after.extend(LEAVES[21:])
    assert after.root() == root_hash(LEAVES)


def test_a_frontier_with_too_few_hashes_is_refused() -> None:
    with pytest.raises(ValueError, match="2 full subtrees"):
        Frontier(3, [LEAVES[0]])


def test_a_copy_of_a_frontier_grows_on_its_own() -> None:
    before = frontier(5)
    before.copy().extend(LEAVES[5:])
    assert before.root() == root_hash(LEAVES[:5])


def test_a_consistency_proof_is_that_of_the_rfc() -> None:
    ours = [consistency_proof(frontier(old), LEAVES[old:new]) for old, new in SIZES if old]
    assert ours == [proof_by_the_rfc(old, LEAVES[:new]) for old, new in SIZES if old]


def test_every_tree_is_proved_to_begin_with_each_smaller_one() -> None:
    assert all(
        is_consistent(old, root_hash(LEAVES[:old]), new, root_hash(LEAVES[:new]), proof)
        for old, new in SIZES
        for proof in [consistency_proof(frontier(old), LEAVES[old:new])]
    )


def test_a_proof_with_one_hash_changed_left_out_or_added_does_not_hold() -> None:
    for old, new in SIZES:
        proof = consistency_proof(frontier(old), LEAVES[old:new])
        changed = [[*proof[:at], bytes(32), *proof[at + 1 :]] for at in range(len(proof))]
        shorter = [[*proof[:at], *proof[at + 1 :]] for at in range(len(proof))]
        for bad in (*changed, *shorter, [*proof, bytes(32)]):
            assert not is_consistent(old, root_hash(LEAVES[:old]), new, root_hash(LEAVES[:new]), bad), (old, new)


def test_a_proof_holds_for_no_other_history() -> None:
    other = [leaf_hash(b"another"), *LEAVES[1:]]
    for old, new in SIZES:
        if old:
            proof = consistency_proof(frontier(old), LEAVES[old:new])
            assert not is_consistent(old, root_hash(other[:old]), new, root_hash(LEAVES[:new]), proof), (old, new)


def test_no_tree_is_consistent_with_a_smaller_one() -> None:
    assert not is_consistent(3, root_hash(LEAVES[:3]), 2, root_hash(LEAVES[:2]), [])


def test_hashes_of_another_length_never_hold() -> None:
    assert not is_consistent(0, EMPTY_ROOT, 1, b"short", [])


@given(st.lists(st.binary(max_size=4), max_size=64), st.data())
def test_growth_in_portions_makes_no_difference(entries: list[bytes], data: st.DataObject) -> None:
    leaves = [leaf_hash(entry) for entry in entries]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(leaves)), max_size=4)))
    grown = Frontier()
    for start, end in itertools.pairwise([0, *cuts, len(leaves)]):
        grown.extend(leaves[start:end])
    assert (grown.size, grown.root()) == (len(leaves), root_hash(leaves))
