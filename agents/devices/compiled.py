"""A compiled circuit and its one text form: verbatim OpenQASM 3 of native gates, whose SHA-256 names the circuit.

    OPENQASM 3.0;
    bit[2] b;
    #pragma braket verbatim
    box{
    gpi(0.0) $0;
    ms(0.0, 1.5707963267948966, 0.25) $0, $1;
    }
    b[0] = measure $0;
    b[1] = measure $1;

`read_compiled` takes exactly what `CompiledCircuit.text` writes and refuses everything else.
"""

import hashlib
import math
import re
from dataclasses import dataclass
from functools import cached_property

from agents.devices.profiles import NativeGates
from agents.devices.qasm import ANGLE_MAX, CircuitInvalid

TEXT_BYTES_MAX = 1_000_000

# native gate: (angles, qubits), by gate set
NATIVE_GATES: dict[NativeGates, dict[str, tuple[int, int]]] = {
    NativeGates.GPI_MS: {"gpi": (1, 1), "gpi2": (1, 1), "ms": (3, 2)},
    NativeGates.PRX_CZ: {"prx": (2, 1), "cz": (0, 2)},
    NativeGates.RX_RZ_CZ: {"rx": (1, 1), "rz": (1, 1), "cz": (0, 2)},
}
_SHAPES = {name: shape for gates in NATIVE_GATES.values() for name, shape in gates.items()}


@dataclass(frozen=True)
class NativeGate:
    """One native gate: angles in radians, physical qubits."""

    name: str
    angles: tuple[float, ...]
    qubits: tuple[int, ...]


@dataclass(frozen=True)
class CompiledCircuit:
    """Native gates in order, and the physical qubit that each classical bit reads."""

    gates: tuple[NativeGate, ...]
    measured: tuple[int, ...]

    @cached_property
    def text(self) -> str:
        """The verbatim OpenQASM 3 text."""
        lines = ["OPENQASM 3.0;", f"bit[{len(self.measured)}] b;", "#pragma braket verbatim", "box{"]
        for gate in self.gates:
            angles = f"({', '.join(repr(angle) for angle in gate.angles)})" if gate.angles else ""
            lines.append(f"{gate.name}{angles} {', '.join(f'${qubit}' for qubit in gate.qubits)};")
        lines.append("}")
        lines += [f"b[{bit}] = measure ${qubit};" for bit, qubit in enumerate(self.measured)]
        return "\n".join(lines) + "\n"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @cached_property
    def qubits(self) -> tuple[int, ...]:
        """The physical qubits used, ascending."""
        return tuple(sorted({*self.measured, *(qubit for gate in self.gates for qubit in gate.qubits)}))


_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?"
_GATE_LINE = re.compile(rf"([a-z0-9]+)(?:\(({_NUMBER}(?:, {_NUMBER})*)\))? (\$\d{{1,4}}(?:, \$\d{{1,4}})*);")
_MEASURE_LINE = re.compile(r"b\[\d{1,4}\] = measure \$(\d{1,4});")


def read_compiled(text: str) -> CompiledCircuit:
    """Read a compiled circuit back; raises `CircuitInvalid` unless writing the result gives the very same text."""
    if len(text) > TEXT_BYTES_MAX:
        raise CircuitInvalid("source_too_large", "compiled circuit")
    gates: list[NativeGate] = []
    measured: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if (found := _MEASURE_LINE.fullmatch(line)) is not None:
            measured.append(int(found[1]))
        elif (found := _GATE_LINE.fullmatch(line)) is not None:
            gates.append(_native_gate(found, number))
    circuit = CompiledCircuit(tuple(gates), tuple(measured))
    if not measured or len(set(measured)) != len(measured) or circuit.text != text:
        raise CircuitInvalid("compiled_text_not_canonical", "compiled circuit")
    return circuit


def _native_gate(found: re.Match[str], line: int) -> NativeGate:
    angles = tuple(float(angle) for angle in found[2].split(", ")) if found[2] else ()
    qubits = tuple(int(qubit[1:]) for qubit in found[3].split(", "))
    gate = NativeGate(found[1], angles, qubits)
    sound = _SHAPES.get(gate.name) == (len(angles), len(qubits)) and len(set(qubits)) == len(qubits)
    if not sound or not all(math.isfinite(angle) and abs(angle) <= ANGLE_MAX for angle in angles):
        raise CircuitInvalid("compiled_gate_unknown", f"line {line}", gate.name[:40])
    return gate
