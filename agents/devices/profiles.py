"""The four devices of the emulated fleet, each a page of figures with the source beside it.

Fidelities, gate times and coherence times marked (F) are the vendors' published typical values; everything marked (A)
is an assumption of ours, stated here because nobody publishes it.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from schemas.events import DevicePrice

Edge = tuple[int, int]


class NativeGates(StrEnum):
    """The gate set a device's control system takes; each also names the Braket schema its document follows."""

    GPI_MS = "ionq"
    PRX_CZ = "iqm"
    RX_RZ_CZ = "rigetti"


@dataclass(frozen=True)
class DriftProfile:
    """How error rates wander: log error rates follow an Ornstein-Uhlenbeck-like walk with rare jumps.

    `sigma` is the stationary standard deviation of the log error rate, `correlation_us` the time over which it forgets,
    `jumps_per_day` the mean number of sudden changes and `jump_sigma` their size in log error rate.
    """

    sigma: float
    correlation_us: int
    jumps_per_day: float
    jump_sigma: float


@dataclass(frozen=True)
class Tariff:
    """What a device costs: per task and shot, as on public clouds, or per reserved hour."""

    task_microusd: int = 0
    shot_microusd: int = 0
    hour_microusd: int = 0


@dataclass(frozen=True)
class DeviceProfile:
    """All that is fixed about a device. Typical figures are medians; the true ones differ by qubit and drift.

    `emulates` names the device whose snapshots it runs; it is empty for a device with noise of its own.
    """

    device_id: str
    topology: str
    native: NativeGates
    qubits: int
    edges: tuple[Edge, ...]
    fidelity_1q: float
    fidelity_2q: float
    fidelity_readout: float
    t1_us: float
    t2_us: float
    gate_1q_ns: int
    gate_2q_ns: int
    shot_overhead_us: int
    chunk_overhead_us: int
    shots_max: int
    uniform: bool
    qubit_spread: float
    drift: DriftProfile
    tariff: Tariff
    queue_jobs_mean: float
    queue_job_us: int
    firmware: str
    compiler: str
    emulates: str = ""


def all_to_all(qubits: int) -> tuple[Edge, ...]:
    """Return every pair: ions in one trap share their motion."""
    return tuple((low, high) for low in range(qubits) for high in range(low + 1, qubits))


def square_lattice(rows: int, columns: int) -> tuple[Edge, ...]:
    """Return nearest-neighbour pairs of a rows x columns grid, qubits numbered row by row."""
    right = [(r * columns + c, r * columns + c + 1) for r in range(rows) for c in range(columns - 1)]
    down = [(r * columns + c, (r + 1) * columns + c) for r in range(rows - 1) for c in range(columns)]
    return tuple(sorted(right + down))


def ring(qubits: int) -> tuple[Edge, ...]:
    """Return neighbour pairs of a closed chain."""
    return tuple(sorted((min(q, (q + 1) % qubits), max(q, (q + 1) % qubits)) for q in range(qubits)))


_HOUR_US = 3_600_000_000
_SECOND_US = 1_000_000

ION_TRAP = DeviceProfile(
    device_id="onprem-iontrap-1",
    topology="ion-trap",
    native=NativeGates.GPI_MS,
    qubits=12,  # (F) AQT IBEX-Q1 has 12
    edges=all_to_all(12),
    fidelity_1q=0.9995,  # (F) IonQ Aria
    fidelity_2q=0.996,  # (F) IonQ Aria
    fidelity_readout=0.9961,  # (F) IonQ Aria
    t1_us=50e6,  # (F) IonQ Aria: 10 to 100 s
    t2_us=1e6,  # (F) IonQ Aria: 1 s
    gate_1q_ns=135_000,  # (F) IonQ Aria: 135 us
    gate_2q_ns=600_000,  # (F) IonQ Aria: 600 us; held constant for every angle, the drive's power sets the angle (A)
    shot_overhead_us=5_000,  # (A) cooling, state preparation and detection take at least 5 ms a shot
    chunk_overhead_us=2 * _SECOND_US,  # (A) loading a circuit and recooling
    shots_max=20_000,  # (A) on site, there is no cloud gateway's cap of 2,000 shots
    uniform=True,  # one figure for the device, as IonQ publishes it
    qubit_spread=0.0,
    drift=DriftProfile(sigma=0.15, correlation_us=3 * _HOUR_US, jumps_per_day=0.25, jump_sigma=0.3),  # (A)
    # (A) a 5 M USD machine written off over 5 years at half utilisation costs about 230 USD an hour
    tariff=Tariff(hour_microusd=230_000_000),
    queue_jobs_mean=0.5,  # (A) one site's own machine
    queue_job_us=20 * 60 * _SECOND_US,  # (A)
    firmware="trap-2.4.1",
    compiler="qpubus-native-1",
)

