from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Undecodable, decode, decode_all, devices_of, encode
from schemas.events import AlarmRang, DeviceStatusChanged, ShotsMeasured
from tests.support.signed import SCHEMAS

RANG = SCHEMAS["qpubus.AlarmRang"]
NAME = "[A-Z0-9][.+:]{0,2}"


@given(st.lists(st.integers(0, 10**17), min_size=1, max_size=130))
def test_many_bodies_at_once_are_the_events_one_by_one(numbers: list[int]) -> None:
    events = [AlarmRang(alarm_id=f"a-{number}", rings_us=number) for number in numbers]
    assert decode_all([encode(event) for event in events], RANG) == events


@pytest.mark.parametrize("body", [b"", b"\x02", b"\0\0", b"\x02a\x01", b"\x02a\0\0"])
def test_one_bad_body_among_many_is_noticed(body: bytes) -> None:
    good = encode(AlarmRang(alarm_id="a", rings_us=1))
    for place in range(3):
        bodies = [good] * 3
        bodies[place] = body
        assert decode_all(bodies, RANG) is None
    with pytest.raises(Undecodable):
        decode(body, RANG)


def test_a_devices_name_is_read_before_the_rest_of_a_body() -> None:
    body = encode(DeviceStatusChanged(device="trap", status="online", queue_jobs=0, queue_wait_us=0))
    assert devices_of([body[:5]], SCHEMAS["qpubus.DeviceStatusChanged"]) == {"trap"}
    assert devices_of([b""], RANG) == {""}


@given(
    st.lists(
        st.tuples(st.from_regex(NAME, fullmatch=True), st.integers(0, 2**62 - 1), st.from_regex(NAME, fullmatch=True)),
        max_size=9,
    )
)
def test_the_devices_of_bodies_are_those_of_their_events(said: list[tuple[str, int, str]]) -> None:
    events = [
        ShotsMeasured(
            job_id=job, step=0, circuit=0, chunk=chunk, device=device, shots=1, counts={}, started_us=0, ended_us=0
        )
        for job, chunk, device in said
    ]
    bodies = [encode(event) for event in events]
    assert devices_of(bodies, SCHEMAS["qpubus.ShotsMeasured"]) == {device for _, _, device in said}


@given(st.binary(max_size=60), st.sampled_from(sorted(SCHEMAS)))
def test_the_device_of_a_body_is_the_decoded_events_or_the_body_is_none(body: bytes, name: str) -> None:
    schema = SCHEMAS[name]
    try:
        event = decode(body, schema)
    except Undecodable:
        with suppress(Undecodable):
            devices_of([body], schema)
        return
    assert devices_of([body], schema) == {getattr(event, "device", "")}
