"""The sandbox: runs the classical steps of jobs. StepPlanned goes in, StepCompleted or StepFailed comes out.

Whatever a program does, its step ends: an answer that cannot be told on the log is a StepFailed, and a step that has
begun three times without an end (the third time the bus went down with it) is not begun again.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.artifacts import ArtifactError, ArtifactStore
from agents.drafts import draft
from agents.enclosure import Enclosure, ProgramFailed
from agents.party import Clock, Membership, Party
from schemas.events import (
    ArtifactStored,
    CircuitRun,
    IntentDeclared,
    JobCancelled,
    JobCompleted,
    JobFailed,
    Observable,
    ShotsMeasured,
    StepCompleted,
    StepFailed,
    StepPlanned,
    StepStarted,
)
from schemas.manifest import Manifest
from schemas.words import Count
from streams.author import Draft, EventOversized
from streams.halts import Halts
from streams.log.port import Log
from streams.proposals import PARAMETERS_MAX, PROPOSAL_CIRCUITS_MAX, why_oversized
from streams.speakers import speaks_for_device
from streams.stage import Heard

RESERVED_INPUTS = frozenset({"parameters", "history", "loop"})
"""Names in a program's input that no artefact may take."""
STARTS_MAX = 3
"""A step that has begun so often and has not ended is not begun again."""
_MESSAGE_LENGTH_MAX = 200
_LOOK_S = 0.2
"""While a program runs, the log is looked at this often: its job may end."""

ParameterName = Annotated[str, Field(max_length=128)]


class AskedCircuit(BaseModel):
    """A circuit as a program asks for it."""

    model_config = ConfigDict(allow_inf_nan=False)

    template: Count
    parameters: dict[ParameterName, float] = Field(default={}, max_length=PARAMETERS_MAX)
    shots: Annotated[Count, Field(ge=1)]
    label: str = Field(default="", max_length=128)
    canary: str | None = Field(default=None, pattern=r"^[01]{1,64}$")

    def as_run(self) -> CircuitRun:
        """The same in the words of the log."""
        return CircuitRun(
            template=self.template,
            parameters=self.parameters,
            shots=self.shots,
            label=self.label,
            expected=self.canary or "",
        )


class ProgramOutput(BaseModel):
    """What is taken from a program's answer; the whole of it is kept as an artefact."""

    circuits: list[AskedCircuit] = Field(default=[], max_length=PROPOSAL_CIRCUITS_MAX)
    converged: bool = False
    observables: list[Observable] = Field(default=[], max_length=256)


@dataclass
class SandboxJob:
    """A job as the sandbox sees it: manifest, circuits asked for by quantum step, counts by step and circuit."""

    manifest: Manifest
    circuits: dict[int, StepPlanned] = field(default_factory=dict)
    counts: dict[tuple[int, int], Counter[str]] = field(default_factory=dict)

    def history(self) -> list[dict[str, Any]]:
        """Every circuit that was asked for, in the order asked, with the counts of all its chunks."""
        return [
            {
                "template": asked.template,
                "parameters": dict(asked.parameters),
                "shots": asked.shots,
                "label": asked.label,
                "canary": asked.expected or None,
                "step": step,
                "counts": dict(sorted(self.counts.get((step, place), {}).items())),
            }
            for step, planned in sorted(self.circuits.items())
            for place, asked in enumerate(planned.circuits)
        ]


@dataclass
class OwedStep:
    """A classical step that was planned and has not ended."""

    heard: Heard
    planned: StepPlanned
    started: Heard | None = None
    starts: int = 0
    is_begun_here: bool = False
    due_us: int | None = None


