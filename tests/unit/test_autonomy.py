"""Given a ladder, when jobs end, then evidence proposes a step, a person ratifies it, a fault takes it back."""

from typing import Any

import pytest

from schemas.digests import digest_of_parts
from schemas.events import (
    ApprovalRequested,
    AutonomyGranted,
    AutonomyLadder,
    AutonomyProposed,
    AutonomyRevoked,
    AutonomyStatement,
    AutonomyStep,
    AutonomySuspended,
    IntentAdmitted,
    PolicyPublished,
    StepCompleted,
    StepFailed,
)
from schemas.topics import Role
from streams.policy.autonomy import EndedJob, Evidence
from tests.support.actors import Device, cast_of, play
from tests.support.jobs import AGENT, APPROVER, USD, Town, manifest, proof, signed
from tests.support.world import SITE, World
from tests.unit.test_people_gate import rules

DAY_US = 86_400_000_000
KIND = "test, internal data, no programs"
LADDER = AutonomyLadder(
    steps=(
        AutonomyStep(price_limit_microusd=60 * USD, jobs_min=3, spent_microusd_min=100_000, accuracy_low_min=0.3),
        AutonomyStep(price_limit_microusd=90 * USD, jobs_min=6, spent_microusd_min=400_000, accuracy_low_min=0.5),
    ),
    day_cap_microusd=10 * USD,
    valid_us=DAY_US,
    floor_microusd=80 * USD,
)
DEAR: dict[str, Any] = {"budget": {"cost_microusd": 60 * USD, "shots": 10_000}}


def ruled(**changes: Any) -> PolicyPublished:
    return rules("human:1", " && context.autonomyUpToMicrousd < context.costMicrousd", **{"autonomy": LADDER} | changes)


def town(**changes: Any) -> Town:
    place = Town(World()).found(ruled(**changes), budget_microusd=10_000 * USD)
    place.world.settle()
    return place


def run(place: Town, job_id: str, device: type[Device] = Device, **changes: Any) -> None:
    """Let a job run to its end."""
    place.declare(manifest(job_id, **changes))
    players = cast_of(place.world)
    players[:3] = [device(place.world, player.name) for player in players[:3] if isinstance(player, Device)]
    answered = {heard.digest for heard in place.world.log if getattr(heard.event, "job_id", job_id) != job_id}
    for player in players:
        if isinstance(player, Device):
            player.answered |= answered
        else:
            player.answered |= answered
    play(place.world, players)


def ratify(place: Town, person: str = APPROVER, **changes: Any) -> None:
    proposed = place.world.said(AutonomyProposed)[-1]
    fields: dict[str, Any] = {
        "site": SITE,
        "agent": proposed.agent,
        "action_class": proposed.action_class,
        "level": proposed.level,
        "price_limit_microusd": proposed.price_limit_microusd,
        "evidence_digest": proposed.evidence_digest,
        "expires_us": place.world.now_us + DAY_US // 2,
        "nonce": digest_of_parts("nonce"),
    }
    statement = AutonomyStatement(**fields | changes)
    event = AutonomyGranted(statement=statement, person=person, proof=proof(person, b""))
    place.world.say(Role.GATEWAY, "gateway:main", signed(event, person))
    place.world.settle()


def proven(**changes: Any) -> Town:
    """A town whose agent has run three jobs well and is proposed for the first step."""
    place = town(**changes)
    for number in range(3):
        run(place, f"proof-{number}")
    return place


def asks(place: Town, job_id: str = "dear-1", **changes: Any) -> bool:
    """Whether people are asked for a dear job."""
    place.declare(manifest(job_id, **DEAR | changes))
    place.world.settle()
    return bool(place.world.said(ApprovalRequested, job_id))


class Broken(Device):
    """A device on which each step fails."""

    def run(self, heard: Any, planned: Any) -> Any:
        failed = StepFailed(job_id=planned.job_id, step=planned.step, reason="hardware", message="a fault", shots=1)
        self.say(failed, heard)
        yield


