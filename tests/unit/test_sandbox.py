"""The sandbox: what a step's program is given, what is taken from its answer, and how failures are told."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.enclosure import Enclosure, Limits
from agents.replies import Receipt
from agents.sandbox import STARTS_MAX, Sandbox
from schemas.digests import sha256_hex
from schemas.events import (
    CircuitRun,
    HaltOrdered,
    HumanProof,
    JobCancelled,
    JobFailed,
    Observable,
    ShotsMeasured,
    StepCompleted,
    StepFailed,
    StepPlanned,
    StepStarted,
)
from schemas.keys import key_id, raw_public_key
from schemas.people import signed_words
from tests.support.bell import bell_manifest
from tests.support.placed import bell_run
from tests.support.town import APPROVER, EPOCH_US, SITE, TRAP, Town, new_town

ECHO = "import json, sys; json.dump({'given': json.load(sys.stdin)}, sys.stdout)"
ASK = """import json
json.dump({
    "circuits": [{"template": 0, "parameters": {"theta": 1.5}, "shots": 100, "label": "next", "canary": "11"}],
    "converged": True,
    "observables": [{"name": "energy_hartree", "value": -1.1, "standard_error": 0.1}],
}, __import__("sys").stdout)
"""


async def planned_step(directory: Path, program: str, *quantum: StepPlanned | ShotsMeasured) -> Town:
    """A town in which a job's loop program was planned after the quantum steps and chunks named."""
    town = await new_town(directory)
    await town.run(town.device())
    gateway = town.gateway()
    documents = {"step.py": program.encode(), "molecule.json": b'{"name": "H2"}', "notes.txt": b"free text"}
    for content in documents.values():
        await gateway.store_artifact(content, "text/plain")
    manifest = bell_manifest(
        loop={"step": "python:step.py", "iterations_max": 5, "convergence": 0.01},
        artifacts={name: sha256_hex(content) for name, content in documents.items()},
        parameters={"shots": 5_000, "tolerance": 0.05},
    )
    assert isinstance(await town.agent.submit(gateway, manifest), Receipt)
    for event in quantum:
        source = "stage:orchestrator" if isinstance(event, StepPlanned) else f"device:{event.device}"
        await town.say(source, event)
    await town.say("stage:orchestrator", classical_step(program))
    return town


def classical_step(program: str, **changes: Any) -> StepPlanned:
    planned = StepPlanned(
        job_id="bell-1", step=9, kind="loop", iteration=1, program_digest=sha256_hex(program.encode()), seed=1
    )
    return planned.model_copy(update=changes)


def quantum_step(step: int, *circuits: CircuitRun) -> StepPlanned:
    return StepPlanned(job_id="bell-1", step=step, kind="quantum", iteration=1, device=TRAP, circuits=circuits, seed=1)


def asking(circuits: int, parameters: int) -> str:
    """A program that asks for so many circuits, each with so many parameters."""
    return f"""import json
named = {{f"p{{number}}": 0.5 for number in range({parameters})}}
circuit = {{"template": 0, "parameters": named, "shots": 1}}
print(json.dumps({{"circuits": [circuit] * {circuits}}}))
"""


def chunk(step: int, circuit: int, number: int, **counts: int) -> ShotsMeasured:
    named = {bits.removeprefix("b"): times for bits, times in counts.items()}
    return ShotsMeasured(
        job_id="bell-1",
        step=step,
        circuit=circuit,
        chunk=number,
        device=TRAP,
        shots=sum(named.values()),
        counts=named,
        started_us=0,
        ended_us=0,
    )


def given_to(directory: Path, *quantum: StepPlanned | ShotsMeasured) -> dict[str, Any]:
    """What the program of a step finds on its standard input."""

    async def scenario() -> dict[str, Any]:
        town = await planned_step(directory, ECHO, *quantum)
        await town.run(town.sandbox())
        (completed,) = await town.events(StepCompleted)
        given: dict[str, Any] = orjson.loads(town.artifacts.get(completed.output_digest))["given"]
        return given

    return asyncio.run(scenario())


def failed_step(directory: Path, program: str, enclosure: Enclosure | None = None) -> StepFailed:
    async def scenario() -> StepFailed:
        town = await planned_step(directory, program)
        await town.run(town.sandbox(enclosure))
        (failed,) = await town.events(StepFailed)
        return failed

    return asyncio.run(scenario())


def test_a_program_gets_documents_parameters_and_the_loops_settings(tmp_path: Path) -> None:
    given = given_to(tmp_path)
    assert given["molecule"] == {"name": "H2"}
    assert given["loop"] == {"iterations_max": 5, "convergence": 0.01}
    assert repr(given["parameters"]) == "{'shots': 5000, 'tolerance': 0.05}"
    assert set(given) == {"molecule", "parameters", "loop", "history"}


