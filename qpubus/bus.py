"""The bus: it gives every part its turn, on a virtual clock until all is done, or on the wall for as long as asked."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from agents.clock import VirtualClock
from agents.party import Clock, Party, RecordRefused
from streams.log.port import AppendFenced, LogCorrupt, ReadableLog

IDLE_S = 1.0
"""A part that has nothing to do looks again after this time at the latest."""
RESTART_S = 1.0
REFUSED_RESTART_S = 60.0
"""Who is believed by nobody, or finds the log corrupt, needs a person, and looks this often whether one has come."""


class Part(Protocol):
    """A worker, a party or a set of views."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    async def step(self) -> bool:
        """Do what is at hand; True if there was anything."""
        ...

    def next_due_us(self) -> int | None:
        """When time alone will give this part work."""
        ...


class House(Protocol):
    """Parts by name, made when they are asked for, over one partition number of a log."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        ...

    @property
    def log(self) -> ReadableLog:
        """The log they stand on."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock they go by."""
        ...

    @property
    def partition(self) -> int:
        """The partition number they read."""
        ...

    def part(self, name: str) -> Part:
        """The part of that name."""
        ...

    def forget(self, name: str) -> None:
        """Throw a part away."""
        ...


class Stalled(Exception):
    """Nothing is left to do, and what was waited for has not come about."""


async def run_virtual(parts: Sequence[Part], clock: VirtualClock, is_done: Callable[[], bool]) -> None:
    """Step the parts in turn until `is_done`. When none has work, the clock jumps to the next time that has.

    The order of turns is fixed, so the same parts on the same log do the same. Raises `Stalled` if time has no work.
    """
    while not is_done():
        worked = False
        for part in parts:
            worked = await part.step() or worked
        if worked or is_done():
            continue
        dues = [due for part in parts if (due := part.next_due_us()) is not None]
        if not dues:
            raise Stalled("no part has work and no time is set for any")
        clock.advance_to(min(dues))


async def run_until_quiet(parts: Sequence[Part]) -> None:
    """Step the parts in turn until none has anything to do at this time."""
    while True:
        worked = False
        for part in parts:
            worked = await part.step() or worked
        if not worked:
            return


async def run_wall(house: House, said: Callable[[str], None]) -> None:
    """Run all parts of a house at once, until cancelled. One that fails is thrown away and made anew.

    `said` is told in a line what failed; a part's state may be ahead of the log after a failure, so it is never reused.
    `AppendFenced` ends them all: another process has taken over. A part that finds the log corrupt stands still, while
    the others go on, and looks now and then whether somebody has mended it; if not, `LogCorrupt` is raised at the end.
    """
    fenced: list[AppendFenced] = []
    corrupt: dict[str, LogCorrupt] = {}
    try:
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[None]] = []

            def end(error: AppendFenced) -> None:
                fenced.append(error)
                for task in tasks:
                    task.cancel()

            tasks += [
                group.create_task(_keep_running(house, name, said, end, corrupt), name=name) for name in house.names
            ]
    finally:
        for error in corrupt.values():
            raise error
    if fenced:
        raise fenced[0]


async def _keep_running(
    house: House,
    name: str,
    said: Callable[[str], None],
    end: Callable[[AppendFenced], None],
    corrupt: dict[str, LogCorrupt],
) -> None:
    while True:
        try:
            await _run(house, name, lambda: corrupt.pop(name, None))
        except AppendFenced as fenced:
            return end(fenced)
        except LogCorrupt as error:
            house.forget(name)
            corrupt[name] = error
            said(f"ALARM: {name} stands still: {error}")
            await asyncio.sleep(REFUSED_RESTART_S)
        except RecordRefused as refused:
            house.forget(name)
            said(f"{name} has stopped: {refused}")
            await asyncio.sleep(REFUSED_RESTART_S)
        except Exception as error:  # noqa: BLE001 - whatever breaks one part must not stop the others
            house.forget(name)
            said(f"{name} stopped ({type(error).__name__}: {error}); it starts again in {RESTART_S:g} s")
            await asyncio.sleep(RESTART_S)


async def _run(house: House, name: str, is_well: Callable[[], Any]) -> None:
    while True:
        part = house.part(name)
        ends = await house.log.ends(house.partition)
        worked = await part.step()
        is_well()
        if worked:
            await asyncio.sleep(0)
            continue
        due_us = part.next_due_us()
        wait_s = IDLE_S if due_us is None else min(IDLE_S, max(0, due_us - house.clock.now_us()) / 1_000_000)
        patience = part.patience if isinstance(part, Party) else 0
        await house.log.wait(house.partition, {topic: end + patience for topic, end in ends.items()}, wait_s)
