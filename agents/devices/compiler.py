"""The compiler: an OpenQASM 3 template, parameter values and a snapshot go in, a native verbatim circuit comes out.

Also what follows from a compiled circuit and a snapshot without running anything: how likely it succeeds, how long a
shot takes, what it would give on the measured noise and without noise.
"""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from agents.devices.compiled import NATIVE_GATES, CompiledCircuit, NativeGate
from agents.devices.native import BoundGate, to_native
from agents.devices.noise import gate_time_ns, ideal_probabilities, noisy_probabilities
from agents.devices.placement import Interactions, place
from agents.devices.profiles import Edge
from agents.devices.qasm import CircuitInvalid, Template
from agents.devices.snapshot import Snapshot

# A density matrix of 8 qubits takes 0.4 s a circuit, one of 10 takes 7 s.
ACTIVE_QUBITS_MAX = 8
# About ten milliseconds a noisy gate at six to eight qubits: one circuit never holds a device's emulation for a minute.
NATIVE_GATES_MAX = 600


def compile_circuit(template: Template, parameters: Mapping[str, float], snapshot: Snapshot) -> CompiledCircuit:
    """Compile for the device that `snapshot` measured, on its best connected qubits as measured.

    `parameters` holds exactly the template's inputs, in radians. Raises `CircuitInvalid` if a parameter is missing,
    unknown or not finite, or if the circuit fits nowhere on the device.
    """
    bound = bind(template, parameters)
    logical = to_native(bound, snapshot.native)
    if len(logical) > NATIVE_GATES_MAX:
        raise CircuitInvalid("too_many_native_gates", "circuit", f"{len(logical)}, at most {NATIVE_GATES_MAX}")
    wanted = _interactions(logical, template.measured)
    used = {*wanted.one_qubit, *wanted.measured, *(qubit for pair in wanted.two_qubit for qubit in pair)}
    if len(used) > ACTIVE_QUBITS_MAX:
        raise CircuitInvalid("too_many_qubits", "circuit", f"{len(used)} used, the emulation takes {ACTIVE_QUBITS_MAX}")
    where = place(wanted, snapshot.figures, uniform=snapshot.topology == "ion-trap")
    gates = tuple(NativeGate(g.name, g.angles, tuple(where[qubit] for qubit in g.qubits)) for g in logical)
    return CompiledCircuit(gates, tuple(where[qubit] for qubit in template.measured))


def bind(template: Template, parameters: Mapping[str, float]) -> tuple[BoundGate, ...]:
    """Put numbers in for parameters; raises `CircuitInvalid` if the names or values do not match the template."""
    for name in template.parameters:
        if name not in parameters:
            raise CircuitInvalid("parameter_missing", f"parameter {name}")
    for name, value in parameters.items():
        if name not in template.parameters:
            raise CircuitInvalid("parameter_unknown", f"parameter {name[:40]}")
        if not math.isfinite(value):
            raise CircuitInvalid("parameter_not_finite", f"parameter {name}")
    return tuple(
        BoundGate(
            gate.name,
            tuple(angle.value(parameters, f"line {gate.line}") for angle in gate.angles),
            gate.qubits,
            all(angle.is_constant for angle in gate.angles),
        )
        for gate in template.gates
    )


def check_runnable(circuit: CompiledCircuit, snapshot: Snapshot) -> None:
    """Raise `CircuitInvalid` unless every gate is native and every pair connected on the device of `snapshot`."""
    native = NATIVE_GATES[snapshot.native]
    for number, gate in enumerate(circuit.gates, start=1):
        if gate.name not in native:
            raise CircuitInvalid("not_native_to_device", f"gate {number}", gate.name)
        if len(gate.qubits) == 2 and _pair(gate) not in snapshot.figures.two_qubit:
            raise CircuitInvalid("not_connected", f"gate {number}", "-".join(map(str, gate.qubits)))
    if max(circuit.qubits) >= snapshot.qubits:
        raise CircuitInvalid("qubit_unknown", f"qubit {max(circuit.qubits)}")


def predicted_success(circuit: CompiledCircuit, snapshot: Snapshot) -> float:
    """Return the estimated chance that nothing goes wrong in one shot: the product of all measured fidelities used,
    damping by T1 and T2 over the whole duration included.
    """
    figures = snapshot.figures
    wanted = _interactions(circuit.gates, circuit.measured)
    chance = math.prod(figures.one_qubit[q] ** n for q, n in wanted.one_qubit.items())
    chance *= math.prod(figures.readout[q] for q in circuit.measured)
    chance *= math.prod(figures.two_qubit[pair] ** n for pair, n in wanted.two_qubit.items())
    lasting_us = _pulses_ns(circuit, snapshot) / 1_000
    for qubit in circuit.qubits:
        # average gate fidelity of damping for a time t: 1/2 + exp(-t/T1)/6 + exp(-t/T2)/3 (Nielsen 2002)
        chance *= (
            0.5 + math.exp(-lasting_us / figures.t1_us[qubit]) / 6 + math.exp(-lasting_us / figures.t2_us[qubit]) / 3
        )
    return chance


def lowest_two_qubit_fidelity(circuit: CompiledCircuit, snapshot: Snapshot) -> float | None:
    """Return the lowest measured two-qubit fidelity on the pairs used; None without two-qubit gates."""
    pairs = _interactions(circuit.gates, circuit.measured).two_qubit
    return min((snapshot.figures.two_qubit[pair] for pair in pairs), default=None)


def shot_duration_us(circuit: CompiledCircuit, snapshot: Snapshot) -> int:
    """Return how long one shot takes in microseconds, preparation and readout included, rounded up."""
    return snapshot.shot_overhead_us + -(-_pulses_ns(circuit, snapshot) // 1_000)


def chunk_duration_us(circuit: CompiledCircuit, shots: int, snapshot: Snapshot) -> int:
    """Return how long a chunk of `shots` keeps the device busy, loading the circuit included."""
    return snapshot.chunk_overhead_us + shots * shot_duration_us(circuit, snapshot)


def predicted_probabilities(circuit: CompiledCircuit, snapshot: Snapshot) -> np.ndarray:
    """Run the circuit on the noise the snapshot measured; shape (2**bits,), classical bit 0 the highest digit."""
    check_runnable(circuit, snapshot)
    return noisy_probabilities(circuit, snapshot.capabilities.encode(), snapshot.figures, snapshot.times)


def ideal_distribution(circuit: CompiledCircuit) -> np.ndarray:
    """Return what a device without noise would give, in the same order."""
    return ideal_probabilities(circuit)


def _interactions(gates: tuple[NativeGate, ...], measured: tuple[int, ...]) -> Interactions:
    one = Counter(gate.qubits[0] for gate in gates if len(gate.qubits) == 1)
    two = Counter(_pair(gate) for gate in gates if len(gate.qubits) == 2)
    return Interactions(one, Counter(measured), two)


def _pair(gate: NativeGate) -> Edge:
    return min(gate.qubits), max(gate.qubits)


def _pulses_ns(circuit: CompiledCircuit, snapshot: Snapshot) -> int:
    """Return the length of the gate sequence, gates on different qubits side by side."""
    free_ns: Counter[int] = Counter()
    for gate in circuit.gates:
        end_ns = max(free_ns[qubit] for qubit in gate.qubits) + gate_time_ns(gate, snapshot.times)
        free_ns.update({qubit: end_ns - free_ns[qubit] for qubit in gate.qubits})
    return max(free_ns.values(), default=0)
