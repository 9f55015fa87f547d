"""A crew: what becomes of its desks while the group shares the numbers out anew."""

import asyncio

from streams.app.crew import Crew, Post
from streams.app.desk import Opened
from streams.app.share import Duty
from streams.tally import Tally
from tests.support.memory_log import MemoryLog

WAIT_S = 20.0
DUTY = Duty("one", session_ms=100)


class StuckPart:
    """Reads once; its next step never ends, as an append that no broker answers."""

    name = "stuck"

    def __init__(self) -> None:
        self.tally = Tally()
        self.offsets: dict[str, int] = {}
        self.is_stuck = asyncio.Event()
        self.is_saved = False
        self._steps = 0

    async def step(self) -> bool:
        self._steps += 1
        if self._steps > 1:
            self.is_stuck.set()
            await asyncio.Event().wait()
        return True

    async def save(self) -> None:
        self.is_saved = True


class StuckLog(MemoryLog):
    """Cannot be closed while its append is under way."""

    def __init__(self) -> None:
        super().__init__(lambda: 0)

    async def close(self) -> None:
        await asyncio.Event().wait()


async def test_a_desk_stuck_in_an_append_does_not_keep_the_group_waiting_and_is_never_saved() -> None:
    parts: list[StuckPart] = []

    async def opening(_number: int) -> Opened:
        parts.append(StuckPart())
        return Opened(parts[-1], StuckLog())

    crew = Crew(Post("policy", (), {}, opening), DUTY, lambda _: None, alarm=lambda _: None, fail=lambda _: None)
    async with asyncio.timeout(WAIT_S):
        crew.take([0, 1])
        await asyncio.sleep(0)
        await asyncio.gather(*(part.is_stuck.wait() for part in parts))
        await crew.hold()
        assert not list(crew.desks)
        crew.take([0])
        await asyncio.sleep(0)
        assert [desk.name for desk in crew.desks] == ["policy/0"]
        await parts[2].is_stuck.wait()
    assert not any(part.is_saved for part in parts)
