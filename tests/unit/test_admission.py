import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from schemas.admission import CLOCK_SKEW_US_MAX, UNREAD, Admission, Admitted, Refused
from schemas.codec import decode_all, frame
from schemas.envelope import (
    HEADER_BYTES_MAX,
    VALUE_BYTES_MAX,
    Cause,
    Inputs,
    Record,
    Stray,
    headers_of,
    received,
    record_digest,
    time_text,
)
from schemas.events import (
    AlarmRang,
    BudgetHeld,
    DeviceStatusChanged,
    GapAccepted,
    IntentRefused,
    IntentWithdrawn,
    KeyEnrolled,
    KeyRevoked,
    SchemaPublished,
)
from schemas.keys import key_id, raw_public_key
from schemas.seal import BATCH_MAX, seal_batch
from schemas.words import Event
from streams.author import Draft, Scribe, seal_all
from tests.support.signed import NOW_US, SCHEMAS, SITE, Signers, enrolment, private_key

WITHDRAWN = IntentWithdrawn(job_id="job-1", agent_key_id="k", agent_proof="p", reason="r")
RANG = AlarmRang(alarm_id="a", rings_us=1)
STATUS = DeviceStatusChanged(device="trap", status="online", queue_jobs=0, queue_wait_us=0)
LOW_ORDER = bytes(32)
Records = Sequence[Record | Stray]


def withdrawn(signers: Signers) -> Record:
    return signers.one("gateway:main", WITHDRAWN, "intents")


def changed(**changes: Any) -> Callable[[Signers], Records]:
    """A withdrawal changed after it was sealed."""
    return lambda signers: [withdrawn(signers)._replace(**changes)]


def resealed(**changes: Any) -> Callable[[Signers], Records]:
    """A withdrawal that its own author sealed in another form than the bus writes."""
    return lambda signers: [signers.resealed(withdrawn(signers), **changes)]


def with_headers(
    change: Callable[[list[tuple[str, bytes]]], object], key: bytes | None = b"site-a"
) -> Callable[..., Records]:
    """A withdrawal as a broker hands it over, with other headers."""

    def records(signers: Signers) -> Records:
        record = withdrawn(signers)
        headers = list(headers_of(record))
        change(headers)
        return [received(record.topic, key, record.value, headers)]

    return records


def with_seal(change: Callable[[bytes], bytes]) -> Callable[[Signers], Records]:
    def records(signers: Signers) -> Records:
        record = withdrawn(signers)
        return [record._replace(seal=change(record.seal))]

    return records


def governed(*events: Event, source: str = "root") -> Callable[[Signers], Records]:
    return lambda signers: signers.batch(source, *events)


def after_revocation(signers: Signers) -> Records:
    key = enrolment("gateway:main", "gateway").key_id
    signers.judge(*signers.batch("root", KeyRevoked(key_id=key, reason="lost")))
    return [withdrawn(signers)]


def skipping_one(signers: Signers) -> Records:
    withdrawn(signers)
    return [withdrawn(signers)]


def said_twice(signers: Signers) -> Records:
    record = withdrawn(signers)
    return [record, record]


def naming_another_event(signers: Signers) -> Records:
    return [withdrawn(signers), signers.resealed(withdrawn(signers), causes="intents/gateway:main/1/" + "0" * 64)]


def naming_another_neighbour(signers: Signers) -> Records:
    lie = Cause("intents", "gateway:main", 1, "0" * 64)
    scribe = signers.scribes.setdefault("gateway:main", Scribe("gateway:main", SITE, SCHEMAS))
    drafts = [Draft("intents", WITHDRAWN, "job-1", NOW_US, causes) for causes in ((), (lie,))]
    return seal_all([scribe.write(draft) for draft in drafts], private_key("gateway:main"))


def by_another_key(signers: Signers) -> Records:
    """Sealed by a member with its own key, under the name of another member."""
    record = withdrawn(signers)
    return [signers.resealed(record._replace(source="clock:main"))._replace(source="gateway:main")]


def under_a_stolen_key_id(signers: Signers) -> Records:
    record = withdrawn(signers)
    [other] = seal_batch([record], [record_digest(record, SCHEMAS[record.type].digest)], private_key("clock:main"))
    return [record._replace(seal=record.seal[:17] + other.seal[17:])]


def of_a_stranger(signers: Signers) -> Records:
    return [signers.one("stranger:main", WITHDRAWN, "intents")]


def dated(ahead_us: int) -> Callable[[Signers], Records]:
    return resealed(time=time_text(NOW_US + ahead_us))


