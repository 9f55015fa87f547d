"""A desk that is called: whoever calls it hears when all that was at hand is done, or that it ended before."""

import asyncio
from collections.abc import Mapping

import pytest

from streams.app.desk import Opened
from streams.app.errands import CalledDesk
from streams.log.port import LogCorrupt
from streams.tally import Tally
from tests.support.memory_log import MemoryLog

WAIT_S = 5.0


class Piecework:
    """A part with some pieces to do, each of which waits until it is let."""

    name = "piecework"
    tally = Tally()
    offsets: Mapping[str, int] = {}

    def __init__(self) -> None:
        self.pieces = 0
        self.is_let = asyncio.Event()
        self.is_let.set()
        self.error: Exception | None = None

    async def step(self) -> bool:
        if self.error:
            raise self.error
        if not self.pieces:
            return False
        await self.is_let.wait()
        self.pieces -= 1
        return True

    async def save(self) -> None:
        """Nothing is kept."""


def desk_of(part: Piecework | None) -> CalledDesk:
    async def opening(_: int) -> Opened | None:
        return Opened(part, MemoryLog(lambda: 0)) if part else None

    return CalledDesk("errand", 0, opening, lambda _: None)


async def test_who_calls_hears_when_all_that_was_at_hand_is_done() -> None:
    part = Piecework()
    desk = desk_of(part)
    running = asyncio.create_task(desk.run())
    assert await asyncio.wait_for(desk.attend(), WAIT_S)
    part.pieces = 3
    part.is_let.clear()
    called = asyncio.create_task(desk.attend())
    await asyncio.sleep(0.05)
    assert not called.done()
    part.is_let.set()
    assert await asyncio.wait_for(called, WAIT_S)
    assert part.pieces == 0
    running.cancel()


async def test_who_called_a_desk_that_is_closed_hears_that_it_was_not_done() -> None:
    part = Piecework()
    part.pieces = 1
    part.is_let.clear()
    desk = desk_of(part)
    running = asyncio.create_task(desk.run())
    called = asyncio.create_task(desk.attend())
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await desk.close(saves=False)
    assert await asyncio.wait_for(called, WAIT_S) is False
    assert await asyncio.wait_for(desk.attend(), WAIT_S) is False


async def test_who_calls_a_desk_whose_log_is_corrupt_is_not_kept_waiting() -> None:
    part = Piecework()
    part.error = LogCorrupt("intents partition 0 offset 3")
    desk = desk_of(part)
    with pytest.raises(LogCorrupt):
        await desk.run()
    assert await asyncio.wait_for(desk.attend(), WAIT_S) is False
    assert desk.corrupt


async def test_where_nobody_is_to_be_served_all_is_done() -> None:
    desk = desk_of(None)
    await desk.run()
    assert await asyncio.wait_for(desk.attend(), WAIT_S) is True
