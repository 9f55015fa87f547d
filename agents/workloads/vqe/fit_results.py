"""Last program of the VQE job: all counts in, the energy with its standard error and 95 % interval out.

Reads {"hamiltonian", "parameters", "history"} on stdin and writes one JSON object on stdout; energies in hartree.

The mitigated energy comes from two ratios of linear responses. Whatever the noise, as long as it does not depend on
the angle, outcome probabilities are linear in (1, cos theta, sin theta), so circuits of the same template at angles
of known outcome fix that line (Clifford data regression, arXiv:2005.10189, with the ansatz at its own Clifford
points):

- z: among outcomes of even parity (the ground state's symmetry; odd ones are discarded), between the |11> state (z =
  -1) and a Bell state (z = 0);
- x: the difference of two readings with opposite sign, which cancels offsets, over that of the Bell state (XX = -1).

Nothing is clipped to physical bounds: an estimator that cannot overshoot would be one-sided. The standard error is
that of a bootstrap over all counts, references included; the interval is 1.96 times that to each side.
"""

import json  # noqa: TID251  a program has the standard library and numpy only
import math
import sys
from typing import Any

import numpy as np

OUTCOMES = ("00", "01", "10", "11")
KINDS = ("target:z", "target:xx", "target:xx-", "reference:z11", "reference:zbell", "reference:xx", "reference:xx-")
RESAMPLES = 4_000
BELL_XX = -1.0  # of the state at theta = pi / 2
PARITY = np.array([1.0, -1.0, -1.0, 1.0])


def pooled(history: list[dict[str, Any]], label: str) -> np.ndarray:
    """Return summed counts of one kind in the order of OUTCOMES."""
    counts = np.zeros(4, dtype=np.int64)
    for entry in history:
        if entry["label"] == label:
            counts += [entry["counts"].get(bits, 0) for bits in OUTCOMES]
    return counts


def z_response(target: np.ndarray, low: np.ndarray, bell: np.ndarray) -> np.ndarray:
    """Return z = (<ZI> + <IZ>) / 2 of the target among even outcomes, free of noise to first order and beyond.

    Arguments are frequencies of shape (..., 4). With p = w p11 + (1 - w) pbell for every outcome, the even-parity mean
    r = A / B gives w, and z = -w.
    """
    ratio = (target[..., 0] - target[..., 3]) / (target[..., 0] + target[..., 3])
    low_a, low_b = low[..., 0] - low[..., 3], low[..., 0] + low[..., 3]
    bell_a, bell_b = bell[..., 0] - bell[..., 3], bell[..., 0] + bell[..., 3]
    return np.asarray(-(ratio * bell_b - bell_a) / ((low_a - bell_a) - ratio * (low_b - bell_b)))


def energies(terms: dict[str, float], seen: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mitigated and raw energy for frequencies of shape (..., 4) by kind."""
    along_z = terms["ZI"] + terms["IZ"]
    z = z_response(seen["target:z"], seen["reference:z11"], seen["reference:zbell"])
    bell_x = BELL_XX * (seen["reference:xx"] - seen["reference:xx-"]) @ PARITY
    x = ((seen["target:xx"] - seen["target:xx-"]) @ PARITY) / bell_x
    mitigated = terms["II"] + terms["ZZ"] + along_z * z + terms["XX"] * x
    target = seen["target:z"]
    raw = terms["II"] + terms["ZZ"] * (target @ PARITY)
    raw = raw + (terms["ZI"] + terms["IZ"]) * (target[..., 0] - target[..., 3])
    raw = raw + (terms["ZI"] - terms["IZ"]) * (target[..., 1] - target[..., 2])
    raw = raw + terms["XX"] * ((seen["target:xx"] - seen["target:xx-"]) @ PARITY) / 2
    return mitigated, raw


def fit(job: dict[str, Any]) -> dict[str, Any]:
    """Return the result of the job."""
    terms, history = job["hamiltonian"]["terms"], job["history"]
    counts = {kind: pooled(history, kind) for kind in KINDS}
    missing = [kind for kind, seen in counts.items() if not seen.sum()]
    if missing:
        raise SystemExit(f"no counts of {missing}: the job ended before its measurements")
    shots = {kind: int(seen.sum()) for kind, seen in counts.items()}
    measured = {kind: seen / shots[kind] for kind, seen in counts.items()}
    mitigated, raw = energies(terms, measured)
    rng = np.random.default_rng(job["parameters"]["seed"])
    resampled = {k: rng.multinomial(shots[k], measured[k], RESAMPLES) / shots[k] for k in KINDS}
    mitigated_spread, raw_spread = (float(np.std(part, ddof=1)) for part in energies(terms, resampled))
    iterations = max(int(e["label"].partition(":")[2]) for e in history if e["label"].startswith("search"))
    half = 1.96 * mitigated_spread
    even = {kind: float(measured[kind][0] + measured[kind][3]) for kind in KINDS if ":z" in kind}
    return {
        "energy_hartree": float(mitigated),
        "energy_raw_hartree": float(raw),
        "standard_error_hartree": mitigated_spread,
        "interval_hartree": [float(mitigated) - half, float(mitigated) + half],
        "observables": [
            {"name": "energy_hartree", "value": float(mitigated), "standard_error": mitigated_spread},
            {"name": "energy_raw_hartree", "value": float(raw), "standard_error": raw_spread},
        ],
        "converged": mitigated_spread <= job["parameters"]["target_standard_error_hartree"],
        "iterations": iterations,
        "details": {
            "theta": next(e["parameters"]["theta"] for e in history if e["label"] == "target:z"),
            "raw_standard_error_hartree": raw_spread,
            "shots_by_kind": shots,
            "shots_total": sum(sum(e["counts"].values()) for e in history),
            "even_parity_share": even,
            "xx_contrast": float(BELL_XX * (measured["reference:xx"] - measured["reference:xx-"]) @ PARITY / 2),
            "method": "parity post-selection; linear response calibrated at Clifford points; bootstrap of "
            f"{RESAMPLES} resamples, references included",
        },
    }


def main() -> None:
    """Read, fit, answer."""
    result = fit(json.load(sys.stdin))
    if not math.isfinite(result["energy_hartree"]):
        raise SystemExit("the references do not tell signal from noise: no energy can be given")
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
