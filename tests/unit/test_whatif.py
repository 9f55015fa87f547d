"""`policy what-if`: recorded history under a changed policy; the same policy changes nothing, another what it must."""

from pathlib import Path
from typing import Any

import pytest

from qpubus.bench.intents import Declarations
from qpubus.policy_set import built_in
from replay.whatif import Replay, WhatIf, what_if
from schemas.events import IntentDeclared, PolicyPublished, RateLimits
from streams.journal import Step
from streams.log.embedded import EmbeddedLog, create
from streams.policy import POLICY
from streams.stage import Heard
from streams.worker import Worker
from tests.support.jobs import AGENT, USD, Town, manifest, policy
from tests.support.ruled import TRAP, ruled_town
from tests.support.world import World

EPOCH_US = 1_790_000_000_000_000


def replayed(place: Town, changed: PolicyPublished) -> WhatIf:
    """What a changed policy makes of what policy read and said at a town."""
    replay = Replay(changed)
    for step in steps(place.world):
        replay.take(step)
    return replay.found


def steps(world: World) -> list[Step]:
    """Policy's journal of a world: what it read in its order, each with what it said upon it."""
    found: list[Step] = []
    for heard in world.log:
        if heard.source != POLICY.source and heard.cause.topic in POLICY.inputs:
            found.append(Step(heard, []))
        elif heard.source == POLICY.source:
            said_upon(found, world.causes[heard.digest][0], heard)
    return found


def said_upon(found: list[Step], cause: Any, said: Heard) -> None:
    next(step for step in found if isinstance(step.item, Heard) and step.item.cause == cause).outputs.append(said)


def history() -> Town:
    """Three jobs: one at 10 USD that ran, one at 60 that a person granted, one with data that must not leave."""
    place = ruled_town()
    for wanted in (
        manifest("small", allowed_devices=(TRAP,)),
        manifest("dear", budget={"cost_microusd": 60 * USD, "shots": 10_000}),
        manifest("secret", data_class="confidential", allowed_devices=("cloud-garnet-1",)),
    ):
        place.declare(wanted)
        place.world.settle()
    place.grant("dear")
    place.world.settle()
    return place


def test_the_policy_that_was_in_force_changes_nothing() -> None:
    place = history()
    found = replayed(place, place.world.state(POLICY).policy)
    assert (found.decisions, found.changes) == (3, {})


def test_a_stricter_policy_asks_and_refuses_more() -> None:
    found = replayed(history(), policy(devices=built_in("first-poc").event().devices, approval_above_microusd=5 * USD))
    assert {job: (each.was, each.would_be) for job, each in found.changes.items()} == {
        "small": ("admit", "ask"),
        "secret": ("refuse", "ask"),
    }


def test_jobs_and_money_are_told_by_agent() -> None:
    found = replayed(history(), policy(devices=("elsewhere",)))
    tally = found.agents[AGENT]
    assert tally.differ == {"admit → refuse": 1, "ask → refuse": 1}
    assert tally.ceiling_microusd == 70 * USD


def test_an_intent_that_was_nobodys_own_is_not_judged() -> None:
    place = history()
    place.declare(manifest("forged"), signer="agent:stranger")
    place.declare(manifest("small"))
    place.world.settle()
    assert replayed(place, policy()).decisions == 3


def test_an_intent_that_came_too_fast_is_judged_by_the_rates_of_the_changed_policy() -> None:
    place = ruled_town(rates=RateLimits(intents_per_hour=1))
    for number in range(3):
        place.declare(manifest(f"job-{number}"))
        place.world.settle()
    found = replayed(place, built_in("first-poc").event())
    assert found.agents[AGENT].differ == {"refuse → admit": 2}


async def recorded(directory: Path, jobs: int) -> tuple[EmbeddedLog, dict[str, bytes]]:
    """A log on which policy decided so many intents."""
    create(directory)
    log = EmbeddedLog(directory, lambda: EPOCH_US)
    site = Declarations("site-a", EPOCH_US)
    await log.append(site.founding())
    worker = Worker(POLICY, log, 0, {"site-a": site.stage("policy")})
    for batch in site.batches(jobs):
        await log.append(batch)
        while await worker.step():
            pass
    return log, {"site-a": site.root_public_key}


async def check_on_a_log(directory: Path, jobs: int) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    log, roots = await recorded(directory, jobs)
    try:
        changed = built_in("first-poc").event()
        found = await what_if(log, roots, changed, lambda done, total: told.append((done, total)))
    finally:
        await log.close()
    assert found.decisions == jobs
    assert {(each.was, each.would_be) for each in found.changes.values()} <= {("admit", "refuse")}
    return told


async def test_a_log_is_replayed_and_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    told = await check_on_a_log(tmp_path / "data", 300)
    assert told[-1][0] == told[-1][1]
    assert len(told) > 1


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_100_000_decisions_are_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    told = await check_on_a_log(tmp_path / "data", 100_000)
    assert len(told) > 100


def test_history_has_the_intents_that_are_judged() -> None:
    assert sum(isinstance(getattr(step.item, "event", None), IntentDeclared) for step in steps(history().world)) == 3
