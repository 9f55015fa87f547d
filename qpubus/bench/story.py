"""What jobs of the demo's kind leave on the log, as typed events for measuring: figures made up, sizes true."""

import base64
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from schemas.events import (
    ApprovalGranted,
    ApprovalRequested,
    ApprovalStatement,
    ArtifactStored,
    BudgetCaptured,
    BudgetHeld,
    BudgetReleased,
    Candidate,
    CircuitFidelity,
    CircuitRun,
    DeviceSnapshotTaken,
    DeviceStatusChanged,
    HumanProof,
    IntentAdmitted,
    IntentDeclared,
    JobCompleted,
    Observable,
    PlacementDecided,
    PlacementOffered,
    ReservationGranted,
    ReservationReleased,
    ReservationRequested,
    ResultRecorded,
    ShotsMeasured,
    StepCompleted,
    StepPlanned,
    StepStarted,
)
from schemas.manifest import BackendRequirements, Classical, JobBudget, Loop, Manifest, ParameterRange, Quantum
from schemas.words import Event

DEVICES = ("onprem-iontrap-1", "cloud-garnet-1", "cloud-heron-1", "cloud-bargain-1")
AGENT = "agent:cowork:user-42"
APPROVER = "approver:alice"
STEPS = 3
CIRCUITS = 48
CHUNKS = 1
CHUNK_SHOTS = 7_000
_SECOND_US = 1_000_000
_QASM = """OPENQASM 3.0;
input float theta;
qubit[2] q;
bit[2] c;
x q[0];
ry(theta) q[1];
cx q[1], q[0];
c = measure q;
"""


class Told(NamedTuple):
    """An event, its author and when it was signed."""

    source: str
    topic: str
    event: Event
    time_us: int


def job_story(number: int, site: str, start_us: int) -> Iterator[Told]:
    """A job from declaration to result: approval, placement, a loop of quantum and classical steps, money."""
    job = _Job(f"job-{number:06}", site, sha256(b"intent %d" % number).hexdigest())
    told = [*_before(job), *_steps(job), *_after(job)]
    for at, (source, topic, event) in enumerate(told):
        yield Told(source, topic, event, start_us + at * _SECOND_US)


class _Job(NamedTuple):
    job_id: str
    site: str
    digest: str


_Line = tuple[str, str, Event]


def _before(job: _Job) -> Iterator[_Line]:
    program = sha256(b"program").hexdigest()
    policy = sha256(b"policy").hexdigest()
    manifest = Manifest(
        job_id=job.job_id,
        initiator=AGENT,
        purpose="VQE_poC:energy_minimization",
        site=job.site,
        quantum=Quantum(
            backend_requirements=BackendRequirements(min_fidelity=0.98, topology="ion-trap"),
            circuit=base64.b64encode(_QASM.encode()).decode(),
            parameters={"theta": ParameterRange(low=-3.2, high=3.2)},
            shots=CHUNK_SHOTS,
        ),
        classical=Classical(preprocessing="python:prep_vqe.py", post="python:fit_results.py"),
        loop=Loop(step="python:step_vqe.py", iterations_max=40),
        budget=JobBudget(cost_microusd=400_000_000, shots=2_000_000),
        seed=7,
        artifacts={"prep_vqe.py": program, "step_vqe.py": program, "fit_results.py": program},
        signature="x" * 120,
    )
    declared = IntentDeclared(job_id=job.job_id, agent_key_id="a" * 32, agent_proof="y" * 1_600, manifest=manifest)
    statement = ApprovalStatement(
        site=job.site, job_id=job.job_id, purpose=manifest.purpose, intent_digest=job.digest,
        template_digests=(program,), program_digests=(program,) * 3, shots=2_000_000,
        price_ceiling_microusd=400_000_000, policy_digest=policy, expires_us=0, nonce=job.digest,
    )  # fmt: skip
    yield "gateway:main", "intents", declared
    yield "stage:policy", "approvals", BudgetHeld(job_id=job.job_id, amount_microusd=400_000_000)
    requested = ApprovalRequested(job_id=job.job_id, rule="above-50-usd/1", message="dear", statement=statement)
    yield "stage:policy", "approvals", requested
    proof = HumanProof(proof_type="ed25519", key_id="b" * 32, signature=b"s" * 64)
    granted = ApprovalGranted(job_id=job.job_id, intent_digest=job.digest, approver=APPROVER, proof=proof)
    yield "gateway:main", "approvals", granted
    yield "stage:policy", "approvals", IntentAdmitted(
        job_id=job.job_id, intent_digest=job.digest, price_ceiling_microusd=400_000_000, shots_ceiling=2_000_000,
        devices=DEVICES, policy_digest=policy, rule="above-50-usd/1", approver=APPROVER,
    )  # fmt: skip
    for device in DEVICES:
        yield f"device:{device}", "snapshots", _snapshot(device)
        status = DeviceStatusChanged(device=device, status="online", queue_jobs=2, queue_wait_us=90 * _SECOND_US)
        yield f"device:{device}", "snapshots", status
        yield f"device:{device}", "reservations", _offer(job, device)
    yield from _placement(job)


