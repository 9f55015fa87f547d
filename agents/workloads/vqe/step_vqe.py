"""Loop program of the VQE job: all counts so far in, the next circuits out, or word that the job has converged.

Reads {"hamiltonian", "parameters", "history"} on stdin; each entry of history is a circuit that was asked for, with
"counts" {bit string: times}. Writes {"converged", "circuits", "details"} on stdout. Three phases:

1. search: fit E(theta) = a + b cos(theta) + c sin(theta) to the measured energies and go to its minimum (Rotosolve,
   arXiv:1905.09692) until the angle moves less than the tolerance;
2. production: measure at that angle, beside reference circuits of known outcome, as many shots of each as bring the
   standard error to its target for the fewest shots (n proportional to sensitivity times standard deviation), from
   pilot counts;
3. top up where the counts show that the target was missed.

References stand between targets, evenly over time, so that drift of the device falls on both alike.
"""

import json  # noqa: TID251  a program has the standard library and numpy only
import math
import sys
from typing import Any

import numpy as np

MEASURE_Z, MEASURE_XX, MEASURE_XX_FLIPPED = 0, 1, 2
# The plan aims below the target, so that the bootstrap's own scatter does not push the stated error above it.
PLAN_MARGIN = 0.9
CHUNKS_MIN = 12
SEARCH_SPREAD = math.pi / 4


def frequencies(entries: list[dict[str, Any]]) -> tuple[dict[str, float], int]:
    """Pool circuits: outcome frequencies and the number of shots."""
    total: dict[str, int] = {}
    for entry in entries:
        for bits, times in entry["counts"].items():
            total[bits] = total.get(bits, 0) + times
    shots = sum(total.values())
    return {bits: times / shots for bits, times in total.items()}, shots


def moments(value: dict[str, float], seen: dict[str, float]) -> tuple[float, float]:
    """Return mean and variance of an observable given by its value on each bit string."""
    mean = sum(value[bits] * share for bits, share in seen.items())
    return mean, sum((value[bits] - mean) ** 2 * share for bits, share in seen.items())


def term_values(terms: dict[str, float], template: int) -> dict[str, float]:
    """Return what each bit string adds to the energy, in hartree, when read with this template."""
    names = ("ZI", "IZ", "ZZ") if template == MEASURE_Z else ("XX",)
    values = {}
    for bits in ("00", "01", "10", "11"):
        signs = [1 - 2 * int(bit) for bit in bits]
        values[bits] = sum(
            terms.get(name, 0.0) * math.prod(s for s, letter in zip(signs, name, strict=True) if letter != "I")
            for name in names
        )
    return values


def search_fit(terms: dict[str, float], history: list[dict[str, Any]], until: int) -> tuple[float, float]:
    """Fit the sinusoid to search iterations 1..until; return the angle of its minimum and its lowest value."""
    points: dict[tuple[int, float], list[dict[str, Any]]] = {}
    for entry in history:
        kind, _, iteration = entry["label"].partition(":")
        if kind == "search" and int(iteration) <= until:
            points.setdefault((entry["template"], entry["parameters"]["theta"]), []).append(entry)
    rows, energies, weights = [], [], []
    for (template, theta), entries in points.items():
        seen, shots = frequencies(entries)
        mean, variance = moments(term_values(terms, template), seen)
        along = [1.0, math.cos(theta), math.sin(theta)]
        # Each basis carries its own sinusoid; their sum is the energy.
        rows.append([*along, 0, 0, 0] if template == MEASURE_Z else [0, 0, 0, *along])
        energies.append(mean)
        weights.append(math.sqrt(shots / (variance + 1e-4)))
    scale = np.array(weights)
    solution = np.linalg.lstsq(np.array(rows) * scale[:, None], np.array(energies) * scale, rcond=None)[0]
    a, b, c = solution[:3] + solution[3:]
    return math.atan2(-c, -b), terms.get("II", 0.0) + a - math.hypot(b, c)