def decided(**changes: Any) -> Callable[[Signers], Records]:
    def records(signers: Signers) -> Records:
        held = BudgetHeld(job_id="job-1", amount_microusd=1)
        return [signers.resealed(signers.one("stage:policy", held, "approvals"), **changes)]

    return records


def of_schema(name: str, body: bytes) -> Callable[[Signers], Records]:
    return resealed(value=frame(SCHEMAS[name].schema_id, body))


REFUSED: dict[str, tuple[str, Callable[[Signers], Records]]] = {
    "no value": ("tombstone", lambda _: [Stray("intents", b"site-a", None, ())]),
    "no key": ("key_malformed", with_headers(lambda _: None, key=None)),
    "a key that is no text": ("key_malformed", with_headers(lambda _: None, key=b"site\n")),
    "a header short": ("header_missing", with_headers(lambda headers: headers.pop(3))),
    "no headers": ("header_missing", lambda _: [Stray("intents", b"site-a", b"x", ())]),
    "a header more": ("header_unknown", with_headers(lambda headers: headers.append(("x-more", b"")))),
    "a header twice": ("header_repeated", with_headers(lambda headers: headers.append(headers[2]))),
    "headers in another order": ("header_order", with_headers(lambda headers: headers.reverse())),
    "a quotation mark": ("header_malformed", with_headers(lambda h: h.__setitem__(2, ("ce_id", b'a"b')))),
    "another specversion": ("header_malformed", with_headers(lambda h: h.__setitem__(0, ("ce_specversion", b"1.1")))),
    "a quotation mark, decoded": ("header_malformed", changed(subject='job-1","x":"')),
    "a line break, decoded": ("header_malformed", changed(id="a\nb")),
    "no ASCII, decoded": ("header_malformed", changed(subject="jób")),
    "headers too long": ("header_oversized", resealed(subject="s" * HEADER_BYTES_MAX)),
    "a seal too long": ("header_oversized", changed(seal=b"\1" * (HEADER_BYTES_MAX + 1))),
    "a value too long": ("value_oversized", resealed(value=frame(2, bytes(VALUE_BYTES_MAX)))),
    "moved to another site": ("site_foreign", changed(key="site-b")),
    "a seal cut short": ("seal_malformed", with_seal(lambda seal: seal[:-1])),
    "a seal of another version": ("seal_malformed", with_seal(lambda seal: b"\2" + seal[1:])),
    "a place past the batch": ("seal_malformed", with_seal(lambda seal: seal[:81] + b"\0\0\0\1\0\0\0\1")),
    "a batch too large": ("seal_malformed", with_seal(lambda s: s[:85] + (BATCH_MAX + 1).to_bytes(4, "big"))),
    "a frame cut short": ("frame_malformed", changed(value=b"\0\0\0")),
    "another magic byte": ("frame_malformed", changed(value=b"\1\0\0\0\2body")),
    "an unpublished schema": ("schema_unknown", changed(value=frame(999, b""))),
    "another type's schema": ("type_mismatch", changed(value=frame(1, b""))),
    "another type": ("type_mismatch", changed(type="qpubus.IntentDeclared")),
    "a key nobody enrolled": ("key_unknown", of_a_stranger),
    "another's name": ("source_forbidden", changed(source="clock:main")),
    "another's key": ("source_forbidden", by_another_key),
    "another's key id": ("seal_broken", under_a_stolen_key_id),
    "moved to another topic": ("seal_broken", changed(topic="results")),
    "another subject": ("seal_broken", changed(subject="job-2")),
    "another time": ("seal_broken", changed(time=time_text(NOW_US - 1))),
    "another sequence": ("seal_broken", changed(sequence="2")),
    "other causes": ("seal_broken", changed(causes="intents/gateway:main/1/" + "0" * 64)),
    "other inputs": ("seal_broken", changed(inputs="1/1")),
    "another trace": ("seal_broken", changed(traceparent="00-1")),
    "another id": ("seal_broken", changed(id="other")),
    "another body": ("seal_broken", lambda s: [(r := withdrawn(s))._replace(value=r.value + b"\0")]),
    "another signature": ("seal_broken", with_seal(lambda seal: seal[:80] + bytes([seal[80] ^ 1]) + seal[81:])),
    "a path too long": ("seal_broken", with_seal(lambda seal: seal + bytes(32))),
    "a larger batch": ("seal_broken", with_seal(lambda seal: seal[:85] + b"\0\0\0\2" + bytes(32))),
    "a revoked key": ("key_revoked", after_revocation),
    "a number with a zero before it": ("sequence_malformed", resealed(sequence="01")),
    "a number said twice": ("sequence_repeated", said_twice),
    "a number skipped": ("sequence_gap", skipping_one),
    "the wrong role": ("role_forbidden", lambda s: [s.one("gateway:main", RANG, "alarms")]),
    "the wrong topic": ("role_forbidden", lambda s: [s.one("gateway:main", WITHDRAWN, "approvals")]),
    "a topic nobody writes to": ("role_forbidden", lambda s: [s.one("gateway:main", WITHDRAWN, "elsewhere")]),
    "a time without decimals": ("time_malformed", resealed(time="2026-11-22T12:00:00Z")),
    "a time in another zone": ("time_malformed", resealed(time="2026-11-22T12:00:00.00000+01:00")),
    "a day that is none": ("time_malformed", resealed(time="2026-02-30T12:00:00.000000Z")),
    "decimals that are none": ("time_malformed", resealed(time="2026-11-22T12:00:00.0000 0Z")),
    "dated ahead": ("time_ahead", dated(CLOCK_SKEW_US_MAX + 1)),
    "a cause that names nothing": ("causes_malformed", resealed(causes="intents")),
    "two blanks between causes": ("causes_malformed", resealed(causes="  ")),
    "too many causes": ("causes_malformed", resealed(causes=" ".join(["a/b/1/" + "0" * 64] * 65))),
    "a cause not read": ("cause_absent", resealed(causes="alarms/clock:main/1/" + "0" * 64)),
    "another event as a cause": ("cause_differs", naming_another_event),
    "another event of its batch as a cause": ("cause_differs", naming_another_neighbour),
    "itself as a cause": ("cause_absent", resealed(causes="intents/gateway:main/1/" + "0" * 64)),
    "inputs of no stage": ("inputs_malformed", resealed(inputs="1/1")),
    "a stage without inputs": ("inputs_malformed", decided(inputs="")),
    "a run of none": ("inputs_malformed", decided(inputs="1/1 intents:0")),
    "a run of no topic": ("inputs_malformed", decided(inputs="1/1 3")),
    "too many runs": ("inputs_malformed", decided(inputs="1/1" + " intents:1" * 257)),
    "a body cut short": ("body_undecodable", of_schema("qpubus.IntentWithdrawn", b"\x0a")),
    "a body too long": ("body_undecodable", lambda s: [s.resealed(r := withdrawn(s), value=r.value + b"\0")]),
    "a list of millions": ("body_undecodable", of_schema("qpubus.IntentWithdrawn", b"\xfe\xff\xff\xff\x0f")),
    "a value out of range": ("body_undecodable", of_schema("qpubus.IntentWithdrawn", b"\0\0\0\0")),
    "another's device": (
        "device_forbidden",
        lambda s: [s.one("device:trap", STATUS.model_copy(update={"device": "chip"}), "snapshots")],
    ),
    "a key of low order": (
        "key_invalid",
        governed(KeyEnrolled(key_id=key_id(LOW_ORDER), public_key=LOW_ORDER, source="x", role="clock")),
    ),
    "a key under another name": (
        "key_invalid",
        governed(enrolment("x", "clock", name="x").model_copy(update={"key_id": "0" * 32})),
    ),
    "a second root": ("key_invalid", governed(enrolment("root", "root", name="x"))),
    "a key enrolled twice": ("key_known", governed(enrolment("clock:main", "gateway"))),
    "a schema number taken": (
        "schema_known",
        governed(SchemaPublished(schema_id=1, event_type="qpubus.AlarmRang", text=SCHEMAS["qpubus.AlarmRang"].text)),
    ),
    "a schema of another type": (
        "schema_invalid",
        governed(SchemaPublished(schema_id=900, event_type="qpubus.X", text=SCHEMAS["qpubus.AlarmRang"].text)),
    ),
    "a schema that is none": (
        "body_undecodable",
        governed(SchemaPublished(schema_id=900, event_type="qpubus.X", text="{}")),
    ),
}


