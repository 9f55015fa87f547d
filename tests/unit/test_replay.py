"""Decisions made again, states and views made anew, and a job explained, over a small real log."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from projections.runner import Runner
from replay.explain import explain
from replay.rebuild import NotSound, Rebuilt, rebuild
from replay.redecide import redecide
from schemas.codec import own_schemas
from schemas.envelope import Record, Stray
from schemas.events import (
    ApprovalGranted,
    ApprovalRequested,
    HumanProof,
    IntentDeclared,
    IntentWithdrawn,
    KeyRevoked,
    ShotsMeasured,
)
from schemas.keys import key_id, raw_public_key
from schemas.manifest import JobBudget, Manifest, Quantum, plain
from schemas.proofs import TYPE_INTENT, approval_payload, sign_jws, sign_manifest
from schemas.topics import TOPICS
from streams.author import Draft, Scribe
from streams.log.embedded import EmbeddedLog, create
from streams.log.reading import open_copy
from streams.orchestrator.stage import ORCHESTRATOR
from streams.policy.stage import POLICY
from streams.reader import Reader
from streams.stage import Heard, Output
from streams.worker import Site, Worker
from tests.support.scene import EPOCH_US, SITE, Scene

JOB = "job-1"
CHUNK = ShotsMeasured(
    job_id=JOB,
    step=0,
    circuit=0,
    chunk=0,
    device="trap",
    shots=100,
    counts={"00": 100},
    started_us=EPOCH_US,
    ended_us=EPOCH_US,
)


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@asynccontextmanager
async def granted_job(directory: Path, signer: str = "agent:tester") -> AsyncIterator[Scene]:
    """A site where an agent declared a job that needs a person, and a person said yes; policy has read it all."""
    create(directory)
    log = EmbeddedLog(directory, lambda: EPOCH_US)
    scene = Scene(log)
    try:
        await scene.found()
        worker = Worker(POLICY, log, 0, {SITE: Site(scene.root, scene.keys["stage:policy"])}, directory / "states")
        await scene.say("gateway:main", Draft("intents", declared(scene, signer), JOB, EPOCH_US))
        await settle(worker)
        await scene.say("gateway:main", *[Draft("approvals", each, JOB, EPOCH_US) for each in await grants(scene)])
        await settle(worker)
        await worker.save()
        yield scene
    finally:
        await log.close()


async def settle(worker: Worker) -> None:
    while await worker.step():
        pass


def declared(scene: Scene, signer: str) -> IntentDeclared:
    manifest = Manifest(
        job_id=JOB,
        initiator="agent:tester",
        purpose="test",
        site=SITE,
        quantum=Quantum(circuit="T1BFTlFBU00gMzs=", shots=10),
        budget=JobBudget(cost_microusd=60_000_000, shots=100),
    )
    agent, gateway = scene.keys["agent:tester"], scene.keys["gateway:main"]
    proof = sign_jws(rfc8785.dumps(plain(manifest)), scene.keys[signer], named(agent), TYPE_INTENT)
    signed = sign_manifest(manifest.model_copy(update={"seed": 1}), gateway, named(gateway))
    return IntentDeclared(job_id=JOB, agent_key_id=named(agent), agent_proof=proof, manifest=signed)


async def grants(scene: Scene) -> list[ApprovalGranted]:
    """The approver's yes to what policy asked for."""
    approver = scene.keys["approver:tester"]
    heard = await Reader(scene.log, 0, TOPICS, {SITE: scene.root}).read(10_000)
    asked = [each.event for each in heard if isinstance(each, Heard) and isinstance(each.event, ApprovalRequested)]
    return [
        ApprovalGranted(
            job_id=JOB,
            intent_digest=each.statement.intent_digest,
            approver="approver:tester",
            proof=HumanProof(
                proof_type="ed25519",
                key_id=named(approver),
                signature=approver.sign(approval_payload(each.statement, "grant")),
            ),
        )
        for each in asked
    ]


async def rebuilt_at(directory: Path, scene: Scene) -> list[Rebuilt]:
    """What `replay rebuild` makes of a data directory."""
    with open_copy(directory) as log:
        return await rebuild(log, directory, {SITE: scene.root})


def named(key: Ed25519PrivateKey) -> str:
    return key_id(raw_public_key(key))


