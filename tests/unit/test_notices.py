"""Whom the notifier tells what, and when; nothing is sent here."""

from collections.abc import Callable
from dataclasses import replace

from agents.notices import Addressee, Board, Notice, Plan
from schemas.events import (
    ApprovalCounted,
    ApprovalRequested,
    ApprovalStatement,
    HaltOrdered,
    IntentAdmitted,
    KeyEnrolled,
    RunCancelDecided,
)
from schemas.keys import raw_public_key
from schemas.topics import Role
from schemas.words import Event
from tests.support.jobs import APPROVER, halted, id_of, key_of
from tests.support.world import SITE, START_US, World

MINUTE_US = 60_000_000
ADA, BEN, CAT = "approver:ada", "approver:ben", "approver:cat"
PEOPLE = tuple(Addressee(name, email=f"{name[9:]}@lab.example") for name in (ADA, BEN, CAT))
PLAN = Plan(PEOPLE, escalate_us=30 * MINUTE_US, remind_us=60 * MINUTE_US)
EXPIRES_US = START_US + 24 * 60 * MINUTE_US


def requested(quorum: int = 1, roles: tuple[str, ...] = ()) -> ApprovalRequested:
    statement = ApprovalStatement(
        site=SITE,
        job_id="job-1",
        purpose="calibration\r\nBcc: all@lab.example",
        intent_digest="1" * 64,
        template_digests=(),
        program_digests=(),
        shots=1,
        price_ceiling_microusd=60_000_000,
        policy_digest="2" * 64,
        expires_us=EXPIRES_US,
        nonce="3" * 64,
        quorum=quorum,
        roles=roles,
    )
    return ApprovalRequested(job_id="job-1", rule="dear", message="it is dear", statement=statement)


class Hearing:
    """A board that hears events as they are said."""

    def __init__(self, plan: Plan = PLAN, began_us: int = START_US, reasons: Callable[[str], str] = str) -> None:
        self.world = World(stages=())
        self.board = Board(plan, began_us, reasons)

    def say(self, role: Role, event: Event) -> "Hearing":
        self.board.hear(self.world.say(role, f"{role}:main", event))
        return self

    def due(self, after_min: int) -> list[Notice]:
        now_us = START_US + after_min * MINUTE_US
        return [each for each in self.board.notices(now_us) if each.due_us <= now_us]

    def told(self, after_min: int) -> list[tuple[str, str]]:
        return [(each.kind, each.to) for each in self.due(after_min)]


def waiting(plan: Plan = PLAN, **request: object) -> Hearing:
    return Hearing(plan).say(Role.POLICY, requested(**request))  # type: ignore[arg-type]  # what a request is made of


def test_one_person_is_asked_at_once() -> None:
    assert waiting().told(0) == [("approval", ADA)]


def test_the_next_is_asked_when_nobody_has_answered() -> None:
    assert waiting().told(30) == [("approval", ADA), ("escalation", BEN)]
    assert waiting().told(60) == [("approval", ADA), ("escalation", BEN), ("escalation", CAT)]


def test_as_many_are_asked_at_once_as_must_say_yes() -> None:
    assert waiting(quorum=2).told(0) == [("approval", ADA), ("approval", BEN)]


def test_who_has_said_yes_is_not_asked_again() -> None:
    counted = ApprovalCounted(job_id="job-1", intent_digest="1" * 64, approver=ADA, duties=(), persons=1, quorum=2)
    assert waiting(quorum=2).say(Role.POLICY, counted).told(0) == [("approval", BEN)]


def test_a_person_with_the_duty_is_asked_first() -> None:
    hearing = Hearing()
    hearing.say(
        Role.ROOT,
        KeyEnrolled(
            key_id=id_of(CAT), public_key=raw_public_key(key_of(CAT)), source=CAT, role="approver", duties=("finance",)
        ),
    )
    assert hearing.say(Role.POLICY, requested(roles=("finance",))).told(0) == [("approval", CAT)]


def test_whoever_was_told_is_reminded_before_it_expires() -> None:
    hearing = waiting()
    before = 23 * 60
    assert ("reminder", ADA) not in hearing.told(before - 1)
    assert {("reminder", ADA), ("reminder", BEN), ("reminder", CAT)} <= set(hearing.told(before))


def test_nobody_is_told_of_what_has_been_answered() -> None:
    admitted = IntentAdmitted(
        job_id="job-1",
        intent_digest="1" * 64,
        price_ceiling_microusd=1,
        shots_ceiling=1,
        devices=(),
        policy_digest="2" * 64,
        rule="dear",
    )
    assert waiting().say(Role.POLICY, admitted).told(60) == []


def test_nobody_is_told_of_what_has_expired() -> None:
    assert waiting().told(24 * 60) == []


def test_while_a_person_is_away_their_delegate_is_told() -> None:
    away = replace(PEOPLE[0], delegate=CAT, away_from_us=START_US, away_until_us=START_US + MINUTE_US)
    hearing = waiting(replace(PLAN, people=(away, *PEOPLE[1:])))
    [notice] = hearing.due(0)
    assert notice.to == CAT
    assert f"in place of {ADA}" in notice.text
    assert hearing.told(1) == [("approval", ADA)]


def test_delegates_in_a_ring_do_not_end_in_silence() -> None:
    ring = [
        replace(each, delegate=other.name, away_from_us=0, away_until_us=2 * START_US)
        for each, other in zip(PEOPLE, (*PEOPLE[1:], PEOPLE[0]), strict=True)
    ]
    assert waiting(replace(PLAN, people=ring)).told(0) == [("approval", ADA)]


def test_a_reason_that_the_vault_keeps_is_told_in_one_line() -> None:
    plan = replace(PLAN, alarms=(BEN,))
    hearing = Hearing(plan, reasons=lambda pointer: f"{pointer}: smoke\r\nBcc: all@lab.example")
    halt: HaltOrdered = halted("h1", "site", SITE, APPROVER)
    [notice] = hearing.say(Role.GATEWAY, halt).due(0)
    assert f"{halt.person}: {halt.reason}: smoke" in notice.text
    assert "\r" not in notice.text


def test_guard_alarms_and_halts_reach_everybody_who_is_named_for_them() -> None:
    hearing = Hearing(replace(PLAN, alarms=(BEN,)))
    decided = RunCancelDecided(job_id="job-1", step=0, reason="cost_overrun", message="dear", rule="r")
    hearing.say(Role.GUARD, decided).say(Role.GATEWAY, halted("h1", "site", SITE, APPROVER))
    assert hearing.told(0) == [("alarm", BEN), ("halt", BEN)]


def test_what_happened_before_it_began_is_not_told() -> None:
    hearing = Hearing(began_us=START_US + MINUTE_US)
    halt: HaltOrdered = halted("h1", "site", SITE, APPROVER)
    assert hearing.say(Role.GATEWAY, halt).told(60) == []


def test_what_waits_since_before_it_began_is_told() -> None:
    hearing = Hearing(began_us=START_US + MINUTE_US)
    assert hearing.say(Role.POLICY, requested()).told(1) == [("approval", ADA)]


def test_a_strangers_text_stays_in_its_line() -> None:
    [notice] = waiting().due(0)
    assert "\r" not in notice.text
    assert not [line for line in notice.text.splitlines() if line.startswith("Bcc")]


def test_the_same_is_made_under_the_same_id_again() -> None:
    assert [each.notice_id for each in waiting().due(60)] == [each.notice_id for each in waiting().due(60)]
