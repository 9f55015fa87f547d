"""Given what governs and was declared, when someone speaks, then policy admits, refuses, asks, holds and settles."""

from typing import Any

import pytest

from schemas.events import (
    AlarmRang,
    AlarmSet,
    ApprovalExpired,
    ApprovalRejected,
    ApprovalRequested,
    BudgetCaptured,
    BudgetHeld,
    BudgetReleased,
    BudgetSet,
    IntentAdmitted,
    IntentRefused,
    KeyRevoked,
    PriceListPublished,
    RunCancelled,
    ShotsMeasured,
    SiteFounded,
    StepFailed,
    StepOutcomeUnknown,
)
from schemas.keys import raw_public_key
from schemas.manifest import Manifest
from schemas.people import PersonKey
from schemas.proofs import approval_holds
from schemas.topics import Role
from streams.deadlines import TIME_US_MAX
from streams.policy import POLICY, Admit, Ask, Refuse, Wish, judge
from streams.policy.wish import dollars
from streams.usage import COUNT_MAX
from tests.support.actors import Device, cast_of, play
from tests.support.jobs import (
    AGENT,
    APPROVER,
    USD,
    Town,
    declared,
    hybrid,
    id_of,
    key_of,
    manifest,
    policy,
    prices,
    proof,
)
from tests.support.world import World

PUBLIC_KEY = raw_public_key(key_of(APPROVER))
DEAR: dict[str, Any] = {"budget": {"cost_microusd": 60 * USD, "shots": 10_000}}


def town(**founding: Any) -> Town:
    """A founded site where policy works alone."""
    return Town(World(stages=(POLICY,))).found(**founding)


def decided(place: Town) -> list[str]:
    """What policy has said, in short."""
    place.world.settle()
    return [type(heard.event).__name__ for heard in place.world.log if heard.source == POLICY.source]


def reason(place: Town) -> str:
    """Why the last intent was refused."""
    place.world.settle()
    return place.world.said(IntentRefused)[-1].reason


def asked_town(**founding: Any) -> Town:
    """A site where a dear job waits for a person."""
    place = town(**founding)
    place.declare(manifest(**DEAR))
    place.world.settle()
    return place


def rejection(place: Town) -> str:
    """Why the last answer did not count; the job must still wait."""
    place.world.settle()
    assert not place.world.said(IntentAdmitted)
    assert not place.world.said(IntentRefused)
    return place.world.said(ApprovalRejected)[-1].reason


