"""The true noise of a device: a pure function of the device's seed and the time, which nobody but the device may call.

The log error rate of each qubit, pair and coherence time is an autoregressive walk sampled once a window of five
minutes (the discrete Ornstein-Uhlenbeck process), with rare large innovations as jumps. The walk's past is cut off
after 256 windows, so the noise at any time is a finite sum over hashed innovations: no state, no start, the same for
ever.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from agents.devices.figures import NoiseFigures
from agents.devices.profiles import DeviceProfile
from agents.devices.seeds import named_seed

WINDOW_US = 300_000_000
_DAY_US = 86_400_000_000
_MEMORY_WINDOWS = 256
_ERROR_CAP = 0.3


@dataclass(frozen=True)
class Disturbance:
    """A planned fault, for drills and tests: from start to end all error rates are `factor` times as large."""

    start_us: int
    end_us: int
    factor: float


def window_of(now_us: int) -> int:
    """Return the number of the noise window that `now_us` falls into; noise is constant within a window."""
    return now_us // WINDOW_US


@lru_cache(maxsize=256)
def true_figures(
    profile: DeviceProfile, device_seed: int, window: int, disturbances: tuple[Disturbance, ...] = ()
) -> NoiseFigures:
    """Return what the device's noise really is during `window`."""
    qubits = 1 if profile.uniform else profile.qubits
    pairs = 1 if profile.uniform else len(profile.edges)
    names = 4 * qubits + pairs
    spread = np.random.default_rng(named_seed(device_seed, "spread")).standard_normal(names) * profile.qubit_spread
    factor = _disturbance_factor(window, disturbances)
    log_error = spread + _walk(profile, device_seed, window, names) + np.log(factor)
    scale = np.exp(log_error)
    one, readout, t1, t2 = (scale[k * qubits : (k + 1) * qubits] for k in range(4))
    two = scale[4 * qubits :]

    def per_qubit(values: np.ndarray) -> tuple[float, ...]:
        return tuple(float(v) for v in (np.repeat(values, profile.qubits) if profile.uniform else values))

    def per_pair(values: np.ndarray) -> tuple[float, ...]:
        return tuple(float(v) for v in (np.repeat(values, len(profile.edges)) if profile.uniform else values))

    t1_us = profile.t1_us / t1
    return NoiseFigures(
        one_qubit=per_qubit(1 - np.minimum((1 - profile.fidelity_1q) * one, _ERROR_CAP)),
        readout=per_qubit(1 - np.minimum((1 - profile.fidelity_readout) * readout, _ERROR_CAP)),
        t1_us=per_qubit(t1_us),
        t2_us=per_qubit(np.minimum(profile.t2_us / t2, 2 * t1_us)),
        two_qubit=dict(
            zip(profile.edges, per_pair(1 - np.minimum((1 - profile.fidelity_2q) * two, _ERROR_CAP)), strict=True)
        ),
    )


def _walk(profile: DeviceProfile, device_seed: int, window: int, names: int) -> np.ndarray:
    """Return the walk's value for each name: sqrt(1 - rho^2) * sum over j of rho^j * innovation[window - j]."""
    drift = profile.drift
    rho = float(np.exp(-WINDOW_US / drift.correlation_us))
    weights = drift.sigma * np.sqrt(1 - rho**2) * rho ** np.arange(_MEMORY_WINDOWS)
    jump_chance = drift.jumps_per_day * WINDOW_US / _DAY_US
    # The weights shrink an innovation to sigma * sqrt(1 - rho^2); a jump is given in log error rate itself.
    jump_scale = drift.jump_sigma / float(weights[0])
    first = window - _MEMORY_WINDOWS + 1
    blocks = range(first // _MEMORY_WINDOWS, window // _MEMORY_WINDOWS + 1)
    rows = np.concatenate([_innovations(device_seed, block, names, jump_chance, jump_scale) for block in blocks])
    start = first - blocks[0] * _MEMORY_WINDOWS
    latest_first = rows[start : start + _MEMORY_WINDOWS][::-1]
    return np.asarray(weights @ latest_first)


@lru_cache(maxsize=64)
def _innovations(device_seed: int, block: int, names: int, jump_chance: float, jump_scale: float) -> np.ndarray:
    """Return the block's innovations, shape (windows, names)."""
    rng = np.random.default_rng(named_seed(device_seed, "drift", block))
    shape = (_MEMORY_WINDOWS, names)
    steps = rng.standard_normal(shape)
    jumps = (rng.random(shape) < jump_chance) * rng.standard_normal(shape) * jump_scale
    return np.asarray(steps + jumps)


def _disturbance_factor(window: int, disturbances: tuple[Disturbance, ...]) -> float:
    start_us = window * WINDOW_US
    factor = 1.0
    for disturbance in disturbances:
        if disturbance.start_us < start_us + WINDOW_US and start_us < disturbance.end_us:
            factor *= disturbance.factor
    return factor
