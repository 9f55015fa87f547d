"""A founded site with a sealer over a log on disk, for tests of checkpoints: events come at will, rounds when asked."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agents.clock import VirtualClock
from agents.party import Membership
from agents.sealer import Sealer
from schemas.events import AlarmSet, BudgetSet, CheckpointSealed
from schemas.topics import TOPICS
from schemas.words import Event
from streams.author import Draft
from streams.log.embedded import EmbeddedLog, create
from streams.log.port import Log
from streams.reader import Reader
from streams.stage import Heard
from tests.support.memory_log import MemoryLog
from tests.support.scene import EPOCH_US, SITE, Scene

SECOND_US = 1_000_000


@dataclass
class Sealing:
    """A scene and its clock; `budget` and `alarm` say something, `sealer` makes a sealer that knows nothing yet."""

    scene: Scene
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(EPOCH_US))
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def log(self) -> Log:
        return self.scene.log

    def member(self, source: str) -> Membership:
        return Membership(source, SITE, self.scene.keys[source], self.scene.root)

    def sealer(self) -> Sealer:
        return Sealer(self.member("sealer:main"), self.log, self.clock)

    async def budget(self, count: int = 1) -> None:
        """Let governance grow."""
        events = [BudgetSet(limit_microusd=next(self._numbers), reason="test") for _ in range(count)]
        await self._say("root", "governance", *events)

    async def alarm(self, count: int = 1) -> None:
        """Let the topic of alarms grow."""
        events = [AlarmSet(alarm_id=f"a{next(self._numbers)}", rings_us=EPOCH_US) for _ in range(count)]
        await self._say("stage:policy", "alarms", *events)

    async def _say(self, source: str, topic: str, *events: Event) -> None:
        await self.scene.say(source, *(Draft(topic, event, SITE, self.clock.now_us()) for event in events))

    async def rounds(self) -> list[CheckpointSealed]:
        """All rounds on the log."""
        reader = Reader(self.log, 0, TOPICS, {SITE: self.scene.root})
        found = []
        while items := await reader.read():
            found += [item.event for item in items if isinstance(item, Heard)]
        return [event for event in found if isinstance(event, CheckpointSealed)]

    async def pass_time(self, sealer: Sealer, microseconds: int = SECOND_US) -> None:
        """Let the sealer look, then let time pass, then let it work until it has nothing to do."""
        await sealer.step()
        self.clock.advance_to(self.clock.now_us() + microseconds)
        while await sealer.step():
            pass


async def in_memory() -> Sealing:
    """A founded site on a log in memory."""
    clock = VirtualClock(EPOCH_US)
    scene = Scene(MemoryLog(clock.now_us))
    await scene.found()
    return Sealing(scene, clock)


async def on_disk(directory: Path) -> Sealing:
    """A founded site on an embedded log, with its trust anchor beside it."""
    create(directory)
    clock = VirtualClock(EPOCH_US)
    scene = Scene(EmbeddedLog(directory, clock.now_us))
    await scene.found()
    (directory / "root.pub").write_text(scene.root.hex() + "\n")
    return Sealing(scene, clock)