def circuit(template: int, theta: float, shots: int, label: str) -> dict[str, Any]:
    """Ask for one circuit."""
    known = "11" if (theta, template) == (0.0, MEASURE_Z) else None
    return {
        "template": template,
        "parameters": {"theta": theta},
        "shots": shots,
        "label": label,
        "canary": known,
    }


def search_circuits(theta: float, iteration: int, shots: int) -> list[dict[str, Any]]:
    """Ask for both bases around the angle, within the range the templates allow."""
    low, high = max(theta - SEARCH_SPREAD, -math.pi / 2), min(theta + SEARCH_SPREAD, math.pi / 2)
    return [
        circuit(template, angle, shots, f"search:{iteration}")
        for angle in (low, theta, high)
        for template in (MEASURE_Z, MEASURE_XX)
    ]


def production_kinds(theta: float) -> dict[str, tuple[int, float]]:
    """Name what production measures: the target in three readings, and four references whose outcome theory knows."""
    return {
        "target:z": (MEASURE_Z, theta),
        "target:xx": (MEASURE_XX, theta),
        "target:xx-": (MEASURE_XX_FLIPPED, theta),
        "reference:z11": (MEASURE_Z, 0.0),
        "reference:zbell": (MEASURE_Z, math.pi / 2),
        "reference:xx": (MEASURE_XX, math.pi / 2),
        "reference:xx-": (MEASURE_XX_FLIPPED, math.pi / 2),
    }


def sensitivities(terms: dict[str, float], theta: float, means: dict[str, float]) -> dict[str, float]:
    """Return |dE/d(mean)| of each kind, in hartree, for the estimator of fit_results.py.

    z = (Z - Zbell) / (Zbell - Z11) and x = (XX - XX-) / (XXref - XX-ref), with every letter a measured mean.
    """
    along_z, along_x = abs(terms["ZI"] + terms["IZ"]), abs(terms["XX"])
    z_contrast = abs(means["reference:z11"] - means["reference:zbell"])
    x_contrast = abs(means["reference:xx"] - means["reference:xx-"])
    z, x = math.cos(theta), abs(math.sin(theta))
    return {
        "target:z": along_z / z_contrast,
        "target:xx": along_x / x_contrast,
        "target:xx-": along_x / x_contrast,
        "reference:z11": along_z * z / z_contrast,
        "reference:zbell": along_z * (1 - z) / z_contrast,
        "reference:xx": along_x * x / x_contrast,
        "reference:xx-": along_x * x / x_contrast,
    }


def kind_moments(kind: str, entries: list[dict[str, Any]]) -> tuple[float, float, int]:
    """Return mean, variance of a shot and shots: of Z among even outcomes for z kinds, of the parity for xx kinds."""
    seen, shots = frequencies(entries)
    if ":z" in kind:
        even = seen.get("00", 0.0) + seen.get("11", 0.0)
        mean, variance = moments({"00": 1.0, "11": -1.0}, {b: seen.get(b, 0.0) / even for b in ("00", "11")})
        return mean, variance / even, shots
    mean, variance = moments({"00": 1.0, "11": 1.0, "01": -1.0, "10": -1.0}, seen)
    return mean, variance, shots


def pilot_moments(history: list[dict[str, Any]], theta: float) -> dict[str, tuple[float, float, int]]:
    """Look at search counts nearest to each production kind; the flipped reading mirrors the plain one."""
    found = {}
    for kind, (template, angle) in production_kinds(theta).items():
        plain = MEASURE_XX if template == MEASURE_XX_FLIPPED else template
        near = [e for e in history if e["template"] == plain and e["label"].startswith("search")]
        closest = min(abs(e["parameters"]["theta"] - angle) for e in near)
        entries = [e for e in near if abs(e["parameters"]["theta"] - angle) == closest]
        mean, variance, shots = kind_moments(kind, entries)
        found[kind] = (-mean if template == MEASURE_XX_FLIPPED else mean, max(variance, 1e-3), shots)
    return found


