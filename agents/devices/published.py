"""What the log is told of a snapshot: the figures by which a placement is decided; the document is an artefact."""

import math

from agents.devices.snapshot import Snapshot
from schemas.events import DeviceSnapshotTaken


def snapshot_taken(snapshot: Snapshot) -> DeviceSnapshotTaken:
    """The event of a calibration. The error of a mean of independent figures is √(Σ error²) / n."""
    pairs = list(snapshot.estimates.two_qubit.values())
    errors = list(snapshot.standard_errors.two_qubit.values())
    is_one_figure = len(set(pairs)) == 1 and len(set(errors)) == 1
    error = errors[0] if is_one_figure else math.sqrt(math.fsum(e * e for e in errors)) / len(errors)
    return DeviceSnapshotTaken(
        device=snapshot.device_id,
        snapshot_digest=snapshot.digest,
        taken_us=snapshot.taken_us,
        topology=snapshot.topology,
        qubits=snapshot.qubits,
        two_qubit_fidelity=math.fsum(pairs) / len(pairs),
        two_qubit_fidelity_error=error,
        readout_fidelity=math.fsum(snapshot.estimates.readout) / len(snapshot.estimates.readout),
        shots_max=snapshot.shots_max,
        firmware=snapshot.firmware,
        compiler=snapshot.compiler,
    )
