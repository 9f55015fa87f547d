"""Intervals of 95 %: from a few numbers to a mean that says how far it may be trusted."""

import math
from collections.abc import Sequence

Z_95 = 1.959963984540054
_T_95 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip


def t_95(freedom: int) -> float:
    """Two-sided 95 % point of Student's t: from the table up to 30 degrees of freedom, then Cornish and Fisher."""
    if freedom <= len(_T_95):
        return _T_95[freedom - 1]
    z = Z_95
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


Interval = tuple[float, float | None, float | None]
"""A figure, and the low and high end of its interval: null where a single case tells nothing of the spread."""


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean, low and high by Student's t."""
    mean = math.fsum(values) / len(values)
    spread = [value - mean for value in values]
    return (mean, *_around(mean, spread))


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> Interval:
    """Sum over sum, low and high, over pairs drawn together: the variance by linearising the ratio."""
    total = math.fsum(denominators)
    ratio = math.fsum(numerators) / total
    size = len(numerators)
    spread = [(up - ratio * down) * size / total for up, down in zip(numerators, denominators, strict=True)]
    return (ratio, *_around(ratio, spread))


def _around(centre: float, spread: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    size = len(spread)
    if size == 1:
        return None, None
    error = math.sqrt(math.fsum(each * each for each in spread) / (size - 1) / size)
    half = t_95(size - 1) * error
    return centre - half, centre + half
