import math
from collections import Counter

import numpy as np
import pytest
from braket.circuits import Circuit, Gate, Instruction
from braket.device_schema import DeviceCapabilities
from braket.emulation.local_emulator import LocalEmulator

from agents.devices.calibration import calibrate
from agents.devices.compiled import CompiledCircuit, NativeGate, read_compiled
from agents.devices.compiler import (
    chunk_duration_us,
    compile_circuit,
    ideal_distribution,
    lowest_two_qubit_fidelity,
    predicted_probabilities,
    predicted_success,
    shot_duration_us,
)
from agents.devices.drift import true_figures
from agents.devices.profiles import PROFILES
from agents.devices.qasm import CircuitInvalid, parse_template
from agents.devices.snapshot import Snapshot

NOW_US = 1_790_000_000_000_000
EVERY_DEVICE = pytest.mark.parametrize("device_id", sorted(PROFILES))

# Each standard gate as its textbook matrix, first qubit the highest digit.
_X = np.array([[0, 1], [1, 0]])
_Y = np.array([[0, -1j], [1j, 0]])
_Z = np.diag([1, -1])


def _turn(pauli: np.ndarray, angle: float) -> np.ndarray:
    return math.cos(angle / 2) * np.eye(len(pauli)) - 1j * math.sin(angle / 2) * pauli


def _controlled(matrix: np.ndarray) -> np.ndarray:
    return np.block([[np.eye(2), np.zeros((2, 2))], [np.zeros((2, 2)), matrix]])


def _universal(theta: float, phi: float, lam: float) -> np.ndarray:
    c, s = math.cos(theta / 2), math.sin(theta / 2)
    return np.array([[c, -np.exp(1j * lam) * s], [np.exp(1j * phi) * s, np.exp(1j * (phi + lam)) * c]])


TEXTBOOK = {
    "id": np.eye(2),
    "x": _X,
    "y": _Y,
    "z": _Z,
    "h": (_X + _Z) / math.sqrt(2),
    "s": np.diag([1, 1j]),
    "sdg": np.diag([1, -1j]),
    "t": np.diag([1, np.exp(1j * math.pi / 4)]),
    "tdg": np.diag([1, np.exp(-1j * math.pi / 4)]),
    "sx": _turn(_X, math.pi / 2),
    "rx(0.7)": _turn(_X, 0.7),
    "rx(-pi/2)": _turn(_X, -math.pi / 2),
    "ry(-2.1)": _turn(_Y, -2.1),
    "ry(pi)": _turn(_Y, math.pi),
    "rz(1.3)": _turn(_Z, 1.3),
    "p(0.4)": np.diag([1, np.exp(0.4j)]),
    "phase(0.4)": np.diag([1, np.exp(0.4j)]),
    "u(0.3, 1.1, -0.8)": _universal(0.3, 1.1, -0.8),
    "U(pi/2, 1.1, -0.8)": _universal(math.pi / 2, 1.1, -0.8),
    "u3(0.3, 1.1, -0.8)": _universal(0.3, 1.1, -0.8),
    "cx": _controlled(_X),
    "CX": _controlled(_X),
    "cy": _controlled(_Y),
    "cz": _controlled(_Z),
    "cp(0.9)": np.diag([1, 1, 1, np.exp(0.9j)]),
    "swap": np.eye(4)[[0, 2, 1, 3]],
    "rxx(0.6)": _turn(np.kron(_X, _X), 0.6),
    "rxx(-2.5)": _turn(np.kron(_X, _X), -2.5),
    "ryy(0.6)": _turn(np.kron(_Y, _Y), 0.6),
    "rzz(0.6)": _turn(np.kron(_Z, _Z), 0.6),
}