GARNET = DeviceProfile(
    device_id="cloud-garnet-1",
    topology="superconducting",
    native=NativeGates.PRX_CZ,
    qubits=20,  # (F) IQM Garnet
    edges=square_lattice(4, 5),  # (F) square lattice; Garnet's has cut corners, this one does not (A)
    fidelity_1q=0.9989,  # (F) IQM Garnet
    fidelity_2q=0.9906,  # (F) IQM Garnet
    fidelity_readout=0.970,  # (F) IQM Garnet: 0.976 for 0 and 0.964 for 1; Braket's readout noise is symmetric: mean
    t1_us=43.0,  # (F) IQM Garnet
    t2_us=2.8,  # (F) IQM Garnet, Ramsey
    gate_1q_ns=20,  # (F) IQM Garnet
    gate_2q_ns=40,  # (F) IQM Garnet
    shot_overhead_us=300,  # (A) passive reset of about 7 T1
    chunk_overhead_us=3 * _SECOND_US,  # (A)
    shots_max=20_000,  # (A)
    uniform=False,
    qubit_spread=0.3,  # (A) log-normal spread of error rates over qubits
    drift=DriftProfile(sigma=0.25, correlation_us=2 * _HOUR_US, jumps_per_day=1.0, jump_sigma=0.7),  # (A)
    tariff=Tariff(task_microusd=300_000, shot_microusd=1_450),  # (F) IQM Garnet
    queue_jobs_mean=4.0,  # (A)
    queue_job_us=4 * 60 * _SECOND_US,  # (A)
    firmware="garnet-1.18",
    compiler="qpubus-native-1",
)

HERON = DeviceProfile(
    device_id="cloud-heron-1",
    topology="superconducting",
    native=NativeGates.RX_RZ_CZ,
    qubits=16,  # (A) a window of a larger chip
    edges=ring(16),  # (A) heavy-hex cells are rings
    fidelity_1q=0.99975,  # (F) IBM Heron-like
    fidelity_2q=0.998,  # (F) IBM Heron-like
    fidelity_readout=0.99,  # (F) IBM Heron-like
    t1_us=200.0,  # (A) not in our sources
    t2_us=150.0,  # (A) not in our sources
    gate_1q_ns=50,  # (F) IBM Heron-like
    gate_2q_ns=70,  # (F) IBM Heron-like
    shot_overhead_us=250,  # (A)
    chunk_overhead_us=4 * _SECOND_US,  # (A)
    shots_max=50_000,  # (A)
    uniform=False,
    qubit_spread=0.3,  # (A)
    drift=DriftProfile(sigma=0.2, correlation_us=4 * _HOUR_US, jumps_per_day=0.5, jump_sigma=0.6),  # (A)
    tariff=Tariff(task_microusd=300_000, shot_microusd=900),  # (F) the tariff of Rigetti Ankaa-3
    queue_jobs_mean=9.0,  # (A) good and cheap is crowded
    queue_job_us=6 * 60 * _SECOND_US,  # (A)
    firmware="hx-0.9.7",
    compiler="qpubus-native-1",
)

BARGAIN = DeviceProfile(
    device_id="cloud-bargain-1",
    topology="superconducting",
    native=NativeGates.PRX_CZ,
    qubits=6,  # (A)
    edges=square_lattice(2, 3),  # (A)
    fidelity_1q=0.996,  # (A) the noisy, cheap one: errors about four times Garnet's
    fidelity_2q=0.965,  # (A)
    fidelity_readout=0.92,  # (A)
    t1_us=25.0,  # (A)
    t2_us=2.0,  # (A)
    gate_1q_ns=40,  # (A)
    gate_2q_ns=80,  # (A)
    shot_overhead_us=200,  # (A)
    chunk_overhead_us=2 * _SECOND_US,  # (A)
    shots_max=20_000,  # (A)
    uniform=False,
    qubit_spread=0.4,  # (A)
    drift=DriftProfile(sigma=0.4, correlation_us=1 * _HOUR_US, jumps_per_day=3.0, jump_sigma=1.0),  # (A)
    tariff=Tariff(task_microusd=50_000, shot_microusd=150),  # (A)
    queue_jobs_mean=1.0,  # (A)
    queue_job_us=2 * 60 * _SECOND_US,  # (A)
    firmware="bgn-3.0.2",
    compiler="qpubus-native-1",
)

PROFILES: dict[str, DeviceProfile] = {p.device_id: p for p in (ION_TRAP, GARNET, HERON, BARGAIN)}

GARNET_TWIN = replace(
    GARNET, device_id="emulator-garnet-1", tariff=Tariff(), queue_jobs_mean=0.0, emulates=GARNET.device_id
)
TWINS: dict[str, DeviceProfile] = {GARNET_TWIN.device_id: GARNET_TWIN}
"""Emulators to rehearse on, for free: each runs the latest snapshot of the device that it emulates."""


def device_price(profile: DeviceProfile) -> DevicePrice:
    """Return the price of a device in the words of a price list."""
    return DevicePrice(
        device=profile.device_id,
        task_microusd=profile.tariff.task_microusd,
        shot_microusd=profile.tariff.shot_microusd,
        hour_microusd=profile.tariff.hour_microusd,
        shot_duration_us=profile.shot_overhead_us,
        shots_max=profile.shots_max,
    )
