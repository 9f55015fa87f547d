"""Errands: what is to be done about some records, by one Faust agent that keeps no table.

Faust shares the partition numbers out and hands the agent each record. The agent has the desk of its number see to it,
and acknowledges by hand, in order, when that is done. What was done stands on the log, and a desk reads it there: a
record that Faust brings twice, or never, is neither an errand too many nor one too few. An acknowledgement is for who
looks at lag.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport

from streams.app.crew import Crew
from streams.app.desk import IDLE_S, Desk
from streams.app.share import Duty, member_arguments

TOGETHER = 500
WITHIN_S = 0.1
"""Records that come within this time, but no more than `TOGETHER`, are seen to together."""


class CalledDesk(Desk):
    """A desk that is called when there is something to read; by itself it does what time makes due."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._calls: list[asyncio.Future[bool]] = []
        self._called = asyncio.Event()
        self._is_vacant = False
        self._is_over = False

    async def attend(self) -> bool:
        """Return when all that is at hand has been done; False if the desk ended before."""
        if self._is_over:
            return self._is_vacant
        call: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._calls.append(call)
        self._called.set()
        return await call

    async def close(self, *, saves: bool) -> None:
        """As a desk; whoever called is told that it ended."""
        self._end()
        await super().close(saves=saves)

    async def _work(self) -> None:
        try:
            opened = await self._take_over()
            self._is_vacant = opened is None
            while opened:
                self._called.clear()
                calls = tuple(self._calls)
                while await self._step(opened):
                    pass
                _answer(calls, is_done=True)
                del self._calls[: len(calls)]
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._called.wait(), IDLE_S)
        finally:
            self._end()

    def _end(self) -> None:
        self._is_over = True
        _answer(self._calls, is_done=self._is_vacant)


class Errands(Crew):
    """A crew whose numbers and calls come from a Faust agent. A process has no more than one: an App is one group."""

    def join(self, app: faust.App, duty: Duty) -> None:
        """Make the agent of an App that is named as the group."""
        app.boot_strategy = _ConsumerOnly(app)
        app.transport = _Transport([*app.conf.broker], app)
        app.transport.arguments = {
            **member_arguments(self.post.options, self.post.group, duty),
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",
        }
        app.on_partitions_revoked.connect(self._revoked, weak=False)
        app.on_partitions_assigned.connect(self._assigned, weak=False)
        topic = app.topic(*self.post.topics, key_serializer="raw", value_serializer="raw", allow_empty=True)
        app.agent(topic, name=self.post.name)(self._errand)

    def start(self) -> None:
        """Numbers come when Faust has joined the group."""

    def look(self, app: faust.App) -> None:
        """Leave if the group has told an error that it does not forgive: it tells who asks, and Faust does not."""
        thread = getattr(app.consumer, "_thread", None)
        coordinator = getattr(getattr(thread, "_consumer", None), "_coordinator", None)
        if coordinator is None:
            return
        try:
            coordinator.check_errors()
        except KafkaError as error:
            self._fail(f"{self.post.name}: its group: {type(error).__name__}: {error}")

    async def _errand(self, stream: Any) -> None:
        async for events in stream.noack_take(TOGETHER, within=WITHIN_S):
            numbers = sorted({event.message.partition for event in events})
            done = dict(zip(numbers, await asyncio.gather(*map(self._attend, numbers)), strict=True))
            for event in events:
                if done[event.message.partition]:
                    event.ack()

    async def _attend(self, number: int) -> bool:
        desk = self._desk_at(number)
        return isinstance(desk, CalledDesk) and await desk.attend()

    async def _revoked(self, *_: Any, **__: Any) -> None:
        await self.hold()

    async def _assigned(self, *told: Any, **_: Any) -> None:
        _app, assigned = told
        self.take({each.partition for each in assigned})

    def _desk_of(self, partition: int) -> Desk:
        return CalledDesk(self.post.name, partition, self.post.opening, self._say)


class _ConsumerOnly(BootStrategy):
    enable_kafka_producer = False


class _Thread(AIOKafkaConsumerThread):
    """Consumes as we are to: what is committed only, under a name of its own, the same number of every topic."""

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        self._assignor = RangePartitionAssignor
        return AIOKafkaConsumer(**transport.arguments)


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(Transport):
    Consumer = _Consumer
    arguments: dict[str, Any]


def _answer(calls: Sequence["asyncio.Future[bool]"], *, is_done: bool) -> None:
    for call in calls:
        if not call.done():
            call.set_result(is_done)
