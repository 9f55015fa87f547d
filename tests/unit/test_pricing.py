import pytest
from pydantic import ValidationError

from schemas.events import DevicePrice, PriceListPublished
from streams.pricing import charge_microusd, classical_microusd, price_of, run_microusd

TRAP = DevicePrice(
    device="trap", task_microusd=300_000, shot_microusd=80_000, hour_microusd=7, shot_duration_us=5_000, shots_max=10
)


def test_a_charge_is_tasks_and_shots_and_time() -> None:
    assert charge_microusd(TRAP, tasks=2, shots=3, device_time_us=3_600_000_000) == 2 * 300_000 + 3 * 80_000 + 7


def test_a_charge_is_device_seconds_and_hours_of_the_slot_too() -> None:
    price = TRAP.model_copy(update={"hour_microusd": 0, "second_microusd": 300_000, "slot_hour_microusd": 10})
    assert charge_microusd(price, 0, 0, 1_500_001, 3_600_000_001) == 450_001 + 11


def test_a_price_of_a_kind_that_nobody_could_charge_is_none() -> None:
    with pytest.raises(ValidationError, match="gate_shot_microusd"):
        DevicePrice.model_validate(TRAP.model_dump() | {"gate_shot_microusd": 220})


@pytest.mark.parametrize(("time_us", "expected"), [(0, 0), (1, 1), (3_600_000_000, 7), (3_600_000_001, 8)])
def test_a_part_of_a_micro_dollar_of_device_time_is_a_whole_one(time_us: int, expected: int) -> None:
    assert charge_microusd(TRAP, 0, 0, time_us) == expected


@pytest.mark.parametrize(("time_us", "expected"), [(0, 0), (1, 1), (1_000_000, 3), (1_000_001, 4)])
def test_a_part_of_a_micro_dollar_of_classical_time_is_a_whole_one(time_us: int, expected: int) -> None:
    assert classical_microusd(3, time_us) == expected


def test_the_least_a_run_costs_reckons_with_the_stated_time_of_a_shot() -> None:
    assert run_microusd(TRAP, 1, 1_000) == charge_microusd(TRAP, 1, 1_000, 5_000_000)


def test_a_device_that_is_not_listed_has_no_price() -> None:
    assert price_of(PriceListPublished(devices=(TRAP,), classical_second_microusd=0), "chip") is None


def test_a_device_that_is_listed_twice_has_no_price() -> None:
    other = TRAP.model_copy(update={"shot_microusd": 1})
    assert price_of(PriceListPublished(devices=(TRAP, other), classical_second_microusd=0), "trap") is None


def test_without_a_list_nothing_has_a_price() -> None:
    assert price_of(None, "trap") is None
