"""A desk: one part at work on one partition number, opened when the number is assigned, closed when it is given up.

A desk holds still while the group shares its numbers out anew, and goes on where it stood if the number stays here. If
another process held the number in between, its log has fenced ours, and the next append here fails: nobody decides by a
state that has been overtaken.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from math import nan
from typing import NamedTuple, Protocol

from streams.log.port import LogCorrupt, LogError, ReadableLog
from streams.tally import Tally

IDLE_S = 1.0
"""With nothing to read, a desk looks again after this time at the latest."""


class Part(Protocol):
    """What a desk runs: a worker, or a set of views."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def tally(self) -> Tally:
        """What it has done."""
        ...

    @property
    def offsets(self) -> Mapping[str, int]:
        """The next place of each topic that it reads."""
        ...

    async def step(self) -> bool:
        """Do what is at hand; True if anything was read."""
        ...

    async def save(self) -> None:
        """Save what makes the next start short. Called when the desk is closed, between two steps."""
        ...


class Opened(NamedTuple):
    """A part, and the log on which it stands."""

    part: Part
    log: ReadableLog


Opening = Callable[[int], Awaitable[Opened | None]]
"""Makes the part of a partition number, or none where nothing is to be served. On a log that is written, this fences
whoever wrote it before."""


class Look(NamedTuple):
    """How a desk stood at a moment: what its part had done, and how many records waited for it.

    A record waits until the step that reads it has ended: one that was read, and its answer not appended, still does.
    """

    tally: Tally
    lag: float


class Desk:
    """Runs the part of one partition number until it is closed."""

    def __init__(self, stage: str, partition: int, opening: Opening, say: Callable[[str], None]) -> None:
        """`say` is told in a line how long the hand-over took."""
        self.stage = stage
        self.partition = partition
        self.hand_over_s = 0.0
        self.progressed_at = time.time()
        self.corrupt = ""
        """Where the log turned out to be corrupt: nothing is done here any more."""
        self._opening = opening
        self._say = say
        self._opened: Opened | None = None
        self._done: dict[str, int] = {}
        self._turn = asyncio.Lock()
        self._is_held = False
        self._is_between_steps = False

    @property
    def name(self) -> str:
        """Stage and partition number."""
        return f"{self.stage}/{self.partition}"

    async def run(self) -> None:
        """Open, then read, decide and append for ever. Raises whatever goes wrong; the desk is of no use then."""
        try:
            await self._work()
        except LogCorrupt as error:
            self.corrupt = str(error)
            raise

    async def _take_over(self) -> Opened | None:
        began = time.monotonic()
        opened = self._opened = await self._opening(self.partition)
        if opened:
            await self._step(opened)
            self.hand_over_s = time.monotonic() - began
            self._say(f"{self.name}: taken over in {self.hand_over_s:.2f} s")
        return opened

    async def _work(self) -> None:
        opened = await self._take_over()
        while opened:
            if await self._step(opened):
                continue
            ends = await opened.log.ends(self.partition)
            if await self._step(opened):
                continue
            await opened.log.wait(self.partition, ends, IDLE_S)

    async def hold(self) -> None:
        """Return when the step at hand has ended; none begins before `release`.

        A desk that is still being taken over is not waited for and goes on: that may take longer than a session.
        If another process takes the number over meanwhile, it fences this desk's log.
        """
        if self.hand_over_s and not self._is_held:
            await self._turn.acquire()
            self._is_held = True

    def release(self) -> None:
        """Let it go on after `hold`."""
        if self._is_held:
            self._is_held = False
            self._turn.release()

    async def look(self) -> Look:
        """How it stands. One that is still being taken over has read nothing and knows of nothing that waits.

        What waits behind a place where the log is corrupt cannot be counted: it is no number then.
        """
        if self._opened is None or not self.hand_over_s:
            return Look(Tally(), nan if self.corrupt else 0)
        part, log = self._opened
        try:
            ends = await log.ends(self.partition)
        except LogCorrupt:  # the desk itself finds it as well, and says so
            return Look(part.tally, nan)
        return Look(part.tally, sum(ends[topic] - place for topic, place in self._done.items()))

    async def close(self, *, saves: bool) -> None:
        """Give the log back, after saving the part where it was not broken off in a step."""
        if self._opened is None:
            return
        part, log = self._opened
        self._opened = None
        if saves and self._is_between_steps:
            with suppress(OSError, LogError):  # a saved state is a convenience: without it the next start takes longer
                await part.save()
        await log.close()

    async def _step(self, opened: Opened) -> bool:
        async with self._turn:
            self._is_between_steps = False
            worked = await opened.part.step()
            self._done = dict(opened.part.offsets)
            self._is_between_steps = True
        if worked:
            self.progressed_at = time.time()
            await asyncio.sleep(0)
        return worked
