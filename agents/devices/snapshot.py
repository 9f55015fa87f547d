"""What a calibration measured of a device: estimates with standard errors, when, and under which firmware and compiler.

A snapshot is a value with one JSON form. Its `capabilities` is Braket device-capabilities JSON, executable on its own
by `LocalEmulator`; the rest is what that schema has no place for.
"""

import hashlib
from functools import cached_property
from typing import Annotated

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from agents.devices.capabilities import SnapshotUnreadable, read_capabilities
from agents.devices.figures import GateTimes, NoiseFigures
from agents.devices.profiles import Edge, NativeGates

SNAPSHOT_BYTES_MAX = 2_000_000
_Fraction = Annotated[float, Field(ge=0, le=1)]
_Duration = Annotated[float, Field(gt=0, lt=1e12)]
_Count = Annotated[int, Field(ge=0, le=10**9)]


def _pair(name: str) -> str:
    low, _, high = name.partition("-")
    if not (low.isdigit() and high.isdigit() and int(low) < int(high)):
        raise ValueError("a pair is written low-high")
    return name


_Pair = Annotated[str, Field(max_length=9), AfterValidator(_pair)]


class FigureTable(BaseModel):
    """Figures by qubit and pair ("0-1"): fidelities as fractions, times in microseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    one_qubit: tuple[_Fraction, ...]
    readout: tuple[_Fraction, ...]
    t1_us: tuple[_Duration, ...]
    t2_us: tuple[_Duration, ...]
    two_qubit: dict[_Pair, _Fraction]

    @classmethod
    def of(cls, figures: NoiseFigures) -> "FigureTable":
        """Wrap figures for JSON."""
        pairs = {f"{low}-{high}": value for (low, high), value in figures.two_qubit.items()}
        return cls(
            one_qubit=figures.one_qubit,
            readout=figures.readout,
            t1_us=figures.t1_us,
            t2_us=figures.t2_us,
            two_qubit=pairs,
        )

    def figures(self) -> NoiseFigures:
        """Unwrap."""
        pairs = {(int(low), int(high)): value for (low, _, high), value in _split(self.two_qubit)}
        return NoiseFigures(self.one_qubit, self.readout, self.t1_us, self.t2_us, pairs)


def _split(pairs: dict[str, float]) -> list[tuple[tuple[str, str, str], float]]:
    return [(name.partition("-"), value) for name, value in pairs.items()]


class Snapshot(BaseModel):
    """One calibration of one device."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))
    device_id: str = Field(max_length=100)
    topology: str = Field(max_length=100)
    native: NativeGates
    qubits: Annotated[int, Field(ge=1, le=1_000)]
    taken_us: Annotated[int, Field(ge=0)]
    firmware: str = Field(max_length=100)
    compiler: str = Field(max_length=100)
    gate_1q_ns: _Count
    gate_2q_ns: _Count
    shot_overhead_us: _Count
    chunk_overhead_us: _Count
    shots_max: Annotated[int, Field(ge=1, le=10**9)]
    estimates: FigureTable
    standard_errors: FigureTable
    capabilities: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the JSON form, hexadecimal: the snapshot's name."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @cached_property
    def figures(self) -> NoiseFigures:
        """The estimates."""
        return self.estimates.figures()

    @property
    def times(self) -> GateTimes:
        """How long gates and shots take."""
        return GateTimes(self.gate_1q_ns, self.gate_2q_ns, self.shot_overhead_us, self.chunk_overhead_us)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The pairs that have a two-qubit gate."""
        return tuple(self.figures.two_qubit)

    def to_json(self) -> bytes:
        """The one JSON form: keys sorted."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)


def read_snapshot(document: bytes) -> Snapshot:
    """Parse a snapshot; raises `SnapshotUnreadable` if anything is not of the form, its Braket document included."""
    if len(document) > SNAPSHOT_BYTES_MAX:
        raise SnapshotUnreadable(f"{len(document)} bytes, at most {SNAPSHOT_BYTES_MAX}")
    try:
        snapshot = Snapshot.model_validate_json(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise SnapshotUnreadable(f"{'.'.join(map(str, first['loc']))}: {first['type']}") from None
    tables = (snapshot.estimates, snapshot.standard_errors)
    if any(len(column) != snapshot.qubits for t in tables for column in (t.one_qubit, t.readout, t.t1_us, t.t2_us)):
        raise SnapshotUnreadable("a column has not one figure for each qubit")
    if any(max(pair) >= snapshot.qubits for pair in snapshot.edges):
        raise SnapshotUnreadable("a pair names a qubit that is not there")
    read_capabilities(snapshot.capabilities.encode())
    return snapshot