class TestAnIntentIsRefused:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"budget": {"cost_microusd": 10 * USD, "shots": 100_001}}, "shots_over_policy"),
            ({"budget": {"cost_microusd": 10 * USD, "shots": 999}}, "shots_over_budget"),
            ({"budget": {"cost_microusd": 101 * USD, "shots": 1_000}}, "price_over_policy"),
            ({"budget": {"cost_microusd": 119_999, "shots": 1_000}}, "budget_too_small"),
            ({"allowed_devices": ("elsewhere",)}, "device_not_allowed"),
            ({"deadline_us": 1_800_000_000_000_000}, "deadline_passed"),
            ({"site": "site-b"}, "site_foreign"),
            ({"initiator": "agent:other"}, "agent_unknown"),
        ],
    )
    def test_for_what_its_manifest_says(self, changes: dict[str, Any], expected: str) -> None:
        place = town()
        place.declare(manifest(**changes))
        assert reason(place) == expected

    def test_for_a_longer_loop_than_policy_allows(self) -> None:
        place = town(rules=policy(iterations_max=4))
        place.declare(hybrid())
        assert reason(place) == "iterations_over_policy"

    def test_for_more_shots_of_a_circuit_than_any_device_takes(self) -> None:
        place = town()
        quantum = manifest().quantum.model_copy(update={"shots": 5_001})
        place.declare(manifest().model_copy(update={"quantum": quantum}))
        assert reason(place) == "shots_above_device"

    def test_where_no_device_has_a_price(self) -> None:
        place = town(listed=prices("elsewhere"))
        place.declare(manifest())
        assert reason(place) == "price_unknown"

    def test_where_no_policy_is_published(self) -> None:
        place = Town(World(stages=(POLICY,)))
        place.enrol(AGENT, Role.AGENT)
        place.declare(manifest())
        assert reason(place) == "policy_missing"

    def test_where_no_budget_is_set(self) -> None:
        place = town(budget_microusd=0)
        place.declare(manifest())
        assert reason(place) == "budget_exhausted"

    def test_where_the_budget_lacks_a_micro_dollar(self) -> None:
        place = town(budget_microusd=10 * USD - 1)
        place.declare(manifest())
        assert reason(place) == "budget_exhausted"

    def test_by_a_revoked_key(self) -> None:
        place = town()
        place.govern(KeyRevoked(key_id=id_of(AGENT), reason="lost"))
        place.declare(manifest())
        assert reason(place) == "agent_unknown"

    def test_by_a_key_of_another_role(self) -> None:
        place = town()
        place.declare(manifest(initiator=APPROVER), signer=APPROVER)
        assert reason(place) == "agent_unknown"

    def test_where_the_gateway_changed_the_manifest(self) -> None:
        place = town()
        intent = declared(manifest())
        raised = intent.manifest.model_copy(update={"objective": "cheapest"})
        place.world.say(Role.GATEWAY, "gateway:main", intent.model_copy(update={"manifest": raised}))
        assert reason(place) == "manifest_altered"

    def test_where_the_agents_signature_does_not_hold(self) -> None:
        place = town()
        intent = declared(manifest())
        head, payload, _ = intent.agent_proof.split(".")
        forged = intent.model_copy(update={"agent_proof": f"{head}.{payload}.{'A' * 86}"})
        place.world.say(Role.GATEWAY, "gateway:main", forged)
        assert reason(place) == "agent_proof_invalid"

    def test_where_its_job_id_runs_already_and_the_running_job_goes_on(self) -> None:
        place = town()
        first = place.declare(manifest())
        second = place.declare(manifest(purpose="another"))
        assert reason(place) == "job_repeated"
        assert place.world.said(IntentRefused)[0].intent_digest == second.digest
        assert place.world.said(IntentAdmitted)[0].intent_digest == first.digest

    def test_where_its_job_id_was_refused_before(self) -> None:
        place = town()
        place.declare(manifest(site="site-b"))
        place.declare(manifest())
        assert reason(place) == "job_repeated"


class TestAnIntentIsAdmitted:
    def test_with_its_money_held_first(self) -> None:
        place = town()
        place.declare(manifest())
        assert decided(place) == ["BudgetHeld", "IntentAdmitted"]

    def test_to_the_allowed_devices_that_have_a_price_and_take_so_many_shots(self) -> None:
        listed = prices("chip", "noisy")
        small = listed.devices[1].model_copy(update={"shots_max": 10})
        place = town(listed=PriceListPublished(devices=(listed.devices[0], small), classical_second_microusd=0))
        place.declare(manifest())
        decided(place)
        assert place.world.said(IntentAdmitted)[0].devices == ("chip",)

    def test_exactly_as_often_as_the_budget_allows(self) -> None:
        place = town(budget_microusd=100 * USD)
        for number in range(100):
            place.declare(manifest(f"job-{number}"))
        place.world.settle()
        assert len(place.world.said(IntentAdmitted)) == 10
        assert {each.reason for each in place.world.said(IntentRefused)} == {"budget_exhausted"}

    def test_never_beyond_a_budget_that_was_lowered(self) -> None:
        place = town(budget_microusd=100 * USD)
        place.declare(manifest("job-1"))
        place.govern(BudgetSet(limit_microusd=5 * USD))
        place.declare(manifest("job-2"))
        assert reason(place) == "budget_exhausted"

    def test_under_the_digest_of_the_policy_in_force(self) -> None:
        place = town()
        newer = place.govern(policy(policy_id="policy-2"))
        place.declare(manifest())
        decided(place)
        assert place.world.said(IntentAdmitted)[0].policy_digest == newer.digest


