"""Calibrations that agents asked a device for: requests go in; whether to measure, and the answers, come out."""

from agents.devices.calibration import calibration_time_us
from agents.devices.snapshot import Snapshot
from schemas.events import CalibrationFinished, CalibrationRequested, DeviceSnapshotTaken
from streams.halts import Halts
from streams.stage import Heard

FRESH_US = 600_000_000
"""Noise drifts over hours. A calibration younger than this answers every request, so nobody can keep a device busy."""


class WantedCalibrations:
    """The requests of one device that have no answer yet."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._open: dict[str, tuple[CalibrationRequested, Heard]] = {}

    def hear(self, heard: Heard) -> None:
        """Owe an answer, or owe it no longer."""
        match heard.event:
            case CalibrationRequested(device=self._device) as requested:
                self._open[heard.digest] = requested, heard
            case CalibrationFinished(request_digest=digest) if heard.source == f"device:{self._device}":
                self._open.pop(digest, None)
            case _:
                pass

    def are_met(self, taken: DeviceSnapshotTaken, halts: Halts) -> bool:
        """Whether a snapshot is young enough for every request that no halt covers: such a one waits."""
        return all(
            _is_met(requested, heard, taken) or halts.covering(requested.initiator, self._device)
            for requested, heard in self._open.values()
        )

    def answers(self, taken: DeviceSnapshotTaken, snapshot: Snapshot) -> list[tuple[CalibrationFinished, Heard]]:
        """An answer to each request that the snapshot meets, beside what it answers."""
        return [
            (
                CalibrationFinished(
                    request_id=requested.request_id,
                    request_digest=digest,
                    device=taken.device,
                    snapshot_digest=taken.snapshot_digest,
                    taken_us=taken.taken_us,
                    device_time_us=calibration_time_us(snapshot) if taken.taken_us >= heard.time_us else 0,
                ),
                heard,
            )
            for digest, (requested, heard) in self._open.items()
            if _is_met(requested, heard, taken)
        ]


def _is_met(requested: CalibrationRequested, heard: Heard, taken: DeviceSnapshotTaken) -> bool:
    return taken.taken_us >= heard.time_us - max(requested.max_age_s * 1_000_000, FRESH_US)
