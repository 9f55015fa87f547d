"""Given rules that ask for people, when some of them answer, then enough of the right ones let the job run."""

from pathlib import Path
from typing import Any

import pytest

import schemas
from schemas.digests import digest_of_parts
from schemas.events import (
    ApprovalCounted,
    ApprovalInvalidated,
    ApprovalRejected,
    ApprovalRequested,
    BudgetReleased,
    DeviceFacts,
    DeviceSnapshotTaken,
    IntentAdmitted,
    IntentRefused,
    KeyRevoked,
    MandateGranted,
    MandateRevoked,
    MandateStatement,
    PolicyPublished,
    StepCompleted,
)
from schemas.topics import Role
from streams.policy import POLICY
from tests.support.actors import cast_of, play
from tests.support.jobs import AGENT, APPROVER, DEVICES, USD, Town, id_of, manifest, policy, prices, proof, signed
from tests.support.world import SITE, START_US, World

SCHEMA = (Path(schemas.__file__).parent / "policy.cedarschema").read_text()
HOUR_US = 3_600_000_000
FINANCE, SECURITY, SECOND = "approver:finance", "approver:security", "approver:second"
PERMIT = '@id("any")\npermit(principal, action, resource);\n'
GATE = '@id("dear")\n@message("dear jobs need people")\n@gate("{gate}")\nforbid(principal, action, resource)\n'
GATE += "when {{ context.costMicrousd > 50000000{but} }}\nunless {{ context.granted }};\n"
DEAR: dict[str, Any] = {"budget": {"cost_microusd": 60 * USD, "shots": 10_000}}


def rules(gate: str = "human:2", but: str = "", **changes: Any) -> PolicyPublished:
    """A policy whose rules ask people for dear jobs."""
    text = PERMIT + GATE.format(gate=gate, but=but)
    facts = tuple(DeviceFacts(device=device, is_cloud=False) for device in DEVICES)
    return policy(rules=text, rules_schema=SCHEMA, device_facts=facts, **changes)


def town(gate: str = "human:2", but: str = "", stages: Any = (POLICY,)) -> Town:
    place = Town(World(stages=stages)).found(rules(gate, but))
    place.enrol(SECOND, Role.APPROVER)
    place.enrol(FINANCE, Role.APPROVER, duties=("finance",))
    place.enrol(SECURITY, Role.APPROVER, duties=("security",))
    place.world.settle()
    return place


def declare(place: Town, job_id: str = "job-1", **changes: Any) -> None:
    place.declare(manifest(job_id, **DEAR | changes))
    place.world.settle()


def grant(place: Town, signer: str, **changes: Any) -> None:
    place.grant("job-1", signer, **changes)
    place.world.settle()


class TestAKeyThatIsRevoked:
    def test_takes_back_the_yes_that_it_signed(self) -> None:
        place = town()
        declare(place)
        grant(place, APPROVER)
        place.govern(KeyRevoked(key_id=id_of(APPROVER), reason="stolen"))
        grant(place, SECOND)
        assert not place.world.said(IntentAdmitted)
        grant(place, FINANCE)
        assert place.world.said(IntentAdmitted)[0].approvers == (SECOND, FINANCE)


class TestTwoPersons:
    def test_the_first_is_counted_and_the_job_waits_on(self) -> None:
        place = town()
        declare(place)
        grant(place, APPROVER)
        [counted] = place.world.said(ApprovalCounted)
        assert (counted.approver, counted.persons, counted.quorum) == (APPROVER, 1, 2)
        assert not place.world.said(IntentAdmitted)

    def test_the_second_lets_it_run_and_both_are_named(self) -> None:
        place = town()
        declare(place)
        grant(place, APPROVER)
        grant(place, SECOND)
        [admitted] = place.world.said(IntentAdmitted)
        assert (admitted.approver, admitted.approvers) == (SECOND, (APPROVER, SECOND))

    def test_one_who_says_yes_twice_is_one(self) -> None:
        place = town()
        declare(place)
        grant(place, APPROVER)
        grant(place, APPROVER)
        assert place.world.said(ApprovalRejected)[-1].reason == "approval_repeated"
        assert not place.world.said(IntentAdmitted)

    def test_one_no_is_enough(self) -> None:
        place = town()
        declare(place)
        grant(place, APPROVER)
        place.deny("job-1", "not this month", SECOND)
        place.world.settle()
        assert place.world.said(IntentRefused)[0].reason == "denied"


