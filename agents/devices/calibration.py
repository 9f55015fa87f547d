"""Calibration: emulated experiments of finitely many shots on the true noise go in, a measured snapshot comes out.

Each experiment has a known outcome law and is sampled; its estimate and standard error follow from the counts alone:

- readout: prepare a basis state, count flips; F = 1 - flips / shots.
- one- and two-qubit gates: randomized benchmarking (arXiv:1109.6887), each sequence compared with a wait of equal
  length and corrected for readout; survival = 1/d + (1 - 1/d) * lambda**m, with lambda = 1 - (1 - F) * d / (d - 1),
  d = 2 or 4.
- T1 and T2: decay of the excited state and of a Ramsey contrast after a wait of the typical time.

The true figures enter only as outcome laws.
"""

import math
from collections.abc import Callable

import numpy as np

from agents.devices.capabilities import capabilities_json
from agents.devices.figures import GateTimes, NoiseFigures
from agents.devices.profiles import DeviceProfile
from agents.devices.seeds import named_seed
from agents.devices.snapshot import FigureTable, Snapshot

CALIBRATION_SHOTS = 4_000
_READOUT, _GATE, _DECAY = 4, 5, 1
"""What each experiment below takes, in units of `CALIBRATION_SHOTS`."""
_Measured = tuple[float, float]


def calibrate(profile: DeviceProfile, true: NoiseFigures, device_seed: int, taken_us: int) -> Snapshot:
    """Measure the device and return the snapshot. `true` is the noise during the calibration; it is only sampled."""
    rng = np.random.default_rng(named_seed(device_seed, "calibration", taken_us))
    shots = CALIBRATION_SHOTS
    readout = _columns(true.readout, profile.uniform, lambda value: _measure_readout(rng, value, shots))
    one = _columns(
        true.one_qubit, profile.uniform, lambda value: _measure_gate(rng, value, profile.fidelity_1q, 2, shots)
    )
    pairs = _columns(
        tuple(true.two_qubit.values()),
        profile.uniform,
        lambda value: _measure_gate(rng, value, profile.fidelity_2q, 4, shots),
    )
    t1 = _columns(true.t1_us, profile.uniform, lambda value: _measure_decay(rng, value, profile.t1_us, shots))
    t2 = _columns(true.t2_us, profile.uniform, lambda value: _measure_decay(rng, value, profile.t2_us, shots))

    def table(part: int) -> NoiseFigures:
        def column(measured: list[_Measured]) -> tuple[float, ...]:
            return tuple(value[part] for value in measured)

        by_pair = dict(zip(true.two_qubit, column(pairs), strict=True))
        return NoiseFigures(column(one), column(readout), column(t1), column(t2), by_pair)

    estimates, errors = table(0), table(1)
    times = GateTimes(profile.gate_1q_ns, profile.gate_2q_ns, profile.shot_overhead_us, profile.chunk_overhead_us)
    return Snapshot(
        device_id=profile.device_id,
        topology=profile.topology,
        native=profile.native,
        qubits=profile.qubits,
        taken_us=taken_us,
        firmware=profile.firmware,
        compiler=profile.compiler,
        gate_1q_ns=times.gate_1q_ns,
        gate_2q_ns=times.gate_2q_ns,
        shot_overhead_us=times.shot_overhead_us,
        chunk_overhead_us=times.chunk_overhead_us,
        shots_max=profile.shots_max,
        estimates=FigureTable.of(estimates),
        standard_errors=FigureTable.of(errors),
        capabilities=capabilities_json(profile, estimates, times, errors, taken_us).decode(),
    )


def calibration_time_us(snapshot: Snapshot) -> int:
    """How long the device is busy with a calibration of this kind, counted in shots of its usual length.

    All qubits are measured at once, pairs in rounds of disjoint ones: at least as many as one qubit has neighbours.
    What gates and the waits for T1 and T2 add to a shot is left out.
    """
    degrees = [sum(qubit in pair for pair in snapshot.edges) for qubit in range(snapshot.qubits)]
    experiments = _READOUT + _GATE + _DECAY * 2 + _GATE * max(degrees, default=0)
    return experiments * CALIBRATION_SHOTS * snapshot.shot_overhead_us


def _columns(true: tuple[float, ...], uniform: bool, measure: Callable[[float], _Measured]) -> list[_Measured]:
    """Measure each value, or once for all where the vendor publishes one figure for the device."""
    return [measure(true[0])] * len(true) if uniform else [measure(value) for value in true]


def _measure_readout(rng: np.random.Generator, fidelity: float, shots: int) -> _Measured:
    frequency, error = _frequency(rng, 1 - fidelity, 4 * shots)
    return 1 - frequency, error


def _measure_gate(rng: np.random.Generator, fidelity: float, typical: float, dimension: int, shots: int) -> _Measured:
    """Benchmark one gate: a short sequence tells roughly, then one whose decay is about 1/e, where it is sharpest."""
    to_decay = dimension / (dimension - 1)
    decay = 1 - (1 - fidelity) * to_decay
    rough, _ = _decay_rate(rng, decay, max(1, round(0.2 / ((1 - typical) * to_decay))), dimension, shots)
    length = max(1, round(1 / max(1 - rough, 0.1 * (1 - typical))))
    estimate, error = _decay_rate(rng, decay, length, dimension, 4 * shots)
    return min(1.0, 1 - (1 - estimate) / to_decay), error / to_decay


def _decay_rate(rng: np.random.Generator, decay: float, length: int, dimension: int, shots: int) -> _Measured:
    floor = 1 / dimension
    survival, error = _frequency(rng, floor + (1 - floor) * decay**length, shots)
    contrast = min(max((survival - floor) / (1 - floor), 1 / shots), 1.0)
    estimate = contrast ** (1 / length)
    return estimate, estimate / (length * contrast) * error / (1 - floor)


def _measure_decay(rng: np.random.Generator, time_us: float, typical_us: float, shots: int) -> _Measured:
    """Wait for the typical time and see what is left: T = -wait / ln(contrast)."""
    contrast, error = _frequency(rng, math.exp(-typical_us / time_us), shots)
    contrast = min(max(contrast, 1 / shots), 1 - 1 / shots)
    estimate = -typical_us / math.log(contrast)
    return estimate, estimate**2 / typical_us * error / contrast


def _frequency(rng: np.random.Generator, chance: float, shots: int) -> _Measured:
    """Sample a frequency and its standard error, with one success and one failure added so that it is never zero."""
    successes = int(rng.binomial(shots, min(max(chance, 0.0), 1.0)))
    smoothed = (successes + 1) / (shots + 2)
    return successes / shots, math.sqrt(smoothed * (1 - smoothed) / shots)
