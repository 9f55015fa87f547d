"""Given rules in Cedar, when an agent declares a job, then they admit it to devices, ask people, or refuse it."""

from typing import Any

import pytest

from schemas.digests import sha256_hex
from schemas.events import (
    ApprovalRejected,
    ApprovalRequested,
    BudgetHeld,
    IntentAdmitted,
    IntentRefused,
    JobCompleted,
    KeyEnrolled,
    PolicyPublished,
    RateLimits,
    StepCompleted,
    StepPlanned,
    StepStarted,
)
from schemas.manifest import Manifest
from schemas.topics import Role
from streams.policy import POLICY
from streams.policy.cedar import Rules, read_rules
from streams.policy.rates import Rates
from streams.state import changed
from tests.support.jobs import AGENT, USD, Town, hybrid, id_of, key_of, manifest
from tests.support.ruled import GARNET, HERON, TRAP, admitted, calibrate, refused, ruled_town, verdict, with_rules
from tests.support.world import START_US

PERMIT = '@id("all") permit (principal, action == Action::"run", resource);'
SCOPE = '(principal, action == Action::"run", resource)'
FORBID = f'{PERMIT}\n@id("x") @message("m")'
SCHEMA = with_rules(PERMIT).rules_schema
DAY_US = 86_400_000_000


def dear(job_id: str = "job-1", usd: int = 60, **changes: Any) -> Manifest:
    return manifest(job_id, budget={"cost_microusd": usd * USD, "shots": 10_000}, **changes)


class TestAJobIsAdmitted:
    def test_to_every_device_that_the_rules_allow(self) -> None:
        said = admitted(ruled_town(), manifest(data_class="confidential"))
        assert said.devices == (TRAP,)

    def test_with_the_rules_that_decided_and_a_digest_of_what_they_were_asked(self) -> None:
        said = admitted(ruled_town(), manifest())
        assert said.rules == ("agents-run-jobs",)
        assert len(said.input_digest) == 64

    def test_with_another_input_digest_for_another_question(self) -> None:
        place = ruled_town()
        first, second = admitted(place, manifest("a")), admitted(place, manifest("b", data_class="public"))
        assert first.input_digest != second.input_digest


