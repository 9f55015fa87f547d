"""The figures that make up a device's noise, true, measured or typical: one value for each qubit and each pair."""

from collections.abc import Mapping
from dataclasses import dataclass

from agents.devices.profiles import Edge


@dataclass(frozen=True)
class NoiseFigures:
    """Fidelities are average gate fidelities in 0..1 without damping; T1 and T2 are in microseconds.

    The tuples hold one value for each qubit. Damping during gates and waits is added from T1, T2 and the gate times, so
    the fidelities here are what a calibration reports after comparing each sequence with a wait of equal length.
    """

    one_qubit: tuple[float, ...]
    readout: tuple[float, ...]
    t1_us: tuple[float, ...]
    t2_us: tuple[float, ...]
    two_qubit: Mapping[Edge, float]


@dataclass(frozen=True)
class GateTimes:
    """How long things take on a device; rz on superconducting devices is a change of frame and takes no time."""

    gate_1q_ns: int
    gate_2q_ns: int
    shot_overhead_us: int
    chunk_overhead_us: int
