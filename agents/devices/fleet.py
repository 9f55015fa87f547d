"""The emulated fleet: four devices under one seed, each with its hidden noise, its queue and its ledger.

What callers may see of a device is its snapshot, its queue, its prices and the counts of what it ran. Its true noise
stays inside: `EmulatedDevice` offers no way to it.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from agents.devices.calibration import calibrate
from agents.devices.capabilities import capabilities_json
from agents.devices.compiled import CompiledCircuit
from agents.devices.compiler import check_runnable, chunk_duration_us, predicted_probabilities
from agents.devices.drift import Disturbance, true_figures, window_of
from agents.devices.figures import GateTimes
from agents.devices.ledger import ChunkOrder, ChunkRecord, DeviceLedger, Reservation, RunRefused
from agents.devices.noise import noisy_probabilities
from agents.devices.profiles import PROFILES, TWINS, DeviceProfile
from agents.devices.queueing import QueueState, queue_state
from agents.devices.seeds import named_seed, sample_counts
from agents.devices.snapshot import Snapshot


class EmulatedDevice:
    """One device. All methods are deterministic in their arguments, the seed and the ledger."""

    def __init__(
        self, profile: DeviceProfile, fleet_seed: int, ledger: DeviceLedger, disturbances: tuple[Disturbance, ...] = ()
    ) -> None:
        self.profile = profile
        self.ledger = ledger
        self._seed = named_seed(fleet_seed, profile.device_id)
        self._disturbances = disturbances
        self._probabilities = lru_cache(maxsize=1_024)(self._probabilities_in_window)

    def calibrate(self, now_us: int) -> Snapshot:
        """Measure the device at `now_us`; the same time gives the same snapshot."""
        true = true_figures(self.profile, self._seed, window_of(now_us), self._disturbances)
        return calibrate(self.profile, true, self._seed, now_us)

    def queue(self, now_us: int) -> QueueState:
        """Return the queue of other customers."""
        return queue_state(self.profile, self._seed, now_us)

    def reserve(self, wanted: Reservation, now_us: int) -> Reservation:
        """Hold a slot; see `DeviceLedger.reserve`."""
        return self.ledger.reserve(wanted, now_us)

    def run(self, order: ChunkOrder, circuit: CompiledCircuit, snapshot: Snapshot, now_us: int) -> ChunkRecord:
        """Run one chunk under its reservation, once; see `DeviceLedger.run_once` for refusals.

        The noise is the device's own at the chunk's start, and `snapshot` only says what the device is; a twin has no
        other noise than the snapshot's. Raises `RunRefused`
        "circuit_mismatch" if the order names another circuit, and `CircuitInvalid` if the device cannot run this one.
        """
        if circuit.digest != order.circuit_digest:
            raise RunRefused("circuit_mismatch")
        if order.shots > self.profile.shots_max:
            raise RunRefused("shots_exceeded", f"at most {self.profile.shots_max} a chunk")
        check_runnable(circuit, snapshot)

        def draw(started_us: int) -> dict[str, int]:
            return sample_counts(self._distribution(circuit, snapshot, started_us), order.shots, order.seed)

        return self.ledger.run_once(order, chunk_duration_us(circuit, order.shots, snapshot), now_us, draw)

    def rerun(self, record: ChunkRecord, circuit: CompiledCircuit, snapshot: Snapshot) -> dict[str, int]:
        """Draw a recorded chunk again from its seed on the noise of its time; a true record gives its own counts."""
        return sample_counts(self._distribution(circuit, snapshot, record.started_us), record.shots, record.seed)

    def _distribution(self, circuit: CompiledCircuit, snapshot: Snapshot, started_us: int) -> np.ndarray:
        """What a circuit gives at a time: by the hidden noise of then, or on a twin by what the snapshot measured."""
        if self.profile.emulates:
            return predicted_probabilities(circuit, snapshot)
        return self._probabilities(circuit, window_of(started_us))

    def _probabilities_in_window(self, circuit: CompiledCircuit, window: int) -> np.ndarray:
        profile = self.profile
        figures = true_figures(profile, self._seed, window, self._disturbances)
        times = GateTimes(profile.gate_1q_ns, profile.gate_2q_ns, profile.shot_overhead_us, profile.chunk_overhead_us)
        return noisy_probabilities(circuit, capabilities_json(profile, figures, times, None, 0), figures, times)


def open_fleet(
    directory: Path,
    seed: int,
    disturbances: Mapping[str, tuple[Disturbance, ...]] | None = None,
    only: Collection[str] = tuple(PROFILES),
) -> dict[str, EmulatedDevice]:
    """Open the four devices, or `only` those named, twins too, with their ledgers in `directory` (made if missing)."""
    directory.mkdir(parents=True, exist_ok=True)
    planned = disturbances or {}
    return {
        device_id: EmulatedDevice(
            profile, seed, DeviceLedger(directory / f"{device_id}.ledger.sqlite"), planned.get(device_id, ())
        )
        for device_id, profile in (PROFILES | TWINS).items()
        if device_id in only
    }