class TestAPersonIsAsked:
    def test_above_the_price_that_policy_states_and_the_money_is_held(self) -> None:
        assert decided(asked_town()) == ["BudgetHeld", "ApprovalRequested", "AlarmSet"]

    def test_not_at_that_very_price(self) -> None:
        place = town()
        place.declare(manifest(budget={"cost_microusd": 50 * USD, "shots": 1_000}))
        assert "ApprovalRequested" not in decided(place)

    def test_until_the_deadline_at_the_latest(self) -> None:
        place = town()
        place.declare(manifest(**DEAR, deadline_us=place.world.now_us + 5))
        place.world.settle()
        assert place.world.said(ApprovalRequested)[0].statement.expires_us == place.world.now_us + 5
        assert place.world.said(AlarmSet)[0].rings_us == place.world.now_us + 5

    def test_until_the_end_of_all_times_where_policy_waits_longer(self) -> None:
        place = asked_town(rules=policy(approval_timeout_us=(1 << 62) - 1))
        place.world.settle()
        assert place.world.said(AlarmSet)[0].rings_us == TIME_US_MAX

    def test_and_a_yes_admits_the_job_in_their_name(self) -> None:
        place = asked_town()
        place.grant("job-1")
        assert decided(place)[3:] == ["IntentAdmitted"]
        assert place.world.said(IntentAdmitted)[0].approver == APPROVER

    def test_and_a_no_refuses_it_with_their_reason_and_frees_the_money(self) -> None:
        place = asked_town()
        place.deny("job-1", "use fewer shots")
        assert decided(place)[3:] == ["IntentRefused", "BudgetReleased"]
        assert place.world.said(IntentRefused)[0].message == "use fewer shots"
        assert place.world.said(BudgetReleased)[0].amount_microusd == 60 * USD

    def test_and_silence_refuses_it(self) -> None:
        place = asked_town()
        place.world.ring()
        assert decided(place)[3:] == ["ApprovalExpired", "IntentRefused", "BudgetReleased"]
        assert reason(place) == "approval_expired"

    def test_and_a_withdrawal_refuses_it(self) -> None:
        place = asked_town()
        place.withdraw("job-1")
        assert decided(place)[3:] == ["IntentRefused", "BudgetReleased"]
        assert reason(place) == "withdrawn"

    def test_anew_where_policy_changed_meanwhile(self) -> None:
        place = asked_town()
        before = place.world.said(ApprovalRequested)[0].statement
        place.govern(policy(policy_id="policy-2"))
        place.grant("job-1")
        assert rejection(place) == "policy_changed"
        after = place.world.said(ApprovalRequested)[1].statement
        assert (after.policy_digest, after.nonce) != (before.policy_digest, before.nonce)
        place.grant("job-1", statement=after)
        place.world.settle()
        assert place.world.said(IntentAdmitted)[0].policy_digest == after.policy_digest

    def test_in_vain_where_the_new_policy_refuses_the_job(self) -> None:
        place = asked_town()
        place.govern(policy(cost_max_microusd=USD))
        place.grant("job-1")
        assert reason(place) == "price_over_policy"
        assert place.world.state(POLICY).money.held_microusd == 0

    def test_only_once_by_an_alarm_of_a_request_that_was_replaced(self) -> None:
        place = asked_town()
        place.govern(policy(policy_id="policy-2", approval_timeout_us=10**15))
        place.grant("job-1")
        place.world.settle()
        place.world.ring()
        place.world.settle()
        assert place.world.said(ApprovalExpired) == []

    def test_and_the_money_held_for_the_job_is_not_asked_for_twice(self) -> None:
        place = asked_town(budget_microusd=60 * USD)
        place.grant("job-1")
        assert decided(place)[3:] == ["IntentAdmitted"]

    def test_and_waits_on_after_an_alarm_that_rings_too_early(self) -> None:
        place = asked_town()
        alarm = place.world.said(AlarmSet)[0]
        early = AlarmRang(alarm_id=alarm.alarm_id, rings_us=alarm.rings_us - 1)
        place.world.say(Role.CLOCK, "clock:main", early)
        assert decided(place)[3:] == []


