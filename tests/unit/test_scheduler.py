"""Given an admitted job and offers, when devices answer or do not, then the scheduler chooses, asks and lets go."""

from typing import Any

import pytest

from schemas.events import (
    AlarmSet,
    DeviceStatusChanged,
    IntentAdmitted,
    JobFailed,
    PlacementDecided,
    PlacementOffered,
    ReservationExpired,
    ReservationGranted,
    ReservationRefused,
    ReservationReleased,
    ReservationRequested,
    StepPlanned,
)
from schemas.reasons import Reason
from schemas.topics import Role
from streams.policy import POLICY
from streams.scheduler import SCHEDULER, Limits, Request, choose
from streams.stage import Heard
from tests.support.actors import DIGEST, offered
from tests.support.jobs import DEVICES, USD, Town, manifest
from tests.support.world import START_US, World

LIMITS = Limits(min_fidelity=0.5, max_snapshot_age_us=1_000, statuses={}, tried={})
ADMITTED = IntentAdmitted(
    job_id="job-1",
    intent_digest=DIGEST,
    price_ceiling_microusd=2 * USD,
    shots_ceiling=1_000,
    devices=DEVICES,
    policy_digest=DIGEST,
    rule="",
)


def request(**changes: Any) -> Request:
    """A plain request to all three devices."""
    return Request.of(manifest(**changes), DEVICES, 2 * USD)


def verdicts(*offers: PlacementOffered, limits: Limits = LIMITS, **changes: Any) -> dict[str, str]:
    """The verdict on each candidate."""
    choice = choose(request(**changes), offers, limits, START_US)
    return {candidate.device: candidate.verdict for candidate in choice.candidates}


class TestTheChoice:
    @pytest.mark.parametrize(
        ("objective", "best"),
        [("fastest", "chip"), ("cheapest", "noisy"), ("most-faithful", "trap"), ("balanced", "noisy")],
    )
    def test_follows_the_objective(self, objective: str, best: str) -> None:
        offers = (
            offered(ADMITTED, "chip", queue_wait_us=0, price_microusd=USD),
            offered(ADMITTED, "noisy", queue_wait_us=1_000_000, price_microusd=10_000),
            offered(ADMITTED, "trap", queue_wait_us=10**9, price_microusd=USD),
        )
        assert verdicts(*offers, objective=objective)[best] == "chosen"

    def test_scores_balance_by_the_stated_formula(self) -> None:
        offers = (
            offered(ADMITTED, "chip", queue_wait_us=0, run_duration_us=9_000_000, price_microusd=90_000),
            offered(
                ADMITTED,
                "trap",
                queue_wait_us=0,
                run_duration_us=19_000_000,
                price_microusd=190_000,
                predicted_success=0.47,
            ),
        )
        scores = {each.device: each.score for each in choose(request(), offers, LIMITS, START_US).candidates}
        assert scores == {"chip": 1.0, "noisy": 0.0, "trap": (0.5 + 0.5 + 2 * 0.5) / 4}

    def test_between_equals_takes_the_better_balanced_one(self) -> None:
        offers = (offered(ADMITTED, "chip", price_microusd=USD), offered(ADMITTED, "noisy", price_microusd=USD))
        assert verdicts(*offers, objective="cheapest")["chip"] == "chosen"

    def test_between_twins_takes_the_first_by_name_whatever_the_order_of_offers(self) -> None:
        twins = [offered(ADMITTED, name, predicted_success=0.9, queue_wait_us=5) for name in ("noisy", "chip")]
        assert verdicts(*twins)["chip"] == verdicts(*reversed(twins))["chip"] == "chosen"

    @pytest.mark.parametrize(
        ("offer", "changes", "expected"),
        [
            ({"fits": False, "reason": "too few qubits"}, {}, "does_not_fit"),
            ({}, {"quantum": {"backend_requirements": {"topology": "ion-trap"}}}, "topology"),
            ({"two_qubit_fidelity": 0.499}, {}, "min_fidelity"),
            ({}, {"quantum": {"backend_requirements": {"min_fidelity": 0.97}}}, "min_fidelity"),
            ({}, {"quantum": {"backend_requirements": {"min_success": 0.95}}}, "min_success"),
            ({"snapshot_taken_us": START_US - 1_001}, {}, "snapshot_too_old"),
            ({"snapshot_taken_us": START_US - 1}, {"max_calibration_age_s": 0}, "snapshot_too_old"),
            ({"price_microusd": 2 * USD + 1}, {}, "price_above_ceiling"),
            ({"queue_wait_us": 1, "run_duration_us": 1}, {"deadline_us": START_US + 1}, "queue_past_deadline"),
        ],
    )
    def test_rules_out(self, offer: dict[str, Any], changes: dict[str, Any], expected: str) -> None:
        if "quantum" in changes:
            changes = {"quantum": manifest().quantum.model_dump() | changes["quantum"]}
        assert verdicts(offered(ADMITTED, "chip", **offer), **changes)["chip"] == expected

    @pytest.mark.parametrize("status", ["offline", "draining", "retired"])
    def test_rules_out_a_device_that_takes_no_jobs(self, status: str) -> None:
        limits = Limits(0.5, 1_000, {"chip": status}, {})
        assert verdicts(offered(ADMITTED, "chip"), limits=limits)["chip"] == status

    def test_rules_out_a_device_that_was_tried(self) -> None:
        limits = Limits(0.5, 1_000, {}, {"chip": Reason.RESERVATION_REFUSED})
        assert verdicts(offered(ADMITTED, "chip"), limits=limits)["chip"] == "reservation_refused"

    def test_rules_out_a_device_that_made_no_offer_or_was_not_named(self) -> None:
        assert verdicts(offered(ADMITTED, "other")) == {
            "chip": "no_offer",
            "noisy": "no_offer",
            "other": "not_allowed",
            "trap": "no_offer",
        }

    def test_names_a_known_device_that_the_job_may_not_have(self) -> None:
        assert verdicts(limits=Limits(0.5, 1_000, {"other": "online"}, {}))["other"] == "not_allowed"

    def test_lets_limits_be_met_exactly(self) -> None:
        exact = offered(
            ADMITTED,
            "chip",
            two_qubit_fidelity=0.5,
            snapshot_taken_us=START_US - 1_000,
            price_microusd=2 * USD,
            queue_wait_us=1,
            run_duration_us=1,
        )
        assert verdicts(exact, deadline_us=START_US + 2)["chip"] == "chosen"

    def test_says_why_in_a_sentence(self) -> None:
        offers = (offered(ADMITTED, "chip"), offered(ADMITTED, "trap"), offered(ADMITTED, "noisy", fits=False))
        assert choose(request(), offers, LIMITS, START_US).why == (
            "chip has the best balance of fidelity, time and price: predicted success 0.9400, 11.0 s to wait and run, "
            "1.00 USD. Next is trap, which scores 0.7923 against 0.9845. Ruled out: noisy (does_not_fit)."
        )

    def test_says_why_there_is_none(self) -> None:
        why = choose(request(), (), LIMITS, START_US).why
        assert why == "No device may run this job: chip (no_offer); noisy (no_offer); trap (no_offer)."


