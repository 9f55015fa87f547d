"""Exact outcome probabilities of a compiled circuit under a device's figures, by Braket's density-matrix simulation.

The noise is Braket's own (depolarising by gate, readout flips, built by `LocalEmulator` from a capabilities document)
plus what it leaves out: amplitude and phase damping by T1 and T2, during each gate and while a qubit waits for the
others.
"""

import math
from functools import lru_cache

import numpy as np
from braket.circuits import Circuit, Gate, Instruction, Noise
from braket.circuits.measure import Measure
from braket.circuits.noise_model import NoiseModel
from braket.default_simulator.density_matrix_simulation import DensityMatrixSimulation
from braket.default_simulator.gate_operations import Unitary
from braket.default_simulator.noise_operations import Kraus
from braket.default_simulator.operation import GateOperation, KrausOperation
from braket.emulation.local_emulator import LocalEmulator

from agents.devices.capabilities import read_capabilities
from agents.devices.compiled import CompiledCircuit, NativeGate
from agents.devices.figures import GateTimes, NoiseFigures
from agents.devices.qasm import CircuitInvalid

_NEGLIGIBLE = 1e-12


def noisy_probabilities(
    circuit: CompiledCircuit, capabilities: bytes, figures: NoiseFigures, times: GateTimes
) -> np.ndarray:
    """Return the outcome distribution, shape (2**bits,), index with classical bit 0 as the highest binary digit.

    `capabilities` and `figures` describe the same noise; raises `CircuitInvalid` if the device cannot run the circuit.
    """
    emulator = _emulator(capabilities)
    _check_native(circuit, emulator)
    model: NoiseModel = emulator.noise_model
    bare = Circuit([_instruction(gate) for gate in circuit.gates])
    bare.measure(list(circuit.measured))
    return _simulate(_with_damping(model.apply(bare), figures, times), circuit.measured)


def ideal_probabilities(circuit: CompiledCircuit) -> np.ndarray:
    """Return the distribution a device without noise would give, in the same order."""
    return _simulate(Circuit([_instruction(gate) for gate in circuit.gates]), circuit.measured)


def gate_time_ns(gate: NativeGate, times: GateTimes) -> int:
    """Return how long a gate takes; rz is a change of frame."""
    return 0 if gate.name == "rz" else times.gate_1q_ns if len(gate.qubits) == 1 else times.gate_2q_ns


@lru_cache(maxsize=64)
def _emulator(capabilities: bytes) -> LocalEmulator:
    """Build Braket's emulator once for each document."""
    return LocalEmulator.from_device_properties(read_capabilities(capabilities))


def _check_native(circuit: CompiledCircuit, emulator: LocalEmulator) -> None:
    verbatim = Circuit().add_verbatim_box(Circuit([_instruction(gate) for gate in circuit.gates]))
    try:
        emulator.validate(verbatim)
    except (ValueError, TypeError, KeyError) as error:
        raise CircuitInvalid("not_native_to_device", "compiled circuit", str(error)[:200]) from None


def _instruction(gate: NativeGate) -> Instruction:
    kind = {
        "gpi": Gate.GPi, "gpi2": Gate.GPi2, "ms": Gate.MS, "prx": Gate.PRx, "cz": Gate.CZ, "rx": Gate.Rx, "rz": Gate.Rz
    }[gate.name]  # fmt: skip
    return Instruction(kind(*gate.angles), list(gate.qubits))


def _with_damping(noisy: Circuit, figures: NoiseFigures, times: GateTimes) -> Circuit:
    """Add damping for gates and waits, each gate starting as soon as its qubits are free."""
    free_ns: dict[int, int] = {int(qubit): 0 for qubit in noisy.qubits}
    timed = Circuit()
    flips: list[Instruction] = []
    measuring = False
    for instruction in noisy.instructions:
        qubits = [int(qubit) for qubit in instruction.target]
        operator = instruction.operator
        if isinstance(operator, Measure):
            continue
        if isinstance(operator, Noise.BitFlip):
            measuring = True
            flips.append(instruction)
            continue
        if measuring and isinstance(operator, Gate):
            raise CircuitInvalid("gate_after_measure", "compiled circuit")
        if not isinstance(operator, Gate):
            timed.add_instruction(instruction)
            continue
        native = NativeGate(operator.name.lower(), (), tuple(qubits))
        start_ns = max(free_ns[qubit] for qubit in qubits)
        lasting_ns = gate_time_ns(native, times)
        for qubit in qubits:
            _damp(timed, qubit, start_ns - free_ns[qubit], figures)
        timed.add_instruction(instruction)
        for qubit in qubits:
            _damp(timed, qubit, lasting_ns, figures)
            free_ns[qubit] = start_ns + lasting_ns
    end_ns = max(free_ns.values(), default=0)
    for qubit, since_ns in free_ns.items():
        _damp(timed, qubit, end_ns - since_ns, figures)
    for flip in flips:
        timed.add_instruction(flip)
    return timed


def _damp(circuit: Circuit, qubit: int, wait_ns: int, figures: NoiseFigures) -> None:
    """Append amplitude damping gamma = 1 - exp(-t/T1) and phase damping that brings coherence down to exp(-t/T2)."""
    wait_us = wait_ns / 1_000
    gamma = -math.expm1(-wait_us / figures.t1_us[qubit])
    rate_phi = max(0.0, 1 / figures.t2_us[qubit] - 0.5 / figures.t1_us[qubit])
    lam = -math.expm1(-2 * wait_us * rate_phi)
    if gamma > _NEGLIGIBLE:
        circuit.amplitude_damping(qubit, gamma)
    if lam > _NEGLIGIBLE:
        circuit.phase_damping(qubit, lam)


def _simulate(circuit: Circuit, measured: tuple[int, ...]) -> np.ndarray:
    """Evolve the density matrix; qubits that no gate touches still count as zeros.

    Operators are handed to Braket's simulation itself: its front door would write each noise channel as a pragma and
    parse that again, which takes longer than the physics.
    """
    position = {qubit: index for index, qubit in enumerate(sorted({*map(int, circuit.qubits), *measured}))}
    simulation = DensityMatrixSimulation(len(position), shots=0)
    simulation.evolve([_operation(instruction, position) for instruction in circuit.instructions])
    joint = np.asarray(simulation.probabilities, dtype=float).reshape((2,) * len(position))
    order = [position[qubit] for qubit in measured]
    rest = tuple(axis for axis in range(len(position)) if axis not in order)
    kept = joint.sum(axis=rest) if rest else joint
    ranks = np.argsort(np.argsort(order))
    found = np.clip(np.transpose(kept, ranks).reshape(-1), 0.0, None)
    return np.asarray(found / found.sum())


def _operation(instruction: Instruction, position: dict[int, int]) -> KrausOperation | GateOperation:
    targets = [position[int(qubit)] for qubit in instruction.target]
    operator = instruction.operator
    if isinstance(operator, Noise):
        return Kraus(targets, operator.to_matrix())
    return Unitary(targets, operator.to_matrix())