class TestAStepIsProposed:
    def test_when_enough_jobs_have_ended_well(self) -> None:
        [proposed] = proven().world.said(AutonomyProposed)
        assert (proposed.agent, proposed.action_class, proposed.level, proposed.jobs) == (AGENT, KIND, 1, 3)
        assert 0.3 < proposed.accuracy_low < 1

    def test_once(self) -> None:
        place = proven()
        run(place, "proof-3")
        assert len(place.world.said(AutonomyProposed)) == 1

    def test_not_for_jobs_that_failed(self) -> None:
        place = town()
        for number in range(3):
            run(place, f"proof-{number}", Broken)
        assert not place.world.said(AutonomyProposed)

    def test_not_where_policy_has_no_ladder(self) -> None:
        assert not proven(autonomy=AutonomyLadder()).world.said(AutonomyProposed)

    def test_not_for_many_jobs_whose_money_a_day_does_not_count(self) -> None:
        place = town(autonomy=LADDER.model_copy(update={"day_cap_microusd": 50_000}))
        for number in range(6):
            run(place, f"proof-{number}")
        assert not place.world.said(AutonomyProposed)

    def test_again_once_what_was_ratified_has_expired(self) -> None:
        place = proven()
        ratify(place)
        place.world.now_us += DAY_US
        run(place, "later")
        assert [event.level for event in place.world.said(AutonomyProposed)] == [1, 1]
        ratify(place)
        assert not asks(place)

    def test_with_what_spoke_against_its_agent(self) -> None:
        place = town()
        place.declare(manifest("greedy", budget={"cost_microusd": 101 * USD, "shots": 10_000}))
        place.world.settle()
        run(place, "bad", Broken)
        for number in range(30):
            run(place, f"proof-{number}")
            if place.world.said(AutonomyProposed):
                break
        [proposed] = place.world.said(AutonomyProposed)
        assert (proposed.refusals, proposed.overruns) == (1, 1)


class TestAStepCounts:
    def test_only_when_a_person_has_ratified_it(self) -> None:
        place = proven()
        assert asks(place)
        ratify(place)
        assert not asks(place, "dear-2")
        assert place.world.said(IntentAdmitted, "dear-2")[0].approver == ""

    def test_not_above_its_price(self) -> None:
        place = proven()
        ratify(place)
        assert asks(place, budget={"cost_microusd": 61 * USD, "shots": 10_000})

    def test_never_above_the_floor(self) -> None:
        low = LADDER.model_copy(update={"floor_microusd": 55 * USD})
        place = proven(autonomy=low)
        ratify(place)
        assert asks(place)

    def test_not_above_what_a_later_policy_gives(self) -> None:
        place = proven()
        ratify(place)
        low = LADDER.steps[0].model_copy(update={"price_limit_microusd": 55 * USD})
        place.govern(ruled(policy_id="policy-2", autonomy=LADDER.model_copy(update={"steps": (low,)})))
        assert asks(place)

    def test_not_where_a_later_policy_has_no_ladder(self) -> None:
        place = proven()
        ratify(place)
        place.govern(ruled(policy_id="policy-2", autonomy=AutonomyLadder()))
        assert asks(place)

    def test_not_for_data_of_a_higher_class_that_goes_in(self) -> None:
        place = proven()
        ratify(place)
        secret = digest_of_parts("secret")
        place.declare(manifest("secret", data_class="confidential"))
        place.world.settle()
        made = StepCompleted(job_id="secret", step=0, kind="post", output_digest=secret)
        place.world.say(Role.SANDBOX, "sandbox:main", made)
        place.world.settle()
        assert asks(place, artifacts={"d": secret})

    def test_not_for_another_class_of_action(self) -> None:
        place = proven()
        ratify(place)
        assert asks(place, purpose="chemistry")

    def test_not_after_it_has_expired(self) -> None:
        place = proven()
        ratify(place)
        place.world.now_us += DAY_US // 2
        assert asks(place)

    @pytest.mark.parametrize(
        "changes",
        [
            {"level": 2},
            {"level": 0},
            {"evidence_digest": "0" * 64},
            {"agent": "agent:other"},
            {"action_class": "other"},
            {"site": "site-b"},
            {"expires_us": 1 << 60},
        ],
        ids=str,
    )
    def test_not_for_what_was_not_proposed(self, changes: dict[str, Any]) -> None:
        place = proven()
        if "expires_us" in changes:
            changes = {"expires_us": place.world.now_us + DAY_US + 1}
        ratify(place, **changes)
        assert asks(place)

    def test_not_where_the_agent_signs_for_itself(self) -> None:
        place = proven()
        ratify(place, AGENT)
        assert asks(place)

    def test_not_above_what_the_ladder_gives_though_a_person_signs_for_more(self) -> None:
        place = proven()
        ratify(place, price_limit_microusd=79 * USD)
        assert asks(place, budget={"cost_microusd": 70 * USD, "shots": 10_000})


