import math

import numpy as np
import orjson
import pytest
from braket.circuits import Circuit
from braket.devices import LocalSimulator
from braket.emulation.local_emulator import LocalEmulator

from agents.devices.calibration import calibrate
from agents.devices.capabilities import SnapshotUnreadable, capabilities_json, read_capabilities
from agents.devices.compiled import CompiledCircuit, NativeGate
from agents.devices.compiler import predicted_probabilities
from agents.devices.drift import WINDOW_US, Disturbance, true_figures
from agents.devices.figures import GateTimes, NoiseFigures
from agents.devices.noise import noisy_probabilities
from agents.devices.profiles import PROFILES, DeviceProfile
from agents.devices.queueing import queue_state
from agents.devices.seeds import chunk_seed, sample_counts
from agents.devices.snapshot import read_snapshot

NOW_US = 1_790_000_000_000_000
WINDOW = NOW_US // WINDOW_US
EVERY_DEVICE = pytest.mark.parametrize("profile", list(PROFILES.values()), ids=list(PROFILES))
GARNET = PROFILES["cloud-garnet-1"]


def flat(profile: DeviceProfile, **changes: float) -> NoiseFigures:
    """The same figures on every qubit; what is not named is perfect."""
    worth = {"one": 1.0, "readout": 1.0, "t1_us": 1e12, "t2_us": 1e12, "two": 1.0, **changes}
    one, readout, t1_us, t2_us = ((worth[name],) * profile.qubits for name in ("one", "readout", "t1_us", "t2_us"))
    return NoiseFigures(one, readout, t1_us, t2_us, dict.fromkeys(profile.edges, worth["two"]))


def probabilities(profile: DeviceProfile, circuit: CompiledCircuit, figures: NoiseFigures) -> np.ndarray:
    times = GateTimes(profile.gate_1q_ns, profile.gate_2q_ns, 0, 0)
    return noisy_probabilities(circuit, capabilities_json(profile, figures, times, None, NOW_US), figures, times)


def flips(count: int, measured: tuple[int, ...] = (0,)) -> CompiledCircuit:
    return CompiledCircuit((NativeGate("prx", (math.pi, 0.0), (0,)),) * count, measured)


def test_readout_flips_as_often_as_its_fidelity_says() -> None:
    assert probabilities(GARNET, flips(1), flat(GARNET, readout=0.9)) == pytest.approx([0.1, 0.9])


def test_a_one_qubit_gate_depolarises_by_its_average_fidelity() -> None:
    # average gate fidelity F leaves the Bloch vector 2F - 1 long
    assert probabilities(GARNET, flips(1), flat(GARNET, one=0.97)) == pytest.approx([0.03, 0.97])


def test_an_excited_qubit_decays_by_t1_during_its_gates() -> None:
    found = probabilities(GARNET, flips(1), flat(GARNET, t1_us=1.0, t2_us=2.0))
    assert found == pytest.approx([1 - math.exp(-0.02), math.exp(-0.02)])


def test_coherence_decays_by_t2_while_a_qubit_waits_for_others() -> None:
    quarter = NativeGate("prx", (math.pi / 2, 0.0), (0,))
    waiting = (NativeGate("cz", (), (1, 2)), NativeGate("cz", (), (1, 2)), NativeGate("cz", (), (0, 1)))
    circuit = CompiledCircuit((quarter, *waiting, quarter), (0,))
    contrast = 2 * probabilities(GARNET, circuit, flat(GARNET, t2_us=1.0))[1] - 1
    # Superposed for 120 ns: 20 in its own pulse, 60 until the other pair's 80 are over, 40 in its pair gate.
    assert -math.log(contrast) == pytest.approx(0.120, abs=1e-9)


def test_without_damping_the_noise_is_brakets_own() -> None:
    profile = PROFILES["onprem-iontrap-1"]
    figures = flat(profile, one=0.99, two=0.95, readout=0.97)
    gates = (
        NativeGate("gpi2", (0.3,), (0,)),
        NativeGate("ms", (0.1, 0.2, 0.7), (0, 1)),
        NativeGate("gpi", (0.5,), (1,)),
    )
    circuit = CompiledCircuit(gates, (0, 1))
    document = capabilities_json(profile, figures, GateTimes(1, 1, 0, 0), None, NOW_US)
    noisy = LocalEmulator.from_json(document.decode()).noise_model.apply(
        Circuit().gpi2(0, 0.3).ms(0, 1, 0.1, 0.2, 0.7).gpi(1, 0.5).measure([0, 1])
    )
    theirs = Circuit([instruction for instruction in noisy.instructions if instruction.operator.name != "Measure"])
    theirs.probability(target=[0, 1])
    expected = LocalSimulator("braket_dm").run(theirs, shots=0).result().values[0]
    assert probabilities(profile, circuit, figures) == pytest.approx(expected, abs=1e-9)


def test_a_qubit_that_no_gate_touches_reads_as_zero() -> None:
    assert probabilities(GARNET, flips(1, measured=(3, 0)), flat(GARNET)) == pytest.approx([0, 1, 0, 0])


@EVERY_DEVICE
def test_the_same_seed_and_time_have_the_same_noise_and_others_another(profile: DeviceProfile) -> None:
    here = true_figures(profile, 1, WINDOW)
    true_figures.cache_clear()
    assert true_figures(profile, 1, WINDOW) == here
    assert true_figures(profile, 2, WINDOW) != here
    assert true_figures(profile, 1, WINDOW + 1) != here


