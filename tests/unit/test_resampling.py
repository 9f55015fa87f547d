import numpy as np
import pytest

from replay.resampling import (
    Index,
    Pair,
    chi_squared_tail,
    g_test,
    holm,
    paired,
    reproducibility_index,
    verdict_of,
)

BELL = (0.49, 0.01, 0.02, 0.48)
SHIFTED = (0.39, 0.11, 0.12, 0.38)


def pair(stored: tuple[float, ...], fresh: tuple[float, ...], shots: int, seed: int = 1) -> Pair:
    chance = np.random.default_rng(seed)
    return Pair(chance.multinomial(shots, stored), chance.multinomial(shots, fresh))


def test_counts_are_paired_by_outcome() -> None:
    made = paired({"00": 5, "11": 3}, {"11": 4, "01": 1})
    assert (made.stored.tolist(), made.fresh.tolist()) == ([5, 0, 3], [0, 1, 4])


def test_a_perfect_reproduction_has_an_index_of_one() -> None:
    index = reproducibility_index([pair(BELL, BELL, 20_000, seed) for seed in range(10)], 3)
    assert index.value == pytest.approx(1.0, abs=2e-4)


def test_few_shots_do_not_lower_the_index_of_a_perfect_reproduction() -> None:
    values = [reproducibility_index([pair(BELL, BELL, 200, seed)], seed).value for seed in range(40)]
    assert np.mean(values) == pytest.approx(1.0, abs=0.006)


def test_another_distribution_has_the_fidelity_between_the_two_as_its_index() -> None:
    index = reproducibility_index([pair(BELL, SHIFTED, 1_000_000)], 3)
    assert index.value == pytest.approx(float(np.sqrt(np.array(BELL) * SHIFTED).sum() ** 2), abs=2e-3)


def test_the_interval_covers_the_true_index_as_often_as_it_says() -> None:
    true = float(np.sqrt(np.array(BELL) * SHIFTED).sum() ** 2)
    indices = [reproducibility_index([pair(BELL, SHIFTED, 4_000, seed)], seed) for seed in range(100)]
    assert 88 <= sum(index.low <= true <= index.high for index in indices) <= 100


def test_circuits_count_by_their_shots() -> None:
    many, few = pair(BELL, BELL, 99_000), pair(BELL, SHIFTED, 1_000)
    assert reproducibility_index([few], 3).value < 0.95
    assert reproducibility_index([many, few], 3).value > 0.998


def test_the_same_seed_gives_the_same_index() -> None:
    pairs = [pair(BELL, SHIFTED, 1_000)]
    assert reproducibility_index(pairs, 3) == reproducibility_index(pairs, 3)


def test_another_seed_gives_another_interval() -> None:
    pairs = [pair(BELL, SHIFTED, 1_000)]
    assert reproducibility_index(pairs, 3) != reproducibility_index(pairs, 4)


@pytest.mark.parametrize(
    ("value", "freedom", "tail"),
    [(3.841459, 1, 0.05), (5.991465, 2, 0.05), (7.814728, 3, 0.05), (13.2767, 4, 0.01), (0.0, 3, 1.0), (5.0, 0, 1.0)],
)
def test_tails_of_chi_squared(value: float, freedom: int, tail: float) -> None:
    assert chi_squared_tail(value, freedom) == pytest.approx(tail, rel=1e-5)


def test_g_of_a_table_done_by_hand() -> None:
    # G = 2 (30 ln(30/40) + 70 ln(70/60) + 50 ln(50/40) + 50 ln(50/60)) = 8.40237
    table = Pair(np.array([30, 70]), np.array([50, 50]))
    assert g_test(table) == pytest.approx(chi_squared_tail(8.40237, 1), rel=1e-5)


def test_p_values_of_equal_distributions_are_spread_evenly() -> None:
    p_values = np.array([g_test(pair(BELL, BELL, 5_000, seed)) for seed in range(400)])
    assert (p_values < 0.1).mean() == pytest.approx(0.1, abs=0.05)


def test_another_distribution_has_a_small_p_value() -> None:
    assert g_test(pair(BELL, SHIFTED, 5_000)) < 1e-6


def test_rare_outcomes_are_taken_together() -> None:
    spread = (0.9, *[0.1 / 64] * 64)
    p_values = np.array([g_test(pair(spread, spread, 500, seed)) for seed in range(200)])
    assert (p_values < 0.05).mean() < 0.12


def test_one_outcome_alone_says_nothing() -> None:
    assert g_test(Pair(np.array([10]), np.array([90]))) == 1.0


def test_holm_corrects_for_the_number_of_tests() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


@pytest.mark.parametrize(
    ("value", "p_value", "shift", "verdict"),
    [
        (0.99, 0.01, 3.0, "reproducible"),
        (0.99, 0.0099, 0.0, "drifted"),
        (0.99, 0.5, 3.01, "drifted"),
        (0.9899, 0.5, 0.0, "drifted"),
        (0.90, 0.5, 0.0, "drifted"),
        (0.8999, 0.5, 0.0, "divergent"),
        (0.70, 0.5, 0.0, "divergent"),
        (0.6999, 0.5, 0.0, "failed"),
    ],
)
def test_the_bands_of_verdicts(value: float, p_value: float, shift: float, verdict: str) -> None:
    assert verdict_of(Index(value, value - 0.005, value + 0.005), p_value, shift) == verdict


def test_a_wide_interval_decides_nothing() -> None:
    assert verdict_of(Index(0.995, 0.98, 1.0001), 0.5, 0.0) == "undecided"
