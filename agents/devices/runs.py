"""What a device agent knows of a job and of a step that it runs: folds of events, and what follows from them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from agents.devices.approved import StepRefused, compile_approved
from agents.devices.chunks import Chunk, plan_chunks
from agents.devices.compiled import CompiledCircuit
from agents.devices.compiler import chunk_duration_us, ideal_distribution, predicted_success
from agents.devices.fidelity import Pooled, circuit_fidelities
from agents.devices.ledger import ChunkOrder, ChunkRecord
from agents.devices.seeds import chunk_seed
from agents.devices.snapshot import Snapshot
from schemas.events import (
    DevicePrice,
    IntentAdmitted,
    PlacementOffered,
    RunCancelled,
    ShotsMeasured,
    StepCompleted,
    StepFailed,
    StepPlanned,
    StepStarted,
)
from schemas.manifest import Manifest
from streams.pricing import charge_microusd
from streams.stage import Heard


@dataclass
class KnownJob:
    """A job as one device sees it: what was declared and admitted, what it offered, what has run on it so far."""

    manifest: Manifest
    intent_digest: str
    admitted: IntentAdmitted | None = None
    admitted_us: int = 0
    offered: PlacementOffered | None = None
    shots: int = 0
    chunks: int = 0
    device_time_us: int = 0
    ended: bool = False

    def count(self, measured: ShotsMeasured) -> None:
        """Add a chunk that ran."""
        self.shots += measured.shots
        self.chunks += 1
        self.device_time_us += measured.ended_us - measured.started_us

    def check_ceilings(self, shots: int, device_time_us: int, price: DevicePrice | None, slot_us: int) -> None:
        """Raise `StepRefused` if one more chunk would take the job beyond what was admitted."""
        if self.admitted is None:
            raise StepRefused("intent_not_admitted", "the job was not admitted")
        if price is None:
            raise StepRefused("price_unknown", "no price list in force names this device")
        if self.shots + shots > self.admitted.shots_ceiling:
            raise StepRefused(
                "shots_over_ceiling",
                f"{self.shots} shots have run, {shots} more would pass the ceiling of {self.admitted.shots_ceiling}",
            )
        time_us = self.device_time_us + device_time_us
        cost = charge_microusd(price, self.chunks + 1, self.shots + shots, time_us, slot_us)
        if cost > self.admitted.price_ceiling_microusd:
            raise StepRefused(
                "price_over_ceiling",
                f"the next chunk would bring the price to {cost} micro-dollars, the ceiling is "
                f"{self.admitted.price_ceiling_microusd}",
            )


@dataclass(frozen=True)
class Prepared:
    """A step ready to run: its circuits compiled against one snapshot, its chunks in their order."""

    snapshot: Snapshot
    circuits: Sequence[CompiledCircuit]
    chunks: Sequence[Chunk]

    def order(self, planned: StepPlanned, chunk: Chunk, token: bytes) -> ChunkOrder:
        """The order of a chunk for the hardware; the same each time it is made."""
        return ChunkOrder(
            token=token,
            run_id=f"{planned.job_id}/{planned.step}",
            chunk_id=f"{planned.job_id}/{planned.step}/{chunk.circuit}/{chunk.chunk}",
            circuit_digest=self.circuits[chunk.circuit].digest,
            shots=chunk.shots,
            seed=chunk_seed(planned.seed, planned.step, chunk.circuit, chunk.chunk),
        )

    def duration_us(self, chunk: Chunk) -> int:
        """How long a chunk will keep the device busy."""
        return chunk_duration_us(self.circuits[chunk.circuit], chunk.shots, self.snapshot)


@dataclass
class Run:
    """A planned step on this device, and what has been said of it. `due_us` is when the chunk now running ends."""

    heard: Heard
    planned: StepPlanned
    started: Heard | None = None
    measured: list[Heard] = field(default_factory=list)
    cancelled: tuple[str, Heard] | None = None
    prepared: Prepared | None = None
    due_us: int | None = None

    def cancel(self, reason: str, heard: Heard) -> None:
        """Stop before the next chunk; the first reason counts."""
        self.cancelled = self.cancelled or (reason, heard)

    def hear_chunk(self, heard: Heard) -> None:
        """A chunk was said."""
        self.measured.append(heard)
        self.due_us = None

    def because(self) -> list[Heard]:
        """What the next thing said of this step follows from."""
        return [self.started or self.heard]

    def ending(self) -> list[Heard]:
        """What the end of this step follows from: its last chunk too, so that a reader has read all chunks first."""
        return [*self.because(), *self.measured[-1:]]

    def compile(self, manifest: Manifest, snapshot: Snapshot, shots_max: int) -> Prepared:
        """Check the step against the manifest and compile it; `StepRefused` if it is not what was approved.

        Compiled again after a restart, a step must come out as it was said to have begun: its shots go on.
        """
        circuits = compile_approved(self.planned.circuits, manifest, snapshot)
        begun = self.started.event if self.started else None
        if isinstance(begun, StepStarted) and begun.compiled_digests != tuple(each.digest for each in circuits):
            raise StepRefused(
                "compiled_otherwise", "compiled again, a circuit differs from the one that the step began with"
            )
        chunks = plan_chunks([asked.shots for asked in self.planned.circuits], shots_max)
        self.prepared = Prepared(snapshot, circuits, chunks)
        return self.prepared

    def events(self) -> list[ShotsMeasured]:
        """The chunks said so far."""
        return [heard.event for heard in self.measured if isinstance(heard.event, ShotsMeasured)]

    @property
    def shots(self) -> int:
        """Shots of the chunks said so far."""
        return sum(event.shots for event in self.events())

    @property
    def device_time_us(self) -> int:
        """Device time of the chunks said so far."""
        return sum(event.ended_us - event.started_us for event in self.events())

    def start(self, prepared: Prepared, started_us: int) -> StepStarted:
        """The step as begun."""
        return StepStarted(
            job_id=self.planned.job_id,
            step=self.planned.step,
            kind="quantum",
            device=self.planned.device,
            snapshot_digest=prepared.snapshot.digest,
            compiled_digests=tuple(circuit.digest for circuit in prepared.circuits),
            predicted_success=tuple(predicted_success(circuit, prepared.snapshot) for circuit in prepared.circuits),
            seed_honoured=True,
            started_us=started_us,
        )

    def measure(self, chunk: Chunk, record: ChunkRecord) -> ShotsMeasured:
        """A chunk as it ran."""
        return ShotsMeasured(
            job_id=self.planned.job_id,
            step=self.planned.step,
            circuit=chunk.circuit,
            chunk=chunk.chunk,
            device=self.planned.device,
            shots=record.shots,
            counts=record.counts,
            expected=self.planned.circuits[chunk.circuit].expected,
            started_us=record.started_us,
            ended_us=record.ended_us,
        )

    def complete(self, prepared: Prepared) -> StepCompleted:
        """The step as it ended, with how near the pooled counts of each circuit are to its ideal."""
        pooled = [Counter[str]() for _ in prepared.circuits]
        for event in self.events():
            pooled[event.circuit].update(event.counts)
        fidelities = circuit_fidelities(
            [
                Pooled(counts, _ideal(circuit), asked.expected)
                for counts, circuit, asked in zip(pooled, prepared.circuits, self.planned.circuits, strict=True)
            ]
        )
        return StepCompleted(
            job_id=self.planned.job_id,
            step=self.planned.step,
            kind="quantum",
            shots=self.shots,
            device_time_us=self.device_time_us,
            fidelities=fidelities,
        )

    def cancelled_event(self) -> RunCancelled:
        """The step as it was stopped, with the shots that really ran."""
        return RunCancelled(
            job_id=self.planned.job_id,
            step=self.planned.step,
            device=self.planned.device,
            shots=self.shots,
            device_time_us=self.device_time_us,
            reason=self.cancelled[0] if self.cancelled else "",
        )

    def failed(self, reason: str, message: str) -> StepFailed:
        """The step as it failed."""
        return StepFailed(
            job_id=self.planned.job_id,
            step=self.planned.step,
            reason=reason,
            message=message,
            shots=self.shots,
            device_time_us=self.device_time_us,
        )


@lru_cache(maxsize=256)
def _ideal(circuit: CompiledCircuit) -> np.ndarray:
    return ideal_distribution(circuit)
