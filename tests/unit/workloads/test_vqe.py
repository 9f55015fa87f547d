import math
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
import pytest

from agents.devices.calibration import calibrate
from agents.devices.compiler import compile_circuit, ideal_distribution
from agents.devices.drift import true_figures
from agents.devices.profiles import ION_TRAP
from agents.devices.qasm import parse_template
from agents.workloads.vqe import exact_energy_hartree, vqe_job
from tests.support.vqe_driver import VqeRun, load_program, run_vqe

MILLIHARTREE = 1e-3
JOB = vqe_job()
FIT = load_program(JOB.program_path(JOB.programs.post))
STEP = load_program(JOB.program_path(JOB.programs.step))
TERMS: dict[str, float] = cast(Any, JOB.hamiltonian()["terms"])


def ideal(template: int, theta: float) -> np.ndarray:
    """Noiseless outcome probabilities of a shipped template, compiled for the ion trap."""
    snapshot = calibrate(ION_TRAP, true_figures(ION_TRAP, 1, 0), 1, 0)
    parsed = parse_template(JOB.templates[template].source)
    return ideal_distribution(compile_circuit(parsed, {"theta": theta}, snapshot))


def responses(theta: float) -> dict[str, np.ndarray]:
    return {kind: ideal(template, angle) for kind, (template, angle) in STEP.production_kinds(theta).items()}


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> VqeRun:
    return run_vqe(tmp_path_factory.mktemp("vqe"), seed=1)


def test_the_hamiltonian_has_the_full_ci_ground_state() -> None:
    paulis = {"I": np.eye(2), "X": np.array([[0, 1], [1, 0]]), "Z": np.diag([1, -1])}
    matrix = sum(c * np.kron(paulis[name[0]], paulis[name[1]]) for name, c in TERMS.items())
    assert np.linalg.eigvalsh(matrix)[0] == pytest.approx(exact_energy_hartree(), abs=1e-9)


def test_no_exact_value_enters_the_job() -> None:
    inputs = [
        JOB.program_path(name) for name in [*JOB.programs.model_dump().values(), *JOB.inputs.values(), "job.json"]
    ]
    for path in inputs:
        text = path.read_text()
        assert "exact" not in text
        assert "1.137" not in text


@pytest.mark.parametrize("theta", [-1.2, -0.3, 0.0, 0.22, 1.5])
def test_without_noise_the_estimator_gives_the_energy_of_the_state(theta: float) -> None:
    energy, raw = FIT.energies(TERMS, responses(theta))
    along_z = TERMS["ZI"] + TERMS["IZ"]
    expected = TERMS["II"] + TERMS["ZZ"] - along_z * math.cos(theta) - TERMS["XX"] * math.sin(theta)
    assert energy == pytest.approx(expected, abs=1e-9)
    assert raw == pytest.approx(expected, abs=1e-9)


def test_readout_asymmetry_and_depolarisation_cancel_in_the_mitigated_energy() -> None:
    flip = np.kron(np.array([[0.98, 0.05], [0.02, 0.95]]), np.array([[0.99, 0.03], [0.01, 0.97]]))
    noisy = {kind: 0.93 * flip @ seen + 0.07 / 4 for kind, seen in responses(0.22).items()}
    clean, _ = FIT.energies(TERMS, responses(0.22))
    energy, raw = FIT.energies(TERMS, noisy)
    assert abs(energy - clean) < 0.05 * MILLIHARTREE
    assert abs(raw - clean) > 20 * MILLIHARTREE


def test_the_estimator_errs_to_both_sides() -> None:
    # Below the lowest state as often as above: an interval around it can be honest.
    rng = np.random.default_rng(1)
    seen = {kind: rng.multinomial(100_000, p / p.sum(), 4_000) / 100_000 for kind, p in responses(0.2236).items()}
    energies, _ = FIT.energies(TERMS, seen)
    assert 0.45 < np.mean(energies < exact_energy_hartree()) < 0.55


