"""Given budgets of a site's parts, when jobs come, then none of them is ever promised more than it has."""

from random import Random
from typing import Any

import pytest

from schemas.events import ApprovalRequested, BudgetSet, IntentAdmitted, IntentRefused
from schemas.topics import Role
from streams.policy import POLICY
from tests.support.actors import cast_of, play
from tests.support.jobs import AGENT, APPROVER, DEVICES, USD, Town, manifest
from tests.support.world import World

OTHER = "agent:other"
PROJECTS = ("chemistry", "physics", "p")
DAY_US = 86_400_000_000


def town(*budgets: BudgetSet, stages: Any = (POLICY,)) -> Town:
    place = Town(World(stages=stages)).found(budget_microusd=10_000 * USD)
    for agent in (AGENT, OTHER):
        place.enrol(agent, Role.AGENT, duties=PROJECTS)
    for budget in budgets:
        place.govern(budget)
    place.world.settle()
    return place


def budget(scope: str, name: str, usd: int, period: str = "total") -> BudgetSet:
    return BudgetSet.model_validate({"limit_microusd": usd * USD, "scope": scope, "name": name, "period": period})


def declare(place: Town, *job_ids: str, signer: str = AGENT, **changes: Any) -> None:
    for job_id in job_ids:
        place.declare(manifest(job_id, initiator=signer, **changes), signer)
    place.world.settle()


def admitted(place: Town) -> list[str]:
    return [event.job_id for event in place.world.said(IntentAdmitted)]


def refusal(place: Town) -> str:
    return place.world.said(IntentRefused)[-1].message


class TestABudget:
    def test_of_an_agent_is_its_own(self) -> None:
        place = town(budget("agent", AGENT, 15))
        declare(place, "job-1", "job-2")
        declare(place, "job-3", signer=OTHER)
        assert admitted(place) == ["job-1", "job-3"]
        assert refusal(place) == f"the agent {AGENT} has 5.00 USD left, the job may cost 10.00 USD"

    def test_of_a_project_counts_all_its_agents(self) -> None:
        place = town(budget("project", "chemistry", 15))
        declare(place, "job-1", project="chemistry")
        declare(place, "job-2", signer=OTHER, project="chemistry")
        declare(place, "job-3", project="physics")
        assert admitted(place) == ["job-1", "job-3"]

    def test_of_a_device_leaves_the_other_devices(self) -> None:
        place = town(budget("device", "trap", 15))
        declare(place, "job-1", "job-2")
        assert [set(event.devices) for event in place.world.said(IntentAdmitted)] == [
            set(DEVICES),
            {"chip", "noisy"},
        ]

    def test_of_the_only_device_allowed_refuses(self) -> None:
        place = town(budget("device", "trap", 15))
        declare(place, "job-1", "job-2", allowed_devices=("trap",))
        assert refusal(place) == "the device trap has 5.00 USD left, the job may cost 10.00 USD"

    def test_of_the_site_a_day_is_there_again_the_next_day(self) -> None:
        place = town(budget("site", "", 15, "day"))
        declare(place, "job-1", "job-2")
        assert refusal(place) == "the site has 5.00 USD left today, the job may cost 10.00 USD"
        place.world.now_us += DAY_US
        declare(place, "job-3")
        assert admitted(place) == ["job-1", "job-3"]

    def test_that_was_set_late_counts_what_was_promised_before(self) -> None:
        place = town()
        declare(place, "job-1")
        place.govern(budget("agent", AGENT, 15))
        declare(place, "job-2")
        assert admitted(place) == ["job-1"]

    def test_has_again_what_a_job_did_not_spend(self) -> None:
        place = town(
            budget("agent", AGENT, 11), budget("device", "trap", 11), budget("project", "p", 11), stages=World().stages
        )
        declare(place, "job-1", project="p")
        play(place.world, cast_of(place.world))
        declare(place, "job-2", project="p")
        assert admitted(place) == ["job-1", "job-2"]

    def test_holds_what_waits_for_a_person(self) -> None:
        place = town(budget("agent", AGENT, 65))
        declare(place, "dear", budget={"cost_microusd": 60 * USD, "shots": 10_000})
        declare(place, "job-2")
        assert place.world.said(ApprovalRequested)
        assert admitted(place) == []
        place.deny("dear", "no", APPROVER)
        place.world.settle()
        declare(place, "job-3")
        assert admitted(place) == ["job-3"]

    def test_lets_a_job_that_it_holds_be_granted(self) -> None:
        place = town(budget("agent", AGENT, 60), budget("device", "trap", 60), budget("site", "", 60, "day"))
        declare(place, "dear", budget={"cost_microusd": 60 * USD, "shots": 10_000}, allowed_devices=("trap",))
        place.grant("dear")
        place.world.settle()
        assert admitted(place) == ["dear"]

    def test_is_back_where_it_was_when_all_jobs_have_ended(self) -> None:
        place = town(stages=World().stages)
        for number in range(6):
            declare(place, f"job-{number}", project="p", allowed_devices=DEVICES[: 1 + number % 3])
        place.withdraw("job-2")
        play(place.world, cast_of(place.world))
        state = place.world.state(POLICY)
        spent = state.money.spent_microusd
        promised = {part: each.total_microusd for part, each in state.budgets.promised.items()}
        assert promised["site/"] == promised[f"agent/{AGENT}"] == promised["project/p"] == spent
        assert sum(amount for part, amount in promised.items() if part.startswith("device/")) == spent


def race(seed: int, limit: BudgetSet) -> int:
    """A hundred intents of two agents race for a budget of ten, read in an order of chance; how many are admitted."""
    rng = Random(seed)  # noqa: S311 -- an order by its seed, nothing secret
    place = Town(World(rng, stages=(POLICY,))).found(budget_microusd=10_000 * USD)
    for agent in (AGENT, OTHER):
        place.enrol(agent, Role.AGENT, duties=PROJECTS)
    place.govern(limit)
    for number in range(100):
        signer = rng.choice((AGENT, OTHER)) if limit.scope != "agent" else AGENT
        place.declare(manifest(f"job-{number}", initiator=signer, project="p", allowed_devices=("trap",)), signer)
        if rng.random() < 0.3:
            place.world.settle()
    place.world.settle()
    return len(place.world.said(IntentAdmitted))


LIMITS = [
    budget("site", "", 100),
    budget("site", "", 100, "day"),
    budget("project", "p", 100),
    budget("agent", AGENT, 100),
    budget("device", "trap", 100),
]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.scope}-{limit.period}")
def test_of_a_hundred_intents_that_race_for_ten_exactly_ten_are_admitted(limit: BudgetSet) -> None:
    assert race(1, limit) == 10


@pytest.mark.long
@pytest.mark.timeout(900)
def test_they_are_two_hundred_times_over() -> None:
    assert [race(seed, LIMITS[seed % len(LIMITS)]) for seed in range(200)] == [10] * 200
