"""A log in memory: the port's promises, but for durability. Tests may have it refuse appends."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from schemas.admission import Stored
from schemas.envelope import Record, Stray
from schemas.topics import TOPICS
from streams.log.port import Bare, LogError, Place, partition_of


class MemoryLog:
    """One partition a topic. `failure`, if set, is raised by the next append, which then appends nothing."""

    def __init__(self, now_us: Callable[[], int], partitions: int = 1) -> None:
        self.partitions = partitions
        self.failure: LogError | None = None
        self._now_us = now_us
        self._records: dict[tuple[str, int], list[Stored]] = {
            (topic, partition): [] for topic in TOPICS for partition in range(partitions)
        }
        self._grown = asyncio.Event()

    async def append(self, records: Sequence[Record | Stray]) -> list[Place]:
        """Append all records or none."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        places = []
        for record in records:
            key = record.key.encode() if isinstance(record, Record) else record.key or b""
            partition = partition_of(key, self.partitions)
            line = self._records[record.topic, partition]
            line.append(Stored(record.topic, partition, len(line), self._now_us(), record))
            places.append(Place(record.topic, partition, len(line) - 1))
        self._grown.set()
        self._grown = asyncio.Event()
        return places

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        """Records from `offset` on."""
        return self._records[topic, partition][offset : offset + limit]

    async def read_bare(self, topic: str, partition: int, offset: int, limit: int) -> list[Bare]:
        """The same records without what proves them."""
        bare = []
        for stored in await self.read(topic, partition, offset, limit):
            record = stored.record
            known = (record.key, record.value, record.time) if isinstance(record, Record) else ("", b"", "")
            bare.append(Bare(stored.offset, *known))
        return bare

    async def ends(self, partition: int) -> Mapping[str, int]:
        """How many records each topic has."""
        return {topic: len(self._records[topic, partition]) for topic in TOPICS}

    async def wait(self, partition: int, ends: Mapping[str, int], timeout_s: float) -> None:
        """Return when a topic has grown past `ends`, or after the time."""
        if dict(await self.ends(partition)) != dict(ends):
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._grown.wait()
        except TimeoutError:
            return

    async def settle(self, partition: int) -> None:
        """Nothing to wait for."""

    async def close(self) -> None:
        """Nothing to give back."""
