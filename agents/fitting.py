"""Whether circuits fit devices: by the compiler that will place them, once for each circuit and calibration."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from hashlib import sha256

from agents.devices.approved import middle, parsed
from agents.devices.compiler import compile_circuit
from agents.devices.qasm import CircuitInvalid
from agents.devices.snapshot import Snapshot
from agents.replies import Problem
from schemas.manifest import CircuitTemplate, Manifest, Quantum

KEPT = 4_096
_Key = tuple[bytes, tuple[tuple[str, float], ...], str]


class Fits:
    """Remembers, by the circuit's and the calibration's digest, why a circuit does not fit; the oldest goes first."""

    def __init__(self) -> None:
        self._why: OrderedDict[_Key, Problem | None] = OrderedDict()

    def knows(self, manifest: Manifest, snapshots: Mapping[str, Snapshot]) -> bool:
        """Whether nothing has to be compiled to tell the problems of a manifest."""
        allowed = allowed_among(manifest, snapshots).values()
        return all(
            _key(template, each) in self._why for _, template in templates_of(manifest.quantum) for each in allowed
        )

    def problems(self, manifest: Manifest, snapshots: Mapping[str, Snapshot]) -> list[Problem]:
        """Whether all circuits fit one device at least, among those allowed, and that one takes so many shots."""
        allowed = allowed_among(manifest, snapshots)
        if not allowed:
            known = ", ".join(sorted(snapshots)) or "none yet, try again when a device has calibrated"
            return [Problem("allowed_devices", "device_unknown", f"no such device is known; known are: {known}")]
        misfits = {device: why for device, each in allowed.items() if (why := self._misfit(manifest, each))}
        if len(misfits) == len(allowed):
            told = "; ".join(f"{device}: {why.message}" for device, why in sorted(misfits.items()))
            first = next(iter(misfits.values()))
            return [Problem(first.path, "circuit_fits_no_device", f"it fits no device: {told}")]
        most = max(snapshot.shots_max for device, snapshot in allowed.items() if device not in misfits)
        if manifest.quantum.shots > most:
            return [Problem("quantum.shots", "shots_out_of_range", f"the devices it fits take at most {most} shots")]
        return []

    def _misfit(self, manifest: Manifest, snapshot: Snapshot) -> Problem | None:
        for path, template in templates_of(manifest.quantum):
            if why := self._of(template, snapshot):
                return why._replace(path=f"{path}circuit")
        return None

    def _of(self, template: CircuitTemplate, snapshot: Snapshot) -> Problem | None:
        key = _key(template, snapshot)
        if key in self._why:
            self._why.move_to_end(key)
            return self._why[key]
        why = None
        try:
            compile_circuit(parsed(template.circuit), middle(template), snapshot)
        except CircuitInvalid as error:
            why = Problem("", error.reason, str(error))
        self._why[key] = why
        if len(self._why) > KEPT:
            self._why.popitem(last=False)
        return why


def allowed_among(manifest: Manifest, snapshots: Mapping[str, Snapshot]) -> dict[str, Snapshot]:
    """The calibrations of the devices that a manifest allows."""
    allowed = manifest.allowed_devices
    return {device: each for device, each in snapshots.items() if not allowed or device in allowed}


def templates_of(quantum: Quantum) -> Iterator[tuple[str, CircuitTemplate]]:
    """Every circuit template with the place of its members in the manifest."""
    main, *further = quantum.templates()
    yield "quantum.", main
    for place, template in enumerate(further):
        yield f"quantum.further_circuits.{place}.", template


def _key(template: CircuitTemplate, snapshot: Snapshot) -> _Key:
    circuit = sha256(template.circuit.encode()).digest()
    return circuit, tuple(sorted(middle(template).items())), snapshot.digest
