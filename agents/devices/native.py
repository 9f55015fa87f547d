"""Standard gates in terms of native ones: a bound gate list goes in, native gates on the same qubit numbers come out.

Rotations about z are kept as a frame of each qubit and cost nothing where the hardware allows it. How many native
gates a template gives depends on its constants, never on its parameters' values (save two-qubit angles beyond what
one pulse can do), so that all points of one template suffer the same noise; an estimator may lean on that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from agents.devices.compiled import NativeGate
from agents.devices.profiles import NativeGates

_HALF = math.pi / 2
# The most one MS pulse turns: a quarter, as wide as `wrapped` rounds.
_PULSE_MAX = round(_HALF, 12)


class Turn(Enum):
    """How much of the angle is known from the template: a constant quarter or half turn takes one pulse everywhere."""

    QUARTER = "quarter"
    HALF = "half"
    ANY = "any"


@dataclass(frozen=True)
class BoundGate:
    """A standard gate with numbers for angles; `constant` if the template fixed them all."""

    name: str
    angles: tuple[float, ...]
    qubits: tuple[int, ...]
    constant: bool


def to_native(gates: tuple[BoundGate, ...], native: NativeGates) -> tuple[NativeGate, ...]:
    """Translate to the gate set `native`; equal to the input up to global phase and z rotations before measurement."""
    writer: _Writer = {NativeGates.GPI_MS: _IonWriter, NativeGates.PRX_CZ: _PrxWriter, NativeGates.RX_RZ_CZ: _RxWriter}[
        native
    ]()
    for gate in gates:
        _EXPANSIONS[gate.name](writer, gate)
    return tuple(writer.gates)


def wrapped(angle: float) -> float:
    """Return the same angle in (-pi, pi], tidied to 12 digits so that equal circuits have equal texts."""
    tidy = round(math.remainder(angle, math.tau), 12)
    return math.pi if tidy <= -round(math.pi, 12) else tidy + 0.0


class _Writer:
    """Collects native gates; `frame[q]` is a z rotation of qubit q still owed."""

    def __init__(self) -> None:
        self.gates: list[NativeGate] = []
        self.frame: dict[int, float] = {}

    def rz(self, qubit: int, angle: float) -> None:
        self.frame[qubit] = self.frame.get(qubit, 0.0) + angle

    def turn(self, qubit: int, angle: float, axis: float, turn: Turn) -> None:
        """Rotate by `angle` about the axis at `axis` from x in the equator."""
        raise NotImplementedError

    def rxx(self, low: int, high: int, angle: float) -> None:
        raise NotImplementedError

    def rzz(self, low: int, high: int, angle: float) -> None:
        raise NotImplementedError

    def cz(self, low: int, high: int) -> None:
        raise NotImplementedError

    def emit(self, name: str, angles: tuple[float, ...], *qubits: int) -> None:
        self.gates.append(NativeGate(name, tuple(wrapped(angle) for angle in angles), qubits))

    def hadamard(self, qubit: int) -> None:
        self.rz(qubit, math.pi)
        self.turn(qubit, _HALF, _HALF, Turn.QUARTER)

    def two_quarters(self, qubit: int, angle: float, axis: float) -> None:
        """A turn by any angle as two quarter turns with frame changes between (arXiv:1612.00858)."""
        self.rz(qubit, _HALF - axis)
        self.turn(qubit, _HALF, 0.0, Turn.QUARTER)
        self.rz(qubit, angle + math.pi)
        self.turn(qubit, _HALF, 0.0, Turn.QUARTER)
        self.rz(qubit, axis + _HALF)


class _IonWriter(_Writer):
    """GPi, GPi2 and the partially entangling MS gate; frames are free, also through MS."""

    def turn(self, qubit: int, angle: float, axis: float, turn: Turn) -> None:
        if turn is Turn.ANY:
            self.two_quarters(qubit, angle, axis)
            return
        phase = axis - self.frame.get(qubit, 0.0) + (math.pi if wrapped(angle) < 0 else 0.0)
        self.emit("gpi2" if turn is Turn.QUARTER else "gpi", (phase,), qubit)

    def rxx(self, low: int, high: int, angle: float) -> None:
        reduced = wrapped(angle)
        if abs(reduced) > _PULSE_MAX:  # one MS pulse reaches a quarter turn; the rest is a half turn of both qubits
            reduced -= math.copysign(math.pi, reduced)
            self.turn(low, math.pi, 0.0, Turn.HALF)
            self.turn(high, math.pi, 0.0, Turn.HALF)
        phases = (-self.frame.get(low, 0.0) + (math.pi if reduced < 0 else 0.0), -self.frame.get(high, 0.0))
        self.emit("ms", (*phases, abs(reduced)), low, high)

    def rzz(self, low: int, high: int, angle: float) -> None:
        for qubit in (low, high):
            self.turn(qubit, _HALF, _HALF, Turn.QUARTER)
        self.rxx(low, high, angle)
        for qubit in (low, high):
            self.turn(qubit, -_HALF, _HALF, Turn.QUARTER)

    def cz(self, low: int, high: int) -> None:
        self.rz(low, _HALF)
        self.rz(high, _HALF)
        self.rzz(low, high, -_HALF)


class _CzWriter(_Writer):
    """What the two controlled-z machines share."""

    def rxx(self, low: int, high: int, angle: float) -> None:
        self.hadamard(low)
        self.cz(low, high)
        self.turn(high, angle, 0.0, Turn.ANY)
        self.cz(low, high)
        self.hadamard(low)

    def rzz(self, low: int, high: int, angle: float) -> None:
        self.hadamard(high)
        self.cz(low, high)
        self.turn(high, angle, 0.0, Turn.ANY)
        self.cz(low, high)
        self.hadamard(high)

    def cz(self, low: int, high: int) -> None:
        self.emit("cz", (), low, high)


class _PrxWriter(_CzWriter):
    """PRX(angle, axis) and CZ; frames are free."""

    def turn(self, qubit: int, angle: float, axis: float, turn: Turn) -> None:  # noqa: ARG002  one pulse does any turn
        self.emit("prx", (angle, axis - self.frame.get(qubit, 0.0)), qubit)


class _RxWriter(_CzWriter):
    """RX by quarter and half turns only, RZ as an instruction of its own, CZ."""

    def turn(self, qubit: int, angle: float, axis: float, turn: Turn) -> None:
        if turn is Turn.ANY:
            self.two_quarters(qubit, angle, axis)
            return
        if qubit in self.frame or axis:  # owed by the template's form, even where a parameter makes it zero
            self.emit("rz", (self.frame.pop(qubit, 0.0) - axis,), qubit)
        self.emit("rx", (angle,), qubit)
        if axis:
            self.frame[qubit] = axis


def _turn_of(angle: float, constant: bool) -> Turn:
    size = abs(wrapped(angle))
    if constant and size == round(_HALF, 12):
        return Turn.QUARTER
    if constant and size in (math.pi, round(math.pi, 12)):
        return Turn.HALF
    return Turn.ANY


def _rotation(axis: float, fixed: float | None = None) -> Callable[[_Writer, BoundGate], None]:
    def expand(writer: _Writer, gate: BoundGate) -> None:
        angle = gate.angles[0] if fixed is None else fixed
        writer.turn(gate.qubits[0], angle, axis, _turn_of(angle, gate.constant or fixed is not None))

    return expand


def _frame(fixed: float | None = None) -> Callable[[_Writer, BoundGate], None]:
    return lambda writer, gate: writer.rz(gate.qubits[0], gate.angles[0] if fixed is None else fixed)


def _universal(writer: _Writer, gate: BoundGate) -> None:
    theta, phi, lam = gate.angles
    writer.rz(gate.qubits[0], lam)
    writer.turn(gate.qubits[0], theta, _HALF, _turn_of(theta, gate.constant))
    writer.rz(gate.qubits[0], phi)


def _cx(writer: _Writer, control: int, target: int) -> None:
    writer.hadamard(target)
    writer.cz(control, target)
    writer.hadamard(target)


def _cy(writer: _Writer, gate: BoundGate) -> None:
    control, target = gate.qubits
    writer.rz(target, -_HALF)
    _cx(writer, control, target)
    writer.rz(target, _HALF)


def _cp(writer: _Writer, gate: BoundGate) -> None:
    for qubit in gate.qubits:
        writer.rz(qubit, gate.angles[0] / 2)
    writer.rzz(gate.qubits[0], gate.qubits[1], -gate.angles[0] / 2)


def _swap(writer: _Writer, gate: BoundGate) -> None:
    first, second = gate.qubits
    for control, target in ((first, second), (second, first), (first, second)):
        _cx(writer, control, target)


def _ryy(writer: _Writer, gate: BoundGate) -> None:
    for qubit in gate.qubits:
        writer.rz(qubit, -_HALF)
    writer.rxx(gate.qubits[0], gate.qubits[1], gate.angles[0])
    for qubit in gate.qubits:
        writer.rz(qubit, _HALF)


def _nothing(writer: _Writer, gate: BoundGate) -> None:
    """The identity takes no pulse."""


_EXPANSIONS: dict[str, Callable[[_Writer, BoundGate], None]] = {
    "id": _nothing,
    "x": _rotation(0.0, math.pi),
    "y": _rotation(_HALF, math.pi),
    "sx": _rotation(0.0, _HALF),
    "rx": _rotation(0.0),
    "ry": _rotation(_HALF),
    "h": lambda writer, gate: writer.hadamard(gate.qubits[0]),
    "z": _frame(math.pi),
    "s": _frame(_HALF),
    "sdg": _frame(-_HALF),
    "t": _frame(math.pi / 4),
    "tdg": _frame(-math.pi / 4),
    "rz": _frame(),
    "p": _frame(),
    "phase": _frame(),
    "u": _universal,
    "U": _universal,
    "u3": _universal,
    "cx": lambda writer, gate: _cx(writer, *gate.qubits),
    "CX": lambda writer, gate: _cx(writer, *gate.qubits),
    "cy": _cy,
    "cz": lambda writer, gate: writer.cz(*gate.qubits),
    "cp": _cp,
    "swap": _swap,
    "rxx": lambda writer, gate: writer.rxx(gate.qubits[0], gate.qubits[1], gate.angles[0]),
    "ryy": _ryy,
    "rzz": lambda writer, gate: writer.rzz(gate.qubits[0], gate.qubits[1], gate.angles[0]),
}