class TestDuties:
    def test_the_right_one_is_needed(self) -> None:
        place = town("human:1:finance")
        declare(place)
        grant(place, APPROVER)
        assert place.world.said(ApprovalCounted)[0].missing_duties == ("finance",)
        assert not place.world.said(IntentAdmitted)

    def test_the_right_one_alone_is_enough(self) -> None:
        place = town("human:1:finance")
        declare(place)
        grant(place, FINANCE)
        assert place.world.said(IntentAdmitted)

    def test_two_persons_have_two_duties_among_them(self) -> None:
        place = town("human:2:finance+security")
        declare(place)
        grant(place, FINANCE)
        grant(place, SECURITY)
        assert place.world.said(IntentAdmitted)


def taken(firmware: str) -> DeviceSnapshotTaken:
    return DeviceSnapshotTaken(
        device="chip",
        snapshot_digest=digest_of_parts("snapshot", firmware),
        taken_us=START_US,
        topology="superconducting",
        qubits=4,
        two_qubit_fidelity=0.99,
        two_qubit_fidelity_error=0.0,
        readout_fidelity=0.99,
        shots_max=5_000,
        firmware=firmware,
        compiler="qc 1",
    )


class TestWhatWasAskedForIsInvalidated:
    def waiting(self) -> Town:
        place = town()
        declare(place)
        grant(place, APPROVER)
        return place

    def expect(self, place: Town, reason: str) -> None:
        place.world.settle()
        assert [event.reason for event in place.world.said(ApprovalInvalidated)] == [reason]
        first, second = place.world.said(ApprovalRequested)
        assert first.statement.nonce != second.statement.nonce
        grant(place, SECOND, statement=first.statement)
        assert place.world.said(ApprovalRejected)[-1].reason == "approval_proof_invalid"
        grant(place, SECOND)
        assert not place.world.said(IntentAdmitted), "the first yes was for what is asked no more"
        grant(place, APPROVER)
        assert place.world.said(IntentAdmitted)

    def test_by_another_policy(self) -> None:
        place = self.waiting()
        place.govern(rules(policy_id="policy-2"))
        self.expect(place, "policy_changed")

    def test_by_other_prices(self) -> None:
        place = self.waiting()
        listed = prices()
        dearer = [each.model_copy(update={"shot_microusd": 101}) for each in listed.devices]
        place.govern(listed.model_copy(update={"devices": tuple(dearer)}))
        self.expect(place, "prices_changed")

    def test_by_new_firmware_of_a_device_that_it_may_run_on(self) -> None:
        place = town()
        place.world.say(Role.DEVICE, "device:chip", taken("firmware 1"))
        declare(place)
        grant(place, APPROVER)
        place.world.say(Role.DEVICE, "device:chip", taken("firmware 2"))
        self.expect(place, "snapshot_changed")

    def test_not_by_another_calibration_of_the_same_machine(self) -> None:
        place = town()
        place.world.say(Role.DEVICE, "device:chip", taken("firmware 1"))
        declare(place)
        place.world.say(Role.DEVICE, "device:chip", taken("firmware 1"))
        place.world.settle()
        assert not place.world.said(ApprovalInvalidated)

    def test_not_by_the_same_prices_said_again(self) -> None:
        place = self.waiting()
        place.govern(prices())
        place.world.settle()
        assert not place.world.said(ApprovalInvalidated)

    def test_by_a_policy_that_asks_nobody_and_lets_it_run(self) -> None:
        place = self.waiting()
        place.govern(policy(rules=PERMIT, rules_schema=SCHEMA, policy_id="policy-2"))
        place.world.settle()
        assert place.world.said(ApprovalInvalidated)
        assert place.world.said(IntentAdmitted)[0].approver == ""

    def test_by_a_policy_that_forbids_it_and_its_money_is_set_free(self) -> None:
        place = self.waiting()
        place.govern(rules(policy_id="policy-2", cost_max_microusd=1))
        place.world.settle()
        assert place.world.said(IntentRefused)[0].reason == "price_over_policy"
        assert place.world.said(BudgetReleased)