def test_a_program_gets_every_circuit_with_its_chunks_counts_merged(tmp_path: Path) -> None:
    first, second = bell_run(3, label="a", expected="11"), bell_run(2, theta=2.0)
    history = given_to(
        tmp_path,
        quantum_step(0, first, second),
        chunk(0, 0, 0, b00=1, b11=1),
        chunk(0, 1, 0, b01=2),
        chunk(0, 0, 1, b11=1),
        quantum_step(1, second),
    )["history"]
    asked = {"template": 0, "parameters": {"theta": 2.0}, "shots": 2, "label": "", "canary": None}
    assert history == [
        {
            "template": 0,
            "parameters": {"theta": 1.0},
            "shots": 3,
            "label": "a",
            "canary": "11",
            "step": 0,
            "counts": {"00": 1, "11": 2},
        },
        asked | {"step": 0, "counts": {"01": 2}},
        asked | {"step": 1, "counts": {}},
    ]


def test_what_a_program_asks_for_and_found_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await planned_step(tmp_path, ASK)
        await town.run(town.sandbox())
        (completed,) = await town.events(StepCompleted)
        assert completed.proposal == (bell_run(100, theta=1.5, label="next", expected="11"),)
        assert completed.converged
        assert completed.observables == (Observable(name="energy_hartree", value=-1.1, standard_error=0.1),)
        assert completed.classical_time_us > 0

    asyncio.run(scenario())


def test_a_step_begins_by_saying_what_holds_the_program_in(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await planned_step(tmp_path, ASK)
        await town.run(town.sandbox())
        (started,) = await town.events(StepStarted)
        assert started.isolation == Enclosure().description

    asyncio.run(scenario())


def test_on_the_virtual_clock_a_step_takes_the_time_it_is_told_to(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await planned_step(tmp_path, ASK)
        sandbox = town.sandbox(step_us=1_000_000)
        await town.run(sandbox, until_us=EPOCH_US + 999_999)
        assert await town.events(StepCompleted) == []
        await town.run(sandbox, until_us=EPOCH_US + 1_000_000)
        (completed,) = await town.events(StepCompleted)
        assert completed.classical_time_us == 1_000_000

    asyncio.run(scenario())


def test_a_step_interrupted_by_a_crash_is_begun_and_run_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await planned_step(tmp_path, ASK)
        await town.sandbox().step()
        assert len(await town.events(StepStarted)) == 1
        await town.run(town.sandbox())
        assert (len(await town.events(StepStarted)), len(await town.events(StepCompleted))) == (2, 1)

    asyncio.run(scenario())


def test_a_step_that_was_begun_three_times_and_never_ended_is_failed_and_not_begun_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await planned_step(tmp_path, ASK)
        for _ in range(STARTS_MAX):
            await town.sandbox().step()
        await town.run(town.sandbox())
        (failed,) = await town.events(StepFailed)
        assert failed.reason == "attempts_exhausted"
        assert (len(await town.events(StepStarted)), await town.events(StepCompleted)) == (STARTS_MAX, [])

    asyncio.run(scenario())


def test_a_start_that_goes_down_counts_for_no_other_step(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await planned_step(tmp_path, ASK)
        await town.say("stage:orchestrator", classical_step(ASK, step=10))
        for _ in range(STARTS_MAX):
            await town.sandbox().step()
        assert {started.step for started in await town.events(StepStarted)} == {9}

    asyncio.run(scenario())


def test_a_program_is_ended_when_its_job_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await planned_step(tmp_path, "import time; time.sleep(60)")
        sandbox = town.sandbox()
        await sandbox.step()
        running = asyncio.create_task(sandbox.step())
        await asyncio.sleep(0.3)
        await town.say("stage:orchestrator", JobCancelled(job_id="bell-1", reason="withdrawn", message=""))
        async with asyncio.timeout(10):
            await running
        assert await town.events(StepFailed) == []
        assert await town.events(StepCompleted) == []

    asyncio.run(scenario())


def test_a_step_that_has_ended_is_not_run_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await planned_step(tmp_path, ASK)
        await town.run(town.sandbox())
        await town.run(town.sandbox())
        assert len(await town.events(StepCompleted)) == 1

    asyncio.run(scenario())


def test_nothing_is_run_for_a_job_that_has_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await planned_step(tmp_path, ASK)
        await town.say("stage:orchestrator", JobFailed(job_id="bell-1", reason="deadline_passed", message=""))
        await town.run(town.sandbox())
        assert await town.events(StepStarted) == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "change",
    [{"program_digest": sha256_hex(b"another")}, {"program_digest": ""}, {"kind": "post"}],
    ids=["other", "none", "kind"],
)
def test_a_program_that_the_manifest_does_not_name_is_not_run(tmp_path: Path, change: dict[str, Any]) -> None:
    async def scenario() -> list[StepFailed]:
        town = await planned_step(tmp_path, ASK)
        await town.say("stage:orchestrator", classical_step(ASK, step=10, **change))
        await town.run(town.sandbox())
        return await town.events(StepFailed)

    assert [(failed.step, failed.reason) for failed in asyncio.run(scenario())] == [(10, "program_not_approved")]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit('no counts of zz')", "program_failed"),
        ("print('nonsense')", "output_malformed"),
        ('print(\'{"circuits": [{"template": -1, "shots": 1}]}\')', "output_invalid"),
        ('print(\'{"circuits": [{"template": 0, "shots": 0}]}\')', "output_invalid"),
        ('print(\'{"circuits": [{"template": 0, "shots": 9223372036854775808}]}\')', "output_invalid"),
        ('print(\'{"circuits": [{"template": 9223372036854775808, "shots": 1}]}\')', "output_invalid"),
        (
            'print(\'{"circuits": [{"template": 0, "shots": 1, "parameters": {"\' + \'p\' * 999 + \'": 1}}]}\')',
            "output_invalid",
        ),
        ('print(\'{"observables": [{"name": "x"}]}\')', "output_invalid"),
        ('print(\'{"observables": [{"name": "x", "value": 1, "standard_error": -1}]}\')', "output_invalid"),
        ("print('{\"deep\": ' + '[' * 500 + ']' * 500 + '}')", "program_failed"),
        (asking(circuits=4_096, parameters=32), "output_oversized"),
        (asking(circuits=1, parameters=257), "output_invalid"),
    ],
    ids=[
        *("failed", "no_json", "template", "shots", "shots_2**63", "template_2**63", "name", "observable", "error"),
        *("deep", "proposal", "parameters"),
    ],
)
def test_a_program_that_goes_wrong_fails_its_step_with_a_reason(tmp_path: Path, program: str, reason: str) -> None:
    failed = failed_step(tmp_path, program)
    assert failed.reason == reason
    assert 0 < len(failed.message) <= 200
    assert "/" not in failed.message


