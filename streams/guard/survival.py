"""A one-sided test of whether canaries survive less often than they should.

With n shots, survival at least p and s = n·p − survivors, Bernstein's inequality bounds the chance of such a shortfall:

    P(shortfall ≥ s) ≤ exp(−s² ÷ (2·(v + s/3))),  v = n·p·(1−p)

so s² > 2·(v + s/3)·ln(1/level) refutes p at that level. It holds for every n, and it needs no root: squares are
compared, in exact fractions. The level is one in a million, because the test is repeated after each chunk.
"""

from fractions import Fraction

LN_INVERSE_LEVEL = Fraction(13_815_511, 1_000_000)
"""ln(10⁶), rounded up."""


def is_below(survivors: int, shots: int, survival: float) -> bool:
    """Whether so few survivors of so many shots refute that survival is `survival` or more."""
    p = Fraction(survival)
    shortfall = shots * p - survivors
    if shortfall <= 0:
        return False
    variance = shots * p * (1 - p)
    return shortfall * shortfall > 2 * (variance + shortfall / 3) * LN_INVERSE_LEVEL
