"""Requests to the leaders of topic-partitions: what lies at an offset, and where all ends. Faults are waited out."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    OffsetOutOfRangeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from streams.log.kafka.batches import Line, corrupt
from streams.log.port import LogError, LogIncomplete

FETCH_BYTES = 1 << 20
"""So much of a topic-partition is asked for at once; a larger batch comes whole."""
PATIENCE_S = 30.0
"""A broker that is away for no longer than this is waited for."""
_BACKOFF_S = 0.1
_LATEST, _EARLIEST = -1, -2
_UNCOMMITTED, _COMMITTED = 0, 1
_LASTING = (
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    CorruptRecordException,
)

Options = Mapping[str, Any]
"""The arguments by which each of aiokafka's clients reaches the broker: addresses, TLS, user and password."""
_Answer = TypeVar("_Answer")


class NotAllowed(LogError):
    """This user may not do that; the message says what."""


class Fetched(NamedTuple):
    """What a broker sent of a topic-partition, and where it ended there and then.

    `data` are batches, `aborted` producer and first offset of the transactions of which nothing counts.
    """

    data: bytes
    aborted: Sequence[tuple[int, int]]
    end: int


class Wire:
    """One client of a cluster, for the partitions of some topics."""

    def __init__(self, client: AIOKafkaClient, bootstrap: str, topics: Sequence[str], partitions: int) -> None:
        self.bootstrap = bootstrap
        self.topics = tuple(topics)
        self.partitions = partitions
        self._client = client

    @classmethod
    async def open(cls, options: Options, topics: Sequence[str]) -> "Wire":
        """Connect; `LogError` if nobody answers, or the topics are not there with one number of partitions."""
        bootstrap = str(options["bootstrap_servers"])
        client = AIOKafkaClient(**options)
        try:
            await client.bootstrap()
            await client.set_topics(topics)
            counts = {topic: len(client.cluster.partitions_for_topic(topic) or ()) for topic in topics}
        except (KafkaError, OSError) as error:
            await client.close()
            raise LogError(f"{bootstrap}: {_words(error)}") from None
        if missing := [topic for topic, count in counts.items() if not count]:
            await client.close()
            unseen = ", ".join(missing)
            raise LogError(
                f"{bootstrap} has no topic {unseen}, or does not show it to this user; qpubus kafka makes them"
            )
        if len(set(counts.values())) != 1:
            await client.close()
            raise LogError(
                f"the topics at {bootstrap} differ in their number of partitions: {counts}; sites need it equal"
            )
        return cls(client, bootstrap, topics, counts[topics[0]])

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def fetch(self, line: Line, offset: int, wait_ms: int = 0) -> Fetched:
        """What is committed at and after an offset, up to `FETCH_BYTES`; at the end nothing, or what comes in time."""

        async def ask() -> Fetched:
            node = self._leader(line)
            answer = await self._client.send(node, _fetch({line: offset}, wait_ms, FETCH_BYTES))
            ((_, ((_, code, _, end, start, aborted, *_, data),)),) = answer.topics
            if start > 0:
                raise LogIncomplete(f"{line.topic} partition {line.partition} offset 0: all before {start} was deleted")
            _check(line, offset, code)
            return Fetched(data or b"", aborted or (), end)

        return await self._insist(ask)

    async def grown(self, ends: Mapping[Line, int], timeout_s: float) -> None:
        """Return when something is committed past one of these offsets, at the latest after the time."""
        by_node: dict[int, dict[Line, int]] = {}

        async def ask() -> None:
            by_node.clear()
            for line, end in ends.items():
                by_node.setdefault(self._leader(line), {})[line] = end
            polls = [
                asyncio.ensure_future(
                    self._client.send(
                        node, _fetch(lines, int(timeout_s * 1_000), 1), group=ConnectionGroup.COORDINATION
                    )
                )
                for node, lines in by_node.items()
            ]
            try:
                done, _ = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
                for poll in done:
                    poll.result()
            finally:
                for poll in polls:
                    poll.cancel()

        await self._insist(ask)

    async def committed_ends(self, partition: int, topics: Sequence[str] = ()) -> dict[str, int]:
        """For each topic, the offset up to which all is decided: committed or aborted."""
        return await self._insist(lambda: self._ends(partition, topics or self.topics, _COMMITTED))

    async def written_ends(self, partition: int) -> dict[str, int]:
        """For each topic, the offset up to which anything is written, decided or not."""
        return await self._insist(lambda: self._ends(partition, self.topics, _UNCOMMITTED))

    async def starts(self, partition: int) -> dict[str, int]:
        """For each topic, the first offset that is still there: 0, unless something was deleted."""
        return await self._insist(lambda: self._ends(partition, self.topics, _UNCOMMITTED, _EARLIEST))

    async def _ends(
        self, partition: int, topics: Sequence[str], isolation: int, which: int = _LATEST
    ) -> dict[str, int]:
        by_node: dict[int, list[str]] = {}
        for topic in topics:
            by_node.setdefault(self._leader(Line(topic, partition)), []).append(topic)
        ends = {}
        for node, there in by_node.items():
            asked = [(topic, [(partition, which)]) for topic in there]
            answer = await self._client.send(node, OffsetRequest(-1, isolation, asked))
            for topic, ((_, code, _, offset, *_),) in answer.topics:
                _check(Line(topic, partition), 0, code)
                ends[topic] = offset
        return ends

    def _leader(self, line: Line) -> int:
        leader = self._client.cluster.leader_for_partition(TopicPartition(*line))
        if leader is None or leader == -1:
            raise _NoLeader
        return int(leader)

    async def _insist(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask again while what stands in the way may pass."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE_S
        while True:
            try:
                return await ask()
            except TopicAuthorizationFailedError as error:
                raise NotAllowed(f"{self.bootstrap} does not let this user read {error.args[0]}") from None
            except SaslAuthenticationFailed as error:
                raise LogError(f"{self.bootstrap}: {_words(error)}") from None
            except (KafkaError, OSError, _NoLeader) as error:
                if loop.time() > until:
                    raise LogError(f"{self.bootstrap} has not answered for {PATIENCE_S:g} s: {_words(error)}") from None
                await asyncio.sleep(_BACKOFF_S)
                with contextlib.suppress(KafkaError, OSError):
                    await self._client.force_metadata_update()


class _NoLeader(Exception):
    """Nobody leads a topic-partition at present."""

    def __str__(self) -> str:
        return "a topic-partition has no leader"


def _fetch(places: Mapping[Line, int], wait_ms: int, max_bytes: int) -> FetchRequest:
    by_topic: dict[str, list[tuple[int, int, int]]] = {}
    for (topic, partition), offset in places.items():
        by_topic.setdefault(topic, []).append((partition, offset, max_bytes))
    return FetchRequest(wait_ms, 1, max_bytes, _COMMITTED, list(by_topic.items()))


def _check(line: Line, offset: int, code: int) -> None:
    error = for_code(code)
    if error is OffsetOutOfRangeError:
        raise LogIncomplete(f"{line.topic} partition {line.partition} offset {offset}: the log ends before this place")
    if error is CorruptRecordException:
        raise corrupt(line, offset, "the broker finds its batch corrupt")
    if code:
        raise error(str(line.topic))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
