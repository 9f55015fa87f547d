"""Runs a job again from stored snapshot, compiled circuits and manifest with a fresh seed, and says how near it came.

    job = stored_job(job_id, events)
    found = await reproduce(job, artifacts, seed, last_program_in(enclosure, job, artifacts))
    event = found.event(job_id)                 # ReproductionMeasured

The fresh counts come from the noise that the snapshot measured, which is an estimate, not from the noise of the run. A
same-seed run on the noise of the device itself, by its own ledger, is another question: it is reported as `exact`.
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import ValidationError

from agents.artifacts import ArtifactError, ArtifactStore
from agents.devices.capabilities import SnapshotUnreadable
from agents.devices.compiled import CompiledCircuit, read_compiled
from agents.devices.compiler import predicted_probabilities
from agents.devices.fleet import EmulatedDevice
from agents.devices.qasm import CircuitInvalid
from agents.devices.seeds import chunk_seed, named_seed, sample_counts
from agents.devices.snapshot import Snapshot, read_snapshot
from agents.enclosure import Enclosure, ProgramFailed
from agents.sandbox import ProgramOutput, program_document
from replay.resampling import Index, Verdict, g_test, holm, paired, reproducibility_index, verdict_of
from replay.stored import JobUnreproducible, StoredCircuit, StoredJob
from schemas.events import Observable, ReproductionMeasured

SHIFT_MAX = 1e6
"""The shift of a number that is missing, or that moved although it has no error."""
Place = tuple[int, int]
"""A circuit of a job: the number of its step and its place there."""
Predicted = Mapping[Place, npt.NDArray[np.float64]]
"""The chance of each outcome of each circuit."""
Program = Callable[[Mapping[Place, Mapping[str, int]]], Awaitable[Sequence[Observable]]]
"""Gives a job's reported numbers from the counts of its circuits."""


@dataclass(frozen=True)
class CircuitReproduction:
    """One circuit: its shots, and the chance of fresh counts as unlike the stored ones, corrected by Holm."""

    step: int
    place: int
    shots: int
    p_value: float


@dataclass(frozen=True)
class Reproduction:
    """What a reproduction found. `exact` says whether the same seeds on the device's own noise gave the same counts."""

    seed: int
    index: Index
    p_value: float
    shifts: Mapping[str, float]
    verdict: Verdict
    circuits: Sequence[CircuitReproduction]
    exact: bool | None

    @property
    def shift_max(self) -> float:
        """The largest shift of a reported number, in standard errors of the difference."""
        return max(self.shifts.values(), default=0.0)

    def event(self, job_id: str) -> ReproductionMeasured:
        """The same in the words of the log."""
        return ReproductionMeasured(
            job_id=job_id,
            seed=self.seed,
            index=self.index.value,
            low=self.index.low,
            high=self.index.high,
            p_value=self.p_value,
            shift_max=self.shift_max,
            verdict=self.verdict,
        )


async def reproduce(
    job: StoredJob,
    artifacts: ArtifactStore,
    seed: int,
    program: Program | None = None,
    devices: Mapping[str, EmulatedDevice] | None = None,
) -> Reproduction:
    """Run every circuit again and compare; `JobUnreproducible` says what is missing for it.

    A job that reports numbers needs its `program`. `devices`, for whoever has their ledgers, also answers `exact`.
    """
    stored = job.circuits()
    if not stored:
        raise JobUnreproducible("the job has run no circuit")
    if job.observables and program is None:
        raise JobUnreproducible("the job reports numbers, and the program that gave them is not at hand")
    compiled = _Compiled(artifacts)
    pairs, fresh = [], {}
    for circuit in stored:
        counts = circuit.counts()
        place = circuit.step, circuit.place
        fresh_seed = named_seed(seed, "reproduction", *place)
        fresh[place] = sample_counts(compiled.probabilities(circuit), counts.total(), fresh_seed)
        pairs.append(paired(counts, fresh[place]))
    index = reproducibility_index(pairs, named_seed(seed, "resamples"))
    p_values = holm([g_test(pair) for pair in pairs])
    shifts = _shifts(job.observables, await program(fresh) if program else ())
    return Reproduction(
        seed,
        index,
        min(p_values),
        shifts,
        verdict_of(index, min(p_values), max(shifts.values(), default=0.0)),
        [
            CircuitReproduction(circuit.step, circuit.place, int(pair.stored.sum()), p_value)
            for circuit, pair, p_value in zip(stored, pairs, p_values, strict=True)
        ],
        None if devices is None else all(_is_exact(job, circuit, compiled, devices) for circuit in stored),
    )