def snapshot_of(device_id: str) -> Snapshot:
    profile = PROFILES[device_id]
    return calibrate(profile, true_figures(profile, 7, NOW_US // 300_000_000), 7, NOW_US)


def compiled_for(device_id: str, body: str, qubits: int = 2, **parameters: float) -> CompiledCircuit:
    inputs = "".join(f"input angle {name};" for name in parameters)
    source = f"OPENQASM 3.0; {inputs} qubit[{qubits}] q; bit[{qubits}] c; {body} c = measure q;"
    return compile_circuit(parse_template(source), parameters, snapshot_of(device_id))


@EVERY_DEVICE
@pytest.mark.parametrize("gate", sorted(TEXTBOOK))
def test_every_standard_gate_keeps_its_meaning_in_native_gates(device_id: str, gate: str) -> None:
    matrix = TEXTBOOK[gate]
    operands = "q[0], q[1]" if len(matrix) == 4 else "q[0]"
    # A state without symmetry before and a readout of phases after: a wrong angle or sign anywhere would show.
    before = "u(0.9, 0.4, 0.2) q[0]; u(1.3, -0.7, 0.5) q[1];"
    after = "u(0.8, -0.3, 1.7) q[0]; u(2.0, 0.6, 0.1) q[1];"
    one = matrix if len(matrix) == 4 else np.kron(matrix, np.eye(2))
    start = np.kron(_universal(0.9, 0.4, 0.2), _universal(1.3, -0.7, 0.5))[:, 0]
    end = np.kron(_universal(0.8, -0.3, 1.7), _universal(2.0, 0.6, 0.1)) @ one @ start
    found = ideal_distribution(compiled_for(device_id, f"{before} {gate} {operands}; {after}"))
    assert found == pytest.approx(np.abs(end) ** 2, abs=1e-9)


@EVERY_DEVICE
def test_a_compiled_circuit_passes_brakets_own_check_of_gates_and_pairs(device_id: str) -> None:
    circuit = compiled_for(device_id, "h q[0]; cx q[0], q[1]; cx q[1], q[2];", qubits=3)
    names = {
        "gpi": Gate.GPi,
        "gpi2": Gate.GPi2,
        "ms": Gate.MS,
        "prx": Gate.PRx,
        "cz": Gate.CZ,
        "rx": Gate.Rx,
        "rz": Gate.Rz,
    }
    box = Circuit([Instruction(names[gate.name](*gate.angles), list(gate.qubits)) for gate in circuit.gates])
    capabilities = snapshot_of(device_id).capabilities
    emulator = LocalEmulator.from_json(capabilities)
    emulator.validate(Circuit().add_verbatim_box(box))
    assert isinstance(DeviceCapabilities.parse_raw(capabilities), DeviceCapabilities)


@EVERY_DEVICE
def test_all_angles_of_one_template_take_the_same_gates(device_id: str) -> None:
    body = "x q; rxx(theta) q[0], q[1]; ry(2 * theta) q[0];"
    shapes = {
        tuple((gate.name, gate.qubits) for gate in compiled_for(device_id, body, theta=theta).gates)
        for theta in (0.0, 0.3, -0.3, math.pi / 4, math.pi / 2, -math.pi / 2)
    }
    assert len(shapes) == 1


def test_the_h2_ansatz_takes_one_entangling_pulse_on_the_ion_trap() -> None:
    body = "x q; rz(-pi/2) q[1]; rxx(theta) q[0], q[1]; rz(pi/2) q[1];"
    names = Counter(gate.name for gate in compiled_for("onprem-iontrap-1", body, theta=0.2).gates)
    assert names == {"gpi": 2, "ms": 1}


@EVERY_DEVICE
def test_the_text_of_a_compiled_circuit_reads_back_to_the_same_circuit(device_id: str) -> None:
    circuit = compiled_for(device_id, "h q[0]; cx q[0], q[1]; rx(1e-7) q[1];")
    assert read_compiled(circuit.text) == circuit
    assert read_compiled(circuit.text).digest == circuit.digest


@pytest.mark.parametrize(
    "damage",
    ["OPENQASM 3.0;", "box{", "$0", "measure", "\n}\n"],
    ids=["version", "box", "qubit", "measurement", "end-of-box"],
)
def test_a_compiled_text_that_we_would_not_write_is_refused(damage: str) -> None:
    text = compiled_for("onprem-iontrap-1", "h q[0]; cx q[0], q[1];").text
    with pytest.raises(CircuitInvalid):
        read_compiled(text.replace(damage, damage + " ", 1))


def test_one_more_gate_is_another_circuit() -> None:
    circuit = compiled_for("onprem-iontrap-1", "h q[0];")
    longer = CompiledCircuit((*circuit.gates, NativeGate("gpi", (0.0,), (0,))), circuit.measured)
    assert longer.digest != circuit.digest


@pytest.mark.parametrize("device_id", ["cloud-garnet-1", "cloud-heron-1", "cloud-bargain-1"])
def test_the_best_measured_pair_is_chosen(device_id: str) -> None:
    snapshot = snapshot_of(device_id)
    circuit = compiled_for(device_id, "cz q[0], q[1];")
    figures = snapshot.figures
    # A bare cz has no one-qubit gate, so a place is as good as its pair and its two readouts.
    worth = {
        pair: fidelity * figures.readout[pair[0]] * figures.readout[pair[1]]
        for pair, fidelity in figures.two_qubit.items()
    }
    assert circuit.qubits == max(worth, key=lambda pair: worth[pair])
    assert lowest_two_qubit_fidelity(circuit, snapshot) == figures.two_qubit[max(worth, key=lambda pair: worth[pair])]


@pytest.mark.parametrize(
    ("device_id", "body", "qubits", "reason"),
    [
        ("cloud-heron-1", "cz q[0], q[1]; cz q[0], q[2]; cz q[0], q[3];", 4, "fits_nowhere"),
        ("cloud-garnet-1", "cz q[0], q[1]; cz q[1], q[2]; cz q[2], q[0];", 3, "fits_nowhere"),
        ("cloud-bargain-1", "x q;", 7, "fits_nowhere"),
        ("onprem-iontrap-1", "x q;", 9, "too_many_qubits"),
        ("cloud-garnet-1", "rxx(0.1) q[0], q[1]; " * 200, 2, "too_many_native_gates"),
    ],
    ids=["too-many-partners", "odd-ring", "too-small-device", "too-many-for-emulation", "too-many-gates"],
)
def test_a_circuit_that_fits_nowhere_says_why(device_id: str, body: str, qubits: int, reason: str) -> None:
    with pytest.raises(CircuitInvalid) as refused:
        compiled_for(device_id, body, qubits=qubits)
    assert refused.value.reason == reason
    assert refused.value.detail


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({}, "parameter_missing"),
        ({"theta": 0.1, "phi": 0.1}, "parameter_unknown"),
        ({"theta": math.nan}, "parameter_not_finite"),
    ],
    ids=["missing", "unknown", "nan"],
)
def test_parameters_match_the_template_exactly(parameters: dict[str, float], reason: str) -> None:
    template = parse_template("OPENQASM 3.0; input float theta; qubit q; bit c; rx(theta) q; c = measure q;")
    with pytest.raises(CircuitInvalid) as refused:
        compile_circuit(template, parameters, snapshot_of("cloud-garnet-1"))
    assert refused.value.reason == reason