def test_a_program_that_never_ends_fails_its_step(tmp_path: Path) -> None:
    endless = Enclosure(Limits(wall_s=0.5))
    assert failed_step(tmp_path, "import time; time.sleep(60)", endless).reason == "program_timeout"


def test_a_program_that_is_gone_from_the_store_fails_its_step(tmp_path: Path) -> None:
    async def scenario() -> str:
        town = await planned_step(tmp_path, ASK)
        (tmp_path / "artifacts" / sha256_hex(ASK.encode())).unlink()
        await town.run(town.sandbox())
        return (await town.events(StepFailed))[0].reason

    assert asyncio.run(scenario()) == "artifact_missing"


def test_an_input_that_is_no_json_fails_the_step(tmp_path: Path) -> None:
    async def scenario() -> str:
        town = await planned_step(tmp_path, ASK)
        sandbox: Sandbox = town.sandbox()
        await sandbox.step()
        job = sandbox._jobs["bell-1"]
        digest = town.artifacts.put(b"not json")
        job.manifest = job.manifest.model_copy(update={"artifacts": {**job.manifest.artifacts, "broken.json": digest}})
        await town.run(sandbox)
        return (await town.events(StepFailed))[0].reason

    assert asyncio.run(scenario()) == "input_malformed"


def test_a_program_that_was_planned_does_not_begin_once_its_agent_is_halted(tmp_path: Path) -> None:
    async def scenario() -> list[StepStarted]:
        town = await planned_step(tmp_path, ECHO)
        await town.say("gateway:main", halt_of(town, town.agent.source))
        await town.run(town.sandbox())
        return await town.events(StepStarted)

    assert asyncio.run(scenario()) == []


def halt_of(town: Town, agent: str) -> HaltOrdered:
    """An approver's order to stop an agent."""
    person = town.member(APPROVER)
    unsigned = HumanProof(proof_type="ed25519", key_id=key_id(raw_public_key(person.key)), signature=b"")
    words = HaltOrdered(
        halt_id="h1", scope="agent", target=agent, person=APPROVER, reason="-", ordered_us=EPOCH_US, proof=unsigned
    )
    signature = person.key.sign(signed_words(words, SITE))
    return words.model_copy(update={"proof": unsigned.model_copy(update={"signature": signature})})
