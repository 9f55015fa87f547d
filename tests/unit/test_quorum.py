"""Policies: what they say, when they are met, and what is no policy."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from replay import standalone
from schemas.keys import raw_public_key
from schemas.note import Kind, NoteKey
from schemas.quorum import PolicyInvalid, parse_policy


def key(number: int, kind: Kind = Kind.COSIGNATURE) -> str:
    private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    return NoteKey(f"w{number}.example", kind, raw_public_key(private)).text


WITNESSES = "".join(f"witness W{number} {key(number)}\n" for number in range(1, 6))
NESTED = f"{WITNESSES}group X 2 W1 W2 W3\ngroup Y any W4 W5\ngroup XY all X Y\nquorum XY\n"


@pytest.mark.parametrize(
    ("quorum", "cosigned", "met"),
    [
        ("quorum W1\n", "W1", True),
        ("quorum W1\n", "W2", False),
        ("quorum none\n", "", True),
        ("group G 2 W1 W2 W3\nquorum G\n", "W1 W3", True),
        ("group G 2 W1 W2 W3\nquorum G\n", "W1 W4", False),
        ("group G all W1 W2\nquorum G\n", "W1", False),
        ("group G any W1 W2\nquorum G\n", "W2", True),
    ],
    ids=lambda value: str(value).strip(),
)
def test_a_quorum_is_met_by_enough_witnesses_and_no_fewer(quorum: str, cosigned: str, met: bool) -> None:
    assert parse_policy((WITNESSES + quorum).encode()).is_met(set(cosigned.split())) is met


@pytest.mark.parametrize(("cosigned", "met"), [("W1 W2 W5", True), ("W1 W2 W3", False), ("W1 W4 W5", False)])
def test_groups_of_groups_count_each_group_once(cosigned: str, met: bool) -> None:
    assert parse_policy(NESTED.encode()).is_met(set(cosigned.split())) is met


def test_blanks_comments_and_empty_lines_mean_nothing() -> None:
    policy = parse_policy(f"\n # a comment\n\twitness  W1\t{key(1)}  http://w1.example \n\nquorum W1".encode())
    assert policy.witnesses["W1"].url == "http://w1.example"


def test_names_are_opaque_bytes() -> None:
    policy = parse_policy(b"witness \xff " + key(1).encode() + b"\nquorum \xff\n")
    assert policy.is_met({"\udcff"})


def test_a_log_is_known_by_its_key() -> None:
    policy = parse_policy(f"log {key(1, Kind.TEXT)} https://log.example\nquorum none\n".encode())
    assert [log.name for log in policy.logs] == ["w1.example"]


def test_the_trees_of_one_sealer_may_be_listed_as_they_are_printed() -> None:
    raw = raw_public_key(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    trees = [NoteKey(f"qpubus/k/{topic}/0", Kind.TEXT, raw) for topic in ("intents", "results")]
    text = "".join(f"log {tree.text}\n" for tree in trees) + "quorum none\n"
    assert list(parse_policy(text.encode()).logs) == trees
    assert standalone.read_policy(text).logs == [raw, raw]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="no quorum"),
        pytest.param(WITNESSES, id="witnesses and no quorum"),
        pytest.param("quorum W1\n" + WITNESSES, id="quorum before its witness"),
        pytest.param(WITNESSES + "quorum W1\nquorum W2\n", id="two quorums"),
        pytest.param(WITNESSES + "quorum W9\n", id="quorum unknown"),
        pytest.param(WITNESSES + f"witness W1 {key(6)}\nquorum W1\n", id="name taken"),
        pytest.param(WITNESSES + f"witness W6 {key(1)}\nquorum W1\n", id="key listed already"),
        pytest.param(f"witness none {key(1)}\nquorum none\n", id="name none"),
        pytest.param(f"witness W1 {key(1, Kind.TEXT)}\nquorum W1\n", id="a log's key as a witness's"),
        pytest.param(f"log {key(1)}\nquorum none\n", id="a witness's key as a log's"),
        pytest.param(f"log {key(1, Kind.TEXT)}\nlog {key(1, Kind.TEXT)}\nquorum none\n", id="log listed already"),
        pytest.param(WITNESSES + "group G 0 W1\nquorum G\n", id="none of them"),
        pytest.param(WITNESSES + "group G 3 W1 W2\nquorum G\n", id="more than there are"),
        pytest.param(WITNESSES + "group G 01 W1\nquorum G\n", id="leading zero"),
        pytest.param(WITNESSES + "group G any\nquorum G\n", id="no members"),
        pytest.param(WITNESSES + "group G any W1 W1\nquorum G\n", id="member twice"),
        pytest.param(WITNESSES + "group G any W1\ngroup H any W1\nquorum H\n", id="member of two groups"),
        pytest.param(WITNESSES + "group G any none\nquorum G\n", id="member none"),
        pytest.param("vote none\n", id="unknown line"),
        pytest.param("quorum none\x00\n", id="control character"),
        pytest.param("witness W1 nonsense\nquorum W1\n", id="no key"),
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyInvalid):
        parse_policy(text.encode())
    with pytest.raises(standalone.Unreadable):
        standalone.read_policy(text)


def test_the_line_that_is_wrong_is_named() -> None:
    with pytest.raises(PolicyInvalid, match=r"line 7: .*W9"):
        parse_policy(f"{WITNESSES}\nquorum W9\n".encode())