@EVERY_DEVICE
def test_noise_drifts_slowly_and_comes_back(profile: DeviceProfile) -> None:
    days = 40 * 288
    error = np.log([1 - true_figures(profile, 3, WINDOW + k).readout[0] for k in range(0, days, 24)])
    step = np.log([1 - true_figures(profile, 3, WINDOW + k).readout[0] for k in range(200)])
    typical = math.log(1 - profile.fidelity_readout)
    assert abs(error.mean() - typical) < 3 * profile.qubit_spread + profile.drift.sigma
    assert 0.5 * profile.drift.sigma < error.std() < 4 * profile.drift.sigma
    assert np.median(np.abs(np.diff(step))) < profile.drift.sigma / 2


def test_a_disturbance_raises_every_error_rate_while_it_lasts() -> None:
    fault = (Disturbance(WINDOW * WINDOW_US, (WINDOW + 1) * WINDOW_US, 3.0),)
    before, during, after = (true_figures(GARNET, 1, WINDOW + k, fault).two_qubit[0, 1] for k in (-1, 0, 1))
    assert 1 - during == pytest.approx(3 * (1 - true_figures(GARNET, 1, WINDOW).two_qubit[0, 1]))
    assert before == true_figures(GARNET, 1, WINDOW - 1).two_qubit[0, 1]
    assert after == true_figures(GARNET, 1, WINDOW + 1).two_qubit[0, 1]


@EVERY_DEVICE
def test_a_snapshot_is_a_measurement_and_its_standard_errors_are_honest(profile: DeviceProfile) -> None:
    pulls: dict[str, list[float]] = {}
    for seed in range(60):
        true = true_figures(profile, seed, WINDOW)
        snapshot = calibrate(profile, true, seed, NOW_US)
        pair = profile.edges[0]
        measured, errors = snapshot.figures, snapshot.standard_errors.figures()
        assert measured.readout[0] != true.readout[0]
        for name in ("one_qubit", "readout", "t1_us", "t2_us"):
            pull = (getattr(measured, name)[0] - getattr(true, name)[0]) / getattr(errors, name)[0]
            pulls.setdefault(name, []).append(pull)
        pull = (measured.two_qubit[pair] - true.two_qubit[pair]) / errors.two_qubit[pair]
        pulls.setdefault("two_qubit", []).append(pull)
    for name, column in pulls.items():
        assert abs(np.mean(column)) < 0.5, name
        assert 0.7 < np.std(column) < 1.35, name


@EVERY_DEVICE
def test_a_snapshot_reads_back_and_runs_by_itself(profile: DeviceProfile) -> None:
    snapshot = calibrate(profile, true_figures(profile, 1, WINDOW), 1, NOW_US)
    again = read_snapshot(snapshot.to_json())
    assert again.digest == snapshot.digest
    low, high = profile.edges[0]
    circuit = CompiledCircuit((NativeGate("ms", (0.0, 0.0, 0.3), (low, high)),), (low, high))
    if profile.topology != "ion-trap":
        circuit = CompiledCircuit((NativeGate("cz", (), (low, high)),), (low, high))
    assert predicted_probabilities(circuit, again) == pytest.approx(predicted_probabilities(circuit, snapshot))


@pytest.mark.parametrize(
    "change",
    [
        {"qubits": 3},
        {"capabilities": "{}"},
        {"capabilities": '{"braketSchemaHeader": {"name": "os", "version": "1"}}'},
        {"surprise": 1},
        {"taken_us": -1},
        {"native": "photonic"},
    ],
    ids=["qubits", "empty-document", "module-name", "unknown-field", "negative-time", "gate-set"],
)
def test_a_document_that_is_not_a_snapshot_of_ours_is_refused(change: dict[str, object]) -> None:
    document = orjson.loads(calibrate(GARNET, true_figures(GARNET, 1, WINDOW), 1, NOW_US).to_json())
    with pytest.raises(SnapshotUnreadable):
        read_snapshot(orjson.dumps({**document, **change}))


def test_a_capabilities_document_that_names_python_types_is_refused() -> None:
    profile = PROFILES["onprem-iontrap-1"]
    snapshot = calibrate(profile, true_figures(profile, 1, WINDOW), 1, NOW_US)
    document = orjson.loads(snapshot.capabilities)
    document["provider"]["errorMitigation"] = {"os.system": {"minimumShots": 1}}
    with pytest.raises(SnapshotUnreadable):
        read_capabilities(orjson.dumps(document))


def test_a_queue_shrinks_as_time_passes_and_depends_on_the_seed() -> None:
    start_us = NOW_US // 600_000_000 * 600_000_000
    waits = [queue_state(GARNET, 5, start_us + k * 60_000_000) for k in range(10)]
    assert waits[0] == queue_state(GARNET, 5, start_us)
    assert all(later.wait_us == max(0, waits[0].wait_us - k * 60_000_000) for k, later in enumerate(waits))
    assert len({queue_state(GARNET, seed, start_us).wait_us for seed in range(10)}) > 5


def test_a_chunk_seed_is_fixed_by_its_four_names() -> None:
    # first 8 bytes of SHA-256("1:2:3:4"); a changed value would change every stored run
    assert chunk_seed(1, 2, 3, 4) == 0xCEA0885B3E474F02
    assert len({chunk_seed(*names) for names in [(1, 2, 3, 4), (1, 2, 4, 3), (2, 1, 3, 4), (12, 3, 4, 1)]}) == 4


def test_counts_follow_seed_and_probabilities() -> None:
    counts = sample_counts(np.array([0.5, 0.25, 0.25, 0.0]), 10_000, 7)
    assert counts == sample_counts(np.array([0.5, 0.25, 0.25, 0.0]), 10_000, 7)
    assert sum(counts.values()) == 10_000
    assert set(counts) == {"00", "01", "10"}
    assert abs(counts["00"] - 5_000) < 250
