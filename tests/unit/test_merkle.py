from base64 import b64decode

import orjson
from hypothesis import given
from hypothesis import strategies as st

from schemas.merkle import EMPTY_ROOT, audit_paths, leaf_hash, node_hash, root_from_path, root_hash, tree_levels
from tests.support.vectors import vector_file, vector_lines

leaves = st.integers(1, 70).map(lambda size: [leaf_hash(b"%d" % number) for number in range(size)])


def test_the_constants_of_rfc_6962_come_out() -> None:
    published = orjson.loads(vector_file("rfc6962_constants.json"))
    assert EMPTY_ROOT.hex() == root_hash([]).hex() == published["empty_root"]
    for case in published["leaf_hash"]:
        assert leaf_hash(bytes.fromhex(case["data_hex"])).hex() == case["hash"]
    for case in published["node_hash"]:
        assert node_hash(case["left_utf8"].encode(), case["right_utf8"].encode()).hex() == case["hash"]
    entries = [leaf_hash(bytes.fromhex(entry)) for entry in published["eight_leaf_inputs_hex"]]
    for size, root in published["root_by_tree_size"].items():
        assert root_hash(entries[: int(size)]).hex() == root


def test_published_inclusion_proofs_get_the_published_verdict() -> None:
    cases = 0
    for case in vector_lines("merkle_inclusion.jsonl"):
        root, leaf = b64decode(case["root"] or ""), b64decode(case["leafHash"] or "")
        proof = [b64decode(each) for each in case["proof"] or ()]
        sound = all(len(each) == 32 for each in (leaf, *proof))
        path = b"".join(proof) if sound else b"?"
        holds = sound and root_from_path(leaf, case["leafIdx"], case["treeSize"], path) == root
        assert holds is not case["wantErr"], case["file"]
        cases += 1
    assert cases > 20


@given(leaves)
def test_each_leaf_leads_to_the_root_by_its_own_path_alone(entries: list[bytes]) -> None:
    levels = tree_levels(entries)
    paths = audit_paths(levels)
    for index, path in enumerate(paths):
        for other in range(len(entries)):
            leads = root_from_path(entries[other], index, len(entries), path) == levels[-1][0]
            assert leads is (other == index)


@given(leaves, st.data())
def test_a_path_of_another_length_leads_nowhere(entries: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(entries) - 1))
    path = audit_paths(tree_levels(entries))[index]
    assert root_from_path(entries[index], index, len(entries), path + bytes(32)) is None
    assert root_from_path(entries[index], index, len(entries), path + b"\0") is None
    if path:
        assert root_from_path(entries[index], index, len(entries), path[:-32]) is None


def test_a_place_outside_the_tree_has_no_root() -> None:
    leaf = leaf_hash(b"")
    assert root_from_path(leaf, 1, 1, b"") is None
    assert root_from_path(leaf, -1, 1, b"") is None
    assert root_from_path(leaf, 0, 0, b"") is None