def _snapshot(device: str) -> DeviceSnapshotTaken:
    return DeviceSnapshotTaken(
        device=device, snapshot_digest=sha256(device.encode()).hexdigest(), taken_us=0, topology="ion-trap", qubits=4,
        two_qubit_fidelity=0.995, two_qubit_fidelity_error=0.0004, readout_fidelity=0.995, shots_max=1_000_000,
        firmware="1.4.2", compiler="qpubus/1",
    )  # fmt: skip


def _offer(job: _Job, device: str) -> PlacementOffered:
    digest = sha256(device.encode()).hexdigest()
    return PlacementOffered(
        job_id=job.job_id, intent_digest=job.digest, device=device, fits=True, snapshot_digest=digest,
        snapshot_taken_us=0, topology="ion-trap", two_qubit_fidelity=0.994, predicted_success=0.98, queue_jobs=2,
        queue_wait_us=90 * _SECOND_US, run_duration_us=3_600 * _SECOND_US, price_microusd=200_000_000,
        compiled_digest=digest,
    )  # fmt: skip


def _placement(job: _Job) -> Iterator[_Line]:
    candidates = tuple(
        Candidate(
            device=device, verdict="chosen" if at == 0 else "outscored", score=0.9 - at / 10, predicted_success=0.98,
            price_microusd=200_000_000, queue_wait_us=90 * _SECOND_US,
        )
        for at, device in enumerate(DEVICES)
    )  # fmt: skip
    device = DEVICES[0]
    slot = {"job_id": job.job_id, "reservation_id": f"{job.job_id}-1", "device": device}
    yield "stage:scheduler", "reservations", PlacementDecided(
        job_id=job.job_id, device=device, objective="balanced", rule="score/1",
        why="highest score: predicted success 0.98 at 200 USD after 90 s", candidates=candidates,
        snapshot_digest=sha256(device.encode()).hexdigest(),
    )  # fmt: skip
    yield "stage:scheduler", "reservations", ReservationRequested(
        **slot, intent_digest=job.digest, shots=2_000_000, duration_us=3_600 * _SECOND_US,
        price_ceiling_microusd=400_000_000,
    )  # fmt: skip
    yield (
        f"device:{device}",
        "reservations",
        ReservationGranted(**slot, token_digest=job.digest, queue_position=2, starts_us=0, expires_us=0),
    )


