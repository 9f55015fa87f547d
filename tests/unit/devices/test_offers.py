"""What a job is reckoned to need before it runs."""

from pathlib import Path

import pytest

from agents.client import h2_manifest
from agents.devices.chunks import plan_chunks
from agents.devices.fleet import open_fleet
from agents.devices.offers import Circumstances, Workload, offer, workload_of
from agents.devices.profiles import device_price
from tests.support.bell import bell_manifest
from tests.support.town import AGENT, EPOCH_US, GARNET, SITE, TRAP

INTENT = "0" * 64


def test_a_job_without_programs_runs_its_circuit_once() -> None:
    assert workload_of(bell_manifest(), 20_000) == Workload(1_000, len(plan_chunks([1_000], 20_000)))


def test_a_job_with_programs_may_use_all_its_shots() -> None:
    assert workload_of(h2_manifest("h2", AGENT, SITE, 1), 20_000).shots == 1_500_000


@pytest.mark.parametrize("device", [TRAP, GARNET])
def test_an_offers_price_is_at_least_what_the_run_will_cost(tmp_path: Path, device: str) -> None:
    hardware = open_fleet(tmp_path, 1)[device]
    snapshot = hardware.calibrate(EPOCH_US)
    price = device_price(hardware.profile)
    made = offer(bell_manifest(), INTENT, snapshot, Circumstances(price, 0, 0))
    shots = 1_000 * price.shot_microusd + 2 * price.task_microusd
    hours = price.hour_microusd * 1_000 * snapshot.shot_overhead_us // 3_600_000_000
    assert made.fits
    assert made.price_microusd >= shots + hours


def test_the_lowest_fidelity_is_that_of_the_pairs_used(tmp_path: Path) -> None:
    snapshot = open_fleet(tmp_path, 1)[GARNET].calibrate(EPOCH_US)
    made = offer(bell_manifest(), INTENT, snapshot, Circumstances(None, 0, 0))
    assert made.two_qubit_fidelity in snapshot.figures.two_qubit.values()


def test_waiting_is_told_as_the_device_sees_it(tmp_path: Path) -> None:
    snapshot = open_fleet(tmp_path, 1)[TRAP].calibrate(EPOCH_US)
    made = offer(bell_manifest(), INTENT, snapshot, Circumstances(None, 3, 60_000_000))
    assert (made.queue_jobs, made.queue_wait_us) == (3, 60_000_000)
    assert not made.fits
