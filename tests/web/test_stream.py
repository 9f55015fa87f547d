"""The stream of events: from a position on nothing is missed and nothing comes twice, also over a restart."""

import asyncio
from pathlib import Path

import orjson
import pytest

from tests.support.web_house import House, open_house, site_with_agents


def told(text: str) -> list[tuple[str, str]]:
    """Position and type of each event of a stream."""
    blocks = [dict(line.split(": ", 1) for line in block.splitlines() if ": " in line) for block in text.split("\n\n")]
    return [(block["id"], block["event"]) for block in blocks if "event" in block]


async def all_told(house: House, **params: str) -> list[tuple[str, str]]:
    return told((await house.ask("GET", "/v1/events", params={"follow": "false"} | params)).text)


async def test_a_reader_that_comes_back_goes_on_where_it_was(house: House) -> None:
    await house.declare(budget__cost_microusd=40_000_000)
    await house.settle()
    events = await all_told(house)
    assert {"IntentDeclared", "IntentAdmitted"} <= {type_ for _, type_ in events}
    for at in range(0, len(events), 3):
        assert await all_told(house, since=events[at][0]) == events[at + 1 :]


async def test_causes_come_before_what_they_led_to(house: House) -> None:
    await house.declare(budget__cost_microusd=40_000_000)
    await house.settle()
    types = [type_ for _, type_ in await all_told(house)]
    assert types.index("IntentDeclared") < types.index("BudgetHeld") < types.index("PlacementOffered")


async def test_a_position_holds_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    directory = tmp_path / "site"
    keys = await asyncio.to_thread(site_with_agents, directory)
    async with open_house(directory, keys) as house:
        await house.declare()
        before = await all_told(house)
    async with open_house(directory, keys) as house:
        assert before == (await all_told(house))[: len(before)]
        after = await all_told(house, since=before[-1][0])
        await house.declare(job_id="bell-2")
        assert (await all_told(house, since=before[-1][0]))[len(after) :][0][1] == "IntentDeclared"


async def test_an_event_comes_while_its_reader_waits(house: House) -> None:
    headers = {"authorization": f"Bearer {await house.token('agent:tester')}"}
    async with house.client.stream("GET", "/v1/events?since=now&type=IntentDeclared", headers=headers) as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        await house.declare()
        async for line in lines:
            if line.startswith("data: "):
                assert orjson.loads(line.removeprefix("data: "))["event"]["job_id"] == "bell-1"
                return


async def test_a_stream_can_be_of_one_job_and_some_types(house: House) -> None:
    await house.declare()
    await house.declare(job_id="bell-2")
    await house.settle()
    assert [type_ for _, type_ in await all_told(house, job="bell-2", type="IntentDeclared")] == ["IntentDeclared"]


@pytest.mark.parametrize("since", ["intents:99999999", "nowhere:1", "intents:-1", "intents:1e3", "x"])
async def test_a_position_that_is_none_of_this_log_is_refused(house: House, since: str) -> None:
    answer = await house.ask("GET", "/v1/events", params={"since": since, "follow": "false"})
    assert (answer.status_code, answer.json()["code"]) == (400, "position_unknown")
