"""One signed grant, offered a thousand ways: it has one effect, and every other offer is refused with a reason."""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from schemas.events import ApprovalGranted, ApprovalRejected, ApprovalRequested, IntentAdmitted, KeyRevoked
from schemas.topics import Role
from streams.policy import POLICY, PolicyState
from streams.state import state_bytes, state_from
from tests.support.jobs import APPROVER, USD, Town, id_of, manifest, prices
from tests.support.world import World
from tests.unit.test_people_gate import SECOND, rules

OFFERS = 1_000
DEAR: dict[str, Any] = {"budget": {"cost_microusd": 60 * USD, "shots": 10_000}}


def restart(world: World) -> None:
    """Let policy go on from what it has saved of itself."""
    desk = next(desk for desk in world.desks if desk.stage is POLICY)
    desk.state = state_from(PolicyState, state_bytes(PolicyState, desk.state))


def offered(place: Town, event: ApprovalGranted) -> None:
    place.world.say(Role.GATEWAY, "gateway:main", event)
    place.world.settle()


def test_one_grant_has_one_effect_and_999_refusals_with_reasons() -> None:
    rng = Random(7)  # noqa: S311 -- an order by its seed, nothing secret
    place = Town(World(stages=(POLICY,))).found(rules("human:1"))
    place.enrol(SECOND, Role.APPROVER)
    for job_id in ("job-1", "job-2", "job-3"):
        place.declare(manifest(job_id, **DEAR))
    place.world.settle()
    grant = place.granted("job-1")
    digests = [event.statement.intent_digest for event in place.world.said(ApprovalRequested)]
    altered = [
        grant.model_copy(update={"job_id": "job-2"}),
        grant.model_copy(update={"job_id": "job-2", "intent_digest": digests[1]}),
        grant.model_copy(update={"job_id": "nobody"}),
        grant.model_copy(update={"intent_digest": digests[2]}),
        grant.model_copy(update={"approver": SECOND}),
        grant.model_copy(
            update={"proof": grant.proof.model_copy(update={"key_id": id_of(SECOND)}), "approver": SECOND}
        ),
        grant.model_copy(update={"proof": grant.proof.model_copy(update={"signature": grant.proof.signature[::-1]})}),
        grant.model_copy(update={"proof": grant.proof.model_copy(update={"proof_type": "sshsig"})}),
    ]
    for _ in range(300):
        offered(place, rng.choice(altered))
    assert not place.world.said(IntentAdmitted)

    offered(place, grant)
    assert [event.job_id for event in place.world.said(IntentAdmitted)] == ["job-1"]

    listed = prices()
    dearer = tuple(each.model_copy(update={"shot_microusd": 101}) for each in listed.devices)
    happenings: list[Callable[[], object]] = [
        lambda: restart(place.world),
        lambda: place.govern(listed.model_copy(update={"devices": dearer})),
        lambda: place.govern(rules("human:1", policy_id="policy-2")),
        lambda: setattr(place.world, "now_us", place.world.now_us + 60_000_000),
        lambda: place.declare(manifest("job-1", **DEAR)),
    ]
    for number in range(OFFERS - 301):
        if number % 50 == 0:
            rng.choice(happenings)()
        if number == 600:
            place.govern(KeyRevoked(key_id=id_of(APPROVER), reason="left"))
        offered(place, rng.choice([grant, *altered]))
    assert [event.job_id for event in place.world.said(IntentAdmitted)] == ["job-1"]
    assert len(place.world.said(ApprovalGranted)) == OFFERS
    reasons = Counter(event.reason for event in place.world.said(ApprovalRejected))
    assert sum(reasons.values()) == OFFERS - 1
    assert set(reasons) >= {"approval_not_waiting", "intent_other", "approver_unknown", "approval_proof_invalid"}


def test_a_grant_that_comes_after_its_time_has_none() -> None:
    place = Town(World(stages=(POLICY,))).found(rules("human:1"))
    place.declare(manifest(**DEAR))
    place.world.settle()
    grant = place.granted("job-1")
    place.world.now_us = place.world.said(ApprovalRequested)[0].statement.expires_us
    offered(place, grant)
    assert [event.reason for event in place.world.said(ApprovalRejected)] == ["approval_expired"]


def test_a_grant_for_another_site_has_none() -> None:
    place = Town(World(stages=(POLICY,))).found(rules("human:1"))
    place.declare(manifest(**DEAR))
    place.world.settle()
    statement = place.world.said(ApprovalRequested)[0].statement
    elsewhere = place.granted("job-1", statement=statement.model_copy(update={"site": "site-b"}))
    offered(place, elsewhere)
    assert [event.reason for event in place.world.said(ApprovalRejected)] == ["approval_proof_invalid"]
