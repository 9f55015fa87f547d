"""The fidelity figure of a circuit: its scale, its bias, its interval, and when another takes its place."""

import numpy as np
import pytest

from agents.devices.fidelity import Pooled, circuit_fidelities, hellinger, uniform_fidelity

BELL = np.array([0.5, 0.0, 0.0, 0.5])
SKEW = np.array([0.987, 0.0, 0.0, 0.013])


def drawn(chances: np.ndarray, shots: int, seed: int) -> dict[str, int]:
    draws = np.random.default_rng(seed).multinomial(shots, chances)
    return {format(outcome, "02b"): int(count) for outcome, count in enumerate(draws) if count}


def test_ideal_counts_are_worth_one() -> None:
    (figure,) = circuit_fidelities([Pooled({"00": 50_000, "11": 50_000}, BELL, "")])
    assert figure.value == pytest.approx(1, abs=1e-4)
    assert figure.low <= 1 <= figure.high


def test_fair_coins_are_worth_nothing() -> None:
    (figure,) = circuit_fidelities([Pooled({"00": 25_000, "01": 25_000, "10": 25_000, "11": 25_000}, BELL, "")])
    assert figure.value == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("ideal", "seen"),
    [(BELL, BELL), (SKEW, np.array([0.97, 0.008, 0.007, 0.015])), (BELL, np.array([0.48, 0.03, 0.03, 0.46]))],
    ids=["perfect", "skewed", "noisy"],
)
def test_few_shots_do_not_pull_the_figure_down(ideal: np.ndarray, seen: np.ndarray) -> None:
    true = float(np.sqrt(ideal * seen).sum() ** 2)
    found = [hellinger(drawn(seen, 1_000, seed), ideal) for seed in range(400)]
    spread = float(np.std([each.value for each in found]))
    assert np.mean([each.value for each in found]) == pytest.approx(true, abs=4 * spread / 20)
    naive = [
        sum(np.sqrt(ideal[int(bits, 2)] * count / 1_000) for bits, count in drawn(seen, 1_000, seed).items()) ** 2
        for seed in range(400)
    ]
    assert abs(np.mean([each.value for each in found]) - true) < abs(np.mean(naive) - true)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    seen = np.array([0.97, 0.008, 0.007, 0.015])
    true = float(np.sqrt(SKEW * seen).sum() ** 2)
    found = [hellinger(drawn(seen, 5_000, seed), SKEW) for seed in range(400)]
    covered = np.mean([abs(each.value - true) <= 1.96 * each.error for each in found])
    assert 0.91 <= covered <= 0.98


def test_where_fair_coins_come_near_the_ideal_the_canaries_stand_in() -> None:
    flat = np.full(4, 0.25)
    assert uniform_fidelity(flat) == pytest.approx(1)
    canary = Pooled({"11": 970, "01": 30}, np.array([0.0, 0.0, 0.0, 1.0]), "11")
    first, second = circuit_fidelities([Pooled({"00": 250, "11": 150}, flat, ""), canary])
    assert (first.circuit, first.method, first.shots, first.value) == (0, "mirror", 400, 0.97)
    assert first.low < 0.97 < first.high
    assert (second.circuit, second.method) == (1, "hellinger")


def test_without_canaries_a_flat_circuit_has_no_figure() -> None:
    assert circuit_fidelities([Pooled({"00": 250, "11": 750}, np.full(4, 0.25), "")]) == ()


def test_a_circuit_that_did_not_run_has_no_figure() -> None:
    assert circuit_fidelities([Pooled({}, BELL, "")]) == ()