class TestAnAnswerDoesNotCount:
    def test_that_comes_after_the_request_has_expired(self) -> None:
        place = asked_town()
        place.world.now_us += 3_600 * 1_000_000
        place.grant("job-1")
        assert rejection(place) == "approval_expired"

    def test_by_a_key_nobody_enrolled(self) -> None:
        place = asked_town()
        place.grant("job-1", "approver:stranger")
        assert rejection(place) == "approver_unknown"

    def test_by_a_revoked_key(self) -> None:
        place = asked_town()
        place.govern(KeyRevoked(key_id=id_of(APPROVER), reason="lost"))
        place.grant("job-1")
        assert rejection(place) == "approver_unknown"

    def test_in_the_name_of_another_approver(self) -> None:
        place = asked_town()
        place.enrol("approver:other", Role.APPROVER)
        place.grant("job-1", approver="approver:other")
        assert rejection(place) == "approver_unknown"

    def test_by_an_agent(self) -> None:
        place = asked_town()
        place.grant("job-1", AGENT)
        assert rejection(place) == "approver_unknown"

    def test_by_the_initiator(self) -> None:
        place = town()
        place.enrol("person:both", Role.AGENT)
        key = declared(manifest(initiator="person:both", **DEAR), "person:both")
        place.world.say(Role.GATEWAY, "gateway:main", key)
        place.world.settle()
        place.enrol("person:both", Role.APPROVER)
        place.grant("job-1", "person:both")
        assert rejection(place) == "approver_is_initiator"

    def test_by_a_demonstration_key_outside_the_demonstration(self) -> None:
        place = asked_town(clock="wall")
        place.enrol("approver:demo", Role.APPROVER, assurance="demo")
        place.grant("job-1", "approver:demo")
        assert rejection(place) == "key_demo_only"

    def test_by_a_demonstration_key_after_a_second_founding(self) -> None:
        place = asked_town(clock="wall")
        place.govern(SiteFounded(clock="virtual", epoch_us=0, seed=1))
        place.enrol("approver:demo", Role.APPROVER, assurance="demo")
        place.grant("job-1", "approver:demo")
        assert rejection(place) == "key_demo_only"

    def test_over_another_statement(self) -> None:
        place = asked_town()
        statement = place.world.said(ApprovalRequested)[0].statement
        place.grant("job-1", statement=statement.model_copy(update={"price_ceiling_microusd": 1}))
        assert rejection(place) == "approval_proof_invalid"

    def test_for_another_intent(self) -> None:
        place = asked_town()
        place.grant("job-1", intent_digest="0" * 64)
        assert rejection(place) == "intent_other"

    def test_that_signs_a_no_and_says_yes(self) -> None:
        place = asked_town()
        denied = place.deny("job-1", "")
        place.world.topics["approvals"].pop()
        place.world.log.pop()
        place.grant("job-1", proof=denied.event.proof)  # type: ignore[attr-defined] # it is an ApprovalDenied
        assert rejection(place) == "approval_proof_invalid"

    def test_twice(self) -> None:
        place = asked_town()
        place.grant("job-1")
        place.grant("job-1")
        assert decided(place)[3:] == ["IntentAdmitted", "ApprovalRejected"]
        assert place.world.said(ApprovalRejected)[0].reason == "approval_not_waiting"

    def test_for_a_job_that_nobody_declared(self) -> None:
        place = asked_town()
        answer = place.granted("job-1").model_copy(update={"job_id": "job-9"})
        place.world.say(Role.GATEWAY, "gateway:main", answer)
        assert rejection(place) == "approval_not_waiting"


