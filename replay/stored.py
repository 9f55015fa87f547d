"""What the log holds of a job that ran: verified events in; circuits with counts and reported numbers out."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agents.sandbox import SandboxJob
from schemas.events import (
    IntentDeclared,
    Observable,
    ResultRecorded,
    ShotsMeasured,
    StepCompleted,
    StepPlanned,
    StepStarted,
)
from schemas.manifest import Manifest
from streams.speakers import speaks_for_step
from streams.stage import Heard


class JobUnreproducible(Exception):
    """A job cannot be run again from what is stored; the message says what is missing."""


class JobUnknown(JobUnreproducible):
    """Nobody declared this job."""


@dataclass(frozen=True)
class StoredCircuit:
    """A circuit of a quantum step as it ran: digests of its snapshot and compiled text, counts of its chunks."""

    step: int
    place: int
    device: str
    snapshot_digest: str
    compiled_digest: str
    chunks: Mapping[int, Mapping[str, int]]

    def counts(self) -> Counter[str]:
        """The counts of all its chunks."""
        merged: Counter[str] = Counter()
        for counts in self.chunks.values():
            merged.update(counts)
        return merged


@dataclass
class StoredJob:
    """A job's steps as the log tells them. Only the party that ran a step is heard about it."""

    manifest: Manifest
    planned: dict[int, StepPlanned] = field(default_factory=dict)
    started: dict[int, StepStarted] = field(default_factory=dict)
    chunks: dict[tuple[int, int], dict[int, Mapping[str, int]]] = field(default_factory=dict)
    last_program: StepPlanned | None = None
    observables: tuple[Observable, ...] = ()

    def hear(self, heard: Heard) -> None:
        """Take in an event of this job; a step's plan comes before what is said of it."""
        match heard.event:
            case StepPlanned(step=step) as planned:
                self.planned[step] = planned
            case StepStarted(step=step) as started if self._is_run_by(heard, step):
                self.started[step] = started
            case ShotsMeasured(step=step) as measured if self._is_run_by(heard, step):
                self.chunks.setdefault((step, measured.circuit), {})[measured.chunk] = measured.counts
            case StepCompleted(step=step) as completed if self._is_run_by(heard, step) and completed.observables:
                self.last_program = self.planned[step]
            case ResultRecorded(observables=observables):
                self.observables = observables
            case _:
                pass

    def _is_run_by(self, heard: Heard, step: int) -> bool:
        planned = self.planned.get(step)
        return planned is not None and speaks_for_step(heard, planned.kind, planned.device)

    def circuits(self) -> list[StoredCircuit]:
        """Every circuit that has counts, by step and place."""
        found = []
        for (step, place), chunks in sorted(self.chunks.items()):
            started = self.started.get(step)
            if started is None or place >= len(started.compiled_digests):
                raise JobUnreproducible(f"step {step} has counts of circuit {place}, but no compiled circuit is named")
            digest = started.compiled_digests[place]
            found.append(StoredCircuit(step, place, started.device, started.snapshot_digest, digest, chunks))
        return found

    def with_counts(self, counts: Mapping[tuple[int, int], Mapping[str, int]]) -> SandboxJob:
        """The job as its programs would see it with these counts, by step and place."""
        circuits = {step: planned for step, planned in self.planned.items() if planned.kind == "quantum"}
        return SandboxJob(self.manifest, circuits, {place: Counter(seen) for place, seen in counts.items()})


def stored_job(job_id: str, events: Iterable[Heard]) -> StoredJob:
    """The job of this id; `JobUnknown` if it was never declared."""
    job: StoredJob | None = None
    for heard in events:
        if getattr(heard.event, "job_id", None) != job_id:
            continue
        if job is not None:
            job.hear(heard)
        elif isinstance(heard.event, IntentDeclared):
            job = StoredJob(heard.event.manifest)
    if job is None:
        raise JobUnknown(f"no job {job_id} is on the log; list them with: qpubus jobs")
    return job