def _steps(job: _Job) -> Iterator[_Line]:
    device = DEVICES[0]
    digest = sha256(device.encode()).hexdigest()
    runs = tuple(
        CircuitRun(template=0, parameters={"theta": 0.1 * at}, shots=CHUNK_SHOTS * CHUNKS, label=f"zz-{at}")
        for at in range(CIRCUITS)
    )
    for iteration in range(STEPS):
        step = {"job_id": job.job_id, "step": 2 * iteration}
        yield "stage:orchestrator", "intents", StepPlanned(
            **step, kind="quantum", iteration=iteration, device=device, reservation_id=f"{job.job_id}-1",
            token_digest=job.digest, circuits=runs, seed=7,
        )  # fmt: skip
        compiled = tuple(sha256(f"{job.job_id}/{iteration}/{at}".encode()).hexdigest() for at in range(CIRCUITS))
        for each in compiled:
            yield (
                f"device:{device}",
                "results",
                ArtifactStored(digest=each, media_type="application/openqasm", size_bytes=900, job_id=job.job_id),
            )
        yield f"device:{device}", "results", StepStarted(
            **step, kind="quantum", device=device, snapshot_digest=digest, compiled_digests=compiled,
            predicted_success=(0.98,) * CIRCUITS, started_us=0,
        )  # fmt: skip
        for circuit in range(CIRCUITS):
            for chunk in range(CHUNKS):
                yield f"device:{device}", "results", ShotsMeasured(
                    **step, circuit=circuit, chunk=chunk, device=device, shots=CHUNK_SHOTS,
                    counts={"00": 91, "01": 3_400 + circuit, "10": 3_418 - circuit, "11": 91}, started_us=0, ended_us=0,
                )  # fmt: skip
        yield f"device:{device}", "results", StepCompleted(
            **step, kind="quantum", shots=CHUNK_SHOTS * CHUNKS * CIRCUITS, device_time_us=1_300 * _SECOND_US,
            fidelities=tuple(
                CircuitFidelity(
                    circuit=at, method="hellinger", shots=CHUNK_SHOTS * CHUNKS, value=0.98, low=0.97, high=0.99
                )
                for at in range(CIRCUITS)
            ),
        )  # fmt: skip
        yield from _classical(job, iteration, runs)


def _classical(job: _Job, iteration: int, runs: tuple[CircuitRun, ...]) -> Iterator[_Line]:
    step = {"job_id": job.job_id, "step": 2 * iteration + 1}
    planned = StepPlanned(**step, kind="loop", iteration=iteration, program_digest=job.digest, seed=7)
    yield "stage:orchestrator", "intents", planned
    yield "sandbox:main", "results", StepStarted(**step, kind="loop", started_us=0)
    yield "sandbox:main", "results", StepCompleted(
        **step, kind="loop", classical_time_us=200_000, output_digest=job.digest, proposal=runs,
        observables=(Observable(name="energy_hartree", value=-1.137, standard_error=0.0004),),
    )  # fmt: skip


def _after(job: _Job) -> Iterator[_Line]:
    device = DEVICES[0]
    shots = STEPS * CIRCUITS * CHUNKS * CHUNK_SHOTS
    yield "stage:orchestrator", "results", ResultRecorded(
        job_id=job.job_id, device=device, snapshot_digest=job.digest, result_digest=job.digest, converged=True,
        observables=(Observable(name="energy_hartree", value=-1.137, standard_error=0.0004),), iterations=STEPS,
        shots=shots, quantum_microusd=190_000_000, classical_microusd=16, device_time_us=5_200 * _SECOND_US,
        classical_time_us=800_000,
    )  # fmt: skip
    yield "stage:orchestrator", "intents", JobCompleted(job_id=job.job_id, result_digest=job.digest)
    yield (
        "stage:policy",
        "approvals",
        BudgetCaptured(
            job_id=job.job_id,
            amount_microusd=190_000_016,
            quantum_microusd=190_000_000,
            classical_microusd=16,
            shots=shots,
        ),
    )
    yield "stage:policy", "approvals", BudgetReleased(job_id=job.job_id, amount_microusd=209_999_984)
    yield (
        "stage:scheduler",
        "reservations",
        ReservationReleased(job_id=job.job_id, reservation_id=f"{job.job_id}-1", device=device, reason="job_ended"),
    )
