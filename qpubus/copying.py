"""A copy of a log on Kafka, for an audit: all that stands there comes out, up to where it holds together."""

import asyncio
import shutil
import time
from pathlib import Path

from qpubus.problem import Problem
from schemas.admission import Stored
from schemas.envelope import Record
from streams.log.closing import Closing
from streams.log.kafka.reading import KafkaReader
from streams.log.making import NewLog

_FETCH = 2_048
_WINDOW = 4 * _FETCH
"""So many of the latest records are looked at for what they follow from; what is older stands for certain."""
_AGAIN_S = 0.02
PATIENCE_S = 60.0
"""How long a place is looked for where the log can be cut."""
_ROUNDS = "checkpoints"
"""Nothing stands elsewhere that follows from what is on this topic."""
_ROOM_LEFT_BYTES = 64 << 20
"""A copy leaves so much of the disk to others."""
_MORE_BYTES = 512
"""What a record takes beside its value and its seal, about."""


class Copying:
    """Brings a log into a new one in `directory`, with the append times it has there."""

    def __init__(self, log: KafkaReader, new: NewLog, directory: Path) -> None:
        self._log = log
        self._new = new
        self._directory = directory
        self._taken: dict[int, dict[str, int]] = {each: dict.fromkeys(log.topics, 0) for each in range(log.partitions)}
        self._left: dict[int, int] = {}
        self._count = 0
        self._bytes = 0

    async def run(self) -> int:
        """Copy all; how many records. `Problem` if the disk has no room for them."""
        # By Kafka's offsets, which count marks of transactions as well, until it is a partition's turn.
        for partition in self._taken:
            self._left[partition] = sum((await self._log.written_ends(partition)).values())
        for partition in self._taken:
            await self._copy(partition)
        return self._count

    async def _copy(self, partition: int) -> None:
        """Old records first, then the latest, up to a cut that tears nothing before it."""
        closing, taken = Closing(), self._taken[partition]
        while True:
            ends = await self._log.ends(partition)
            self._left[partition] = sum(ends[topic] - taken[topic] for topic in taken)
            if self._left[partition] <= _WINDOW:
                break
            for topic in self._log.topics:
                await self._take_up_to(closing, topic, partition, ends[topic])
        for records in (await self._latest(closing, partition)).values():
            self._take(closing, records)

    async def _latest(self, closing: Closing, partition: int) -> dict[str, list[Stored]]:
        """What is not taken yet, up to the cut.

        Before `least` lies what old records follow from or were appended with, and what the rounds that are copied tell
        the sizes of: a cut that is not behind it would tear them. As the log grows, the cut comes to lie behind it.
        """
        taken, rounds = self._taken[partition], (await self._log.ends(partition))[_ROUNDS]
        await self._log.settle(partition)
        least = {**await self._log.ends(partition), _ROUNDS: rounds}
        until = time.monotonic() + PATIENCE_S
        while True:
            at = {**await self._log.ends(partition), _ROUNDS: rounds}
            await self._log.settle(partition)
            seen = await self._log.ends(partition)
            window = {each: await self._read(each, partition, taken[each], seen[each]) for each in self._log.topics}
            cut = closing.cut(window, at)
            if all(cut[topic] >= least[topic] for topic in least):
                return {topic: [each for each in there if each.offset < cut[topic]] for topic, there in window.items()}
            if time.monotonic() > until:
                torn = ", ".join(topic for topic in least if cut[topic] < least[topic])
                raise Problem(
                    f"no place was found in {PATIENCE_S:g} s where partition {partition} could be cut: on {torn} "
                    "records keep coming that what was copied follows from",
                    "Look at what is being appended there: qpubus events --follow; then try again.",
                )
            await asyncio.sleep(_AGAIN_S)

    async def _take_up_to(self, closing: Closing, topic: str, partition: int, end: int) -> None:
        taken = self._taken[partition]
        while taken[topic] < end:
            page = await self._read(topic, partition, taken[topic], min(end, taken[topic] + _FETCH))
            self._take(closing, page)

    async def _read(self, topic: str, partition: int, begin: int, end: int) -> list[Stored]:
        records: list[Stored] = []
        while begin + len(records) < end:
            at = begin + len(records)
            records += await self._log.read(topic, partition, at, min(_FETCH, end - at))
        return records

    def _take(self, closing: Closing, records: list[Stored]) -> None:
        for stored in records:
            self._new.take(stored)
            closing.take(stored)
            record = stored.record
            seal = len(record.seal) if isinstance(record, Record) else 0
            self._bytes += len(record.value or b"") + seal + _MORE_BYTES
        if records:
            partition, topic = records[0].partition, records[0].topic
            self._taken[partition][topic] += len(records)
            self._left[partition] -= len(records)
            self._count += len(records)
            self._check_room()

    def _check_room(self) -> None:
        """By what records took so far."""
        free = shutil.disk_usage(self._directory).free
        needed = max(sum(self._left.values()), 0) * self._bytes // self._count
        if needed + _ROOM_LEFT_BYTES > free:
            raise Problem(
                f"the copy for the audit needs about {needed >> 20} MB more, and {self._directory} has {free >> 20} MB "
                f"(copied so far: {self._count} records)",
                "Make room there, or name another place: TMPDIR=DIR qpubus …",
            )