def test_shots_are_planned_for_the_stated_standard_error() -> None:
    moments = {kind: (mean, variance, 1) for kind, (mean, variance) in _toy_moments().items()}
    shots = STEP.plan(TERMS, 0.22, moments, 0.45 * MILLIHARTREE)
    funded = {kind: (mean, variance, shots[kind]) for kind, (mean, variance, _) in moments.items()}
    assert STEP.standard_error(TERMS, 0.22, funded) == pytest.approx(0.45 * MILLIHARTREE, rel=1e-3)
    # No other split of the same shots does better.
    even = {kind: (mean, variance, sum(shots.values()) // 7) for kind, (mean, variance, _) in moments.items()}
    assert STEP.standard_error(TERMS, 0.22, even) > 0.5 * MILLIHARTREE


def test_the_planned_standard_error_is_the_spread_of_the_final_estimator() -> None:
    rng = np.random.default_rng(3)
    shots = 20_000
    noisy = {kind: 0.95 * seen + 0.05 / 4 for kind, seen in responses(0.22).items()}
    drawn = {kind: rng.multinomial(shots, seen / seen.sum(), 8_000) for kind, seen in noisy.items()}
    energies, _ = FIT.energies(TERMS, {kind: counts / shots for kind, counts in drawn.items()})
    first = {
        kind: STEP.kind_moments(kind, [{"counts": dict(zip(FIT.OUTCOMES, map(int, counts[0]), strict=True))}])
        for kind, counts in drawn.items()
    }
    assert STEP.standard_error(TERMS, 0.22, first) == pytest.approx(np.std(energies), rel=0.05)


def _toy_moments() -> dict[str, tuple[float, float]]:
    return {
        "target:z": (-0.97, 0.06),
        "target:xx": (-0.21, 0.95),
        "target:xx-": (0.21, 0.95),
        "reference:z11": (-0.99, 0.02),
        "reference:zbell": (0.0, 1.0),
        "reference:xx": (-0.98, 0.04),
        "reference:xx-": (0.98, 0.04),
    }


def test_every_kind_of_circuit_has_the_same_mean_time() -> None:
    asked = STEP.schedule(0.22, {"target:z": 400_000, "target:xx": 200_000, "reference:z11": 120_000}, 20_000)
    for kind in ("target:z", "target:xx", "reference:z11"):
        places = [place for place, circuit in enumerate(asked) if circuit["label"] == kind]
        assert np.mean(places) == pytest.approx((len(asked) - 1) / 2, abs=0.02 * len(asked))


def test_the_job_stays_within_what_it_declared(one_run: VqeRun) -> None:
    assert {entry["template"] for entry in one_run.history} == {0, 1, 2}
    assert 60 <= one_run.chunks <= 250
    assert max(entry["shots"] for entry in one_run.history) <= JOB.parameters.shots
    assert {entry["canary"] for entry in one_run.history} == {"11", None}


def test_a_canary_gives_its_expected_bits_nearly_always(one_run: VqeRun) -> None:
    for entry in one_run.history:
        if entry["canary"]:
            assert entry["counts"][entry["canary"]] > 0.97 * entry["shots"]


def test_the_angle_is_found_from_measured_energies(one_run: VqeRun) -> None:
    lowest = math.atan2(TERMS["XX"], TERMS["ZI"] + TERMS["IZ"])
    assert one_run.result["details"]["theta"] == pytest.approx(lowest, abs=0.03)
    assert one_run.result["iterations"] >= 2


def test_the_result_is_right_within_its_stated_error_and_better_than_raw(one_run: VqeRun) -> None:
    result, exact = one_run.result, exact_energy_hartree()
    assert result["converged"]
    assert result["standard_error_hartree"] <= 0.5 * MILLIHARTREE
    assert abs(result["energy_hartree"] - exact) < 1.6 * MILLIHARTREE
    assert result["energy_raw_hartree"] - exact > 5 * MILLIHARTREE


def test_the_same_seed_gives_the_same_result(one_run: VqeRun, tmp_path: Path) -> None:
    again = run_vqe(tmp_path, seed=1, in_process=True)
    assert again.result == one_run.result
    assert [entry["counts"] for entry in again.history] == [entry["counts"] for entry in one_run.history]


def test_a_job_that_ended_early_gets_a_sentence_and_no_number() -> None:
    document = {"hamiltonian": JOB.hamiltonian(), "parameters": JOB.parameters.model_dump(), "history": []}
    path = JOB.program_path(JOB.programs.post)
    ended = subprocess.run([sys.executable, str(path)], input=orjson.dumps(document), capture_output=True, check=False)
    assert ended.returncode == 1
    assert b"ended before its measurements" in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.long
@pytest.mark.timeout(900)
def test_over_a_hundred_seeds_errors_are_small_centred_and_covered(tmp_path: Path) -> None:
    runs = [run_vqe(tmp_path / str(seed), seed, in_process=True).result for seed in range(1, 101)]
    exact = exact_energy_hartree()
    errors = np.array([run["energy_hartree"] - exact for run in runs]) / MILLIHARTREE
    covered = sum(low <= exact <= high for low, high in (run["interval_hartree"] for run in runs))
    assert abs(errors.mean()) <= 0.4
    assert np.count_nonzero(np.abs(errors) <= 1.6) >= 97
    assert 90 <= covered <= 99
    assert min(run["energy_raw_hartree"] - exact for run in runs) > 5 * MILLIHARTREE
