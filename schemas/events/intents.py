"""Topic `intents`: what agents declare and what the orchestrator plans from it."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from schemas.manifest import Manifest
from schemas.traces import TraceSummary
from schemas.words import Count, Event, HexDigest, Identifier, Words


class IntentDeclared(Event):
    """An agent wants a job run. Carries the agent's own proof and the manifest the gateway completed and signed."""

    job_id: Identifier
    agent_key_id: str
    agent_proof: str = Field(description="compact JWS with its payload: the manifest as the agent declared it")
    manifest: Manifest
    assurance: Literal["agent-held", "gateway-held"] = "agent-held"


class TraceSealed(Event):
    """Why the agent declared the job lies in the vault; here is what may stay, and the digest of what may be erased."""

    job_id: Identifier
    subject: Identifier = Field(description="the pseudonym under which the text is kept, and can be erased")
    summary: TraceSummary
    text_digest: HexDigest = Field(description="salted; with the summary it gives the manifest's decision_trace_digest")


class IntentWithdrawn(Event):
    """The agent no longer wants the job."""

    job_id: Identifier
    agent_key_id: str
    agent_proof: str = Field(description="compact JWS over the job id and the reason")
    reason: str


class CalibrationRequested(Event):
    """An agent wants a device measured anew before it decides; measuring takes time on the device."""

    request_id: Identifier
    device: Identifier
    initiator: Identifier
    max_age_s: Count = Field(description="a calibration that is younger answers the request, and nothing is measured")
    reason: str
    agent_key_id: str = ""
    agent_proof: str = Field(default="", description="compact JWS over request id, device, greatest age and reason")
    assurance: Literal["agent-held", "gateway-held"] = "agent-held"


class CircuitRun(Words):
    """One circuit to be run: a template of the manifest, the values of its parameters, how often."""

    template: Count
    parameters: Mapping[str, float] = Field(default_factory=dict)
    shots: Count
    label: str = ""
    expected: str = Field(default="", description="bit string a noiseless device would give, where there is only one")


class StepPlanned(Event):
    """A step of a job is to be run: circuits on the reserved device, or a program in the sandbox."""

    job_id: Identifier
    step: Count = Field(description="number of the step in its job, from 0")
    kind: Literal["quantum", "preprocess", "loop", "post"]
    iteration: Count
    device: str = ""
    reservation_id: str = ""
    token_digest: str = ""
    circuits: tuple[CircuitRun, ...] = ()
    program_digest: str = ""
    seed: Count
    slot_us: Count = Field(default=0, description="length of the slot, where the price list charges for holding it")


class JobCompleted(Event):
    """A job ended with a result."""

    job_id: Identifier
    result_digest: HexDigest


class JobFailed(Event):
    """A job ended without a result."""

    job_id: Identifier
    reason: str
    message: str


class JobCancelled(Event):
    """A job was stopped by its agent, a person or the guard."""

    job_id: Identifier
    reason: str
    message: str


class InputsNoted(Event):
    """A stage has read records that called for no decision; their order is in `qb_inputs`."""

    runs: Count