class Site:
    """A site where policy and scheduler work, and devices say what a test lets them say."""

    def __init__(self) -> None:
        self.town = Town(World(stages=(POLICY, SCHEDULER))).found()
        self.world = self.town.world

    def admit(self, **changes: Any) -> Heard:
        """Have a job admitted."""
        self.town.declare(manifest(**changes))
        self.world.settle()
        return next(heard for heard in self.world.log if isinstance(heard.event, IntentAdmitted))

    def offer(self, admitted: Heard, *devices: str, source: str = "") -> None:
        """Let devices offer."""
        for device in devices:
            assert isinstance(admitted.event, IntentAdmitted)
            self.device(device, offered(admitted.event, device), admitted, source=source)

    def device(self, name: str, event: Any, *causes: Heard, source: str = "") -> None:
        """Let a device speak, and the stages hear it."""
        self.world.say(Role.DEVICE, source or f"device:{name}", event, *causes)
        self.world.settle()

    def ask(self) -> ReservationRequested:
        """Bring a job to where a slot is asked for."""
        self.offer(self.admit(), *DEVICES)
        return self.requests()[-1]

    def requests(self) -> list[ReservationRequested]:
        return self.world.said(ReservationRequested)

    def answer(self, request: ReservationRequested, kind: type[Any], source: str = "") -> None:
        """Let the device that was asked answer."""
        fields: dict[str, Any] = {
            "job_id": request.job_id,
            "reservation_id": request.reservation_id,
            "device": request.device,
        }
        if kind is ReservationRefused:
            fields["reason"] = "busy"
        if kind is ReservationGranted:
            fields |= {"token_digest": DIGEST, "queue_position": 0, "starts_us": 0, "expires_us": 1}
        self.device(request.device, kind(**fields), source=source)


