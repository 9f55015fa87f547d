"""The main job over consecutive seeds: its energies are as near to the exact one as they claim."""

import pytest

from qpubus.seeds import check_seeds


@pytest.mark.timeout(600)
def test_over_twenty_seeds_the_energy_is_as_near_as_it_claims() -> None:
    assert check_seeds(range(1, 21)).shortfalls() == []


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_over_a_hundred_seeds_the_energy_is_as_near_as_it_claims() -> None:
    assert check_seeds(range(1, 101)).shortfalls() == []
