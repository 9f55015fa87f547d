"""Topic `snapshots`: what devices say of themselves."""

from typing import Literal

from pydantic import Field

from schemas.words import Count, Event, HexDigest, Identifier, TimeUs


class DeviceSnapshotTaken(Event):
    """A calibration measured a device. Figures are estimates; the whole document is the artefact named by digest."""

    device: Identifier
    snapshot_digest: HexDigest
    taken_us: TimeUs
    topology: str
    qubits: Count
    two_qubit_fidelity: float = Field(ge=0, le=1, description="mean over the couplings")
    two_qubit_fidelity_error: float = Field(ge=0, description="standard error of the mean")
    readout_fidelity: float = Field(ge=0, le=1)
    shots_max: Count
    firmware: str
    compiler: str


class DeviceStatusChanged(Event):
    """A device went on line or off, or its queue moved."""

    device: Identifier
    status: Literal["online", "draining", "offline", "retired"]
    queue_jobs: Count
    queue_wait_us: Count
    reason: str = ""


class CalibrationFinished(Event):
    """A device answers a request for a calibration: by which snapshot, and what measuring it took."""

    request_id: Identifier
    request_digest: HexDigest
    device: Identifier
    snapshot_digest: HexDigest
    taken_us: TimeUs
    device_time_us: Count = Field(description="0 where a calibration that is young enough stood already")