def last_program_in(enclosure: Enclosure, job: StoredJob, artifacts: ArtifactStore) -> Program | None:
    """The program that gave a job's numbers, to be run in an enclosure; None if the job has none."""
    planned = job.last_program
    if planned is None:
        return None
    digest = planned.program_digest

    async def run(counts: Mapping[Place, Mapping[str, int]]) -> Sequence[Observable]:
        try:
            document = program_document(job.with_counts(counts), artifacts)
            answer = await enclosure.run(artifacts.get(digest), orjson.dumps(document))
            return ProgramOutput.model_validate(answer.document).observables
        except (ProgramFailed, ArtifactError, ValidationError) as error:
            raise JobUnreproducible(
                f"its program {digest[:12]} gives no numbers for the fresh counts: {error}"
            ) from None

    return run


def predicted(job: StoredJob, artifacts: ArtifactStore) -> Predicted:
    """What each circuit of a job gives on the noise that its own snapshot measured, by step and place."""
    compiled = _Compiled(artifacts)
    return {(circuit.step, circuit.place): compiled.probabilities(circuit) for circuit in job.circuits()}


class _Compiled:
    """Compiled circuits and snapshots from the artefact store, each read and run once."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._snapshots: dict[str, Snapshot] = {}
        self._circuits: dict[str, CompiledCircuit] = {}
        self._probabilities: dict[tuple[str, str], npt.NDArray[np.float64]] = {}

    def circuit(self, digest: str) -> CompiledCircuit:
        if digest not in self._circuits:
            try:
                self._circuits[digest] = read_compiled(self._artifacts.get(digest).decode())
            except (ArtifactError, CircuitInvalid, UnicodeDecodeError) as error:
                raise JobUnreproducible(f"the compiled circuit {digest[:12]} cannot be read: {error}") from None
        return self._circuits[digest]

    def probabilities(self, stored: StoredCircuit) -> npt.NDArray[np.float64]:
        """What the circuit gives on the noise that its snapshot measured."""
        run = stored.snapshot_digest, stored.compiled_digest
        if run not in self._probabilities:
            circuit, snapshot = self.circuit(stored.compiled_digest), self.snapshot(stored.snapshot_digest)
            try:
                self._probabilities[run] = predicted_probabilities(circuit, snapshot)
            except CircuitInvalid as error:
                raise JobUnreproducible(
                    f"circuit {run[1][:12]} does not run on snapshot {run[0][:12]}: {error}"
                ) from None
        return self._probabilities[run]

    def snapshot(self, digest: str) -> Snapshot:
        if digest not in self._snapshots:
            try:
                self._snapshots[digest] = read_snapshot(self._artifacts.get(digest))
            except (ArtifactError, SnapshotUnreadable) as error:
                raise JobUnreproducible(f"the snapshot {digest[:12]} cannot be read: {error}") from None
        return self._snapshots[digest]


def _is_exact(
    job: StoredJob, circuit: StoredCircuit, compiled: _Compiled, devices: Mapping[str, EmulatedDevice]
) -> bool:
    """Whether the device's own ledger has each chunk under the job's seed, and drawing it again gives its counts."""
    device = devices.get(circuit.device)
    if device is None:
        return False
    for chunk, counts in circuit.chunks.items():
        place = circuit.step, circuit.place, chunk
        record = device.ledger.chunk("/".join(map(str, (job.manifest.job_id, *place))))
        if record is None or record.seed != chunk_seed(job.planned[circuit.step].seed, *place):
            return False
        snapshot = compiled.snapshot(circuit.snapshot_digest)
        if device.rerun(record, compiled.circuit(circuit.compiled_digest), snapshot) != counts:
            return False
    return True


def _shifts(stored: Sequence[Observable], fresh: Sequence[Observable]) -> dict[str, float]:
    """How far each reported number moved, in standard errors of the difference."""
    again = {each.name: each for each in fresh}
    return {each.name: _shift(each, again.get(each.name)) for each in stored}


def _shift(stored: Observable, fresh: Observable | None) -> float:
    if fresh is None:
        return SHIFT_MAX
    moved = abs(fresh.value - stored.value)
    error = math.hypot(stored.standard_error, fresh.standard_error)
    if moved == 0:
        return 0.0
    return min(SHIFT_MAX, moved / error) if error > 0 else SHIFT_MAX
