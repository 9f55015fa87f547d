"""Least privilege: one table says what a role may write, every reader goes by it, and the page of roles shows it."""

from pathlib import Path

import pytest

from schemas.admission import Admitted, Refused
from schemas.envelope import Inputs
from schemas.roles import DUTIES, events_of, roles_page
from schemas.topics import PEOPLE, STAGES, WRITERS, Role
from schemas.words import Event
from tests.support.golden import sample
from tests.support.signed import Signers, enrolment

PAGE = Path(__file__).parents[2] / "docs" / "roles.md"
ENROLLED = [role for role in Role if role is not Role.ROOT]


def verdicts(role: Role) -> dict[tuple[str, str], str]:
    """What a reader says to every type of event on every topic, said under a key of a role: `admitted`, or a code."""
    signers = Signers()
    source = "device:a-name" if role is Role.DEVICE else f"{role.value}:someone"
    devices = ("a-name",) if role is Role.DEVICE else ()
    [enrolled] = signers.judge(*signers.batch("root", enrolment(source, role.value, devices)))
    assert isinstance(enrolled, Admitted)
    found: dict[tuple[str, str], str] = {}
    for topic in WRITERS:
        for event_type in Event.types.values():
            inputs = Inputs(len(found) + 1, 1, (("governance", 1),)) if role in STAGES else None
            [verdict] = signers.judge(signers.one(source, sample(event_type), topic, inputs=inputs))
            found[topic, event_type.__name__] = verdict.reason if isinstance(verdict, Refused) else "admitted"
    return found


@pytest.mark.parametrize("role", ENROLLED, ids=lambda role: role.value)
def test_a_role_may_write_what_the_table_says_and_nothing_else(role: Role) -> None:
    told = verdicts(role)
    allowed = {(topic, name) for topic, names in events_of(role).items() for name in names}
    forbidden = {place for place, reason in told.items() if reason == "role_forbidden"}
    assert forbidden == set(told) - allowed


def test_people_and_agents_write_nothing_themselves() -> None:
    assert [events_of(role) for role in (*sorted(PEOPLE), Role.AGENT)] == [{}, {}, {}]


def test_a_decision_is_written_by_one_stage_alone() -> None:
    shared = {"AlarmSet", "EventRejected", "InputsNoted"}
    for types in WRITERS.values():
        for event_type, roles in types.items():
            if roles & STAGES and event_type.__name__ not in shared:
                assert len(roles) == 1, event_type


def test_nobody_but_root_and_admins_governs_without_a_persons_proof() -> None:
    for event_type, roles in WRITERS["governance"].items():
        has_proof = "proof" in event_type.model_fields
        assert roles == frozenset({Role.ROOT, Role.ADMIN}) | ({Role.GATEWAY} if has_proof else frozenset()), event_type


def test_every_role_has_its_line() -> None:
    assert set(DUTIES) == set(Role)


def test_the_page_of_roles_is_what_the_table_gives() -> None:
    assert PAGE.read_text() == roles_page(), "run `python -m schemas.roles > docs/roles.md`"
