"""What an approver sees: all of it, nothing that could mislead, and only what the statement names."""

import base64
from pathlib import Path

import pytest

from agents.artifacts import ArtifactStore
from projections.job import Approval, Job, Presented, Refusal
from qpubus.approval_text import show_approval
from qpubus.problem import Problem
from schemas.digests import sha256_hex
from schemas.events import ApprovalStatement
from schemas.manifest import CircuitTemplate, Classical, JobBudget, Manifest, ParameterRange, Quantum

CIRCUIT = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[1] q;\nbit[1] c;\nx q[0];\nc = measure q;\n'
FURTHER = CIRCUIT.replace("x q[0]", "ry(theta) q[0]").replace("qubit", "input angle theta;\nqubit")
PROGRAM = b"import sys\nprint('fit')\n"
STEERING = "\x1b[2J\x1b]0;title\x07\u202egnihton\u202c [bold red]free[/bold red]"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    store = ArtifactStore(tmp_path)
    store.put(PROGRAM)
    return store


def manifest_of(circuit: str = CIRCUIT, purpose: str = "calibration", program: bytes = PROGRAM) -> Manifest:
    return Manifest(
        job_id="job-1",
        initiator="agent:a",
        purpose=purpose,
        site="site-a",
        quantum=Quantum(
            circuit=base64.b64encode(circuit.encode()).decode(),
            further_circuits=(
                CircuitTemplate(
                    name="tilted",
                    circuit=base64.b64encode(FURTHER.encode()).decode(),
                    parameters={"theta": ParameterRange(low=-1.5, high=0.25)},
                ),
            ),
            shots=1_000,
        ),
        classical=Classical(post="python:fit.py"),
        budget=JobBudget(cost_microusd=123_456_789, shots=20_000),
        artifacts={"fit.py": sha256_hex(program), "figures.json": "f" * 64},
    )


def statement_of(manifest: Manifest) -> ApprovalStatement:
    texts = [base64.b64decode(each.circuit) for each in manifest.quantum.templates()]
    return ApprovalStatement(
        site=manifest.site,
        job_id=manifest.job_id,
        purpose=manifest.purpose,
        intent_digest="1" * 64,
        template_digests=tuple(map(sha256_hex, texts)),
        program_digests=(manifest.program_digest("post"),),
        shots=manifest.budget.shots,
        price_ceiling_microusd=manifest.budget.cost_microusd,
        policy_digest="2" * 64,
        expires_us=1_768_737_600_000_000,
        nonce="3" * 64,
    )


def waiting_job(manifest: Manifest, statement: ApprovalStatement | None = None) -> Job:
    asked = Approval("price_asks_human@1", "it is dear", statement or statement_of(manifest), 0)
    return Job(manifest.job_id, manifest=manifest, approval=asked)


def shown(job: Job, store: ArtifactStore, capsys: pytest.CaptureFixture[str], *, with_programs: bool = False) -> str:
    show_approval(job, store, with_programs=with_programs)
    return capsys.readouterr().out


def test_everything_that_is_signed_is_shown(store: ArtifactStore, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(waiting_job(manifest_of()), store, capsys)

    for part in (
        "calibration",
        "agent:a",
        "20,000, 1,000 a circuit",
        "$123.456789",
        "it is dear",
        "price_asks_human@1",
        "2026-01-18 12:00:00Z",
        "x q[0];",
        "circuit 1: tilted",
        "parameter theta from -1.5 to 0.25",
        "ry(theta) q[0];",
        f"post: python:fit.py, SHA-256 {sha256_hex(PROGRAM)}",
        f"input: figures.json, SHA-256 {'f' * 64}",
        "1" * 64,
        "2" * 64,
    ):
        assert part in text


def test_programs_are_shown_on_request(store: ArtifactStore, capsys: pytest.CaptureFixture[str]) -> None:
    job = waiting_job(manifest_of())

    assert "print('fit')" not in shown(job, store, capsys)
    assert "print('fit')" in shown(job, store, capsys, with_programs=True)


def test_a_program_that_is_not_stored_is_missed(store: ArtifactStore, capsys: pytest.CaptureFixture[str]) -> None:
    job = waiting_job(manifest_of(program=b"another"))

    assert "its text cannot be shown" in shown(job, store, capsys, with_programs=True)


def test_no_text_of_a_stranger_steers_the_terminal(store: ArtifactStore, capsys: pytest.CaptureFixture[str]) -> None:
    program = f"# {STEERING}\r\n".encode()
    store.put(program)
    job = waiting_job(manifest_of(f"{CIRCUIT}// {STEERING}\n", f"calibration {STEERING}", program))

    text = shown(job, store, capsys, with_programs=True)

    assert all(character.isprintable() or character == "\n" for character in text)
    assert text.count("[bold red]free[/bold red]") == 3


def test_a_purpose_cannot_pretend_to_be_another_line(store: ArtifactStore, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(waiting_job(manifest_of(purpose="tests\nprice at most   $0.01")), store, capsys)

    assert [line.split()[-1] for line in text.splitlines() if line.startswith("price at most")] == ["$123.456789"]


@pytest.mark.parametrize("field", ["template_digests", "program_digests"])
def test_what_the_statement_does_not_name_is_not_put_up_for_signature(store: ArtifactStore, field: str) -> None:
    manifest = manifest_of()
    other = tuple("9" * 64 for _ in getattr(statement_of(manifest), field))
    job = waiting_job(manifest, statement_of(manifest).model_copy(update={field: other}))

    with pytest.raises(Problem) as caught:
        show_approval(job, store)

    assert caught.value.code == "statement_differs"


@pytest.mark.parametrize("state", ["declared", "refused"])
def test_a_job_that_waits_for_nobody_is_not_put_up_for_signature(store: ArtifactStore, state: str) -> None:
    manifest = manifest_of()
    answered = Presented("denied", "approver:b", "ed25519", "k", "no", 0)
    jobs = {
        "declared": Job("job-1", manifest=manifest),
        "refused": Job(
            "job-1",
            manifest=manifest,
            approval=Approval("r", "m", statement_of(manifest), 0, answer=answered),
            refusal=Refusal("denied", "no", "r", 0),
        ),
    }

    with pytest.raises(Problem, match=f"it is {state}"):
        show_approval(jobs[state], store)
