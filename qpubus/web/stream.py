"""The stream of events: a caller and a position go in; verified events that it may see come out, each with its place.

A position says for each topic how far it was read (`alarms:0,approvals:12,…`), so it holds after a restart, and for
every gateway of the same log. Events of one topic come in the order of the log; between topics the time at which the
log took them in decides, so causes come before what they led to.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from projections.jobs import JOBS
from projections.runner import Runner
from qpubus.refusal import Refusal
from qpubus.web.caller import Caller, Scope
from qpubus.web.desk import FrontDesk
from qpubus.web.workload import Shares
from schemas.admission import Stored
from schemas.codec import decode, unframe
from schemas.envelope import Record, record_digest, time_us_of
from schemas.events import ArtifactStored, DeviceSnapshotTaken, DeviceStatusChanged, PolicyPublished, PriceListPublished
from schemas.topics import TOPICS
from schemas.words import NAMESPACE, Event

HEARTBEAT_S = 15.0
STREAMS_MAX = 256
NOW = "now"
_FETCH = 256
_TURN = 64
_FOR_EVERYBODY = (DeviceSnapshotTaken, DeviceStatusChanged, PolicyPublished, PriceListPublished)

Still = Callable[[], Awaitable[bool]]
"""Whether a reader may still read: asked whenever the log has grown, a halt or a revoked key among it."""


class Told(NamedTuple):
    """An event that a caller may see, or none, as a sign of life; and the position after it."""

    position: str
    document: dict[str, Any] | None


class Streams:
    """Event streams over one front desk. How many are open at a time is bounded, for each reader too."""

    def __init__(self, desk: FrontDesk) -> None:
        self._desk = desk
        self._open = Shares(STREAMS_MAX)

    async def begin(self, since: str) -> "Place":
        """The place that a position stands for: empty for the start of the log, `now` for its end; or a `Refusal`."""
        await self._desk.views()
        return Place.read(since, self._desk.runner.offsets)

    @contextmanager
    def open(self, wanted: "Wanted", place: "Place", still: Still, *, follow: bool) -> Iterator[AsyncGenerator[Told]]:
        """Events from a place on, for as long as the reader reads and may; now and then a sign of life.

        Without `follow` they end where the log ends now. `Refusal` if too many streams are open.
        """
        whose = wanted.caller.source
        if not self._open.take(whose):
            told = f"{self._open.held} streams are open, or as many of yours as is fair"
            raise Refusal("too_many_streams", told, retry_after_s=10)
        try:
            with self._desk.workload.resting():
                yield self._told(wanted, place, still, follow=follow)
        finally:
            self._open.give(whose)

    async def _told(self, wanted: "Wanted", place: "Place", still: Still, *, follow: bool) -> AsyncGenerator[Told]:
        machine = self._desk.machine
        while await still():
            ends = await machine.log.ends(machine.partition)
            await self._desk.views()
            runner = self._desk.runner
            passed = 0
            async for stored in place.read_on(self._desk, runner.offsets):
                document = wanted.document(stored, runner)
                if document is not None:
                    yield Told(place.text, document)
                passed += 1
                if passed % _TURN == 0:
                    await asyncio.sleep(0)
            yield Told(place.text, None)
            if not follow:
                return
            await machine.log.wait(machine.partition, ends, HEARTBEAT_S)


@dataclass
class Place:
    """How far each topic was read."""

    offsets: dict[str, int]
    _fetched: dict[str, deque[Stored]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str, ends: dict[str, int]) -> "Place":
        """The place of a position; `Refusal` if it is none of this log."""
        if text == NOW:
            return cls({topic: ends.get(topic, 0) for topic in TOPICS})
        offsets = dict.fromkeys(TOPICS, 0)
        for part in filter(None, text.split(",")):
            topic, _, number = part.partition(":")
            known = topic in offsets and number.isdecimal() and number.isascii() and len(number) < 16
            if not known or int(number) > ends.get(topic, 0):
                raise Refusal("position_unknown", "give the id of an event of this stream, `now`, or nothing")
            offsets[topic] = int(number)
        return cls(offsets)

    @property
    def text(self) -> str:
        """The position that stands for this place."""
        return ",".join(f"{topic}:{offset}" for topic, offset in self.offsets.items())

    async def read_on(self, desk: FrontDesk, ends: dict[str, int]) -> AsyncIterator[Stored]:
        """The records up to `ends`, by the time the log took them in; this place moves on with each."""
        while heads := [each for topic in TOPICS if (each := await self._head(desk, topic, ends.get(topic, 0)))]:
            first = min(heads, key=lambda each: each.append_time_us)
            self._fetched[first.topic].popleft()
            self.offsets[first.topic] = first.offset + 1
            yield first

    async def _head(self, desk: FrontDesk, topic: str, end: int) -> Stored | None:
        fetched = self._fetched.setdefault(topic, deque())
        if not fetched and self.offsets[topic] < end:
            limit = min(_FETCH, end - self.offsets[topic])
            fetched.extend(await desk.machine.log.read(topic, desk.machine.partition, self.offsets[topic], limit))
        return fetched[0] if fetched and fetched[0].offset < end else None


class Wanted:
    """Which events go to a caller: those of jobs that it sees, and what is for everybody; of one job, of some types."""

    def __init__(self, desk: FrontDesk, caller: Caller, job: str = "", types: frozenset[str] = frozenset()) -> None:
        caller.need(Scope.EVENTS_READ)
        self._desk = desk
        self.caller = caller
        self._job = job
        self._types = types

    def document(self, stored: Stored, runner: Runner) -> dict[str, Any] | None:
        """An event as it is told, or None if it is not for this caller, not wanted, or not to be believed."""
        record = stored.record
        if not isinstance(record, Record) or (stored.topic, stored.offset) in runner.refused_places:
            return None
        type_ = record.type.removeprefix(f"{NAMESPACE}.")
        if (self._types and type_ not in self._types) or (self._job and record.subject != self._job):
            return None
        number, body = unframe(record.value)
        schema = runner.schemas(self._desk.site)[number]
        event = decode(body, schema)
        if not self._is_shown(event):
            return None
        return {
            "topic": stored.topic,
            "offset": stored.offset,
            "type": type_,
            "source": record.source,
            "sequence": int(record.sequence),
            "time_us": time_us_of(record.time),
            "id": record.id,
            "digest": record_digest(record, schema.digest).hex(),
            "event": event.model_dump(),
        }

    def _is_shown(self, event: Event) -> bool:
        if self.caller.sees_site or isinstance(event, _FOR_EVERYBODY):
            return True
        if isinstance(event, ArtifactStored) and event.owner:
            return self.caller.owns(event.owner)
        return any(self.caller.owns(initiator) for initiator in self._initiators(event))

    def _initiators(self, event: Event) -> Iterator[str]:
        job = self._desk.machine.views[JOBS].jobs.get(getattr(event, "job_id", ""))
        if job is not None and job.declaration is not None:
            yield job.declaration.initiator
