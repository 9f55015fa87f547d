from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import (
    CAUSES_MAX,
    HEADERS,
    Cause,
    EnvelopeInvalid,
    Inputs,
    Record,
    Stray,
    causes_of,
    causes_text,
    digest_of,
    headers_of,
    inputs_of,
    inputs_text,
    number_of,
    raw_digest,
    received,
    statement,
    time_text,
    time_us_of,
)

plain = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), max_size=40)
names = st.from_regex(r"[a-z]{1,12}", fullmatch=True)
sources = st.from_regex(r"[a-z]{1,9}:[a-z0-9-]{1,9}", fullmatch=True)
numbers = st.integers(1, 10**18 - 1)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
causes = st.builds(Cause, names, sources, numbers, digests)
inputs = st.builds(Inputs, numbers, numbers, st.lists(st.tuples(names, numbers), max_size=8).map(tuple))
records = st.builds(Record, names, plain.filter(bool), st.binary(max_size=40), *[plain] * 9, st.binary(max_size=200))
HEX = "ab" * 32
STATEMENT_TEXTS = (
    "topic",
    "key",
    "id",
    "type",
    "source",
    "time",
    "subject",
    "traceparent",
    "causes",
    "sequence",
    "inputs",
)


def changed(record: Record, name: str, text: str) -> Record:
    return Record._make(text if field == name else value for field, value in record._asdict().items())


@given(records)
def test_a_statement_is_the_rfc_8785_form_of_what_it_says(record: Record) -> None:
    said: dict[str, Any] = {name: getattr(record, name) for name in STATEMENT_TEXTS}
    said |= {"body": HEX, "schema": "cd" * 32, "version": "1"}
    assert statement(record, "cd" * 32, HEX) == rfc8785.dumps(said)
    assert orjson.loads(statement(record, "cd" * 32, HEX)) == said


@given(records, st.sampled_from(STATEMENT_TEXTS), st.sampled_from(['"', "\\", "\n", "\x7f", "é", "\ud800"]))
def test_a_text_that_needs_an_escape_has_no_statement(record: Record, name: str, sign: str) -> None:
    broken = changed(record, name, f"a{sign}b")
    with pytest.raises(EnvelopeInvalid, match="quotation mark"):
        statement(broken, HEX, HEX)


@given(records, st.sampled_from(STATEMENT_TEXTS), plain)
def test_another_text_is_another_statement(record: Record, name: str, text: str) -> None:
    other = changed(record, name, text)
    assert (statement(record, HEX, HEX) == statement(other, HEX, HEX)) is (
        record[:2] + record[3:12] == other[:2] + other[3:12]
    )


@given(records)
def test_a_record_comes_back_from_its_headers(record: Record) -> None:
    assert received(record.topic, record.key.encode(), record.value, headers_of(record)) == record


@given(records, st.permutations(range(len(HEADERS))))
def test_headers_in_another_order_make_a_stray(record: Record, order: list[int]) -> None:
    headers = headers_of(record)
    got = received(record.topic, record.key.encode(), record.value, [headers[at] for at in order])
    assert isinstance(got, Stray) is (order != sorted(order))


def test_an_events_digest_and_a_raw_digest_can_never_be_the_same() -> None:
    stray = Stray("intents", b"k", b"v", ())
    assert raw_digest(stray) != digest_of(raw_digest(stray))
    assert raw_digest(stray) != raw_digest(stray._replace(key=None))
    assert raw_digest(stray._replace(value=None)) != raw_digest(stray._replace(value=b""))
    assert raw_digest(stray._replace(headers=(("a", b"bc"),))) != raw_digest(stray._replace(headers=(("ab", b"c"),)))


@given(st.integers(0, 253_402_300_799_999_999))
def test_a_time_comes_back_from_its_text(time_us: int) -> None:
    assert time_us_of(time_text(time_us)) == time_us


@given(st.text("0123456789-T:.Z", max_size=30) | st.text(max_size=30))
def test_a_text_is_a_time_only_in_the_one_form(text: str) -> None:
    try:
        time_us = time_us_of(text)
    except EnvelopeInvalid:
        return
    assert time_text(time_us) == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T12:00:00.00000\u0663Z",
        "2026-11-22T12:00:00.+12345Z",
        "2026-11-22T12:00:00.1_2345Z",
        "2026-11-22 12:00:00.000000Z",
        "2026-11-22T24:00:00.000000Z",
        "2026-11-22T12:00:60.000000Z",
        "2026-11-22T12:00:00.0000000Z",
        "2026-11-22T12:00:00.000000z",
        "\u0662026-11-22T12:00:00.000000Z",
    ],
)
def test_what_looks_like_a_time_is_none(text: str) -> None:
    with pytest.raises(EnvelopeInvalid, match="time"):
        time_us_of(text)


@given(st.lists(causes, max_size=5))
def test_causes_come_back_from_their_text(named: list[Cause]) -> None:
    assert causes_of(causes_text(named)) == tuple(named)


def test_more_causes_than_the_limit_are_refused() -> None:
    cause = Cause("intents", "gateway:main", 1, HEX)
    assert len(causes_of(causes_text([cause] * CAUSES_MAX))) == CAUSES_MAX
    with pytest.raises(EnvelopeInvalid, match="at most"):
        causes_of(causes_text([cause] * (CAUSES_MAX + 1)))


@given(inputs)
def test_inputs_come_back_from_their_text(read: Inputs) -> None:
    assert inputs_of(inputs_text(read)) == read


@pytest.mark.parametrize(
    "text", ["", "1", "1/", "/1", "0/1", "1/0", "1/1 ", "1/1  a:1", "1/1 a:0", "1/1 a:01", "1/1 a"]
)
def test_what_looks_like_inputs_is_none(text: str) -> None:
    with pytest.raises(EnvelopeInvalid) as refused:
        inputs_of(text)
    assert refused.value.reason == "inputs_malformed"


@pytest.mark.parametrize("text", ["", "0", "01", "-1", "+1", "1 ", "1.0", "1" * 19, "\u0661", "1\n"])
def test_a_number_has_one_form(text: str) -> None:
    with pytest.raises(EnvelopeInvalid) as refused:
        number_of(text, "sequence")
    assert refused.value.reason == "sequence_malformed"
