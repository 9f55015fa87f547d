"""Given a site at work, when a person halts it, an agent or a device, then nothing begins and money is settled."""

from typing import Any

import pytest

from schemas.events import (
    ApprovalRequested,
    BudgetCaptured,
    BudgetHeld,
    BudgetReleased,
    IntentAdmitted,
    IntentRefused,
    JobCancelled,
    JobCompleted,
    KeyRevoked,
    PlacementDecided,
    RunCancelDecided,
    ShotsMeasured,
    StepPlanned,
    StepStarted,
)
from schemas.topics import Role
from streams.policy import POLICY
from tests.support.actors import cast_of, play
from tests.support.jobs import AGENT, APPROVER, DEVICES, USD, Town, halted, hybrid, id_of, lifted, manifest, signed
from tests.support.world import SITE

OPERATOR, OTHER_AGENT = "operator:ada", "agent:other"
DEAR: dict[str, Any] = {"budget": {"cost_microusd": 60 * USD, "shots": 10_000}}


def town(**founding: Any) -> Town:
    place = Town().found(**founding)
    place.enrol(OPERATOR, Role.OPERATOR)
    place.enrol(OTHER_AGENT, Role.AGENT)
    place.world.settle()
    return place


def order(place: Town, event: Any, role: Role = Role.GATEWAY) -> None:
    place.world.say(role, "gateway:main" if role is Role.GATEWAY else "root", event)
    place.world.settle()


def declare(place: Town, wanted: Any, signer: str = AGENT) -> None:
    place.declare(wanted, signer)
    place.world.settle()


class TestAHaltCounts:
    @pytest.mark.parametrize("person", [OPERATOR, APPROVER])
    def test_where_an_operator_or_an_approver_ordered_it(self, person: str) -> None:
        place = town()
        order(place, halted("h1", "site", SITE, person))
        declare(place, manifest())
        [refused] = place.world.said(IntentRefused)
        assert (refused.reason, refused.message) == ("halted", f"the site is halted by {person}: smoke in the cryostat")

    def test_not_where_an_agent_signed_it(self) -> None:
        place = town()
        order(place, halted("h1", "site", SITE, AGENT))
        declare(place, manifest())
        assert place.world.said(IntentAdmitted)

    def test_not_where_its_words_were_changed(self) -> None:
        place = town()
        order(place, halted("h1", "agent", OTHER_AGENT, OPERATOR).model_copy(update={"target": AGENT}))
        declare(place, manifest())
        assert place.world.said(IntentAdmitted)

    def test_not_where_it_was_signed_for_another_site(self) -> None:
        place = town()
        order(place, signed(halted("h1", "agent", AGENT, OPERATOR), OPERATOR, "site-b"))
        declare(place, manifest())
        assert place.world.said(IntentAdmitted)

    def test_not_where_the_person_was_revoked(self) -> None:
        place = town()
        place.govern(KeyRevoked(key_id=id_of(OPERATOR), reason="left"))
        order(place, halted("h1", "site", SITE, OPERATOR))
        declare(place, manifest())
        assert place.world.said(IntentAdmitted)

    def test_for_one_agent_alone(self) -> None:
        place = town()
        order(place, halted("h1", "agent", AGENT, OPERATOR))
        declare(place, manifest("job-1"))
        declare(place, manifest("job-2", initiator=OTHER_AGENT), OTHER_AGENT)
        assert [event.job_id for event in place.world.said(IntentRefused)] == ["job-1"]
        assert [event.job_id for event in place.world.said(IntentAdmitted)] == ["job-2"]

    def test_for_one_device_alone(self) -> None:
        place = town()
        order(place, halted("h1", "device", "trap", OPERATOR))
        declare(place, manifest())
        assert place.world.said(IntentAdmitted)[0].devices == tuple(each for each in DEVICES if each != "trap")

    def test_for_all_devices_that_a_job_allows(self) -> None:
        place = town()
        order(place, halted("h1", "device", "trap", OPERATOR))
        declare(place, manifest(allowed_devices=("trap",)))
        assert place.world.said(IntentRefused)[0].reason == "halted"


