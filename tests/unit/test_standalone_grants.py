"""The stand-alone verifier on approvals that several persons gave, and on words that are said to be a person's."""

from typing import Any

import pytest

from replay import standalone
from schemas.events import HaltOrdered
from schemas.keys import raw_public_key
from tests.support.bundled import bundled
from tests.support.golden_log import GRANTED
from tests.support.jobs import halted, id_of, key_of
from tests.support.world import SITE

ADA, BEN, DIGEST = "approver:ada", "operator:ben", "1" * 64


def told(kind: str, fields: dict[str, Any]) -> standalone.Event:
    """An event as the verifier holds it, once its seal was found to hold."""
    record: Any = standalone.read_bundle(bundled(GRANTED)).records[0]
    root = standalone.Key("0", b"", "root", "root", [])
    return standalone.Event(record, kind, fields, DIGEST, root, 1, 0, [])


def findings(admitted: dict[str, Any], *grants: str) -> list[str]:
    verification = standalone._Verification(standalone.read_bundle(bundled(GRANTED)), b"", None)
    event = told("IntentAdmitted", {"intent_digest": DIGEST} | admitted)
    verification._check_admission(event, None, {(each, DIGEST) for each in grants})
    return [each.detail for each in verification.report.findings]


def test_each_approver_of_an_admission_must_have_granted_it() -> None:
    admitted = {"approver": BEN, "approvers": [ADA, BEN]}
    assert findings(admitted, ADA, BEN) == []
    assert findings(admitted, BEN) == [f"the grant of {ADA} is not there"]
    assert findings(admitted) == [f"the grant of {ADA} is not there", f"the grant of {BEN} is not there"]


def test_an_admission_of_an_older_log_names_one() -> None:
    assert findings({"approver": ADA}) == [f"the grant of {ADA} is not there"]
    assert findings({"approver": ""}) == []


def check(order: HaltOrdered, **changes: Any) -> None:
    name = order.proof.key_id
    key = standalone.Key(name, raw_public_key(key_of(BEN)), BEN, "operator", [])
    standalone.check_person(told("HaltOrdered", order.model_dump() | changes), SITE, {name: key})


def test_a_halt_that_its_person_signed_holds() -> None:
    check(halted("h1", "site", SITE, BEN))


@pytest.mark.parametrize("changes", [{"reason": "none"}, {"target": "site-b"}, {"person": ADA}, {"ordered_us": 2**60}])
def test_one_with_other_words_does_not(changes: dict[str, Any]) -> None:
    with pytest.raises(standalone.Wrong):
        check(halted("h1", "site", SITE, BEN), **changes)


def test_one_by_a_role_that_halts_nothing_does_not() -> None:
    key = standalone.Key(id_of(BEN), raw_public_key(key_of(BEN)), BEN, "agent", [])
    with pytest.raises(standalone.Wrong, match="in a role that may say this"):
        standalone.check_person(
            told("HaltOrdered", halted("h1", "site", SITE, BEN).model_dump()), SITE, {id_of(BEN): key}
        )
