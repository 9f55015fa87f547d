"""The requesting agent: builds a job, signs it with its own key and hands it in. Its job as shipped is H2 by VQE."""

from base64 import b64encode
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.replies import Receipt, Refused, Stored
from agents.workloads.vqe import vqe_job
from schemas.digests import sha256_hex
from schemas.keys import key_id, raw_public_key
from schemas.manifest import (
    BackendRequirements,
    CircuitTemplate,
    Classical,
    JobBudget,
    Loop,
    Manifest,
    ParameterRange,
    Quantum,
    signed_payload,
)
from schemas.proofs import TYPE_INTENT, TYPE_WITHDRAWAL, sign_jws
from schemas.traces import DecisionTrace, SealedTrace, TraceOption, seal_trace

H2_SHOTS = 1_500_000
"""The search and a standard error of 0.5 mHa take about 1.0 million shots on the ion trap; half as much again is room
for a day on which it is noisier."""
H2_COST_MICROUSD = 600_000_000
"""1.5 million shots of 5.9 ms at 230 USD an hour are 565 USD, loading the circuits about 15 USD more."""
H2_MIN_FIDELITY = 0.98
H2_MIN_SUCCESS = 0.95
"""A good day has 0.985. Below this the shots that the standard error asks for grow past the budget: better to stop."""


class Document(NamedTuple):
    """A program or an input of a job."""

    name: str
    content: bytes
    media_type: str


class Counter(Protocol):
    """Where an agent hands in what it wants: the gateway, or a face of it."""

    async def declare(
        self, manifest_json: bytes, agent_proof: str, trace: SealedTrace | None = None
    ) -> Receipt | Refused:
        """Take an intent, and the decision trace that its manifest names."""
        ...

    async def store_artifact(self, content: bytes, media_type: str) -> Stored | Refused:
        """Keep a document."""
        ...


@dataclass(frozen=True)
class RequestingAgent:
    """An agent that holds its own key; the key leaves it only as signatures."""

    source: str
    key: Ed25519PrivateKey

    def sign(self, manifest: Manifest) -> str:
        """The agent's proof of a manifest: a compact JWS with the manifest as its payload."""
        return sign_jws(signed_payload(manifest), self.key, key_id(raw_public_key(self.key)), TYPE_INTENT)

    async def submit(
        self,
        counter: Counter,
        manifest: Manifest,
        documents: tuple[Document, ...] = (),
        why: tuple[DecisionTrace, str] | None = None,
    ) -> Receipt | Refused:
        """Store the documents of a job, then declare it, with its trace and the one sentence of it that is public.

        Safe to repeat: the same job gives the same receipt.
        """
        trace = seal_trace(*why, self.source, manifest.job_id, self.key) if why else None
        if trace:
            manifest = manifest.model_copy(update={"decision_trace_digest": trace.digest})
        for document in documents:
            stored = await counter.store_artifact(document.content, document.media_type)
            if isinstance(stored, Refused):
                return stored
        return await counter.declare(signed_payload(manifest), self.sign(manifest), trace)

    def withdrawal(self, job_id: str, reason: str) -> str:
        """The agent's proof that it no longer wants a job."""
        return sign_withdrawal(job_id, reason, self.key)


def sign_withdrawal(job_id: str, reason: str, key: Ed25519PrivateKey) -> str:
    """A compact JWS over the job id and the reason."""
    payload = rfc8785.dumps({"job_id": job_id, "reason": reason})
    return sign_jws(payload, key, key_id(raw_public_key(key)), TYPE_WITHDRAWAL)


def h2_documents() -> tuple[Document, ...]:
    """The programs and inputs of the H2 job."""
    job = vqe_job()
    programs = (job.programs.preprocessing, job.programs.step, job.programs.post)
    inputs = job.inputs.items()
    return (
        *(Document(name, job.program_path(name).read_bytes(), "text/x-python") for name in programs),
        *(Document(f"{name}.json", job.program_path(file).read_bytes(), "application/json") for name, file in inputs),
    )


def h2_why(manifest: Manifest) -> tuple[DecisionTrace, str]:
    """Why the agent of the demonstration declares the H2 job: the full text, and the sentence for everybody."""
    trace = DecisionTrace(
        goal="Find the ground-state energy of H2 to 0.5 mHa, with what a proof of concept may spend.",
        options=(
            TraceOption(name="ion-trap", text="Slow shots, two-qubit gates good enough for the error wanted."),
            TraceOption(
                name="superconducting", text="Shots a thousand times as fast, errors that ask for far more of them."
            ),
            TraceOption(name="not-now", text="Wait for a better calibration; the deadline of the review would pass."),
        ),
        choice="ion-trap",
        reason=f"Within {manifest.budget.shots:,} shots only the trap can reach the error; user-42 asked for today.",
        evidence=tuple(sorted(set(manifest.artifacts.values()))),
    )
    return trace, "The trap is the one device expected to reach the error within the budget."


def h2_manifest(job_id: str, initiator: str, site: str, seed: int) -> Manifest:
    """The ground state of H2 as a hybrid job: circuit templates with ranges, programs by digest, a budget."""
    job = vqe_job()
    main, *further = [
        CircuitTemplate(
            name=template.file.removeprefix("templates/").removesuffix(".qasm"),
            circuit=b64encode(template.source).decode(),
            parameters={name: ParameterRange(low=low, high=high) for name, (low, high) in template.ranges.items()},
        )
        for template in job.templates
    ]
    return Manifest(
        job_id=job_id,
        initiator=initiator,
        purpose="VQE_poC:energy_minimization",
        site=site,
        quantum=Quantum(
            backend_requirements=BackendRequirements(
                min_fidelity=H2_MIN_FIDELITY, min_success=H2_MIN_SUCCESS, topology="ion-trap"
            ),
            circuit=main.circuit,
            parameters=main.parameters,
            further_circuits=tuple(further),
            shots=job.parameters.shots,
        ),
        classical=Classical(preprocessing=f"python:{job.programs.preprocessing}", post=f"python:{job.programs.post}"),
        loop=Loop(
            step=f"python:{job.programs.step}",
            iterations_max=job.iteration_limit,
            convergence=job.parameters.angle_tolerance,
        ),
        budget=JobBudget(cost_microusd=H2_COST_MICROUSD, shots=H2_SHOTS),
        objective="most-faithful",
        seed=seed,
        parameters={name: float(value) for name, value in (job.parameters.model_dump() | {"seed": seed}).items()},
        artifacts={document.name: sha256_hex(document.content) for document in h2_documents()},
    )
