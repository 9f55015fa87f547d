"""A site whose keys are rotated between two jobs while a thief of the old ones speaks: work goes on, he is refused."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from qpubus.demo import SITE, run_demo, run_job_alone
from qpubus.governing import open_register
from qpubus.keyfile import read_key
from replay.audit import roots_of, verify
from replay.redecide import Redecision, redecide
from replay.verdict import Verdict
from schemas.envelope import Inputs
from schemas.events import IntentAdmitted
from streams.author import Draft, Scribe, seal_all
from streams.log.embedded import EmbeddedLog
from streams.log.reading import open_copy
from tests.support.commands import qpubus

ROTATED = ("stage:policy", "stage:orchestrator", "stage:scheduler", "gateway:main", "device:onprem-iontrap-1")
STOLEN = IntentAdmitted(
    job_id="h2-vqe-4",
    intent_digest="ab" * 32,
    price_ceiling_microusd=1,
    shots_ceiling=1,
    devices=("onprem-iontrap-1",),
    policy_digest="ab" * 32,
    rule="none/1",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job, five rotations, an admission forged with the old policy key, another job."""
    directory = tmp_path_factory.mktemp("demo") / "data"
    asyncio.run(run_job_alone(directory, 3))
    stolen = read_key(directory / "keys" / "policy.pem")
    for source in ROTATED:
        (key,) = [each["key_id"] for each in _keys(directory) if each["source"] == source]
        assert qpubus("keys", "rotate", key, "--data", directory).code == 0
    register = asyncio.run(open_register(directory))
    last = register.last["stage:policy", "approvals"].sequence
    scribe = Scribe("stage:policy", SITE, register.admission.writable, {"approvals": last})
    inputs = Inputs(10_000, 1, (("intents", 1),))
    forged = scribe.write(Draft("approvals", STOLEN, STOLEN.job_id, register.latest_us, inputs=inputs))
    asyncio.run(_append(directory, seal_all([forged], stolen), register.latest_us))
    report = asyncio.run(run_demo(directory, 4))
    assert report["job"]["state"] == "completed"
    return directory


def _keys(directory: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = qpubus("keys", "list", "--json", "--data", directory).json
    return listed


async def _append(directory: Path, records: list[Any], now_us: int) -> None:
    log = EmbeddedLog(directory, lambda: now_us)
    await log.append(records)
    await log.close()


def test_a_log_with_rotated_keys_is_sound(data: Path) -> None:
    audit = asyncio.run(verify(data))
    assert audit.findings == []
    assert (audit.verdict, audit.jobs, audit.refused) == (Verdict.SOUND, 2, 1)


def test_what_the_thief_says_is_rejected_by_the_stage_in_charge(data: Path) -> None:
    events = qpubus("audit", "report", "--from", "2026-01-01", "--to", "2027-01-01", "--json", "--data", data).json
    (rejected,) = [each for each in events if each["kind"] == "event_rejected"]
    assert (rejected["by"], rejected["reason"]) == ("stage:orchestrator", "key_revoked")


def test_every_decision_before_and_after_is_taken_again_alike(data: Path) -> None:
    async def again() -> Redecision:
        with open_copy(data) as log:
            return await redecide(log, await roots_of(log))

    assert asyncio.run(again()).is_same
