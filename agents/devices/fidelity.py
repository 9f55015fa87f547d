"""How near counts are to the ideal distribution: counts and ideal probabilities in, `CircuitFidelity` out.

F is the Hellinger fidelity S² with S = Σ √(pᵢ qᵢ), p ideal and q seen. Two effects of few shots are removed: √(k/n)
lies low by √q (1−q)/(8nq), which adding (1−q)/4 to the count k undoes (Anscombe's shift for a square root), and
squaring S adds its variance (Σ over seen pᵢ − S²)/4n. The result is scaled so that 1 is ideal and 0 a fair coin for
every bit. Where a fair coin comes near the ideal (F above 0.9) that scale says nothing; there the survival of the
canaries run beside the circuit in the same step stands in, and with none there is no figure.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from schemas.events import CircuitFidelity

UNIFORM_MAX = 0.9
_Z = 1.959963984540054
"""95 % of a normal distribution lies within this many standard deviations."""


class Pooled(NamedTuple):
    """All counts of one circuit of a step, its ideal distribution, and the outcome it should give if it is a canary."""

    counts: Mapping[str, int]
    ideal: np.ndarray
    expected: str


class _Measured(NamedTuple):
    value: float
    error: float


def circuit_fidelities(circuits: Sequence[Pooled]) -> tuple[CircuitFidelity, ...]:
    """The figure of each circuit that has one, in the order of the circuits."""
    canaries = [each for each in circuits if each.expected and each.counts]
    found = []
    for number, each in enumerate(circuits):
        shots = sum(each.counts.values())
        if not shots:
            continue
        uniform = uniform_fidelity(each.ideal)
        if uniform <= UNIFORM_MAX:
            seen = hellinger(each.counts, each.ideal)
            scaled = _Measured((seen.value - uniform) / (1 - uniform), seen.error / (1 - uniform))
            found.append(_scaled_figure(number, shots, scaled))
        elif canaries:
            found.append(_survival(number, shots, canaries))
    return tuple(found)


def uniform_fidelity(ideal: np.ndarray) -> float:
    """F between the ideal distribution and fair coins."""
    return float(np.sqrt(ideal / ideal.size).sum() ** 2)


def hellinger(counts: Mapping[str, int], ideal: np.ndarray) -> _Measured:
    """F between ideal and seen without the bias of few shots, and its standard error."""
    shots = sum(counts.values())
    overlap, ideal_seen = 0.0, 0.0
    for bits, count in counts.items():
        chance = float(ideal[int(bits, 2)])
        overlap += math.sqrt(chance * (count + (1 - count / shots) / 4) / shots)
        ideal_seen += chance
    variance = max(0.0, ideal_seen - overlap**2) / (4 * shots)
    # At the ideal itself the first-order variance is nought; what is left is that of a chi-squared over 4n.
    floor = max(1, int(np.count_nonzero(ideal > 0)) - 1) / (8 * shots**2)
    return _Measured(overlap**2 - variance, math.sqrt(4 * overlap**2 * variance + floor))


def _survival(number: int, shots: int, canaries: Sequence[Pooled]) -> CircuitFidelity:
    """The share of expected outcomes over all canaries, with Wilson's interval; the shots are the circuit's own."""
    pool = sum(sum(each.counts.values()) for each in canaries)
    share = sum(each.counts.get(each.expected, 0) for each in canaries) / pool
    scale = 1 + _Z**2 / pool
    centre = (share + _Z**2 / (2 * pool)) / scale
    half = _Z * math.sqrt(share * (1 - share) / pool + _Z**2 / (4 * pool**2)) / scale
    return CircuitFidelity(
        circuit=number, method="mirror", shots=shots, value=share, low=centre - half, high=centre + half
    )


def _scaled_figure(number: int, shots: int, measured: _Measured) -> CircuitFidelity:
    half = _Z * measured.error
    return CircuitFidelity(
        circuit=number,
        method="hellinger",
        shots=shots,
        value=measured.value,
        low=measured.value - half,
        high=measured.value + half,
    )
