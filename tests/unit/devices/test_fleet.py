import hashlib
from pathlib import Path

import pytest

from agents.devices.compiler import compile_circuit, predicted_probabilities
from agents.devices.drift import Disturbance
from agents.devices.fleet import EmulatedDevice, open_fleet
from agents.devices.ledger import ChunkOrder, ChunkRecord, Reservation, RunRefused
from agents.devices.qasm import parse_template
from agents.devices.seeds import sample_counts
from agents.devices.snapshot import Snapshot

NOW_US = 1_790_000_000_000_000
HOUR_US = 3_600_000_000
TOKEN = b"token"
BELL = "OPENQASM 3.0; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;"


def run_bell(
    device: EmulatedDevice, snapshot: Snapshot | None = None, shots: int = 5_000, seed: int = 11
) -> ChunkRecord:
    snapshot = snapshot or device.calibrate(NOW_US)
    circuit = compile_circuit(parse_template(BELL), {}, snapshot)
    digest = hashlib.sha256(TOKEN).hexdigest()
    device.reserve(Reservation(digest, "job", 10**6, NOW_US, NOW_US + HOUR_US, NOW_US + HOUR_US), NOW_US)
    return device.run(ChunkOrder(TOKEN, "run", f"chunk-{seed}", circuit.digest, shots, seed), circuit, snapshot, NOW_US)


def test_two_fleets_of_one_seed_give_the_same_counts_and_another_seed_others(tmp_path: Path) -> None:
    for device_id in open_fleet(tmp_path / "names", 1):
        counts = [
            run_bell(open_fleet(tmp_path / f"{name}-{device_id}", seed)[device_id]).counts
            for name, seed in (("a", 1), ("b", 1), ("c", 2))
        ]
        assert counts[0] == counts[1]
        assert counts[0] != counts[2]


def test_a_recorded_chunk_drawn_again_gives_its_own_counts(tmp_path: Path) -> None:
    device = open_fleet(tmp_path, 3)["cloud-garnet-1"]
    record = run_bell(device)
    snapshot = device.calibrate(NOW_US)
    circuit = compile_circuit(parse_template(BELL), {}, snapshot)
    assert device.rerun(record, circuit, snapshot) == record.counts


def test_a_disturbed_device_gives_more_errors(tmp_path: Path) -> None:
    fault = {"cloud-garnet-1": (Disturbance(NOW_US, NOW_US + HOUR_US, 4.0),)}
    calm = run_bell(open_fleet(tmp_path / "calm", 3)["cloud-garnet-1"])
    disturbed = run_bell(open_fleet(tmp_path / "disturbed", 3, fault)["cloud-garnet-1"])

    def odd(record: ChunkRecord) -> int:
        return record.counts.get("01", 0) + record.counts.get("10", 0)

    assert odd(disturbed) > 2 * odd(calm)


def test_a_circuit_other_than_the_one_ordered_is_not_run(tmp_path: Path) -> None:
    device = open_fleet(tmp_path, 3)["cloud-garnet-1"]
    snapshot = device.calibrate(NOW_US)
    circuit = compile_circuit(parse_template(BELL), {}, snapshot)
    with pytest.raises(RunRefused, match="circuit_mismatch"):
        device.run(ChunkOrder(TOKEN, "run", "chunk", "0" * 64, 10, 1), circuit, snapshot, NOW_US)


def test_a_chunk_above_the_devices_range_is_not_run(tmp_path: Path) -> None:
    device = open_fleet(tmp_path, 3)["cloud-garnet-1"]
    with pytest.raises(RunRefused, match="shots_exceeded"):
        run_bell(device, shots=device.profile.shots_max + 1)


def test_a_held_slot_moves_the_next_one_behind_it(tmp_path: Path) -> None:
    device = open_fleet(tmp_path, 3)["onprem-iontrap-1"]
    device.reserve(Reservation("a" * 64, "job", 1, NOW_US, NOW_US + HOUR_US, NOW_US + HOUR_US), NOW_US)
    assert device.ledger.first_free_start_us(HOUR_US, NOW_US, NOW_US) == NOW_US + HOUR_US


def test_a_twin_runs_on_the_noise_that_a_snapshot_measured_whatever_the_true_noise_is(tmp_path: Path) -> None:
    original = open_fleet(tmp_path, 3)["cloud-garnet-1"]
    snapshot = original.calibrate(NOW_US)
    circuit = compile_circuit(parse_template(BELL), {}, snapshot)
    for number, seed in enumerate((3, 4)):
        twin = open_fleet(tmp_path / str(number), seed, only=["emulator-garnet-1"])["emulator-garnet-1"]
        record = run_bell(twin, snapshot)
        assert record.counts == sample_counts(predicted_probabilities(circuit, snapshot), record.shots, record.seed)
        assert twin.rerun(record, circuit, snapshot) == record.counts
