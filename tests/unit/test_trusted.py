import pytest

from qpubus.bench.story import job_story
from schemas.codec import Schema, Undecodable, decode, encode, own_schemas, published
from schemas.events import IntentWithdrawn, JobFailed
from schemas.trusted import decode_trusted
from schemas.words import Event, wire_name
from tests.support.job_histories import histories

SCHEMAS = {schema.event_type: schema for schema in own_schemas()}
EVENTS = {wire_name(type(each.event)): each.event for each in histories()}


def schema_of(event_type: type[Event]) -> Schema:
    return SCHEMAS[wire_name(event_type)]


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_a_trusted_body_gives_what_decoding_with_checks_gives(name: str) -> None:
    body, schema = encode(EVENTS[name]), SCHEMAS[name]
    (trusted,) = decode_trusted([body], schema)
    assert trusted == decode(body, schema)
    assert trusted.model_dump() == decode(body, schema).model_dump()


@pytest.mark.parametrize("number", [0, 1, 63, 64, 200, 9_000])
def test_any_number_of_bodies_comes_back_in_order(number: int) -> None:
    said = [JobFailed(job_id=f"job-{each}", reason="r", message="m") for each in range(number)]
    assert decode_trusted([encode(each) for each in said], schema_of(JobFailed)) == said


def test_a_body_of_an_older_schema_is_decoded_with_all_checks() -> None:
    older = published(40, schema_of(JobFailed).text.replace("A job ended without a result.", "It failed."))
    failed = JobFailed(job_id="job", reason="r", message="m")
    assert decode_trusted([encode(failed)], older) == [failed]


@pytest.mark.parametrize("damage", [b"", b"\x00", b"\x02a"], ids=["cut", "too long by a zero", "too long"])
def test_bodies_that_do_not_fill_their_array_are_found_out(damage: bytes) -> None:
    event = IntentWithdrawn(job_id="job", agent_key_id="k", agent_proof="p", reason="")
    body = encode(event) + damage if damage else encode(event)[:-1]
    with pytest.raises((Undecodable, EOFError)):
        decode_trusted([body, encode(event)], schema_of(IntentWithdrawn))


def test_the_story_of_a_job_comes_back_whole() -> None:
    story = [told.event for told in job_story(1, "site-a", 0)]
    assert [decode_trusted([encode(event)], schema_of(type(event)))[0] for event in story] == story