class TestAHaltIsLifted:
    def test_by_another_person(self) -> None:
        place = town()
        order(place, halted("h1", "site", SITE, OPERATOR))
        order(place, lifted("h1", APPROVER))
        declare(place, manifest())
        assert place.world.said(IntentAdmitted)

    def test_not_by_the_one_who_ordered_it(self) -> None:
        place = town()
        order(place, halted("h1", "site", SITE, OPERATOR))
        order(place, lifted("h1", OPERATOR))
        declare(place, manifest())
        assert place.world.said(IntentRefused)[0].reason == "halted"

    def test_once_and_its_order_said_again_is_no_new_one(self) -> None:
        place = town()
        ordered = halted("h1", "site", SITE, OPERATOR)
        order(place, ordered)
        order(place, lifted("h1", APPROVER))
        order(place, ordered)
        declare(place, manifest())
        assert place.world.said(IntentAdmitted)

    def test_while_another_that_covers_the_same_goes_on(self) -> None:
        place = town()
        order(place, halted("h1", "site", SITE, OPERATOR))
        order(place, halted("h2", "agent", AGENT, APPROVER))
        order(place, lifted("h1", APPROVER))
        declare(place, manifest())
        assert place.world.said(IntentRefused)[0].reason == "halted"


class TestJobsUnderWay:
    def test_one_that_waits_for_a_person_is_refused_and_its_money_set_free(self) -> None:
        place = town()
        declare(place, manifest(**DEAR))
        assert place.world.said(ApprovalRequested)
        order(place, halted("h1", "site", SITE, OPERATOR))
        assert place.world.said(IntentRefused)[0].reason == "halted"
        assert place.world.said(BudgetReleased)[0].amount_microusd == 60 * USD

    def test_one_that_waits_for_a_device_is_cancelled(self) -> None:
        place = town()
        declare(place, manifest())
        order(place, halted("h1", "site", SITE, OPERATOR))
        assert place.world.said(JobCancelled)[0].reason == "halted"
        assert place.world.said(BudgetCaptured)[0].amount_microusd == 0

    def test_one_whose_shots_run_is_stopped_between_two_chunks_and_pays_for_what_ran(self) -> None:
        place = town()
        players = cast_of(place.world)
        place.declare(manifest())
        while not place.world.said(ShotsMeasured):
            place.world.settle()
            assert any(player.step() for player in players)
        order(place, halted("h1", "site", SITE, OPERATOR))
        play(place.world, players)
        assert place.world.said(RunCancelDecided)[0].reason == "halted"
        assert place.world.said(JobCancelled)[0].reason == "halted"
        assert 0 < place.world.said(BudgetCaptured)[0].shots < 1_000

    def test_one_on_another_device_goes_on(self) -> None:
        place = town()
        players = cast_of(place.world)
        place.declare(manifest(allowed_devices=("chip",)))
        while not place.world.said(ShotsMeasured):
            place.world.settle()
            assert any(player.step() for player in players)
        order(place, halted("h1", "device", "trap", OPERATOR))
        play(place.world, players)
        assert place.world.said(JobCompleted)

    def test_one_admitted_before_policy_had_read_the_halt_is_not_placed(self) -> None:
        place = town()
        place.declare(manifest())
        policy = next(desk for desk in place.world.desks if desk.stage is POLICY)
        while not place.world.said(IntentAdmitted):
            place.world.turn(policy)
        order(place, halted("h1", "site", SITE, OPERATOR))
        assert not [event for event in place.world.said(PlacementDecided) if event.device]
        assert place.world.said(JobCancelled)[0].reason == "halted"


@pytest.mark.parametrize("jobs", [60, pytest.param(500, marks=pytest.mark.long)])
def test_with_many_jobs_in_flight_nothing_starts_after_the_halt_and_every_hold_is_settled(jobs: int) -> None:
    place = town(budget_microusd=100_000 * USD)
    players = cast_of(place.world)
    for number in range(jobs):
        kind = hybrid if number % 3 == 0 else manifest
        place.declare(kind(f"job-{number}", **(DEAR if number % 5 == 4 else {})))
        if number % 2:
            place.world.settle()
        players[number % len(players)].step()
    place.world.settle()
    for player in players:
        player.step()
    assert place.world.said(StepPlanned)
    ordered = place.world.say(Role.GATEWAY, "gateway:main", halted("h1", "site", SITE, OPERATOR))
    place.world.settle()
    play(place.world, players)
    after = place.world.log[place.world.log.index(ordered) :]
    assert not [heard for heard in after if isinstance(heard.event, StepPlanned | StepStarted | IntentAdmitted)]
    held = sum(event.amount_microusd for event in place.world.said(BudgetHeld))
    captured = sum(event.amount_microusd for event in place.world.said(BudgetCaptured))
    released = sum(event.amount_microusd for event in place.world.said(BudgetReleased))
    assert held == captured + released
    assert place.world.state(POLICY).money.held_microusd == 0
    assert not place.world.state(POLICY).jobs
