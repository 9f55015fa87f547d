"""Noise figures as Braket device-capabilities JSON, and back.

A document follows the schema of the vendor whose gates the device has (IonQ, IQM, Rigetti), so that Braket's own
classes and `LocalEmulator` read it. IonQ's schema holds one figure for the device, the others one for each qubit and
pair. Foreign JSON is never given to `parse_raw_schema`, which imports whatever module the document names.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from braket.device_schema.device_capabilities import DeviceCapabilities
from braket.device_schema.ionq.ionq_device_capabilities_v1 import IonqDeviceCapabilities
from braket.device_schema.iqm.iqm_device_capabilities_v1 import IqmDeviceCapabilities
from braket.device_schema.rigetti.rigetti_device_capabilities_v2 import RigettiDeviceCapabilities
from pydantic.v1 import ValidationError

from agents.devices.compiled import NATIVE_GATES
from agents.devices.figures import GateTimes, NoiseFigures
from agents.devices.profiles import DeviceProfile, Edge, NativeGates

CAPABILITIES_BYTES_MAX = 1_000_000
_NAMES = {
    NativeGates.GPI_MS: ("braket.device_schema.ionq.ionq_device_capabilities", "1"),
    NativeGates.PRX_CZ: ("braket.device_schema.iqm.iqm_device_capabilities", "1"),
    NativeGates.RX_RZ_CZ: ("braket.device_schema.rigetti.rigetti_device_capabilities", "2"),
}
_CLASSES: dict[tuple[str, str], type[DeviceCapabilities]] = {
    _NAMES[NativeGates.GPI_MS]: IonqDeviceCapabilities,
    _NAMES[NativeGates.PRX_CZ]: IqmDeviceCapabilities,
    _NAMES[NativeGates.RX_RZ_CZ]: RigettiDeviceCapabilities,
}
_SCHEMA = "braket.device_schema."
_STANDARDIZED = f"{_SCHEMA}standardized_gate_model_qpu_device_properties"


class SnapshotUnreadable(ValueError):
    """A capabilities document or snapshot that is not one of ours."""


def capabilities_json(
    profile: DeviceProfile, figures: NoiseFigures, times: GateTimes, errors: NoiseFigures | None, taken_us: int
) -> bytes:
    """Return the device-capabilities document; `errors` holds the standard error of each figure, in the same shape."""
    name, version = _NAMES[profile.native]
    updated_at = datetime.fromtimestamp(taken_us / 1e6, UTC).isoformat()
    document: dict[str, Any] = {
        "braketSchemaHeader": {"name": name, "version": version},
        "service": _service(profile, updated_at),
        "action": {"braket.ir.openqasm.program": _action(profile)},
        "deviceParameters": {},
        "paradigm": _paradigm(profile),
    }
    if profile.native is NativeGates.GPI_MS:
        document["provider"] = _ionq_provider(figures, times)
        document["standardized"] = _standardized_v3(profile, figures, times, errors, updated_at)
    else:
        document["standardized"] = _standardized_v1(profile, figures, errors)
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def read_capabilities(document: bytes) -> DeviceCapabilities:
    """Parse by an allow-list of classes; raises `SnapshotUnreadable` for everything else."""
    if len(document) > CAPABILITIES_BYTES_MAX:
        raise SnapshotUnreadable(f"{len(document)} bytes, at most {CAPABILITIES_BYTES_MAX}")
    try:
        raw = orjson.loads(document)
        header = raw["braketSchemaHeader"]
        schema = _CLASSES[header["name"], header["version"]]
        if (raw.get("provider") or {}).get("errorMitigation"):
            raise SnapshotUnreadable("error mitigation schemes name Python types and are refused")
        return schema.parse_raw(document)
    except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError, ValidationError) as error:
        raise SnapshotUnreadable(f"not a device-capabilities document of ours: {type(error).__name__}") from None


def _error(errors: NoiseFigures | None, pick: Callable[[NoiseFigures], float]) -> float | None:
    return None if errors is None else pick(errors)


def _service(profile: DeviceProfile, updated_at: str) -> dict[str, Any]:
    return {
        "braketSchemaHeader": {"name": f"{_SCHEMA}device_service_properties", "version": "1"},
        "executionWindows": [
            {"executionDay": "Everyday", "windowStartHour": "00:00:00", "windowEndHour": "23:59:59"},
        ],
        "shotsRange": [1, profile.shots_max],
        "deviceLocation": profile.device_id,
        "updatedAt": updated_at,
    }


def _action(profile: DeviceProfile) -> dict[str, Any]:
    return {
        "actionType": "braket.ir.openqasm.program",
        "version": ["1"],
        "supportedOperations": sorted(NATIVE_GATES[profile.native]),
        "supportedPragmas": ["verbatim"],
        "forbiddenPragmas": [],
        "supportedResultTypes": [
            {"name": "Probability", "observables": None, "minShots": 0, "maxShots": profile.shots_max}
        ],
    }


def _paradigm(profile: DeviceProfile) -> dict[str, Any]:
    neighbours: dict[str, list[str]] = {}
    if profile.topology != "ion-trap":
        for low, high in profile.edges:
            neighbours.setdefault(str(low), []).append(str(high))
            neighbours.setdefault(str(high), []).append(str(low))
    return {
        "braketSchemaHeader": {"name": f"{_SCHEMA}gate_model_qpu_paradigm_properties", "version": "1"},
        "qubitCount": profile.qubits,
        "nativeGateSet": sorted(NATIVE_GATES[profile.native]),
        "connectivity": {"fullyConnected": not neighbours, "connectivityGraph": neighbours},
    }


def _ionq_provider(figures: NoiseFigures, times: GateTimes) -> dict[str, Any]:
    return {
        "braketSchemaHeader": {"name": f"{_SCHEMA}ionq.ionq_provider_properties", "version": "1"},
        "fidelity": {
            "1Q": {"mean": figures.one_qubit[0]},
            "2Q": {"mean": next(iter(figures.two_qubit.values()))},
            "spam": {"mean": figures.readout[0]},
        },
        "timing": {
            "T1": figures.t1_us[0] / 1e6,
            "T2": figures.t2_us[0] / 1e6,
            "1Q": times.gate_1q_ns / 1e9,
            "2Q": times.gate_2q_ns / 1e9,
            "readout": 0.0,
            "reset": times.shot_overhead_us / 1e6,
        },
    }


def _standardized_v3(
    profile: DeviceProfile, figures: NoiseFigures, times: GateTimes, errors: NoiseFigures | None, updated_at: str
) -> dict[str, Any]:
    def fidelity(value: float, error: float | None, name: str | None) -> dict[str, Any]:
        kind = {"name": name, "description": None} if name else None
        return {"fidelityType": kind, "fidelity": value, "standardError": error, "unit": "fraction"}

    def duration(seconds: float, error: float | None) -> dict[str, Any]:
        return {"value": seconds, "standardError": error, "unit": "s"}

    benchmarking = "RANDOMIZED_BENCHMARKING"
    pair = profile.edges[0]
    one_qubit = [fidelity(figures.one_qubit[0], _error(errors, lambda e: e.one_qubit[0]), benchmarking)]
    return {
        "braketSchemaHeader": {"name": _STANDARDIZED, "version": "3"},
        "oneQubitProperties": {str(qubit): {"oneQubitFidelity": one_qubit} for qubit in range(profile.qubits)},
        "T1": duration(figures.t1_us[0] / 1e6, _error(errors, lambda e: e.t1_us[0] / 1e6)),
        "T2": duration(figures.t2_us[0] / 1e6, _error(errors, lambda e: e.t2_us[0] / 1e6)),
        "readoutFidelity": [fidelity(figures.readout[0], _error(errors, lambda e: e.readout[0]), None)],
        "singleQubitGateDuration": duration(times.gate_1q_ns / 1e9, None),
        "twoQubitGateDuration": duration(times.gate_2q_ns / 1e9, None),
        "twoQubitGateFidelity": [
            fidelity(figures.two_qubit[pair], _error(errors, lambda e: e.two_qubit[pair]), benchmarking)
        ],
        "updatedAt": updated_at,
    }


def _standardized_v1(profile: DeviceProfile, figures: NoiseFigures, errors: NoiseFigures | None) -> dict[str, Any]:
    def fidelity(name: str, value: float, error: float | None) -> dict[str, Any]:
        return {"fidelityType": {"name": name, "description": None}, "fidelity": value, "standardError": error}

    def microseconds(value: float, error: float | None) -> dict[str, Any]:
        return {"value": value, "standardError": error, "unit": "us"}

    def one_qubit(q: int) -> dict[str, Any]:
        benchmarking = fidelity(
            "RANDOMIZED_BENCHMARKING", figures.one_qubit[q], _error(errors, lambda e: e.one_qubit[q])
        )
        return {
            "T1": microseconds(figures.t1_us[q], _error(errors, lambda e: e.t1_us[q])),
            "T2": microseconds(figures.t2_us[q], _error(errors, lambda e: e.t2_us[q])),
            "oneQubitFidelity": [
                benchmarking,
                fidelity("READOUT", figures.readout[q], _error(errors, lambda e: e.readout[q])),
            ],
        }

    def two_qubit(pair: Edge) -> dict[str, Any]:
        error = _error(errors, lambda e: e.two_qubit[pair])
        measured = fidelity("INTERLEAVED_RANDOMIZED_BENCHMARKING", figures.two_qubit[pair], error)
        return {"twoQubitGateFidelity": [{**measured, "gateName": "CZ"}]}

    return {
        "braketSchemaHeader": {"name": _STANDARDIZED, "version": "1"},
        "oneQubitProperties": {str(qubit): one_qubit(qubit) for qubit in range(profile.qubits)},
        "twoQubitProperties": {f"{low}-{high}": two_qubit((low, high)) for low, high in figures.two_qubit},
    }