async def test_every_decision_comes_out_the_same_again(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        again = await redecide(scene.log, {SITE: scene.root})
    assert again.is_same, again.differences
    assert again.decisions["stage:policy"] >= 3


async def test_rules_that_decide_otherwise_are_noticed_at_the_first_decision(tmp_path: Path) -> None:
    def decide(state: Any, heard: Heard) -> Sequence[Output]:
        outputs = POLICY.decide(state, heard)
        return [
            output._replace(event=output.event.model_copy(update={"message": "other"}))
            if isinstance(output.event, ApprovalRequested)
            else output
            for output in outputs
        ]

    async with granted_job(tmp_path / "log") as scene:
        again = await redecide(scene.log, {SITE: scene.root}, stages=[replace(POLICY, decide=decide)])
    [difference] = again.differences
    assert [name for name, _, _ in difference.parts] == ["body"]
    assert difference.stage == "stage:policy"
    assert "approvals stage:policy" in difference.place


async def test_rules_that_decide_nothing_are_noticed(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        again = await redecide(scene.log, {SITE: scene.root}, stages=[replace(POLICY, decide=lambda *_: ())])
    [difference] = again.differences
    assert difference.parts[0][0] == "output"
    assert difference.parts[0][2] == "nothing"


async def test_a_saved_state_is_rebuilt_to_the_same_bytes(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        rebuilt = await rebuilt_at(tmp_path / "log", scene)
    assert {each.name: each.outcome for each in rebuilt}["policy"] == "same"


async def test_a_saved_state_that_was_changed_differs_from_its_rebuild(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        path = tmp_path / "log" / "states" / "policy-0.json"
        path.write_bytes(path.read_bytes().replace(b"1000000000", b"9000000000"))
        rebuilt = await rebuilt_at(tmp_path / "log", scene)
    [policy] = [each for each in rebuilt if each.name == "policy"]
    assert policy.outcome == "differs"
    assert "9000000000" in policy.detail or "from byte" in policy.detail


async def test_saved_views_are_rebuilt_up_to_where_they_stood(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        runner = Runner(scene.log, 0, {SITE: scene.root}, tmp_path / "log" / "views")
        while await runner.step():
            pass
        runner.save()
        await scene.say("gateway:main", Draft("intents", declared(scene, "agent:tester"), JOB, EPOCH_US))
        rebuilt = await rebuilt_at(tmp_path / "log", scene)
    views = {each.name: each.outcome for each in rebuilt if each.name in {"jobs", "budgets", "devices", "kpis"}}
    assert set(views.values()) == {"same"}
    assert len(views) == 4


async def test_views_are_rebuilt_without_what_the_audit_passes_over(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        await scene.say("device:trap", Draft("results", CHUNK, JOB, EPOCH_US))
        [stored] = await scene.log.read("results", 0, 0, 1)
        assert isinstance(stored.record, Record)
        await scene.log.append([stored.record])
        await settle(Worker(ORCHESTRATOR, scene.log, 0, {SITE: Site(scene.root, scene.keys["stage:orchestrator"])}))
        runner = Runner(scene.log, 0, {SITE: scene.root}, tmp_path / "log" / "views")
        while await runner.step():
            pass
        assert runner.refused == {"sequence_repeated": 1}
        runner.save()
        rebuilt = await rebuilt_at(tmp_path / "log", scene)
    assert {each.name: each.outcome for each in rebuilt}["jobs"] == "same"


async def test_nothing_is_made_from_a_log_that_is_not_sound(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        await scene.log.append([Stray("intents", SITE.encode(), b"junk", ())])
        with pytest.raises(NotSound, match="tampered, so nothing is made from it: intents partition 0 offset 1"):
            await rebuilt_at(tmp_path / "log", scene)


async def test_a_job_is_explained_with_each_event_after_its_causes(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        explained = await explain(scene.log, {SITE: scene.root}, JOB)
    assert explained is not None
    assert explained.holds
    kinds = [line.event_type.removeprefix("qpubus.") for line in explained.lines]
    assert kinds.index("IntentDeclared") < kinds.index("ApprovalRequested") < kinds.index("IntentAdmitted")
    assert "PolicyPublished" in kinds
    shown: set[str] = set()
    for line in explained.lines:
        assert not [cause for cause in line.causes if cause in {each.name for each in explained.lines} - shown]
        shown.add(line.name)
    orjson.dumps(explained.model_dump(mode="json"))


async def test_each_signature_inside_a_job_is_checked(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        explained = await explain(scene.log, {SITE: scene.root}, JOB)
    assert explained is not None
    kinds = [proof.kind for line in explained.lines for proof in line.proofs]
    assert {"batch seal", "agent", "gateway", "approver"} <= set(kinds)


async def test_an_agents_proof_that_another_key_made_does_not_hold(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log", signer="approver:tester") as scene:
        explained = await explain(scene.log, {SITE: scene.root}, JOB)
    assert explained is not None
    assert [proof.kind for line in explained.lines for proof in line.proofs if not proof.holds] == ["agent"]


async def revoke(scene: Scene, source: str) -> None:
    """Revoke a key without word of what still counts."""
    ends = await scene.log.ends(0)
    schemas = {schema.event_type: schema for schema in own_schemas()}
    scene.scribes["root"] = Scribe("root", SITE, schemas, {"governance": ends["governance"]})
    revoked = KeyRevoked(key_id=named(scene.keys[source]), reason="lost")
    await scene.say("root", Draft("governance", revoked, SITE, EPOCH_US))


async def test_what_a_revoked_key_said_afterwards_is_no_part_of_the_story(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        policy = Worker(POLICY, scene.log, 0, {SITE: Site(scene.root, scene.keys["stage:policy"])})
        await revoke(scene, "gateway:main")
        await settle(policy)
        withdrawn = IntentWithdrawn(job_id=JOB, reason="", agent_key_id="k", agent_proof="p")
        await scene.say("gateway:main", Draft("intents", withdrawn, JOB, EPOCH_US))
        await settle(policy)
        explained = await explain(scene.log, {SITE: scene.root}, JOB)
    assert explained is not None
    assert explained.passed_over == ("intents partition 0 offset 1: IntentWithdrawn of gateway:main: key_revoked",)
    kinds = [line.event_type.removeprefix("qpubus.") for line in explained.lines]
    assert "IntentDeclared" in kinds
    assert "IntentWithdrawn" not in kinds
    assert explained.holds


async def test_what_a_key_said_before_it_was_revoked_holds_and_is_marked(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        await revoke(scene, "gateway:main")
        await settle(Worker(POLICY, scene.log, 0, {SITE: Site(scene.root, scene.keys["stage:policy"])}))
        explained = await explain(scene.log, {SITE: scene.root}, JOB)
    assert explained is not None
    assert explained.passed_over == ()
    assert explained.holds
    marked = {proof.by for line in explained.lines for proof in line.proofs if proof.is_revoked}
    assert marked == {"gateway:main"}


async def test_a_job_that_nobody_declared_has_no_explanation(tmp_path: Path) -> None:
    async with granted_job(tmp_path / "log") as scene:
        assert await explain(scene.log, {SITE: scene.root}, "another") is None
