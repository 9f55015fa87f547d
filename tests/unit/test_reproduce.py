"""A job that really ran on an emulated device, run again from what is stored of it."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents.artifacts import ArtifactStore
from agents.devices.compiler import compile_circuit
from agents.devices.fleet import EmulatedDevice, open_fleet
from agents.devices.ledger import ChunkOrder, Reservation
from agents.devices.qasm import parse_template
from agents.devices.seeds import chunk_seed
from replay.reproduce import SHIFT_MAX, Place, reproduce
from replay.stored import JobUnreproducible, StoredJob, stored_job
from schemas.envelope import Cause
from schemas.events import (
    CircuitRun,
    IntentDeclared,
    Observable,
    ResultRecorded,
    ShotsMeasured,
    StepPlanned,
    StepStarted,
)
from schemas.manifest import JobBudget, Manifest, ParameterRange, Quantum
from schemas.topics import topic_of
from schemas.words import Event
from streams.stage import Heard

EPOCH_US = 1_790_000_000_000_000
DEVICE = "onprem-iontrap-1"
TOKEN = b"token"
SHOTS = 4_000
QASM = """OPENQASM 3.0;
input float theta;
qubit[2] q;
bit[2] c;
ry(theta) q[0];
cx q[0], q[1];
c[0] = measure q[0];
c[1] = measure q[1];
"""
MANIFEST = Manifest(
    job_id="job",
    initiator="agent:me",
    purpose="bell",
    site="site-a",
    quantum=Quantum(
        circuit=base64.b64encode(QASM.encode()).decode(),
        parameters={"theta": ParameterRange(low=-4, high=4)},
        shots=SHOTS,
    ),
    budget=JobBudget(cost_microusd=900, shots=100_000),
    seed=11,
)
ENERGY = Observable(name="energy_hartree", value=-1.0, standard_error=0.003)


@dataclass
class Ran:
    """A job that ran: what the log says of it, and where the rest is kept."""

    events: list[Heard]
    artifacts: ArtifactStore
    device: EmulatedDevice
    directory: Path

    @property
    def job(self) -> StoredJob:
        return stored_job("job", self.events)

    def forget(self, digest: str) -> None:
        (self.directory / "artifacts" / digest).unlink()


def heard(event: Event) -> Heard:
    source, role = (f"device:{DEVICE}", "device") if isinstance(event, StepStarted | ShotsMeasured) else ("other", "")
    digest = "d" * 64
    return Heard(event, "site-a", source, role, "", digest, 0, Cause(topic_of(type(event)), source, 1, digest))


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    """Two circuits of two chunks each."""
    device = open_fleet(tmp_path / "devices", 5)[DEVICE]
    artifacts = ArtifactStore(tmp_path / "artifacts")
    snapshot = device.calibrate(EPOCH_US)
    artifacts.put(snapshot.to_json())
    angles = (0.7, 1.9)
    circuits = [compile_circuit(parse_template(QASM), {"theta": angle}, snapshot) for angle in angles]
    digests = tuple(artifacts.put(circuit.text.encode()) for circuit in circuits)
    end_us = EPOCH_US + 3_600_000_000
    device.reserve(Reservation(hashlib.sha256(TOKEN).hexdigest(), "job", 10**6, EPOCH_US, end_us, end_us), EPOCH_US)
    runs = tuple(CircuitRun(template=0, parameters={"theta": angle}, shots=SHOTS) for angle in angles)
    events: list[Event] = [
        IntentDeclared(job_id="job", agent_key_id="k", agent_proof="p", manifest=MANIFEST),
        StepPlanned(job_id="job", step=0, kind="quantum", iteration=0, device=DEVICE, circuits=runs, seed=11),
        StepStarted(
            job_id="job",
            step=0,
            kind="quantum",
            device=DEVICE,
            snapshot_digest=snapshot.digest,
            compiled_digests=digests,
            started_us=EPOCH_US,
        ),
    ]
    for place, circuit in enumerate(circuits):
        for chunk in range(2):
            order = ChunkOrder(
                token=TOKEN,
                run_id="job/0",
                chunk_id=f"job/0/{place}/{chunk}",
                circuit_digest=circuit.digest,
                shots=SHOTS // 2,
                seed=chunk_seed(11, 0, place, chunk),
            )
            record = device.run(order, circuit, snapshot, EPOCH_US)
            events.append(
                ShotsMeasured(
                    job_id="job",
                    step=0,
                    circuit=place,
                    chunk=chunk,
                    device=DEVICE,
                    shots=record.shots,
                    counts=record.counts,
                    started_us=record.started_us,
                    ended_us=record.ended_us,
                )
            )
    return Ran([heard(event) for event in events], artifacts, device, tmp_path)


def reporting(ran: Ran, *observables: Observable) -> StoredJob:
    """The job as it would be if it had reported these numbers."""
    result = ResultRecorded(
        job_id="job",
        device=DEVICE,
        snapshot_digest="",
        result_digest="d" * 64,
        converged=True,
        observables=observables,
        iterations=1,
        shots=1,
        quantum_microusd=0,
        classical_microusd=0,
        device_time_us=0,
        classical_time_us=0,
    )
    return stored_job("job", [*ran.events, heard(result)])


async def says_nothing(_: Mapping[Place, Mapping[str, int]]) -> Sequence[Observable]:
    return ()


async def test_a_job_on_a_fresh_calibration_is_near_its_reproduction(ran: Ran) -> None:
    found = await reproduce(ran.job, ran.artifacts, 1)
    assert found.index.value > 0.99
    assert found.index.low < found.index.value < found.index.high
    assert found.verdict in ("reproducible", "drifted")


async def test_the_event_says_what_was_found(ran: Ran) -> None:
    found = await reproduce(ran.job, ran.artifacts, 1)
    event = found.event("job")
    assert (event.job_id, event.seed, event.index, event.p_value, event.verdict) == (
        "job",
        1,
        found.index.value,
        found.p_value,
        found.verdict,
    )


async def test_the_same_seed_finds_the_same_and_another_seed_something_else(ran: Ran) -> None:
    first, again, other = [await reproduce(ran.job, ran.artifacts, seed) for seed in (1, 1, 2)]
    assert first == again
    assert first.index != other.index


async def test_every_circuit_is_run_with_as_many_shots_as_it_had(ran: Ran) -> None:
    seen: dict[Place, int] = {}

    async def count(counts: Mapping[Place, Mapping[str, int]]) -> Sequence[Observable]:
        seen.update({place: sum(each.values()) for place, each in counts.items()})
        return ()

    await reproduce(ran.job, ran.artifacts, 1, count)
    assert seen == {(0, 0): SHOTS, (0, 1): SHOTS}


async def test_counts_of_another_distribution_are_not_reproduced(ran: Ran) -> None:
    flipped = [
        each._replace(event=each.event.model_copy(update={"counts": {"01": SHOTS // 4, "10": SHOTS // 4}}))
        if isinstance(each.event, ShotsMeasured)
        else each
        for each in ran.events
    ]
    found = await reproduce(stored_job("job", flipped), ran.artifacts, 1)
    assert (found.verdict, found.p_value < 1e-6) == ("failed", True)


async def test_a_device_reproduces_its_own_counts_exactly(ran: Ran) -> None:
    assert (await reproduce(ran.job, ran.artifacts, 1, devices={DEVICE: ran.device})).exact is True


async def test_one_count_moved_is_not_exact(ran: Ran) -> None:
    last = ran.events[-1]
    assert isinstance(last.event, ShotsMeasured)
    counts = dict(last.event.counts)
    counts["00"] -= 1
    counts["11"] += 1
    moved = last._replace(event=last.event.model_copy(update={"counts": counts}))
    job = stored_job("job", [*ran.events[:-1], moved])
    assert (await reproduce(job, ran.artifacts, 1, devices={DEVICE: ran.device})).exact is False


async def test_without_the_device_exactness_is_not_known(ran: Ran) -> None:
    assert (await reproduce(ran.job, ran.artifacts, 1)).exact is None


async def test_a_shift_is_in_standard_errors_of_the_difference(ran: Ran) -> None:
    async def program(_: Mapping[Place, Mapping[str, int]]) -> Sequence[Observable]:
        return (Observable(name="energy_hartree", value=-0.99, standard_error=0.004),)

    found = await reproduce(reporting(ran, ENERGY), ran.artifacts, 1, program)
    assert found.shifts == {"energy_hartree": pytest.approx(2.0)}


async def test_a_number_that_is_not_given_again_has_shifted_without_bound(ran: Ran) -> None:
    found = await reproduce(reporting(ran, ENERGY), ran.artifacts, 1, says_nothing)
    assert (found.shift_max, found.verdict) == (SHIFT_MAX, "drifted")


async def test_a_job_that_reports_numbers_needs_its_program(ran: Ran) -> None:
    with pytest.raises(JobUnreproducible, match="program"):
        await reproduce(reporting(ran, ENERGY), ran.artifacts, 1)


async def test_counts_said_by_another_than_the_device_are_not_heard(ran: Ran) -> None:
    foreign = [each._replace(source="device:other") for each in ran.events]
    with pytest.raises(JobUnreproducible, match="no circuit"):
        await reproduce(stored_job("job", foreign), ran.artifacts, 1)


@pytest.mark.parametrize("what", ["snapshot", "compiled circuit"])
async def test_a_missing_document_is_named(ran: Ran, what: str) -> None:
    circuit = ran.job.circuits()[0]
    ran.forget(circuit.snapshot_digest if what == "snapshot" else circuit.compiled_digest)
    with pytest.raises(JobUnreproducible, match=what):
        await reproduce(ran.job, ran.artifacts, 1)


def test_a_job_that_was_never_declared_is_named() -> None:
    with pytest.raises(JobUnreproducible, match="no job other"):
        stored_job("other", [])