def mandate(mandate_id: str = "m1", **changes: Any) -> MandateStatement:
    """Jobs of tests, up to 60 USD each and 130 USD in all, twice an hour, for a day."""
    fields: dict[str, Any] = {
        "site": SITE,
        "mandate_id": mandate_id,
        "agent": AGENT,
        "agent_key_id": id_of(AGENT),
        "purposes": ("test",),
        "devices": DEVICES,
        "data_classes": ("internal",),
        "cost_per_job_microusd": 60 * USD,
        "cost_total_microusd": 130 * USD,
        "jobs_per_period": 2,
        "period_us": HOUR_US,
        "starts_us": START_US,
        "expires_us": START_US + 24 * HOUR_US,
        "nonce": digest_of_parts("nonce"),
    }
    return MandateStatement(**fields | changes)


def mandated(place: Town, statement: MandateStatement, person: str = APPROVER) -> None:
    event = MandateGranted(statement=statement, person=person, proof=proof(person, b""))
    place.world.say(Role.GATEWAY, "gateway:main", signed(event, person))
    place.world.settle()


def under_mandates(**changes: Any) -> Town:
    place = town("human:1", " && !context.mandated")
    mandated(place, mandate(**changes))
    return place


def admitted_under(place: Town) -> list[tuple[str, str]]:
    return [(event.job_id, event.mandate_id) for event in place.world.said(IntentAdmitted)]