@pytest.mark.parametrize("defect", REFUSED)
def test_a_record_with_this_defect_is_refused_with_its_reason(defect: str) -> None:
    reason, records = REFUSED[defect]
    signers = Signers()
    verdict = signers.judge(*records(signers))[-1]
    assert isinstance(verdict, Refused)
    assert verdict.reason == reason


def test_every_reason_of_verify_before_decode_is_reached_above() -> None:
    codes = set()
    for module in ("admission", "opening", "envelope", "seal"):
        text = (Path(schemas.__file__).parent / f"{module}.py").read_text()
        codes |= set(re.findall(r'EnvelopeInvalid\(\s*"([a-z_]+)"', text))
        codes |= set(re.findall(r'"([a-z]+_undecodable|frame_malformed)"', text))
    codes.add("sequence_malformed")  # made from the name of the number
    assert codes - {"stray"} == {reason for reason, _ in REFUSED.values()}


def test_a_changed_record_of_a_batch_is_refused_and_those_after_it_have_a_gap() -> None:
    signers = Signers()
    batch = signers.batch("gateway:main", *[WITHDRAWN] * 6, topic="intents")
    batch[2] = batch[2]._replace(subject="job-2")
    reasons = [getattr(verdict, "reason", "") for verdict in signers.judge(*batch)]
    assert reasons == ["", "", "seal_broken", "sequence_gap", "sequence_gap", "sequence_gap"]