def schedule(theta: float, shots_by_kind: dict[str, int], shots_max: int) -> list[dict[str, Any]]:
    """Cut each kind into equal circuits and spread them evenly over time, so that every kind has the same mean time."""
    timed: list[tuple[float, str, dict[str, Any]]] = []
    for kind, shots in shots_by_kind.items():
        template, angle = production_kinds(theta)[kind]
        pieces = max(CHUNKS_MIN, math.ceil(shots / shots_max))
        asked = circuit(template, angle, math.ceil(shots / pieces), kind)
        timed += [((piece + 0.5) / pieces, kind, asked) for piece in range(pieces)]
    return [asked for _, _, asked in sorted(timed, key=lambda item: item[:2])]


def plan(
    terms: dict[str, float], theta: float, seen: dict[str, tuple[float, float, int]], target: float
) -> dict[str, int]:
    """Return shots by kind for a standard error of `target` at the least total."""
    slopes = sensitivities(terms, theta, {kind: found[0] for kind, found in seen.items()})
    burdens = {kind: slopes[kind] * math.sqrt(found[1]) for kind, found in seen.items()}
    scale = sum(burdens.values()) / target**2
    return {kind: math.ceil(scale * burden) for kind, burden in burdens.items()}


def standard_error(terms: dict[str, float], theta: float, seen: dict[str, tuple[float, float, int]]) -> float:
    """Return the energy's standard error in hartree by error propagation."""
    slopes = sensitivities(terms, theta, {kind: found[0] for kind, found in seen.items()})
    return math.sqrt(sum(slopes[kind] ** 2 * variance / shots for kind, (_, variance, shots) in seen.items()))


def next_step(job: dict[str, Any]) -> dict[str, Any]:
    """Decide the phase from the history alone and answer it."""
    terms, parameters, history = job["hamiltonian"]["terms"], job["parameters"], job["history"]
    target = PLAN_MARGIN * parameters["target_standard_error_hartree"]
    made = [entry for entry in history if not entry["label"].startswith("search")]
    if made:
        theta = next(e["parameters"]["theta"] for e in made if e["label"] == "target:z")
        kinds = production_kinds(theta)
        seen = {kind: kind_moments(kind, [e for e in made if e["label"] == kind]) for kind in kinds}
        reached = standard_error(terms, theta, seen)
        details = {"phase": "production", "theta": theta, "standard_error_hartree": reached}
        if reached <= parameters["target_standard_error_hartree"] * (1 + PLAN_MARGIN) / 2:
            return {"converged": True, "circuits": [], "details": details}
        wanted = plan(terms, theta, seen, target)
        missing = {kind: max(0, shots - seen[kind][2]) for kind, shots in wanted.items()}
        top_up = {kind: shots for kind, shots in missing.items() if shots}
        return {"converged": False, "circuits": schedule(theta, top_up, parameters["shots"]), "details": details}
    iteration = max(int(entry["label"].partition(":")[2]) for entry in history)
    theta, lowest = search_fit(terms, history, iteration)
    # The templates declare quarter turns as their range.
    theta = round(min(max(theta, -math.pi / 2), math.pi / 2), 6)
    details = {"phase": "search", "iteration": iteration, "theta": theta, "energy_fit_hartree": lowest}
    before = search_fit(terms, history, iteration - 1)[0] if iteration > 1 else math.inf
    if abs(theta - before) > parameters["angle_tolerance"]:
        return {
            "converged": False,
            "circuits": search_circuits(theta, iteration + 1, parameters["search_shots"]),
            "details": details,
        }
    shots = plan(terms, theta, pilot_moments(history, theta), target)
    return {"converged": False, "circuits": schedule(theta, shots, parameters["shots"]), "details": details}


def main() -> None:
    """Read, decide, answer."""
    json.dump(next_step(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
