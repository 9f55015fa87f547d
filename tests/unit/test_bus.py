"""The bus on the wall's clock: what becomes of the other parts when one cannot go on."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from agents.clock import WallClock
from qpubus.bus import Part, run_wall
from streams.log.port import LogCorrupt
from tests.support.memory_log import MemoryLog

FAULT = "intents partition 0 offset 7: its batch is not the one that was written (CRC)"


@dataclass
class Stepping:
    """A part that only counts its turns, or one that finds the log corrupt."""

    name: str
    is_corrupt: bool = False
    turns: int = 0

    async def step(self) -> bool:
        self.turns += 1
        await asyncio.sleep(0)
        if self.is_corrupt:
            raise LogCorrupt(FAULT)
        return True

    def next_due_us(self) -> int | None:
        return None


@dataclass
class Parts:
    """A house of such parts."""

    made: dict[str, Part]
    log: MemoryLog = field(default_factory=lambda: MemoryLog(lambda: time.time_ns() // 1_000))
    clock: WallClock = field(default_factory=WallClock)
    partition: int = 0
    forgotten: list[str] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.made)

    def part(self, name: str) -> Part:
        return self.made[name]

    def forget(self, name: str) -> None:
        self.forgotten.append(name)


async def test_a_part_that_finds_the_log_corrupt_stands_still_with_an_alarm_and_the_others_go_on() -> None:
    broken, well = Stepping("stage:policy", is_corrupt=True), Stepping("clock:main")
    house = Parts({each.name: each for each in (broken, well)})
    said: list[str] = []
    running = asyncio.create_task(run_wall(house, said.append))
    while well.turns < 100:  # noqa: ASYNC110 (it is the turns that are waited for)
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(LogCorrupt, match="offset 7"):
        await running
    assert said == [f"ALARM: stage:policy stands still: {FAULT}"]
    assert (broken.turns, house.forgotten) == (1, ["stage:policy"])