def test_a_whole_batch_a_part_and_one_by_one_give_the_same_verdicts() -> None:
    events = [WITHDRAWN.model_copy(update={"reason": str(number)}) for number in range(7)]
    whole, parts, single = Signers(), Signers(), Signers()
    batch = whole.batch("gateway:main", *events, topic="intents")
    at_once = whole.judge(*batch)
    in_parts = parts.judge(*batch[:3]) + parts.judge(*batch[3:])
    one_by_one = [verdict for record in batch for verdict in single.judge(record)]
    assert at_once == in_parts == one_by_one
    assert all(isinstance(verdict, Admitted) for verdict in at_once)
    assert whole.admission.signatures == single.admission.signatures


@pytest.mark.parametrize("seed", range(40))
def test_however_hostile_records_are_cut_into_reads_the_verdicts_are_the_same(seed: int) -> None:
    draw = Random(seed)  # noqa: S311 - no secret
    hostile: list[Record] = []
    maker = Signers()
    for _ in range(6):
        batch = maker.batch("gateway:main", *[WITHDRAWN] * draw.randint(1, 4), topic="intents")
        if draw.random() < 0.5:
            at = draw.randrange(len(batch))
            other = key_id(raw_public_key(private_key("clock:main")))
            swapped = batch[at].seal[:1] + bytes.fromhex(other) + batch[at].seal[17:]
            batch[at] = draw.choice([batch[at]._replace(seal=swapped), batch[at]._replace(subject="job-2"), batch[0]])
        hostile += batch
    at_once, cut = Signers(), Signers()
    expected = at_once.judge(*hostile)
    seen: list[Admitted | Refused] = []
    while len(seen) < len(hostile):
        seen += cut.judge(*hostile[len(seen) : len(seen) + draw.randint(1, 5)])
    assert seen == expected


def test_a_key_counts_from_the_record_after_its_enrolment_in_the_same_batch() -> None:
    signers = Signers()
    schema = SCHEMAS["qpubus.AlarmRang"]
    again = SchemaPublished(schema_id=700, event_type=schema.event_type, text=schema.text)
    verdicts = signers.judge(*signers.batch("root", again, enrolment("clock:two", "clock")))
    assert [type(verdict) for verdict in verdicts] == [Admitted, Admitted]
    assert isinstance(signers.judge(signers.one("clock:two", RANG, "alarms"))[0], Admitted)


def test_an_author_with_a_gap_stays_suspended_until_an_admin_accepts_it() -> None:
    signers = Signers()
    first, _, third, fourth, fifth = (withdrawn(signers) for _ in range(5))
    reasons = [getattr(verdict, "reason", "") for verdict in signers.judge(first, third, fourth)]
    assert reasons == ["", "sequence_gap", "sequence_gap"]
    accepted = GapAccepted(topic="intents", source="gateway:main", next_sequence=5, reason="looked into")
    signers.judge(*signers.batch("root", accepted))
    assert isinstance(signers.judge(fifth)[0], Admitted)


def test_an_accepted_gap_may_be_read_before_the_gap() -> None:
    signers = Signers()
    accepted = GapAccepted(topic="intents", source="gateway:main", next_sequence=3, reason="looked into")
    signers.judge(*signers.batch("root", accepted))
    first, _, third = (withdrawn(signers) for _ in range(3))
    assert [type(verdict) for verdict in signers.judge(first, third)] == [Admitted, Admitted]


def test_a_gap_in_another_topic_suspends_nobody_here() -> None:
    signers = Signers()
    signers.one("stage:policy", BudgetHeld(job_id="j", amount_microusd=1), "approvals", inputs=Inputs(1, 1, ()))
    gap = signers.one("stage:policy", BudgetHeld(job_id="j", amount_microusd=1), "approvals", inputs=Inputs(2, 1, ()))
    assert isinstance(signers.judge(gap)[0], Refused)
    alarm = signers.one("clock:main", RANG, "alarms")
    assert isinstance(signers.judge(alarm)[0], Admitted)