class TestAMandate:
    def test_lets_its_agent_run_what_people_would_be_asked_for(self) -> None:
        place = under_mandates()
        declare(place)
        assert admitted_under(place) == [("job-1", "m1")]

    def test_is_not_used_by_a_job_that_nobody_would_be_asked_for(self) -> None:
        place = under_mandates()
        declare(place, budget={"cost_microusd": USD, "shots": 10_000})
        assert admitted_under(place) == [("job-1", "")]

    @pytest.mark.parametrize(
        "changes",
        [
            {"purposes": ("chemistry",)},
            {"purposes": ()},
            {"devices": ()},
            {"data_classes": ("public",)},
            {"cost_per_job_microusd": 59 * USD},
            {"cost_total_microusd": 59 * USD},
            {"jobs_per_period": 0},
            {"starts_us": START_US + 1},
            {"expires_us": START_US},
            {"agent": "agent:other"},
            {"agent_key_id": "0" * 32},
            {"site": "site-b"},
        ],
        ids=str,
    )
    def test_covers_nothing_else(self, changes: dict[str, Any]) -> None:
        place = under_mandates(**changes)
        declare(place)
        assert place.world.said(ApprovalRequested)
        assert not place.world.said(IntentAdmitted)

    def test_ends_when_its_jobs_of_the_period_are_used(self) -> None:
        place = under_mandates(cost_total_microusd=1_000 * USD)
        for number in range(3):
            declare(place, f"job-{number}")
        assert len(admitted_under(place)) == 2

    def test_begins_anew_with_the_next_period(self) -> None:
        place = under_mandates(cost_total_microusd=1_000 * USD)
        for number in range(3):
            declare(place, f"job-{number}")
        place.world.now_us += HOUR_US
        declare(place, "job-3")
        assert admitted_under(place)[-1] == ("job-3", "m1")

    def test_ends_when_its_money_is_promised(self) -> None:
        place = under_mandates(jobs_per_period=10)
        for number in range(3):
            declare(place, f"job-{number}")
        assert len(admitted_under(place)) == 2

    def test_has_again_what_a_job_did_not_spend(self) -> None:
        place = town("human:1", " && !context.mandated", World().stages)
        mandated(place, mandate(jobs_per_period=10, cost_total_microusd=61 * USD))
        declare(place)
        play(place.world, cast_of(place.world))
        declare(place, "job-2")
        assert [job for job, _ in admitted_under(place)] == ["job-1", "job-2"]

    def test_bites_no_more_once_it_is_revoked(self) -> None:
        place = under_mandates()
        revoked = MandateRevoked(mandate_id="m1", person=SECOND, reason="enough", proof=proof(SECOND, b""))
        place.world.say(Role.GATEWAY, "gateway:main", signed(revoked, SECOND))
        declare(place)
        assert place.world.said(ApprovalRequested)

    def test_cannot_be_granted_again_after_that(self) -> None:
        place = under_mandates()
        revoked = MandateRevoked(mandate_id="m1", person=SECOND, reason="enough", proof=proof(SECOND, b""))
        place.world.say(Role.GATEWAY, "gateway:main", signed(revoked, SECOND))
        mandated(place, mandate())
        declare(place)
        assert place.world.said(ApprovalRequested)

    def test_counts_only_with_an_approvers_signature_over_its_very_words(self) -> None:
        place = town("human:1", " && !context.mandated")
        event = MandateGranted(statement=mandate(), person=APPROVER, proof=proof(APPROVER, b"something else"))
        place.world.say(Role.GATEWAY, "gateway:main", event)
        mandated(place, mandate("m2"), AGENT)
        declare(place)
        assert place.world.said(ApprovalRequested)

    def test_is_used_up_by_the_first_of_the_jobs_that_one_event_puts_anew(self) -> None:
        place = town("human:1", " && !context.mandated")
        for number in range(3):
            declare(place, f"job-{number}")
        mandated(place, mandate(jobs_per_period=1))
        listed = prices()
        place.govern(listed.model_copy(update={"classical_second_microusd": listed.classical_second_microusd + 1}))
        place.world.settle()
        assert admitted_under(place) == [("job-0", "m1")]
        assert len(place.world.said(ApprovalRequested)) == 5

    def test_is_counted_where_it_opens_but_the_second_of_a_jobs_devices(self) -> None:
        text = PERMIT + GATE.format(gate="human:1", but=" && resource.cloud && !context.mandated")
        place = Town(World(stages=(POLICY,))).found(rules(but=" && !context.mandated"))
        facts = tuple(DeviceFacts(device=each, is_cloud=each != DEVICES[0]) for each in DEVICES)
        place.govern(rules().model_copy(update={"rules": text, "device_facts": facts}))
        place.world.settle()
        mandated(place, mandate(devices=DEVICES[1:2], jobs_per_period=1))
        for number in range(2):
            declare(place, f"job-{number}")
        assert admitted_under(place) == [("job-0", "m1"), ("job-1", "")]
        first, second = place.world.said(IntentAdmitted)
        assert (first.devices, second.devices) == (DEVICES[:2], DEVICES[:1])

    def test_leaves_out_the_devices_that_only_another_mandate_opens(self) -> None:
        place = town("human:1", " && !context.mandated")
        mandated(place, mandate("m1", devices=DEVICES[:1]))
        mandated(place, mandate("m2", devices=DEVICES[1:2]))
        declare(place)
        [admitted] = place.world.said(IntentAdmitted)
        assert (admitted.mandate_id, admitted.devices) == ("m1", DEVICES[:1])

    def test_goes_by_the_class_of_data_that_a_job_inherits(self) -> None:
        place = under_mandates()
        secret, job = digest_of_parts("secret"), manifest("one", data_class="confidential")
        place.declare(job)
        place.world.settle()
        made = StepCompleted(job_id="one", step=0, kind="post", output_digest=secret)
        place.world.say(Role.SANDBOX, "sandbox:main", made)
        place.world.settle()
        declare(place, artifacts={"d": secret})
        assert place.world.said(ApprovalRequested, "job-1")

    def test_lets_nothing_run_that_rules_forbid(self) -> None:
        place = under_mandates()
        place.govern(rules(but=" && !context.mandated", cost_max_microusd=1))
        declare(place)
        assert place.world.said(IntentRefused)