class TestAJobIsPlaced:
    def test_when_the_last_device_has_offered(self) -> None:
        site = Site()
        admitted = site.admit()
        site.offer(admitted, "chip", "noisy")
        assert not site.world.said(PlacementDecided)
        site.offer(admitted, "trap")
        assert [each.device for each in site.requests()] == ["chip"]

    def test_when_the_alarm_rings(self) -> None:
        site = Site()
        site.offer(site.admit(), "trap")
        assert site.world.said(AlarmSet)[0].rings_us == START_US + 30_000_000
        site.world.ring()
        site.world.settle()
        assert [each.device for each in site.requests()] == ["trap"]

    def test_without_waiting_for_a_device_off_line(self) -> None:
        site = Site()
        site.device("noisy", status("noisy", "offline"))
        site.offer(site.admit(), "chip", "trap")
        assert {each.device: each.verdict for each in site.world.said(PlacementDecided)[0].candidates} == {
            "chip": "chosen",
            "noisy": "offline",
            "trap": "outscored",
        }

    def test_nowhere_where_no_device_may_run_it(self) -> None:
        site = Site()
        site.admit()
        site.world.ring()
        site.world.settle()
        assert [each.device for each in site.world.said(PlacementDecided)] == [""]
        assert site.requests() == []

    def test_by_no_offer_that_another_makes_in_a_devices_name(self) -> None:
        site = Site()
        site.offer(site.admit(), *DEVICES, source="device:liar")
        assert not site.world.said(PlacementDecided)

    def test_for_its_ceilings(self) -> None:
        asked = Site().ask()
        assert (asked.shots, asked.price_ceiling_microusd, asked.duration_us) == (10_000, 10 * USD, 10_000_000)


class TestASlotIsLookedForElsewhere:
    @pytest.mark.parametrize(
        ("kind", "verdict"),
        [(ReservationRefused, "reservation_refused"), (ReservationExpired, "reservation_expired")],
    )
    def test_after_a_device_said_no(self, kind: type[Any], verdict: str) -> None:
        site = Site()
        site.answer(site.ask(), kind)
        assert [each.device for each in site.requests()] == ["chip", "trap"]
        assert site.world.said(PlacementDecided)[1].candidates[0].verdict == verdict
        assert not site.world.said(ReservationReleased)

    def test_after_a_device_said_nothing_and_its_slot_is_given_back(self) -> None:
        site = Site()
        first = site.ask()
        site.world.ring()
        site.world.ring()
        site.world.settle()
        assert [each.device for each in site.requests()] == ["chip", "trap"]
        released = site.world.said(ReservationReleased)[0]
        assert (released.reservation_id, released.reason) == (first.reservation_id, "reservation_unanswered")

    def test_by_another_name_each_time_until_none_is_left(self) -> None:
        site = Site()
        site.ask()
        for _ in range(2):
            site.answer(site.requests()[-1], ReservationRefused)
        assert len({each.reservation_id for each in site.requests()}) == 2
        assert site.world.said(PlacementDecided)[-1].device == ""

    def test_after_a_held_slot_expired_unused(self) -> None:
        site = Site()
        first = site.ask()
        site.answer(first, ReservationGranted)
        site.answer(first, ReservationExpired)
        assert [each.device for each in site.requests()] == ["chip", "trap"]

    def test_not_after_a_run_was_planned_on_it(self) -> None:
        site = Site()
        first = site.ask()
        site.answer(first, ReservationGranted)
        planned = StepPlanned(
            job_id="job-1", step=0, kind="quantum", iteration=0, reservation_id=first.reservation_id, seed=0
        )
        site.world.say(Role.ORCHESTRATOR, "stage:orchestrator", planned)
        site.answer(first, ReservationExpired)
        assert len(site.requests()) == 1

    def test_not_for_the_refusal_of_another_slot_or_by_another_device(self) -> None:
        site = Site()
        first = site.ask()
        site.answer(first.model_copy(update={"reservation_id": "other"}), ReservationRefused)
        site.answer(first, ReservationRefused, source="device:trap")
        assert len(site.requests()) == 1


class TestASlotIsGivenBack:
    @pytest.mark.parametrize("is_held", [True, False])
    def test_when_its_job_ends(self, is_held: bool) -> None:
        site = Site()
        first = site.ask()
        if is_held:
            site.answer(first, ReservationGranted)
        ended = JobFailed(job_id="job-1", reason="step_failed", message="")
        site.world.say(Role.ORCHESTRATOR, "stage:orchestrator", ended)
        site.world.say(Role.ORCHESTRATOR, "stage:orchestrator", ended)
        site.world.settle()
        assert [each.reservation_id for each in site.world.said(ReservationReleased)] == [first.reservation_id]
        assert not site.world.state(SCHEDULER).jobs
        assert not site.world.state(SCHEDULER).alarms


def status(device: str, word: Any) -> DeviceStatusChanged:
    """A device says how it is."""
    return DeviceStatusChanged(device=device, status=word, queue_jobs=0, queue_wait_us=0)