class TestAStepIsTakenBack:
    def test_by_a_job_that_failed_by_its_own_doing(self) -> None:
        place = proven()
        ratify(place)
        run(place, "bad", Broken)
        assert [event.reason for event in place.world.said(AutonomySuspended)] == ["step_failed"]
        assert asks(place)

    def test_by_a_refusal(self) -> None:
        place = proven()
        ratify(place)
        place.declare(manifest("greedy", budget={"cost_microusd": 101 * USD, "shots": 10_000}))
        place.world.settle()
        assert [event.reason for event in place.world.said(AutonomySuspended)] == ["price_over_policy"]
        assert asks(place)

    def test_by_a_persons_no(self) -> None:
        place = proven()
        ratify(place)
        assert asks(place, budget={"cost_microusd": 70 * USD, "shots": 10_000})
        place.deny("dear-1", "no")
        place.world.settle()
        assert asks(place, "dear-2")

    def test_by_a_person_who_revokes_it(self) -> None:
        place = proven()
        ratify(place)
        event = AutonomyRevoked(agent=AGENT, action_class=KIND, person=APPROVER, reason="-", proof=proof(APPROVER, b""))
        place.world.say(Role.GATEWAY, "gateway:main", signed(event, APPROVER))
        assert asks(place)

    def test_with_all_evidence_so_that_it_must_be_earned_again(self) -> None:
        place = proven()
        ratify(place)
        run(place, "bad", Broken)
        for number in range(2):
            run(place, f"again-{number}")
        assert len(place.world.said(AutonomyProposed)) == 1
        run(place, "again-2")
        assert len(place.world.said(AutonomyProposed)) == 2


def job(spent: int, outcome: str = "well", day: int = 0) -> EndedJob:
    return EndedJob("job", spent, outcome, day * DAY_US)


def after(*jobs: EndedJob) -> Evidence:
    evidence = Evidence()
    for each in jobs:
        evidence = evidence.with_job(each, LADDER)
    return evidence


class TestEvidence:
    def test_of_equal_jobs_is_bounded_by_wilson(self) -> None:
        assert after(*[job(USD, day=day) for day in range(10)]).accuracy_low == pytest.approx(0.72247, abs=1e-5)

    def test_of_one_bad_job_in_ten_is_bounded_by_wilson(self) -> None:
        jobs = [job(USD, "badly" if day == 3 else "well", day) for day in range(10)]
        assert after(*jobs).accuracy_low == pytest.approx(0.59585, abs=1e-5)

    def test_of_one_dear_job_and_many_cheap_ones_is_that_of_the_dear_one(self) -> None:
        dear = job(9 * USD)
        assert after(dear, *[job(1, day=day) for day in range(1, 100)]).accuracy_low == pytest.approx(
            after(dear).accuracy_low, abs=1e-4
        )

    def test_of_one_day_counts_no_more_than_its_cap(self) -> None:
        assert after(*[job(4 * USD) for _ in range(5)]).weight == 10 * USD

    def test_is_not_that_of_jobs_for_free(self) -> None:
        assert after(*[job(0, day=day) for day in range(50)]).jobs == 0

    def test_has_what_ended_badly_after_the_day_was_full(self) -> None:
        evidence = after(*[job(5 * USD) for _ in range(2)], *[job(5 * USD, "badly") for _ in range(2)])
        assert (evidence.weight, evidence.weight_well) == (20 * USD, 10 * USD)

    def test_has_what_ended_badly_before_it_cost_anything_as_one_more_job(self) -> None:
        assert after(job(4 * USD), job(0, "badly")).weight == 8 * USD

    def test_that_is_none_proves_nothing(self) -> None:
        assert Evidence().accuracy_low == 0.0