class Sandbox(Party):
    """The executor of classical steps, one after the other.

    `step_us` is for the virtual clock, where measured time would differ from run to run: each step is told to take this
    long. On the wall it is None and the time really taken is told.
    """

    def __init__(
        self,
        membership: Membership,
        log: Log,
        clock: Clock,
        artifacts: ArtifactStore,
        enclosure: Enclosure,
        *,
        step_us: int | None,
    ) -> None:
        super().__init__(membership, log, clock)
        self._artifacts = artifacts
        self._enclosure = enclosure
        self._step_us = step_us
        self._jobs: dict[str, SandboxJob] = {}
        self._owed: dict[tuple[str, int], OwedStep] = {}
        self._stored: set[str] = set()
        self._halts = Halts()

    def hear(self, heard: Heard) -> None:
        """Take in jobs, the circuits they ran with their counts, the steps to be run, and halts."""
        if heard.cause.topic == "governance":
            self._heed_halts(heard)
            return
        match heard.event:
            case IntentDeclared(job_id=job_id, manifest=manifest):
                self._jobs.setdefault(job_id, SandboxJob(manifest))
            case StepPlanned(job_id=job_id, step=step) as planned if job_id in self._jobs:
                if planned.kind == "quantum":
                    self._jobs[job_id].circuits[step] = planned
                elif not self._halts.covering(self._jobs[job_id].manifest.initiator):
                    self._owed[job_id, step] = OwedStep(heard, planned)
            case ShotsMeasured(job_id=job_id, step=step, circuit=circuit) as measured if job_id in self._jobs:
                job = self._jobs[job_id]
                if step in job.circuits and speaks_for_device(heard, job.circuits[step].device):
                    job.counts.setdefault((step, circuit), Counter()).update(measured.counts)
            case JobCompleted(job_id=job_id) | JobFailed(job_id=job_id) | JobCancelled(job_id=job_id):
                self._jobs.pop(job_id, None)
                self._owed = {place: owed for place, owed in self._owed.items() if place[0] != job_id}
            case _ if heard.source == self.source:
                self._hear_own(heard)
            case _:
                pass

    def _heed_halts(self, heard: Heard) -> None:
        """Owe nothing more to the jobs that a halt covers, without waiting for them to end."""
        self._halts = self._halts.after(heard)
        self._owed = {
            place: owed
            for place, owed in self._owed.items()
            if not self._halts.covering(self._jobs[place[0]].manifest.initiator)
        }

    def _hear_own(self, heard: Heard) -> None:
        match heard.event:
            case StepStarted(job_id=job_id, step=step, started_us=started_us) if (job_id, step) in self._owed:
                owed = self._owed[job_id, step]
                owed.started, owed.starts = heard, owed.starts + 1
                owed.due_us = None if self._step_us is None else started_us + self._step_us
            case StepCompleted(job_id=job_id, step=step) | StepFailed(job_id=job_id, step=step):
                self._owed.pop((job_id, step), None)
            case ArtifactStored(digest=digest):
                self._stored.add(digest)
            case _:
                pass

    async def work(self) -> bool:
        """Run a step that was begun in this life, or begin one that was not.

        On the wall a step is begun just before it is run, so none counts a start that went down with another.
        """
        now_us = self.clock.now_us()
        begun = [owed for owed in self._owed.values() if owed.is_begun_here]
        ready = next((owed for owed in begun if owed.due_us is None or owed.due_us <= now_us), None)
        if ready is not None:
            await self._end(ready)
            return True
        waiting = next((owed for owed in self._owed.values() if not owed.is_begun_here), None)
        if waiting is not None:
            await self._begin(waiting, now_us)
        return waiting is not None

    def next_due_us(self) -> int | None:
        """When a step that has begun ends, on the virtual clock."""
        return min((owed.due_us for owed in self._owed.values() if owed.due_us is not None), default=None)

    async def _begin(self, owed: OwedStep, now_us: int) -> None:
        """Say that a step begins, before anything of it runs; or that it has begun too often."""
        if owed.starts >= STARTS_MAX:
            message = f"it was begun {owed.starts} times and never came to an end"
            await self.say(*self._failure(owed, "attempts_exhausted", message))
            return
        started = StepStarted(
            job_id=owed.planned.job_id,
            step=owed.planned.step,
            kind=owed.planned.kind,
            isolation=self._enclosure.description,
            started_us=now_us,
        )
        await self.say(draft(started, now_us, owed.heard))
        owed.is_begun_here = True

    async def _end(self, owed: OwedStep) -> None:
        """Run a step to its end and say how it ended; nothing if its job has ended meanwhile."""
        drafts = await self._while_wanted(owed)
        try:
            await self.say(*drafts)
        except EventOversized as error:
            await self.say(*self._failure(owed, "output_oversized", str(error)))

    async def _while_wanted(self, owed: OwedStep) -> list[Draft]:
        """What there is to say of a step. Its program is ended when the log says that its job has ended."""
        place = (owed.planned.job_id, owed.planned.step)
        running = asyncio.create_task(self._run(owed))
        try:
            while not running.done():
                await asyncio.wait([running], timeout=_LOOK_S)
                await self.listen()
                if place not in self._owed:
                    return []
            return running.result()
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def _run(self, owed: OwedStep) -> list[Draft]:
        """Run a step's program. It has no effect but its answer, so after a crash it may be run again."""
        try:
            return await self._completed(owed)
        except (ProgramFailed, ArtifactError) as error:
            return self._failure(owed, error.reason, str(error))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            return self._failure(owed, "output_invalid", f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        except Exception as error:  # noqa: BLE001 - a step that cannot be ended would be run for ever, by every restart
            return self._failure(owed, "program_failed", f"its answer could not be taken in ({type(error).__name__})")

    async def _completed(self, owed: OwedStep) -> list[Draft]:
        planned, because = owed.planned, owed.started or owed.heard
        job = self._jobs[planned.job_id]
        program = self._program(job.manifest, planned)
        answer = await self._enclosure.run(program, orjson.dumps(program_document(job, self._artifacts)))
        output = ProgramOutput.model_validate(answer.document)
        proposal = tuple(circuit.as_run() for circuit in output.circuits)
        if oversized := why_oversized(proposal):
            raise ProgramFailed("output_oversized", oversized)
        content = orjson.dumps(answer.document, option=orjson.OPT_SORT_KEYS)
        digest = self._artifacts.put(content)
        completed = StepCompleted(
            job_id=planned.job_id,
            step=planned.step,
            kind=planned.kind,
            classical_time_us=answer.lasted_us if self._step_us is None else self._step_us,
            output_digest=digest,
            proposal=proposal,
            converged=output.converged,
            observables=tuple(output.observables),
        )
        now_us = self.clock.now_us()
        drafts = [draft(completed, now_us, because)]
        if digest not in self._stored:
            stored = ArtifactStored(
                digest=digest, media_type="application/json", size_bytes=len(content), job_id=planned.job_id
            )
            drafts.insert(0, draft(stored, now_us, because))
        return drafts

    def _program(self, manifest: Manifest, planned: StepPlanned) -> bytes:
        """The program of a step, by its digest in the manifest and no other."""
        if not planned.program_digest or planned.program_digest != manifest.program_digest(planned.kind):
            raise ProgramFailed("program_not_approved", f"the manifest names no such program for {planned.kind}")
        return self._artifacts.get(planned.program_digest)

    def _failure(self, owed: OwedStep, reason: str, message: str) -> list[Draft]:
        """The step as failed; the message is short and printable whatever a program put into it."""
        failed = StepFailed(
            job_id=owed.planned.job_id,
            step=owed.planned.step,
            reason=reason,
            message="".join(filter(str.isprintable, message))[:_MESSAGE_LENGTH_MAX],
            classical_time_us=self._step_us or 0,
        )
        return [draft(failed, self.clock.now_us(), owed.started or owed.heard)]


def program_document(job: SandboxJob, artifacts: ArtifactStore) -> dict[str, Any]:
    """What a program is given: the JSON documents among the artefacts by name, parameters, loop, history."""
    manifest = job.manifest
    documents = {
        name.removesuffix(".json"): _json(name, artifacts.get(digest))
        for name, digest in manifest.artifacts.items()
        if name.endswith(".json") and name.removesuffix(".json") not in RESERVED_INPUTS
    }
    loop = manifest.loop
    return documents | {
        "parameters": {name: _whole(value) for name, value in manifest.parameters.items()},
        "loop": {"iterations_max": loop.iterations_max, "convergence": loop.convergence} if loop else {},
        "history": job.history(),
    }


def _json(name: str, content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        raise ProgramFailed("input_malformed", f"the artefact {name} is not JSON") from None


def _whole(value: float) -> float | int:
    """A parameter as a program reads it: whole numbers without a point, which the manifest cannot tell apart."""
    return int(value) if value.is_integer() else value
