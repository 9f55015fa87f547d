"""Clocks and the party that rings alarms."""

import asyncio
from pathlib import Path

from agents.clock import VirtualClock
from schemas.events import AlarmRang, AlarmSet
from tests.support.town import EPOCH_US, new_town

LATER_US = EPOCH_US + 60_000_000


def test_a_virtual_clock_never_goes_back() -> None:
    clock = VirtualClock(EPOCH_US)
    clock.advance_to(LATER_US)
    clock.advance_to(EPOCH_US)
    assert clock.now_us() == LATER_US


def test_an_alarm_rings_when_its_time_has_come_and_not_before(tmp_path: Path) -> None:
    async def scenario() -> tuple[list[AlarmRang], list[AlarmRang]]:
        town = await new_town(tmp_path)
        await town.say("stage:policy", AlarmSet(alarm_id="a", rings_us=LATER_US))
        alarm_clock = town.alarm_clock()
        await town.run(alarm_clock, until_us=LATER_US - 1)
        before = await town.events(AlarmRang)
        await town.run(alarm_clock, until_us=LATER_US)
        return before, await town.events(AlarmRang)

    assert asyncio.run(scenario()) == ([], [AlarmRang(alarm_id="a", rings_us=LATER_US)])


def test_an_alarm_rings_once_also_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> int:
        town = await new_town(tmp_path)
        await town.say("stage:policy", AlarmSet(alarm_id="a", rings_us=EPOCH_US))
        await town.run(town.alarm_clock())
        await town.run(town.alarm_clock())
        return len(await town.events(AlarmRang))

    assert asyncio.run(scenario()) == 1


def test_the_earliest_alarm_rings_first(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        town = await new_town(tmp_path)
        await town.say("stage:policy", AlarmSet(alarm_id="late", rings_us=LATER_US))
        await town.say("stage:guard", AlarmSet(alarm_id="soon", rings_us=LATER_US - 1))
        town.clock.advance_to(LATER_US)
        await town.run(town.alarm_clock())
        return [rang.alarm_id for rang in await town.events(AlarmRang)]

    assert asyncio.run(scenario()) == ["soon", "late"]


def test_the_next_due_time_is_that_of_the_earliest_alarm(tmp_path: Path) -> None:
    async def scenario() -> int | None:
        town = await new_town(tmp_path)
        await town.say("stage:policy", AlarmSet(alarm_id="a", rings_us=LATER_US))
        await town.say("stage:policy", AlarmSet(alarm_id="b", rings_us=LATER_US - 1))
        alarm_clock = town.alarm_clock()
        await alarm_clock.step()
        return alarm_clock.next_due_us()

    assert asyncio.run(scenario()) == LATER_US - 1
