"""What running a job on a device would be like: manifest, snapshot, queue and price in, a `PlacementOffered` out.

The device agent publishes it, the gateway's dry run only shows it; nothing is reserved and nothing runs here.
"""

from typing import NamedTuple

from agents.devices.approved import middle, parsed
from agents.devices.chunks import plan_chunks
from agents.devices.compiled import CompiledCircuit
from agents.devices.compiler import compile_circuit, lowest_two_qubit_fidelity, predicted_success, shot_duration_us
from agents.devices.qasm import CircuitInvalid
from agents.devices.slots import slot_length_us
from agents.devices.snapshot import Snapshot
from schemas.events import DevicePrice, PlacementOffered
from schemas.manifest import Manifest
from streams.pricing import charge_microusd

_NO_CIRCUIT = "0" * 64


class Workload(NamedTuple):
    """The shots and chunks of a whole job, as far as they can be known beforehand."""

    shots: int
    chunks: int


def workload_of(manifest: Manifest, shots_max: int) -> Workload:
    """A job without programs runs its main circuit once. Programs may use the whole budget of shots; as they also ask
    for circuits of fewer shots than the manifest's, half as many chunks again are reckoned.
    """
    quantum, budget = manifest.quantum, manifest.budget
    if not (manifest.loop or manifest.classical.preprocessing):
        shots = min(quantum.shots, budget.shots)
        return Workload(shots, len(plan_chunks([shots], shots_max)))
    each = min(quantum.shots, shots_max)
    chunks = -(-budget.shots // each)
    return Workload(budget.shots, chunks + -(-chunks // 2))


class Circumstances(NamedTuple):
    """What a device's agent knows beside its snapshot: the price in force, and how long others keep it busy."""

    price: DevicePrice | None
    queue_jobs: int
    queue_wait_us: int


def offer(manifest: Manifest, intent_digest: str, snapshot: Snapshot, around: Circumstances) -> PlacementOffered:
    """Compile every template against the snapshot and reckon fidelity, time and price; `fits` false says why not."""
    price = around.price
    compiled: list[CompiledCircuit] = []
    reason = "" if price else "price_unknown: the device is in no price list in force"
    try:
        compiled += (
            compile_circuit(parsed(template.circuit), middle(template), snapshot)
            for template in manifest.quantum.templates()
        )
    except CircuitInvalid as error:
        reason = f"circuit_does_not_fit: template {len(compiled)}: {error}"
    shots_max = min(snapshot.shots_max, price.shots_max) if price else snapshot.shots_max
    work = workload_of(manifest, shots_max)
    shot_us = max((shot_duration_us(circuit, snapshot) for circuit in compiled), default=0)
    duration_us = work.chunks * snapshot.chunk_overhead_us + work.shots * shot_us
    lowest = [lowest_two_qubit_fidelity(circuit, snapshot) for circuit in compiled]
    return PlacementOffered(
        job_id=manifest.job_id,
        intent_digest=intent_digest,
        device=snapshot.device_id,
        fits=not reason,
        reason=reason,
        snapshot_digest=snapshot.digest,
        snapshot_taken_us=snapshot.taken_us,
        topology=snapshot.topology,
        two_qubit_fidelity=min((each for each in lowest if each is not None), default=1.0),
        predicted_success=predicted_success(compiled[0], snapshot) if compiled else 0.0,
        queue_jobs=around.queue_jobs,
        queue_wait_us=around.queue_wait_us,
        run_duration_us=duration_us,
        price_microusd=(
            charge_microusd(price, work.chunks, work.shots, duration_us, slot_length_us(duration_us)) if price else 0
        ),
        compiled_digest=compiled[0].digest if compiled else _NO_CIRCUIT,
    )