def test_a_rejected_record_whose_seal_holds_uses_up_its_number() -> None:
    signers = Signers()
    wrong_role = signers.one("gateway:main", RANG, "intents")
    assert isinstance(signers.judge(wrong_role)[0], Refused)
    assert isinstance(signers.judge(withdrawn(signers))[0], Admitted)


def test_a_record_with_a_broken_seal_uses_up_nothing() -> None:
    signers = Signers()
    record = withdrawn(signers)
    assert isinstance(signers.judge(record._replace(subject="other"))[0], Refused)
    assert isinstance(signers.judge(record)[0], Admitted)


def test_a_cause_earlier_in_the_same_batch_is_there() -> None:
    signers = Signers()
    [cause] = [v.cause for v in signers.judge(signers.one("clock:main", RANG, "alarms")) if isinstance(v, Admitted)]
    scribe = signers.scribes["clock:main"]
    first = scribe.write(Draft("alarms", RANG, "job-1", NOW_US, (cause,)))
    second = scribe.write(Draft("alarms", RANG, "job-1", NOW_US, (first.cause,)))
    batch = seal_all([first, second], private_key("clock:main"))
    assert [type(verdict) for verdict in signers.judge(*batch)] == [Admitted] * 2


def test_verdicts_left_untaken_have_changed_nothing() -> None:
    signers = Signers()
    batch = signers.batch("gateway:main", *[WITHDRAWN] * 4, topic="intents")
    next(signers.admission.admit(signers.stored(*batch)))
    assert signers.admission.sequences["gateway:main", "intents"] == 1
    assert [type(verdict) for verdict in signers.judge(*batch[1:])] == [Admitted] * 3


def test_an_event_of_many_is_the_event_alone() -> None:
    signers = Signers()
    refused = [
        IntentRefused(job_id=f"job-{number}", intent_digest="0" * 64, reason="x" * number, message="é")
        for number in range(9)
    ]
    batch = signers.batch("stage:policy", *refused, topic="approvals", inputs=Inputs(1, 1, (("intents", 1),)))
    admitted = [verdict.event for verdict in signers.judge(*batch) if isinstance(verdict, Admitted)]
    assert admitted == refused


@given(cut=st.integers(1, 14))
def test_bodies_that_only_together_make_events_are_refused(cut: int) -> None:
    """An author may seal a body that ends early and one that begins late: read as one array they would be events."""
    signers = Signers()
    batch = signers.batch("gateway:main", *[WITHDRAWN] * 4, topic="intents")
    body = batch[0].value[5:]
    bodies = [body, body[:-cut], body[-cut:] + body, body]
    moved = [record._replace(value=record.value[:5] + each) for record, each in zip(batch, bodies, strict=True)]
    digests = [record_digest(record, SCHEMAS[record.type].digest) for record in moved]
    verdicts = signers.judge(*seal_batch(moved, digests, private_key("gateway:main")))
    assert decode_all(bodies, SCHEMAS["qpubus.IntentWithdrawn"]) is None
    assert "body_undecodable" in {verdict.reason for verdict in verdicts if isinstance(verdict, Refused)}


@given(st.binary(max_size=200))
def test_bytes_that_are_no_event_are_refused_and_never_raise(body: bytes) -> None:
    signers = _SIGNERS
    record = withdrawn(signers)
    value = record.value[:5] + body
    verdict = signers.judge(signers.resealed(record, value=value))[0]
    assert isinstance(verdict, Refused | Admitted)
    if isinstance(verdict, Admitted):
        assert isinstance(verdict.event, IntentWithdrawn)


_SIGNERS = Signers()


def test_a_body_nobody_asked_for_is_not_decoded_and_its_device_is_checked_all_the_same() -> None:
    signers = Signers()
    signers.admission.reads = frozenset({"qpubus.IntentDeclared"})
    other = STATUS.model_copy(update={"device": "chip"})
    verdicts = signers.judge(*signers.batch("device:trap", STATUS, STATUS, topic="snapshots"))
    verdicts += signers.judge(signers.one("device:trap", other, "snapshots"))
    assert [getattr(verdict, "event", verdict.stored) is UNREAD for verdict in verdicts] == [True, True, False]
    assert isinstance(verdicts[2], Refused)
    assert verdicts[2].reason == "device_forbidden"


def test_at_first_no_key_is_known_but_the_roots_and_no_schema_but_the_first() -> None:
    admission = Admission(raw_public_key(private_key("root")), SITE)
    assert [key.source for key in admission.keys.values()] == ["root"]
    assert [schema.event_type for schema in admission.schemas.values()] == ["qpubus.SchemaPublished"]
