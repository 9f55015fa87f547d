"""RFC 8785 by the fast way and by the reference: the same bytes of every value, and the same values refused."""

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import canonical

NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([0.0, -0.0, 1e-3, 9.99e-4, 1e15, 1e16, 1e21, 5e-324, 2**53 - 1, 2**53, float(2**53)])
)
TEXTS = st.text() | st.text(alphabet='\x00\x1f\x7f"\\/\u2028\ue000😀aé', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_a_value_has_the_bytes_that_the_reference_gives(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except rfc8785.CanonicalizationError:
        with pytest.raises(rfc8785.CanonicalizationError):
            canonical(value)
    else:
        assert canonical(value) == expected
