"""What policy knows of devices and of the sandbox: latest calibrations, what was rehearsed, what keeps programs in."""

from dataclasses import dataclass, field, replace

from schemas.digests import digest_of_parts
from schemas.events import DeviceSnapshotTaken, StepStarted
from schemas.topics import Role
from streams.policy.wish import Wish
from streams.speakers import speaks_for_device
from streams.stage import Heard
from streams.state import Map, Table

REHEARSALS_KEPT = 16
"""Calibrations on which one work was rehearsed, the latest ones: older ones no device runs on any more."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What policy keeps of a device's latest snapshot."""

    snapshot_digest: str
    taken_us: int
    fidelity_ppm: int
    topology: str
    firmware: str
    compiler: str


@dataclass(frozen=True, slots=True)
class Devices:
    """Calibrations by device, the snapshots on which a work was rehearsed, and the sandbox's latest word on itself."""

    calibrations: Table[str, Calibration] = field(default_factory=Map[str, Calibration])
    rehearsals: Table[str, tuple[str, ...]] = field(default_factory=Map[str, tuple[str, ...]])
    isolation: tuple[str, ...] = ()

    def after(self, heard: Heard) -> "Devices":
        """What is known after a device or the sandbox told something of itself."""
        match heard.event:
            case DeviceSnapshotTaken() as taken if speaks_for_device(heard, taken.device):
                calibration = Calibration(
                    taken.snapshot_digest,
                    taken.taken_us,
                    round(taken.two_qubit_fidelity * 1_000_000),
                    taken.topology,
                    taken.firmware,
                    taken.compiler,
                )
                return replace(self, calibrations=self.calibrations.set(taken.device, calibration))
            case StepStarted(isolation=told) if told and heard.role == Role.SANDBOX.value:
                said = tuple(sorted({phrase.strip() for phrase in told.split(";")}))
                return self if said == self.isolation else replace(self, isolation=said)
            case _:
                return self

    def with_rehearsal(self, work_digest: str, snapshot_digest: str) -> "Devices":
        """What is known after a work has run to its end on the emulator of a snapshot."""
        known = tuple(each for each in self.rehearsals.get(work_digest, ()) if each != snapshot_digest)
        latest = (*known, snapshot_digest)[-REHEARSALS_KEPT:]
        return replace(self, rehearsals=self.rehearsals.set(work_digest, latest))

    def is_rehearsed(self, wish: Wish, device: str) -> bool:
        """Whether the work of a wish has run on the emulator of the device's latest snapshot."""
        calibration = self.calibrations.get(device) if self.rehearsals else None
        return calibration is not None and calibration.snapshot_digest in self.rehearsals.get(wish.work_digest, ())

    def snapshot_class(self, devices: tuple[str, ...]) -> str:
        """The digest of what stays the same of devices from one calibration to the next; empty where nothing is known.

        A new firmware or compiler makes another machine of a device, and what a person granted was not for that.
        """
        parts: list[str] = []
        for device in sorted(devices):
            if calibration := self.calibrations.get(device):
                parts += (device, calibration.topology, calibration.firmware, calibration.compiler)
        return digest_of_parts("snapshot class", *parts) if parts else ""
