"""Fair shares: what one asker, or nobody in particular, takes of the door leaves room for everybody else."""

import asyncio
import os
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpubus.refusal import Refusal
from qpubus.web import protocol, stream
from qpubus.web.caller import Caller, Scope
from qpubus.web.gate import BODIES_BYTES_MAX
from qpubus.web.stream import Place, Streams, Wanted
from qpubus.web.workload import Shares, Workload
from tests.support.town import AGENT, STRANGER
from tests.support.web_house import House


def test_who_asks_alone_gets_two_thirds() -> None:
    shares = Shares(128)
    taken = sum(shares.take(AGENT) for _ in range(1_000))
    assert taken == 86


@given(asked=st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 40)), max_size=60), most=st.integers(6, 200))
def test_whatever_one_takes_another_finds_room(asked: list[tuple[str, int]], most: int) -> None:
    shares = Shares(most)
    for _, amount in asked:
        shares.take("greedy", amount)
    assert shares.take("modest")


@given(asked=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), max_size=60))
def test_what_is_given_back_is_there_again(asked: list[tuple[str, int]]) -> None:
    shares = Shares(100)
    taken = [(whose, amount) for whose, amount in asked if shares.take(whose, amount)]
    assert 0 <= shares.held <= 100
    for whose, amount in taken:
        shares.give(whose, amount)
    assert shares.held == 0
    assert shares.take("a", 60)


def test_one_agents_load_costs_another_no_refusal() -> None:
    workload = Workload(12)
    with ExitStack() as held:
        for _ in range(8):
            held.enter_context(workload.working(AGENT))
        with pytest.raises(Refusal) as refused:
            held.enter_context(workload.working(AGENT))
        assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
        with workload.working(STRANGER):
            pass


async def test_bodies_that_nobody_answers_for_keep_no_agent_out(house: House) -> None:
    await house.token(AGENT)
    host, _, port = house.url.removeprefix("http://").partition(":")
    head = f"POST /v1/artifacts HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-length: {16 << 20}\r\n\r\nx".encode()
    slow = [await asyncio.open_connection(host, int(port)) for _ in range(2 * BODIES_BYTES_MAX // (16 << 20))]
    for _, writer in slow:
        writer.write(head)
    await asyncio.sleep(0.1)
    answers = [(await house.declare()).status_code, (await house.ask("GET", "/v1/jobs")).status_code]
    for _, writer in slow:
        writer.close()
    assert answers == [201, 200]


async def test_a_reader_that_takes_nothing_of_a_large_answer_is_let_go(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "STALLED_S", 0.2)
    content = os.urandom(16 << 20)
    stored = await house.ask("POST", "/v1/artifacts", content=content)
    host, _, port = house.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1_024)
    bearer = f"authorization: Bearer {await house.token(AGENT)}"
    path = f"/v1/artifacts/{stored.json()['digest']}"
    writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\n{bearer}\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await asyncio.sleep(1)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(len(content))
    writer.close()
    whole = await house.ask("GET", path)
    assert whole.content == content


async def test_a_stream_ends_when_its_readers_key_is_revoked(house: House) -> None:
    headers = {"authorization": f"Bearer {await house.token(AGENT)}"}
    async with house.client.stream("GET", "/v1/events?since=now", headers=headers) as events:
        lines = events.aiter_lines()
        await anext(lines)
        await house.revoke(AGENT)
        async with asyncio.timeout(10):
            assert [line async for line in lines if line.startswith("data: ")] == []


async def test_one_reader_does_not_use_up_all_streams(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STREAMS_MAX", 6)
    streams = Streams(house.desk)

    async def still() -> bool:
        return True

    def opened(source: str) -> None:
        caller = Caller(house.desk.site, source, "agent", frozenset({Scope.EVENTS_READ.value}))
        wanted = Wanted(house.desk, caller)
        held.enter_context(streams.open(wanted, Place.read("", {}), still, follow=True))

    with ExitStack() as held:
        for _ in range(4):
            opened(AGENT)
        with pytest.raises(Refusal) as refused:
            opened(AGENT)
        assert refused.value.code == "too_many_streams"
        opened(STRANGER)