def test_predicted_success_is_the_chance_of_the_right_answer_within_the_noise() -> None:
    snapshot = snapshot_of("cloud-garnet-1")
    circuit = compiled_for("cloud-garnet-1", "x q; " + "x q; x q; cz q[0], q[1]; " * 3)
    right = float(predicted_probabilities(circuit, snapshot)[0b11])
    # Some errors leave the answer right (phases, double flips), so the product of fidelities lies a little below.
    assert predicted_success(circuit, snapshot) < right < predicted_success(circuit, snapshot) + 0.1


def test_a_worse_calibration_predicts_less_success() -> None:
    circuit = compiled_for("cloud-garnet-1", "x q; cz q[0], q[1];")
    snapshot = snapshot_of("cloud-garnet-1")
    worse = {pair: fidelity - 0.02 for pair, fidelity in snapshot.estimates.two_qubit.items()}
    degraded = snapshot.model_copy(update={"estimates": snapshot.estimates.model_copy(update={"two_qubit": worse})})
    assert predicted_success(circuit, degraded) < predicted_success(circuit, snapshot) - 0.015


def test_a_shot_on_the_ion_trap_takes_preparation_and_its_pulses() -> None:
    snapshot = snapshot_of("onprem-iontrap-1")
    circuit = compiled_for("onprem-iontrap-1", "x q; rxx(0.5) q[0], q[1];")
    # 5 ms, one layer of 135 us, one pulse of 600 us
    assert shot_duration_us(circuit, snapshot) == 5_000 + 135 + 600
    assert chunk_duration_us(circuit, 100, snapshot) == 2_000_000 + 100 * 5_735


def test_bits_are_read_in_the_order_of_their_measurement() -> None:
    source = (
        "OPENQASM 3.0; qubit[3] q; bit[3] c; x q[0]; c[2] = measure q[0]; c[0] = measure q[1]; c[1] = measure q[2];"
    )
    for device_id in PROFILES:
        circuit = compile_circuit(parse_template(source), {}, snapshot_of(device_id))
        assert int(np.argmax(ideal_distribution(circuit))) == 0b001
