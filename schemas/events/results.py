"""Topic `results`: what really ran, what came out, and what stopped it."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from schemas.events.intents import CircuitRun
from schemas.words import Count, Event, HexDigest, Identifier, MicroUsd, TimeUs, Words


class StepStarted(Event):
    """A step began on a device or in the sandbox."""

    job_id: Identifier
    step: Count
    kind: Literal["quantum", "preprocess", "loop", "post"]
    device: str = ""
    snapshot_digest: str = Field(default="", description="the calibration it was compiled against")
    compiled_digests: tuple[HexDigest, ...] = Field(default=(), description="compiled circuits, in order; artefacts")
    predicted_success: tuple[float, ...] = Field(default=(), description="by circuit, from the snapshot")
    seed_honoured: bool = True
    isolation: str = Field(default="", description="what kept a program in, as probed on the machine that ran it")
    started_us: TimeUs


class ShotsMeasured(Event):
    """A chunk of shots of one circuit ran."""

    job_id: Identifier
    step: Count
    circuit: Count = Field(description="place of the circuit in its step")
    chunk: Count
    device: Identifier
    shots: Count
    counts: Mapping[str, int]
    expected: str = Field(default="", description="as in CircuitRun; makes the chunk a canary")
    started_us: TimeUs
    ended_us: TimeUs


class CircuitFidelity(Words):
    """How near the counts of one circuit are to its ideal distribution, by the named method."""

    circuit: Count
    method: Literal["hellinger", "mirror"]
    shots: Count
    value: float
    low: float
    high: float


class Observable(Words):
    """A reported number with its standard error, in the unit that its name ends with."""

    name: Identifier
    value: float
    standard_error: float = Field(ge=0)


class StepCompleted(Event):
    """A step ended. A program may propose the next circuits; what follows is the orchestrator's to decide."""

    job_id: Identifier
    step: Count
    kind: Literal["quantum", "preprocess", "loop", "post"]
    shots: Count = 0
    device_time_us: Count = 0
    classical_time_us: Count = 0
    fidelities: tuple[CircuitFidelity, ...] = ()
    output_digest: str = Field(default="", description="artefact with the whole output of a program")
    proposal: tuple[CircuitRun, ...] = Field(default=(), description="circuits a program asks for next")
    converged: bool = False
    observables: tuple[Observable, ...] = ()


class StepFailed(Event):
    """A step could not be run to its end."""

    job_id: Identifier
    step: Count
    reason: str
    message: str
    shots: Count = 0
    device_time_us: Count = 0
    classical_time_us: Count = 0


class StepOutcomeUnknown(Event):
    """Nobody can say whether a step ran; it counts as spent and not as done."""

    job_id: Identifier
    step: Count
    message: str


class RunCancelDecided(Event):
    """The guard wants the rest of a job's shots not to run."""

    job_id: Identifier
    step: Count
    reason: Literal["cost_overrun", "shots_over_ceiling", "fidelity_drop", "withdrawn", "deadline_passed", "halted"]
    message: str
    rule: str


class RunCancelled(Event):
    """A device stopped a step; these shots had run."""

    job_id: Identifier
    step: Count
    device: Identifier
    shots: Count
    device_time_us: Count
    reason: str


class ArtifactStored(Event):
    """A document named by its digest is in the artefact store."""

    digest: HexDigest
    media_type: str
    size_bytes: Count
    job_id: str = ""
    owner: str = Field(default="", description="the agent that handed it in; empty where a part of the bus did")


class ResultRecorded(Event):
    """What a job found, what it ran on and what it used."""

    job_id: Identifier
    device: str
    snapshot_digest: str
    result_digest: HexDigest
    converged: bool
    observables: tuple[Observable, ...]
    iterations: Count
    shots: Count
    quantum_microusd: MicroUsd
    classical_microusd: MicroUsd
    device_time_us: Count
    classical_time_us: Count


class ReproductionMeasured(Event):
    """An auditor ran a job again from its stored snapshot and manifest and compared."""

    job_id: Identifier
    seed: Count
    index: float
    low: float
    high: float
    p_value: float = Field(ge=0, le=1, description="of the G-test, Holm over circuits")
    shift_max: float = Field(description="largest shift of a reported observable, in standard errors")
    verdict: Literal["reproducible", "drifted", "divergent", "failed", "undecided"]


class CallbackDelivered(Event):
    """The signed notice of a job's end was sent to the callback that its manifest names, or was given up."""

    job_id: Identifier
    notice_digest: HexDigest = Field(description="SHA-256 of the notice, which is a compact JWS")
    is_delivered: bool
    attempts: Count
    status: Count = Field(description="the last HTTP status; 0 where nobody answered, or nobody was asked")
    message: str
