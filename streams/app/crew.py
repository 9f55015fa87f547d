"""A crew: the desks of one post in this process, one for each partition number that the group gives it."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from streams.app.desk import Desk, Opening
from streams.app.share import Duty, Share
from streams.log.port import LogCorrupt

HOLD_SESSIONS = 0.5
"""A desk whose step lasts longer than this part of a session is broken off, so that the group need not wait for it."""


@dataclass(frozen=True, slots=True)
class Post:
    """What is to be served: its name, the topics by which its numbers are shared out, how the part of one is made.

    `options` are how the principal of this name reaches the broker, as aiokafka's clients want it.
    """

    name: str
    topics: tuple[str, ...]
    options: Mapping[str, Any]
    opening: Opening

    @property
    def group(self) -> str:
        """The group of those who share it: a principal may join those that begin with its name."""
        return f"{self.name}.worker"


class _Staffed(NamedTuple):
    desk: Desk
    task: "asyncio.Task[None]"


class Crew:
    """Opens and closes desks as the group says. `fail` is told why the process must be left.

    `alarm` is told which desk stands still because its log is corrupt. It keeps its number, so that nobody else begins
    there either, until this process ends or the number is given to another.
    """

    def __init__(
        self,
        post: Post,
        duty: Duty,
        say: Callable[[str], None],
        *,
        alarm: Callable[[str], None],
        fail: Callable[[str], None],
    ) -> None:
        self.post = post
        self._say = say
        self._alarm = alarm
        self._fail = fail
        self._hold_s = duty.session_ms / 1_000 * HOLD_SESSIONS
        self._staffed: dict[int, _Staffed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._share = Share(post.options, post.group, duty, post.topics, hold=self.hold, take=self.take)

    @property
    def desks(self) -> tuple[Desk, ...]:
        """The desks that are open, by their numbers."""
        return tuple(desk for _, (desk, _) in sorted(self._staffed.items()))

    def start(self) -> None:
        """Join the group; numbers come when it gives some."""
        self._spawn(self._minded(self.post.name, self._share.run()))

    async def stop(self) -> None:
        """Finish the steps at hand, save, and go."""
        await self.hold()
        while self._staffed:
            _, staffed = self._staffed.popitem()
            await self._give_up(staffed)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._share.stop()

    async def hold(self) -> None:
        """Let no desk begin another step. One whose step does not come to its end is broken off and thrown away."""
        await asyncio.gather(*(self._hold(*each) for each in list(self._staffed.items())))

    def take(self, numbers: Collection[int]) -> None:
        """Serve these numbers and no others. Desks that were held go on."""
        self._say(f"{self.post.name}: serves the partition numbers {', '.join(map(str, sorted(numbers))) or 'none'}")
        for partition in set(self._staffed) - set(numbers):
            self._spawn(self._give_up(self._staffed.pop(partition)))
        for partition in sorted(numbers):
            if partition in self._staffed:
                self._staffed[partition].desk.release()
            else:
                desk = self._desk_of(partition)
                self._staffed[partition] = _Staffed(desk, self._spawn(self._minded(desk.name, desk.run())))

    async def _hold(self, partition: int, staffed: _Staffed) -> None:
        try:
            async with asyncio.timeout(self._hold_s):
                await staffed.desk.hold()
        except TimeoutError:
            if self._staffed.get(partition) is not staffed:
                return
            del self._staffed[partition]
            self._spawn(self._give_up(staffed, saves=False))  # nor does the group wait for an append that is stuck

    def _desk_at(self, partition: int) -> Desk | None:
        staffed = self._staffed.get(partition)
        return staffed.desk if staffed else None

    def _desk_of(self, partition: int) -> Desk:
        return Desk(self.post.name, partition, self.post.opening, self._say)

    async def _give_up(self, staffed: _Staffed, *, saves: bool = True) -> None:
        staffed.task.cancel()
        await asyncio.gather(staffed.task, return_exceptions=True)
        await staffed.desk.close(saves=saves)

    async def _minded(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except LogCorrupt as corrupt:  # what else this process serves goes on, and its metrics tell of this
            self._alarm(f"{name} stands still: {corrupt}")
        except Exception as error:  # noqa: BLE001 - whatever it is: what this process holds may be ahead of the log
            self._fail(f"{name}: {type(error).__name__}: {error}")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
