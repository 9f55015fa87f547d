"""A founded site with a sealer over a log on disk, for tests of checkpoints: events come at will, rounds when asked."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agents.clock import VirtualClock
from agents.party import Membership
from agents.sealer import Sealer
from schemas.codec import frame, own_schemas
from schemas.envelope import Record
from schemas.events import AlarmRang, BudgetSet, CheckpointSealed, SchemaPublished
from schemas.topics import TOPICS
from schemas.words import Event
from streams.author import Draft, Scribe
from streams.log.embedded import EmbeddedLog, create
from streams.log.port import Log
from streams.reader import Reader
from streams.stage import Heard
from tests.support.memory_log import MemoryLog
from tests.support.records import record
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

    def sealer(self, saved: Path | None = None) -> Sealer:
        return Sealer(self.member("sealer:main"), self.log, self.clock, saved=saved)

    async def budget(self, count: int = 1) -> None:
        """Let governance grow."""
        events = [BudgetSet(limit_microusd=next(self._numbers), reason="test") for _ in range(count)]
        await self._say("root", "governance", *events)

    async def alarm(self, count: int = 1) -> None:
        """Let the topic of alarms grow."""
        events = [AlarmRang(alarm_id=f"a{next(self._numbers)}", rings_us=EPOCH_US) for _ in range(count)]
        await self._say("clock:main", "alarms", *events)

    async def _say(self, source: str, topic: str, *events: Event) -> None:
        await self.scene.say(source, *(Draft(topic, event, SITE, self.clock.now_us()) for event in events))

    async def publish(self, schema_id: int) -> None:
        """Publish a schema a second time, under a further number."""
        schema = next(schema for schema in own_schemas() if schema.event_type == "qpubus.IntentDeclared")
        published = SchemaPublished(schema_id=schema_id, event_type=schema.event_type, text=schema.text)
        await self._say("root", "governance", published)

    def of_schema(self, schema_id: int) -> Record:
        """A record of intents that names a schema and that nobody signed."""
        return record("intents")._replace(value=frame(schema_id, b"body"))

    async def digests(self, topic: str) -> list[bytes]:
        """The digests of all events of a topic, as a reader verifies them."""
        reader = Reader(self.log, 0, TOPICS, {SITE: self.scene.root})
        items = await reader.read(100_000)
        return [bytes.fromhex(item.digest) for item in items if isinstance(item, Heard) and item.cause.topic == topic]

    async def rounds(self) -> list[CheckpointSealed]:
        """All rounds on the log."""
        return [event for event in await self.all_events() if isinstance(event, CheckpointSealed)]

    async def all_events(self) -> list[Event]:
        """All events on the log."""
        reader = Reader(self.log, 0, TOPICS, {SITE: self.scene.root})
        found = []
        while items := await reader.read():
            found += [item.event for item in items if isinstance(item, Heard)]
        return found

    async def pass_time(self, sealer: Sealer, microseconds: int = SECOND_US) -> None:
        """Let the sealer look, then let time pass, then let it work until it has nothing to do."""
        await sealer.step()
        self.clock.advance_to(self.clock.now_us() + microseconds)
        while await sealer.step():
            pass


async def in_memory() -> Sealing:
    """A founded site on a log in memory."""
    clock = VirtualClock(EPOCH_US)
    return await _founded(Scene(MemoryLog(clock.now_us)), clock)


async def on_disk(directory: Path) -> Sealing:
    """A founded site on an embedded log, with its trust anchor beside it."""
    create(directory)
    clock = VirtualClock(EPOCH_US)
    town = await _founded(Scene(EmbeddedLog(directory, clock.now_us)), clock)
    (directory / "root.pub").write_text(town.scene.root.hex() + "\n")
    return town


async def _founded(scene: Scene, clock: VirtualClock) -> Sealing:
    await scene.found()
    schemas = {schema.event_type: schema for schema in own_schemas()}
    said = (await scene.log.ends(0))["governance"]
    scene.scribes["root"] = Scribe("root", SITE, schemas, {"governance": said})
    return Sealing(scene, clock)
