"""How well counts were reproduced: stored and fresh counts in, index with interval, G-test and verdict out.

F is the Hellinger fidelity (Σ √(pᵢ qᵢ))² of two sets of counts. The index is F of fresh to stored counts, a mean over
circuits weighted by shots, over the average of that mean in 1,000 perfect resamples. In a perfect resample both runs
are drawn anew from the stored frequencies: stored counts carry shot noise like any others, and were they taken for the
truth, a device that reproduces perfectly would fall short of 1 the more, the fewer its shots.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

RESAMPLES = 1_000
WIDTH_MAX = 0.02
EXPECTED_MIN = 5.0
"""Outcomes expected less often than this are taken together in a G-test, as usual for chi-squared."""

Counts = npt.NDArray[np.int64]
Verdict = Literal["reproducible", "drifted", "divergent", "failed", "undecided"]


class Pair(NamedTuple):
    """Counts of one circuit by outcome, in one order: as stored, and as measured afresh."""

    stored: Counts
    fresh: Counts


class Index(NamedTuple):
    """The reproducibility index with its 95 % interval."""

    value: float
    low: float
    high: float


def paired(stored: Mapping[str, int], fresh: Mapping[str, int]) -> Pair:
    """Counts of two runs over the outcomes that either saw."""
    outcomes = sorted(stored.keys() | fresh.keys())
    return Pair(
        np.array([stored.get(outcome, 0) for outcome in outcomes], dtype=np.int64),
        np.array([fresh.get(outcome, 0) for outcome in outcomes], dtype=np.int64),
    )


def reproducibility_index(pairs: Sequence[Pair], seed: int) -> Index:
    """The index over circuits that all have shots. The interval is a bootstrap of both runs, centred on the index.

    Drawing again from counts adds their noise once more, which lowers F; so the bootstrap gives the spread alone.
    """
    chance = np.random.default_rng(seed)
    shots = float(sum(pair.stored.sum() for pair in pairs))
    seen, perfect, again = 0.0, np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for pair in pairs:
        stored_shots, fresh_shots = int(pair.stored.sum()), int(pair.fresh.sum())
        weight, stored, fresh = stored_shots / shots, pair.stored / stored_shots, pair.fresh / fresh_shots
        perfect_draws = chance.multinomial(fresh_shots, stored, RESAMPLES) / fresh_shots
        stored_draws = chance.multinomial(stored_shots, stored, RESAMPLES) / stored_shots
        fresh_draws = chance.multinomial(fresh_shots, fresh, RESAMPLES) / fresh_shots
        seen += weight * float(_fidelity(stored, fresh))
        perfect += weight * _fidelity(stored_draws, perfect_draws)
        again += weight * _fidelity(stored_draws, fresh_draws)
    ideal = float(perfect.mean())
    low, high = (float(end) for end in np.quantile(again - again.mean(), (0.025, 0.975)))
    return Index(seen / ideal, (seen + low) / ideal, (seen + high) / ideal)


def _fidelity(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Hellinger fidelity along the last axis."""
    overlap: npt.NDArray[np.float64] = np.sqrt(one * other).sum(axis=-1)
    return overlap**2


def g_test(pair: Pair) -> float:
    """The chance of counts as unlike as these, or more, if both runs had one distribution."""
    table = np.array(pair, dtype=float)
    table = table[:, table.sum(axis=0) > 0]
    rows = table.sum(axis=1)
    rare = table.sum(axis=0) * rows.min() / rows.sum() < EXPECTED_MIN
    if rare.any():
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    expected = np.outer(rows, table.sum(axis=0)) / rows.sum()
    seen = table > 0
    g = 2 * float((table[seen] * np.log(table[seen] / expected[seen])).sum())
    return chi_squared_tail(max(0.0, g), table.shape[1] - 1)


def chi_squared_tail(value: float, freedom: int) -> float:
    """The chance that chi-squared exceeds a value: a finite sum for each whole number of degrees of freedom."""
    half = value / 2
    if freedom == 0 or half == 0:
        return 1.0
    first, rest = (0.5, math.erfc(math.sqrt(half))) if freedom % 2 else (0.0, 0.0)
    powers = [first + step for step in range(freedom // 2)]
    terms = [math.exp(power * math.log(half) - half - math.lgamma(power + 1)) for power in powers]
    return min(1.0, math.fsum(terms) + rest)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for there being several: the least times their number, the next times one less, and so on."""
    corrected = [0.0] * len(p_values)
    floor = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = floor
    return corrected


def verdict_of(index: Index, p_value: float, shift_max: float) -> Verdict:
    """The band an index falls into; nothing is decided where its interval is wide."""
    if index.high - index.low > WIDTH_MAX:
        return "undecided"
    if index.value >= 0.99 and p_value >= 0.01 and shift_max <= 3:
        return "reproducible"
    if index.value >= 0.90:
        return "drifted"
    return "divergent" if index.value >= 0.70 else "failed"
