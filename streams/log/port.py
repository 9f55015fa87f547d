"""The port of the log: what every engine promises, in one interface."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from schemas.admission import Stored
from schemas.envelope import Record, Stray

_SITES_KEPT = 64
"""Reckoning the partition of a key takes as long as sealing a record, and the keys of neighbours are few."""


class LogError(Exception):
    """The log could not do what was asked; the message says what, where and what to do."""


class AppendUnknown(LogError):
    """Nobody can say whether an append took place; the author must read back before it writes again."""


class AppendFenced(LogError):
    """Another holder of the same right to write came after this one. Nothing was appended, and this one must go."""


class LogCorrupt(LogError):
    """Stored bytes are not those that were acknowledged."""

    next_offset: int | None = None
    """Where reading of the topic-partition may go on behind the fault, if there is anything."""


class LogIncomplete(LogCorrupt):
    """Acknowledged records are not there any more."""


class RootReplaced(LogCorrupt):
    """The trust anchor that lies beside the log is not the one that was there before."""


class Place(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


class Bare(NamedTuple):
    """A record without what proves it. Key, value and time are empty for a stray record."""

    offset: int
    key: str
    value: bytes
    time: str


class ReadableLog(Protocol):
    """An append-only log of topics with one number of partitions, as its readers see it.

    - Places count the committed records of a topic-partition from 0, and a reader sees no others. Whatever numbers an
      engine has of its own, a place means the same on every engine, before and after a log has moved.
    - Who sees a record may not yet see what was appended to another topic before it, or with it, by another process,
      until `settle` has returned.
    - `append_time_us` is the engine's own, and unproven.
    """

    @property
    def partitions(self) -> int:
        """How many partitions each topic has."""
        ...

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        """At most `limit` committed records from the first one at or after `offset`; an empty list at the end."""
        ...

    async def read_bare(self, topic: str, partition: int, offset: int, limit: int) -> list[Bare]:
        """The same records as `read`, for who has verified them before: no proofs, no checks, half the time."""
        ...

    async def ends(self, partition: int) -> Mapping[str, int]:
        """For each topic, the place that the next record of this partition number will get."""
        ...

    async def wait(self, partition: int, ends: Mapping[str, int], timeout_s: float) -> None:
        """Return as soon as any topic of the partition number has grown past `ends`, or after the time."""
        ...

    async def settle(self, partition: int) -> None:
        """Return when all appends to this partition number that had begun by then can be read, or never will be."""
        ...

    async def close(self) -> None:
        """Give everything back; no append may be in flight."""
        ...


class Log(ReadableLog, Protocol):
    """A log that its one holder also writes, keyed by site.

    Further promises, the same for every engine:

    - `append` is atomic: all its records or none, over all topics it names; when it returns they are durable and every
      later `read` sees them. Records of one topic and partition get neighbouring places in the order given.
    - After an error other than `AppendUnknown` nothing was appended.
    """

    async def append(self, records: Sequence[Record | Stray]) -> list[Place]:
        """Append records, each to the partition of its key; their places in the order given."""
        ...


@lru_cache(_SITES_KEPT)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: murmur2 as Kafka's default partitioner reckons it, so that all clients agree."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    """MurmurHash2, 32 bit, seed 0x9747b28c (Kafka's `org.apache.kafka.common.utils.Utils.murmur2`)."""
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    hash_ = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        hash_ = (hash_ * multiplier & mask) ^ word
    if tail := data[whole:]:
        hash_ = (hash_ ^ int.from_bytes(tail, "little")) * multiplier & mask
    hash_ = (hash_ ^ hash_ >> 13) * multiplier & mask
    return hash_ ^ hash_ >> 15