class TestAJobIsRefused:
    def test_with_the_rule_and_its_message(self) -> None:
        said = refused(ruled_town(), manifest(data_class="confidential", allowed_devices=(GARNET,)))
        assert (said.reason, said.rules) == ("rule_forbids", ("classified-stays-home",))
        assert said.messages == (said.message,)

    def test_where_no_rule_permits_it(self) -> None:
        place = ruled_town(rules='@id("others") permit (principal == Agent::"agent:other", action, resource);')
        assert "no rule permits it" in refused(place, manifest()).message

    def test_where_a_rule_cannot_be_evaluated_although_cedar_would_skip_it(self) -> None:
        overflows = '@id("sum") @message("m") forbid (principal, action == Action::"run", resource) '
        overflows += "when { context.shots * 9223372036854775807 > 0 };"
        said = refused(ruled_town(rules=f"{PERMIT}\n{overflows}"), manifest())
        assert said.reason == "rule_error"

    def test_where_the_policy_in_force_does_not_hold_to_its_schema(self) -> None:
        broken = '@id("b") @message("m") forbid (principal, action, resource) when { context.nothing > 1 };'
        said = refused(ruled_town(rules=f"{PERMIT}\n{broken}"), manifest())
        assert (said.reason, "line 2" in said.message) == ("policy_invalid", True)

    def test_on_a_device_of_which_the_policy_says_nothing(self) -> None:
        place = ruled_town(device_facts=())
        assert refused(place, manifest(data_class="confidential")).rules == ("classified-stays-home",)

    def test_by_a_calibration_of_more_than_a_day_ago(self) -> None:
        place = ruled_town()
        place.world.now_us += DAY_US + 1_000_000
        calibrate(place, TRAP)
        assert admitted(place, manifest()).devices == (TRAP,)

    def test_by_a_fidelity_out_of_range(self) -> None:
        place = ruled_town()
        calibrate(place, TRAP, two_qubit_fidelity=0.89)
        assert refused(place, manifest(allowed_devices=(TRAP,))).rules == ("fidelity-range",)

    def test_by_a_calibration_that_another_device_tells(self) -> None:
        place = ruled_town()
        place.world.now_us += DAY_US + 1_000_000
        told = calibrate(place, TRAP).event
        place.world.log.pop(), place.world.topics["snapshots"].pop()
        place.world.say(Role.DEVICE, f"device:{GARNET}", told)
        assert refused(place, manifest()).rules == ("calibration-age",)

    def test_at_a_time_of_day(self) -> None:
        rule = '@id("night") @message("m") forbid (principal, action == Action::"run", resource) when {{ context.{} }};'
        hour = START_US // 3_600_000_000 % 24
        assert refused(ruled_town(rules=PERMIT + rule.format(f"hour == {hour}")), manifest()).rules == ("night",)
        weekday = (START_US // DAY_US + 3) % 7 + 1
        assert refused(ruled_town(rules=PERMIT + rule.format(f"weekday == {weekday}")), manifest()).rules == ("night",)


class TestDataKeepsItsClass:
    def run_a_job(self, place: Town, wanted: Manifest) -> str:
        """Let a job make a document; its digest."""
        admitted(place, wanted)
        place.world.say(
            Role.ORCHESTRATOR,
            "stage:orchestrator",
            StepPlanned(job_id=wanted.job_id, step=0, kind="post", iteration=0, seed=1),
        )
        made = sha256_hex(wanted.job_id.encode())
        place.world.say(
            Role.SANDBOX, "sandbox:main", StepCompleted(job_id=wanted.job_id, step=0, kind="post", output_digest=made)
        )
        place.world.settle()
        return made

    def test_where_the_output_of_a_classified_job_is_called_public(self) -> None:
        place = ruled_town()
        secret = self.run_a_job(place, manifest("one", data_class="confidential"))
        laundered = manifest("two", data_class="public", artifacts={"data.json": secret}, allowed_devices=(GARNET,))
        assert refused(place, laundered).rules == ("classified-stays-home",)

    def test_over_two_jobs(self) -> None:
        place = ruled_town()
        secret = self.run_a_job(place, manifest("one", data_class="confidential"))
        again = self.run_a_job(place, manifest("two", data_class="public", artifacts={"data.json": secret}))
        assert admitted(place, manifest("three", data_class="public", artifacts={"d": again})).devices == (TRAP,)

    def test_and_public_data_stays_public(self) -> None:
        place = ruled_town()
        open_data = self.run_a_job(place, manifest("one", data_class="public"))
        assert GARNET in admitted(place, manifest("two", data_class="public", artifacts={"d": open_data})).devices


class TestWorkIsRehearsed:
    EMULATOR = "emulator-garnet-1"

    def rehearse(self, place: Town, device: str, snapshot: str) -> None:
        job = manifest(f"rehearsal-{snapshot[:4]}", allowed_devices=(device,))
        admitted(place, job)
        step: dict[str, Any] = {"job_id": job.job_id, "step": 0, "kind": "quantum", "device": device}
        place.world.say(Role.ORCHESTRATOR, "stage:orchestrator", StepPlanned(**step, iteration=0, seed=1))
        started = StepStarted(**step, snapshot_digest=snapshot, started_us=place.world.now_us)
        place.world.say(Role.DEVICE, f"device:{device}", started)
        place.world.settle()
        completed = JobCompleted(job_id=job.job_id, result_digest=sha256_hex(job.job_id.encode()))
        place.world.say(Role.ORCHESTRATOR, "stage:orchestrator", completed)
        place.world.settle()

    def test_before_it_reaches_a_real_device(self) -> None:
        place = ruled_town("lab")
        assert refused(place, manifest(allowed_devices=(GARNET,))).rules == ("rehearsal",)

    def test_on_the_emulator_of_its_latest_calibration(self) -> None:
        place = ruled_town("lab")
        calibrate(place, GARNET, "cd" * 32)
        self.rehearse(place, self.EMULATOR, "cd" * 32)
        assert admitted(place, manifest("job-2", allowed_devices=(GARNET,))).devices == (GARNET,)

    def test_and_not_on_an_older_one(self) -> None:
        place = ruled_town("lab")
        self.rehearse(place, self.EMULATOR, "ab" * 32)
        calibrate(place, GARNET, "cd" * 32)
        assert refused(place, manifest("job-2", allowed_devices=(GARNET,))).rules == ("rehearsal",)

    def test_as_the_very_work_that_is_then_run(self) -> None:
        place = ruled_town("lab")
        self.rehearse(place, self.EMULATOR, "ab" * 32)
        assert refused(place, hybrid("job-2", allowed_devices=(GARNET,))).rules == ("rehearsal",)


class TestPeopleAreAsked:
    def test_by_the_rule_that_a_grant_would_open(self) -> None:
        said = verdict(ruled_town(), dear())
        assert isinstance(said, ApprovalRequested)
        assert (said.rule, said.rules, said.messages) == (
            "price-asks-human", ("price-asks-human",), ("a price ceiling above 50 USD",),
        )  # fmt: skip
        assert (said.statement.quorum, said.statement.roles, said.statement.rule) == (1, (), "price-asks-human")

    def test_with_the_duties_and_the_number_that_the_gates_name_together(self) -> None:
        place = ruled_town("bank")
        said = verdict(place, dear(usd=2_000, data_class="public", allowed_devices=(TRAP,)))
        assert isinstance(said, ApprovalRequested), said
        assert (said.statement.quorum, said.statement.roles) == (2, ("finance",))
        assert said.rules == ("price-asks-finance", "dear-asks-two")

    def test_for_the_fewest_that_open_a_device(self) -> None:
        two = '@id("two") @gate("human:2") @message("far") forbid (principal, action == Action::"run", resource) '
        one = two.replace("two", "one").replace("human:2", "human:1").replace("far", "near")
        place = ruled_town(
            rules=f"{PERMIT}\n{two} when {{ resource.cloud }} unless {{ context.granted }};\n"
            f"{one} when {{ !resource.cloud }} unless {{ context.granted }};"
        )
        said = verdict(place, manifest())
        assert isinstance(said, ApprovalRequested)
        assert (said.statement.quorum, said.rules) == (1, ("one",))
        place.grant("job-1")
        place.world.settle()
        assert place.world.said(IntentAdmitted)[0].devices == (TRAP,)

    def test_and_not_where_a_device_takes_it_without(self) -> None:
        place = ruled_town("bank")
        said = admitted(place, manifest(data_class="internal"))
        assert said.devices == (TRAP, GARNET)

    def test_and_a_grant_opens_the_gate_and_nothing_else(self) -> None:
        place = ruled_town()
        verdict(place, dear())
        place.world.now_us += 2_000_000
        for device in (TRAP, GARNET, HERON, "cloud-bargain-1"):
            calibrate(place, device, two_qubit_fidelity=0.5)
        place.world.settle()
        place.grant("job-1")
        place.world.settle()
        assert place.world.said(IntentRefused)[0].rules == ("fidelity-range",)

    def test_anew_where_more_people_are_needed_by_now(self) -> None:
        rule = '@id("{}") @gate("human:{}") @message("m") forbid (principal, action == Action::"run", resource) '
        until = "when { context.hour >= 0 && context.calibrationAgeS < 100 } unless { context.granted };"
        later = "when { context.calibrationAgeS >= 100 } unless { context.granted };"
        place = ruled_town(rules=f"{PERMIT}\n{rule.format('early', 1)}{until}\n{rule.format('late', 2)}{later}")
        verdict(place, manifest())
        place.world.now_us += 200_000_000
        place.grant("job-1")
        place.world.settle()
        assert place.world.said(IntentAdmitted) == []
        assert place.world.said(ApprovalRejected)[-1].reason == "more_needed"
        assert place.world.said(ApprovalRequested)[-1].statement.quorum == 2


class TestAgentsAreBounded:
    @pytest.mark.parametrize(
        ("rates", "passed"),
        [
            (RateLimits(intents_per_hour=3), 3),
            (RateLimits(shots_per_hour=25_000), 2),
            (RateLimits(cost_per_hour_microusd=40 * USD), 4),
        ],
        ids=["intents", "shots", "money"],
    )
    def test_in_what_they_ask_for_in_an_hour(self, rates: RateLimits, passed: int) -> None:
        place = ruled_town(rates=rates)
        said = [verdict(place, manifest(f"job-{number}")) for number in range(6)]
        assert [isinstance(each, IntentAdmitted) for each in said] == [True] * passed + [False] * (6 - passed)
        assert said[-1].reason == "rate_exceeded"
        place.world.now_us += 3_660_000_000
        assert isinstance(verdict(place, manifest("later")), IntentAdmitted)

    def test_and_a_person_who_was_asked_in_time_may_grant_what_came_last(self) -> None:
        place = ruled_town(rates=RateLimits(intents_per_hour=1))
        verdict(place, dear())
        place.grant("job-1")
        place.world.settle()
        assert place.world.said(IntentAdmitted)

    def test_by_intents_that_were_refused_too(self) -> None:
        place = ruled_town(rates=RateLimits(intents_per_hour=2))
        for number in range(2):
            refused(place, manifest(f"job-{number}", allowed_devices=("nowhere",)))
        assert refused(place, manifest("job-2")).reason == "rate_exceeded"

    def test_however_much_it_is(self) -> None:
        place, rates = ruled_town(), Rates()
        for _ in range(1_100):
            rates = rates.with_intent(AGENT, place.world.now_us, 1, (1 << 53) - 1)
        desk = place.world.desks[0]
        desk.state = changed(desk.state, rates=rates)
        assert refused(place, manifest()).rules == ("rate-limit",)

    def test_but_not_by_what_others_said_in_their_name(self) -> None:
        place = ruled_town(rates=RateLimits(intents_per_hour=2))
        for number in range(5):
            place.declare(manifest(f"forged-{number}"), signer="agent:stranger")
        assert isinstance(verdict(place, manifest()), IntentAdmitted)

    def test_by_who_holds_their_key(self) -> None:
        place = ruled_town()
        place.govern(
            KeyEnrolled(
                key_id=id_of("agent:held"),
                public_key=key_of("agent:held").public_key().public_bytes_raw(),
                source="agent:held",
                role="agent",
                assurance="gateway-held",
            )
        )
        wanted = dear(usd=20, initiator="agent:held")
        place.declare(wanted, signer="agent:held")
        place.world.settle()
        assert place.world.said(ApprovalRequested)[0].rules == ("key-held-by-gateway-asks-human",)


class TestASandboxIsKnownByWhatItSaid:
    def test_when_it_last_ran_a_program(self) -> None:
        place = ruled_town()
        secret = hybrid("job-1", data_class="confidential", allowed_devices=(TRAP,))
        assert refused(place, secret).rules == ("classified-needs-a-sandbox",)
        admitted(place, hybrid("job-2", data_class="public"))
        said = StepStarted(
            job_id="job-2", step=0, kind="preprocess", started_us=1, isolation="limits; no network; no other files"
        )
        place.world.say(Role.SANDBOX, "sandbox:main", said)
        place.world.settle()
        assert admitted(place, hybrid("job-3", data_class="confidential")).devices == (TRAP,)

    def test_and_no_device_speaks_for_it(self) -> None:
        place = ruled_town()
        said = StepStarted(
            job_id="job-2", step=0, kind="preprocess", started_us=1, isolation="no network; no other files"
        )
        place.world.say(Role.DEVICE, f"device:{TRAP}", said)
        place.world.settle()
        assert refused(place, hybrid(data_class="confidential", allowed_devices=(TRAP,))).rules == (
            "classified-needs-a-sandbox",
        )


class TestRulesAreRead:
    def faults(self, text: str) -> list[str]:
        read = read_rules(text, SCHEMA)
        assert not isinstance(read, Rules)
        return [str(fault) for fault in read]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            pytest.param(f"permit {SCOPE};", "line 1: a rule needs an @id", id="no-id"),
            pytest.param(f"{PERMIT}\n\n{PERMIT}", 'line 3: @id("all") is there twice', id="id-twice"),
            pytest.param(f'{PERMIT}\n@id("x") forbid {SCOPE};', "line 2: a rule that forbids needs", id="no-message"),
            pytest.param(
                f'@id("x") @gate("human:1") permit {SCOPE};', "line 1: a @gate stands on", id="gate-on-permit"
            ),
            pytest.param(f'{FORBID}\n@gate("some") forbid {SCOPE};', "line 2: @gate", id="gate-unread"),
            pytest.param(f'{FORBID}\n@gate("human:1") forbid {SCOPE};', "must end with: unless", id="gate-shut"),
            pytest.param(
                f"{FORBID} forbid {SCOPE} unless {{ context.granted }};", "only a rule with a @gate", id="ungated-grant"
            ),
            pytest.param(
                f"{FORBID} forbid {SCOPE} when {{ context has granted }};", "only a rule with a @gate", id="ungated-has"
            ),
            pytest.param(f'{FORBID} forbid {SCOPE} when {{ context.shots > "1" }};', "line 2: unexpected", id="type"),
            pytest.param(f'{PERMIT}\n// "\n@id("x")\nforbid (principal;', "line 3: unexpected token", id="syntax"),
            pytest.param('@id("x") permit (principal == ?principal, action, resource);', "templates", id="template"),
            pytest.param(f'@id("x") @message("m") forbid {SCOPE};', "everybody would be locked out", id="no-permit"),
            pytest.param(
                '@id("x") permit (principal, action == Action::"publish", resource);', "line 1: unrecog", id="action"
            ),
        ],
    )
    def test_with_the_line_and_the_reason_of_every_fault(self, text: str, told: str) -> None:
        assert any(told in fault for fault in self.faults(text)), self.faults(text)

    def test_against_a_schema_that_is_one(self) -> None:
        read = read_rules(PERMIT, "entity")
        assert not isinstance(read, Rules)
        assert "the schema" in str(read[0])


def test_a_policy_without_rules_asks_as_before() -> None:
    place = ruled_town()
    limits: dict[str, Any] = {"rules": "", "rules_schema": "", "approval_above_microusd": 5 * USD}
    old: PolicyPublished = place.world.state(POLICY).policy.model_copy(update=limits)
    place.govern(old)
    said = verdict(place, manifest())
    assert isinstance(said, ApprovalRequested)
    assert (said.rule, said.rules, said.input_digest) == ("price_asks_human@1", (), "")


def test_money_is_held_before_the_rules_admit() -> None:
    place = ruled_town()
    place.declare(manifest(initiator=AGENT))
    place.world.settle()
    said = [type(h.event).__name__ for h in place.world.log if h.source == POLICY.source]
    assert said == ["BudgetHeld", "IntentAdmitted"]
    assert place.world.said(BudgetHeld)[0].amount_microusd == 10 * USD
