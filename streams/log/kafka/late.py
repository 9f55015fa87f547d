"""A log that is taken over when it is first used, so that whoever needs one can be made before it is open."""

import asyncio
from collections.abc import Mapping, Sequence

from schemas.admission import Stored
from schemas.envelope import Record, Stray
from streams.log.kafka.log import KafkaLog
from streams.log.kafka.reading import KafkaReader
from streams.log.kafka.wire import Options
from streams.log.port import Bare, Place


class LateLog:
    """Another writer's hold on the log ends before anything is read here: what is read is then what counts.

    After an error that ends this hold the next use takes over anew, and whoever uses it then reads before it writes.
    """

    def __init__(self, options: Options, transactional_id: str, reader: KafkaReader) -> None:
        """`reader` is shared and stays its giver's."""
        self._options = options
        self._id = transactional_id
        self._reader = reader
        self._opening: asyncio.Task[KafkaLog] | None = None

    @property
    def partitions(self) -> int:
        """How many partitions each topic has."""
        return self._reader.partitions

    async def append(self, records: Sequence[Record | Stray]) -> list[Place]:
        """Append records, all or none; their places in the order given."""
        return await (await self._log()).append(records)

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        """At most `limit` committed records from the place `offset` on."""
        return await (await self._log()).read(topic, partition, offset, limit)

    async def read_bare(self, topic: str, partition: int, offset: int, limit: int) -> list[Bare]:
        """The same records without what proves them."""
        return await (await self._log()).read_bare(topic, partition, offset, limit)

    async def ends(self, partition: int) -> Mapping[str, int]:
        """For each topic, the place of its next record."""
        return await (await self._log()).ends(partition)

    async def wait(self, partition: int, ends: Mapping[str, int], timeout_s: float) -> None:
        """Return as soon as a topic has grown past `ends`, or after the time."""
        await (await self._log()).wait(partition, ends, timeout_s)

    async def settle(self, partition: int) -> None:
        """Return when all that had been written when this was called is decided."""
        await (await self._log()).settle(partition)

    async def close(self) -> None:
        """Close it, if it was ever opened."""
        if self._opening is None:
            return
        self._opening.cancel()
        for opened in await asyncio.gather(self._opening, return_exceptions=True):
            if isinstance(opened, KafkaLog):
                await opened.close()

    async def _log(self) -> KafkaLog:
        if self._opening is not None and self._opening.done() and await _is_of_no_use(self._opening):
            self._opening = None
        if self._opening is None:
            self._opening = asyncio.create_task(KafkaLog.open(self._options, self._id, reader=self._reader))
        return await asyncio.shield(self._opening)


async def _is_of_no_use(opening: asyncio.Task[KafkaLog]) -> bool:
    """Whether a log could not be opened or can be written no longer; then it is closed."""
    if opening.cancelled() or opening.exception():
        return True
    log = opening.result()
    if log.is_lost:
        await log.close()
    return log.is_lost
