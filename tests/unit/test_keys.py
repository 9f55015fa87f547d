import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.keys import KeyInvalid, check_public_key, key_id, raw_public_key
from tests.support.vectors import vector_lines

_P = 2**255 - 19
# The eight points of low order (RFC 7748 §6.1 and the curve's own), each with both signs of x, canonical or not.
LOW_ORDER_Y = (
    0,
    1,
    _P - 1,
    2707385501144840649318225287225658788936804267575313519463743609750303402022,
    55188659117513257062467267217118295137698188065244968500265048394206261417927,
)


@pytest.mark.parametrize("y", [*LOW_ORDER_Y, *(y + _P for y in (0, 1))])
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_a_key_of_low_order_is_never_taken(y: int, sign: int) -> None:
    with pytest.raises(KeyInvalid, match=r"low order|canonical"):
        check_public_key((y | sign).to_bytes(32, "little"))


def test_cryptography_itself_would_take_a_key_of_low_order() -> None:
    weak = Ed25519PublicKey.from_public_bytes((1).to_bytes(32, "little"))
    weak.verify((1).to_bytes(32, "little") + bytes(32), b"whatever it says")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(KeyInvalid, match="32 bytes"):
        check_public_key(bytes(length))


def test_bytes_that_are_no_point_are_refused() -> None:
    with pytest.raises(KeyInvalid, match="point of the curve"):
        check_public_key((2).to_bytes(32, "little"))


def test_wycheproof_signatures_get_the_published_verdict_under_a_checked_key() -> None:
    cases = 0
    for case in vector_lines("wycheproof_ed25519.jsonl"):
        key = check_public_key(bytes.fromhex(case["pk"]))
        try:
            key.verify(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            verdict = "valid"
        except InvalidSignature:
            verdict = "invalid"
        assert verdict == case["result"], (case["tcId"], case["comment"])
        cases += 1
    assert cases == 151


def test_a_key_is_named_by_its_bytes() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    assert key_id(raw_public_key(key)) == "139e3940e64b5491722088d9a0d741628fc826e09475d341a780acde3c4b8070"[:32]
    assert raw_public_key(key) == raw_public_key(key.public_key())