class TestAJobIsSettled:
    def run(self, wanted: Manifest, device: type[Device] = Device) -> World:
        """A job that runs to its end, on devices of a kind."""
        place = Town().found()
        place.declare(wanted)
        players = cast_of(place.world)
        players[0] = device(place.world, "chip")
        play(place.world, players)
        return place.world

    def test_by_tasks_shots_and_time_really_used(self) -> None:
        captured = self.run(manifest()).said(BudgetCaptured)[0]
        assert (captured.quantum_microusd, captured.classical_microusd) == (4 * 10_000 + 1_000 * 100 + 10_000, 0)
        assert captured.shots == 1_000

    def test_with_what_is_left_set_free(self) -> None:
        world = self.run(hybrid())
        captured, released = world.said(BudgetCaptured)[0], world.said(BudgetReleased)[0]
        assert captured.classical_microusd == 10_000
        assert captured.amount_microusd + released.amount_microusd == world.said(BudgetHeld)[0].amount_microusd
        assert world.state(POLICY).money.spent_microusd == captured.amount_microusd

    def test_never_above_its_hold(self) -> None:
        class Endless(Device):
            def run(self, heard: Any, planned: Any) -> Any:
                names = {"job_id": planned.job_id, "step": planned.step, "device": self.name}
                self.say(RunCancelled(**names, shots=1 << 60, device_time_us=1 << 60, reason="hardware"), heard)
                yield

        captured = self.run(manifest(), Endless).said(BudgetCaptured)[0]
        assert captured.amount_microusd == 10 * USD

    def test_even_where_devices_say_absurd_figures(self) -> None:
        class Absurd(Device):
            def run(self, heard: Any, planned: Any) -> Any:
                names = {"job_id": planned.job_id, "step": planned.step, "device": self.name}
                for chunk in range(2):
                    figures = {"circuit": 0, "chunk": chunk, "shots": COUNT_MAX, "counts": {}}
                    self.say(ShotsMeasured(**names, **figures, started_us=0, ended_us=1), heard)
                self.say(RunCancelled(**names, shots=0, device_time_us=0, reason="hardware"), heard)
                yield

        captured = self.run(manifest(), Absurd).said(BudgetCaptured)[0]
        assert (captured.amount_microusd, captured.shots) == (10 * USD, COUNT_MAX)

    def test_in_full_where_nobody_knows_what_ran(self) -> None:
        class Forgetful(Device):
            def run(self, heard: Any, planned: Any) -> Any:
                self.say(StepOutcomeUnknown(job_id=planned.job_id, step=planned.step, message="lost"), heard)
                yield

        captured = self.run(manifest(), Forgetful).said(BudgetCaptured)[0]
        assert captured.shots == 1_000
        assert captured.quantum_microusd == 10_000 + 1_000 * 100 + 10_000

    def test_without_heed_to_what_another_device_says(self) -> None:
        class Meddled(Device):
            def run(self, heard: Any, planned: Any) -> Any:
                failed = StepFailed(job_id=planned.job_id, step=planned.step, reason="x", message="", shots=9_999)
                self.world.say(Role.DEVICE, "device:trap", failed, heard)
                yield from super().run(heard, planned)

        assert self.run(manifest(), Meddled).said(BudgetCaptured)[0].shots == 1_000


def test_a_statement_with_numbers_that_no_proof_can_hold_is_not_approved() -> None:
    statement = asked_town().world.said(ApprovalRequested)[0].statement
    unsayable = statement.model_copy(update={"expires_us": 1 << 57})
    assert not approval_holds(unsayable, "grant", "", proof(APPROVER, b""), PersonKey(PUBLIC_KEY))


def test_a_dry_run_asks_the_same_rules() -> None:
    place = town()
    state = place.world.state(POLICY)
    now_us = place.world.now_us
    assert isinstance(judge(state, Wish.of(manifest()), now_us), Admit)
    assert isinstance(judge(state, Wish.of(manifest(**DEAR)), now_us), Ask)
    assert isinstance(judge(state, Wish.of(manifest(allowed_devices=("elsewhere",))), now_us), Refuse)
    assert place.world.said(BudgetHeld) == []


@pytest.mark.parametrize(
    ("microusd", "told"), [(0, "0.00 USD"), (1, "0.000001 USD"), (12_340_000, "12.34 USD"), (1_500_500, "1.5005 USD")]
)
def test_money_is_told_in_full(microusd: int, told: str) -> None:
    assert dollars(microusd) == told
