"""A site on a real broker whose agent declares small jobs, and what must be true of the log afterwards."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpubus.bench.intents import Declarations
from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from replay.redecide import redecide
from schemas.envelope import Record
from schemas.events import AlarmSet, EventRejected, IntentAdmitted
from schemas.topics import topic_of
from schemas.words import Event
from streams.log.kafka.log import KafkaLog
from streams.log.kafka.reading import KafkaReader
from streams.log.kafka.wire import Options
from streams.log.port import LogError, Place, partition_of
from streams.reader import Reader
from streams.stage import AnyStage, Heard
from streams.worker import Worker
from tests.kafka.ledgers import renew

SETTLED_S = 120.0


async def _alone(broker: Broker, site: str) -> str:
    """This name or one like it, by which a site has a partition number of its own: workers of a test serve one site.

    Where every number has a site of an earlier test the ledger is made anew.
    """
    reader = await KafkaReader.open(broker.access(OPERATOR).aiokafka())
    try:
        for name in (site, *(f"{site}-{number}" for number in range(2, 16 * reader.partitions))):
            if (await reader.ends(partition_of(name.encode(), reader.partitions)))["governance"] == 0:
                return name
    finally:
        await reader.close()
    await renew(broker, reader.partitions)
    return site


@dataclass
class _Counted:
    """How often something was heard so far, by a reader of a log."""

    log: KafkaLog
    reader: Reader
    times: int = 0


class KafkaSite:
    """A founded site. `log` writes for its gateway."""

    def __init__(
        self, declarations: Declarations, log: KafkaLog, directory: Path, opened_by: tuple[Options, str]
    ) -> None:
        self.declarations = declarations
        self.log = log
        self.directory = directory
        self._opened_by = opened_by
        self._counted: dict[type[Event], _Counted] = {}
        self.partition = partition_of(declarations.site.encode(), log.partitions)

    @property
    def roots(self) -> dict[str, bytes]:
        return {self.declarations.site: self.declarations.root_public_key}

    @classmethod
    async def found(cls, broker: Broker, site: str, directory: Path, callback: str | None = None) -> "KafkaSite":
        declarations = Declarations(await _alone(broker, site), time.time_ns() // 1_000, callback)
        declarations.write_keys(directory)
        opened_by = (broker.access(OPERATOR).aiokafka(), f"{OPERATOR}.{site}")
        log = await KafkaLog.open(*opened_by)
        await log.append(declarations.founding())
        return cls(declarations, log, directory, opened_by)

    async def open_again(self) -> None:
        """Take the log up again, after its broker was away."""
        self.log = await KafkaLog.open(*self._opened_by)

    async def declare(
        self, jobs: int, size: int, pause_s: float = 0.0, meanwhile: Mapping[int, Callable[[], Any]] | None = None
    ) -> None:
        """Declare jobs, `size` at a time; `meanwhile` says what befalls the workers before a batch."""
        for number, batch in enumerate(list(self.declarations.batches(jobs, size))):
            if meanwhile and number in meanwhile:
                await asyncio.to_thread(meanwhile[number])
            await self.log.append(batch)
            await asyncio.sleep(pause_s)

    async def declare_through_faults(
        self, jobs: int, size: int, meanwhile: Mapping[int, Callable[[], Any]]
    ) -> list[tuple[Place, Record]]:
        """Declare jobs while things befall the broker at the same time; what it acknowledged, with its places.

        After a fault the gateway opens the log anew, reads back whether its batch stands there, and else appends it.
        """
        acknowledged: list[tuple[Place, Record]] = []
        befalling: list[asyncio.Task[Any]] = []
        for number, batch in enumerate(list(self.declarations.batches(jobs, size))):
            if number in meanwhile:
                befalling.append(asyncio.create_task(asyncio.to_thread(meanwhile[number])))
            acknowledged += zip(await self._append(batch), batch, strict=True)
            await asyncio.sleep(0.1)
        await asyncio.gather(*befalling)
        return acknowledged

    async def _append(self, batch: list[Record]) -> list[Place]:
        try:
            return await self.log.append(batch)
        except LogError:
            await self.log.close()
        while True:
            try:
                await self.open_again()
                break
            except LogError:
                await asyncio.sleep(0.5)
        await self.log.settle(self.partition)
        end = (await self.log.ends(self.partition))["intents"]
        first = max(0, end - len(batch))
        stored = await self.log.read("intents", self.partition, first, len(batch))
        if [each.record for each in stored] != batch:
            return await self._append(batch)
        return [Place(each.topic, each.partition, each.offset) for each in stored]

    async def admitted(self, jobs: int) -> None:
        """Return when policy has admitted so many jobs, in all."""
        await self.heard(IntentAdmitted, jobs)

    async def decided(self, jobs: int) -> None:
        """Return when policy has admitted, and the scheduler has taken up, so many jobs, in all."""
        await self.heard(AlarmSet, jobs)

    async def heard(self, kind: type[Event], times: int) -> int:
        """Return when events of a kind were heard so often, in all; how often they were."""
        counted = self._counted.get(kind)
        if counted is None or counted.log is not self.log:
            topics = ("governance", topic_of(kind))
            reader = Reader(self.log, self.partition, topics, self.roots, heeds_causes=False)
            counted = self._counted[kind] = _Counted(self.log, reader)
        async with asyncio.timeout(SETTLED_S):
            while True:
                ends = await self.log.ends(self.partition)
                while items := await counted.reader.read():
                    counted.times += sum(isinstance(item, Heard) and isinstance(item.event, kind) for item in items)
                if counted.times >= times:
                    return counted.times
                await self.log.wait(self.partition, ends, 1.0)


async def assert_each_decided_once(log: KafkaReader, site: KafkaSite, jobs: int, *, scheduled: bool = True) -> None:
    """No decision is lost, none is there twice, and each can be taken again to the same bytes."""
    reader = Reader(log, site.partition, log.topics, site.roots)
    admitted, taken_up, rejected = Counter[str](), Counter[str](), 0
    while items := await reader.read():
        for item in items:
            match getattr(item, "event", None):
                case IntentAdmitted(job_id=job_id):
                    admitted[job_id] += 1
                case AlarmSet(alarm_id=alarm_id):
                    taken_up[alarm_id] += 1
                case EventRejected():
                    rejected += 1
                case None:
                    raise AssertionError(f"not believed: {item}")
                case _:
                    pass
    assert (len(admitted), len(taken_up), rejected) == (jobs, jobs if scheduled else 0, 0)
    assert {*admitted.values(), *taken_up.values()} == {1}
    again = await redecide(log, site.roots)
    assert again.is_same, again.differences[:1]
    assert sum(again.decisions.values()) >= (3 if scheduled else 2) * jobs  # two of policy's, one of the scheduler's


async def state_of_a_clean_replay(log: KafkaReader, site: KafkaSite, stage: AnyStage) -> Any:
    """The state of a worker that begins without anything saved; it finds every decision on the log, or fails."""
    worker = Worker(stage, log, site.partition, {site.declarations.site: site.declarations.stage(stage.role)})  # type: ignore[arg-type]  # one that appended would say something twice
    while await worker.step():
        pass
    return worker.state(site.declarations.site)
