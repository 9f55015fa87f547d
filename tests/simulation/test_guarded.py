"""The main job where it goes wrong in mid-run: the guard stops it, and all that the guard decided is decided again."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agents.client import RequestingAgent
from agents.devices.drift import WINDOW_US, Disturbance
from projections.job import Job
from projections.jobs import JOBS
from qpubus.demo import AGENT, run_demo
from qpubus.keyfile import read_key
from qpubus.reading import open_desk
from qpubus.wiring import Machine
from replay.audit import roots_of
from replay.redecide import redecide
from schemas.events import RunCancelDecided, RunCancelled
from schemas.topics import TOPICS
from streams.guard.stage import GUARD
from streams.log.reading import open_copy
from streams.reader import Reader
from streams.stage import Heard

TRAP = "onprem-iontrap-1"
DAY_US = 86_400_000_000
Trouble = Callable[[Machine, Job], Awaitable[None]]


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


async def grow_noisy(machine: Machine, _: Job) -> None:
    """From the next window on the trap makes twenty times its errors."""
    start_us = machine.clock.now_us() + WINDOW_US
    machine.fleet[TRAP]._disturbances = (Disturbance(start_us, start_us + DAY_US, 20.0),)


async def withdraw(machine: Machine, job: Job) -> None:
    """The agent no longer wants its job."""
    agent = RequestingAgent(AGENT, read_key(machine.place.key("agent")))
    await machine.gateway.withdraw(agent.withdrawal(job.job_id, "not needed"))


def at_first_shots(trouble: Trouble) -> Callable[[Machine], Awaitable[None]]:
    """Make trouble once, when the job has run its first shots."""
    made: list[str] = []

    async def look(machine: Machine) -> None:
        for job in machine.views[JOBS].jobs.values():
            if job.shots_measured and not made:
                made.append(job.job_id)
                await trouble(machine, job)

    return look


async def all_heard(directory: Path) -> list[Heard]:
    """Every event on the log of a data directory."""
    heard: list[Heard] = []
    async with open_desk(directory) as desk:
        reader = Reader(desk.log, desk.partition, TOPICS, {desk.site: desk.root_public_key})
        while items := await reader.read():
            heard += [item for item in items if isinstance(item, Heard)]
    return heard


@pytest.mark.parametrize(
    ("trouble", "reason"), [(grow_noisy, "fidelity_drop"), (withdraw, "withdrawn")], ids=["noise", "withdrawal"]
)
async def test_what_the_guard_decides_is_decided_again_to_the_same_bytes(
    tmp_path: Path, trouble: Trouble, reason: str
) -> None:
    told = await run_demo(tmp_path, 1, look=at_first_shots(trouble))

    assert (told["job"]["state"], told["audit"]["verdict"]) == ("cancelled", "sound")
    heard = await all_heard(tmp_path)
    [decided] = [each for each in heard if isinstance(each.event, RunCancelDecided)]
    [cancelled] = [each.event for each in heard if isinstance(each.event, RunCancelled)]
    assert (decided.source, decided.event.model_dump()["reason"]) == ("stage:guard", reason)
    assert cancelled.shots > 0
    with open_copy(tmp_path) as log:
        again = await redecide(log, await roots_of(log))
        silent = await redecide(log, await roots_of(log), stages=[replace(GUARD, decide=lambda *_: ())])
    assert again.is_same, again.differences
    assert again.decisions["stage:guard"] == len([each for each in heard if each.source == "stage:guard"]) > 0
    assert [each.stage for each in silent.differences] == ["stage:guard"]
