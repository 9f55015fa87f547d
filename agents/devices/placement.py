"""Choose physical qubits: interactions and measured figures go in, the best place that holds them comes out."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agents.devices.figures import NoiseFigures
from agents.devices.profiles import Edge
from agents.devices.qasm import CircuitInvalid

_STEPS_MAX = 50_000
_FIDELITY_FLOOR = 1e-6
_Graph = Mapping[int, set[int]]


@dataclass(frozen=True)
class Interactions:
    """What a circuit asks of its place: gates and measurements of each qubit, two-qubit gates of each pair."""

    one_qubit: Counter[int]
    measured: Counter[int]
    two_qubit: Counter[Edge]


def place(wanted: Interactions, figures: NoiseFigures, uniform: bool) -> dict[int, int]:
    """Return {circuit qubit: device qubit} with the highest product of fidelities; ties go to lower numbers.

    There is no swap router: a circuit whose pairs are not neighbours anywhere raises `CircuitInvalid` "fits_nowhere"
    with the reason. The search is bounded; if the bound ends it, the best place found so far is taken. `uniform` says
    that all qubits are equal and all are neighbours, so the first ones are as good as any.
    """
    qubits = sorted({*wanted.one_qubit, *wanted.measured, *(q for pair in wanted.two_qubit for q in pair)})
    if len(qubits) > len(figures.one_qubit):
        detail = f"{len(qubits)} qubits, the device has {len(figures.one_qubit)}"
        raise CircuitInvalid("fits_nowhere", "circuit", detail)
    if uniform:
        return {qubit: position for position, qubit in enumerate(qubits)}
    asked = _neighbours(wanted.two_qubit)
    coupling = _neighbours(figures.two_qubit)
    _explain_misfit(asked, coupling)
    search = _Search(wanted, figures, asked, coupling, _search_order(asked, qubits))
    search.extend({}, 0.0)
    if search.best is None:
        reason = "placement_search_exhausted" if search.steps > _STEPS_MAX else "fits_nowhere"
        raise CircuitInvalid(reason, "circuit", "no set of neighbouring qubits has the circuit's pairs")
    return search.best


def _neighbours(pairs: Iterable[Edge]) -> _Graph:
    graph: defaultdict[int, set[int]] = defaultdict(set)
    for low, high in pairs:
        graph[low].add(high)
        graph[high].add(low)
    return dict(graph)


def _explain_misfit(asked: _Graph, coupling: _Graph) -> None:
    """Name the most common reason at once instead of searching for what cannot be."""
    ceiling = max(len(partners) for partners in coupling.values())
    for qubit, partners in sorted(asked.items()):
        if len(partners) > ceiling:
            detail = f"{len(partners)} partners, the device has at most {ceiling}"
            raise CircuitInvalid("fits_nowhere", f"qubit {qubit}", detail)


def _search_order(asked: _Graph, qubits: list[int]) -> list[int]:
    """Order qubits so that each, where possible, touches one before it; the busiest first."""
    order: list[int] = []
    left = sorted(qubits, key=lambda qubit: (-len(asked.get(qubit, ())), qubit))
    while left:
        touching = [qubit for qubit in left if asked.get(qubit, set()).intersection(order)]
        chosen = touching[0] if touching else left[0]
        order.append(chosen)
        left.remove(chosen)
    return order


class _Search:
    """Depth-first search with the running log fidelity as its bound."""

    def __init__(
        self, wanted: Interactions, figures: NoiseFigures, asked: _Graph, coupling: _Graph, order: list[int]
    ) -> None:
        self._wanted, self._figures, self._asked, self._coupling = wanted, figures, asked, coupling
        self._order = order
        self._by_fidelity = sorted(range(len(figures.one_qubit)), key=lambda q: (-figures.readout[q], q))
        self._best_log = -math.inf
        self.best: dict[int, int] | None = None
        self.steps = 0

    def extend(self, chosen: dict[int, int], log_fidelity: float) -> None:
        if log_fidelity <= self._best_log or self.steps > _STEPS_MAX:
            return
        if len(chosen) == len(self._order):
            self._best_log, self.best = log_fidelity, dict(chosen)
            return
        qubit = self._order[len(chosen)]
        for place_, gain in self._candidates(qubit, chosen):
            self.steps += 1
            chosen[qubit] = place_
            self.extend(chosen, log_fidelity + gain)
            del chosen[qubit]

    def _candidates(self, qubit: int, chosen: dict[int, int]) -> list[tuple[int, float]]:
        partners = [other for other in sorted(self._asked.get(qubit, ())) if other in chosen]
        pool = sorted(self._coupling[chosen[partners[0]]]) if partners else self._by_fidelity
        taken = set(chosen.values())
        fitting = [
            free
            for free in pool
            if free not in taken and all(free in self._coupling[chosen[other]] for other in partners)
        ]
        scored = [(free, self._gain(qubit, free, {other: chosen[other] for other in partners})) for free in fitting]
        return sorted(scored, key=lambda item: (-item[1], item[0]))

    def _gain(self, qubit: int, at: int, partners: dict[int, int]) -> float:
        figures, wanted = self._figures, self._wanted
        total = wanted.one_qubit[qubit] * _log(figures.one_qubit[at]) + wanted.measured[qubit] * _log(
            figures.readout[at]
        )
        for other, other_at in partners.items():
            uses = wanted.two_qubit[min(qubit, other), max(qubit, other)]
            total += uses * _log(figures.two_qubit[min(at, other_at), max(at, other_at)])
        return total


def _log(fidelity: float) -> float:
    return math.log(max(fidelity, _FIDELITY_FLOOR))
