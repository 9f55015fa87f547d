"""Writing the log on Kafka: records go in, all of an append in one transaction, and their places come out."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from schemas.admission import Stored
from schemas.envelope import Record, Stray, headers_of
from schemas.topics import TOPICS
from streams.log.kafka.batches import Kept, Line
from streams.log.kafka.guard import check_ledger
from streams.log.kafka.reading import KafkaReader
from streams.log.kafka.settings import MESSAGE_BYTES_MAX
from streams.log.kafka.wire import Options
from streams.log.port import AppendFenced, AppendUnknown, Bare, LogCorrupt, LogError, Place, partition_of

BATCH_BYTES = 2 << 20
"""Records of one topic-partition are written in batches of this size, one after the other: each costs a round trip."""
TRANSACTION_S = 15
"""After this time the broker ends the transaction of a writer that has gone away."""
APPEND_S = 60.0
"""How long an append, or a start, waits for a broker that is away."""
CLOSE_S = 5.0
_HINT_EVERY_S = 1.0
_LINES_KEPT = 1_024
"""Sites whose topic-partitions are known without reckoning."""


class _Entry(NamedTuple):
    """A record ready to be sent."""

    line: Line
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class _Sent(NamedTuple):
    """Records of a topic-partition that the broker has, not yet committed: their offsets, and its time for each."""

    offsets: list[int]
    times_ms: list[int]


class _Waiting(NamedTuple):
    """An append that waits for its transaction, and who waits for it."""

    entries: list[_Entry]
    future: asyncio.Future[list[Place]]


class KafkaLog:
    """A log that its holder also writes, under a transactional id that fences whoever held it before.

    Appends made while a transaction is on its way share the next one. `append` returns when all of it can be read in
    every topic. With a `group` the places that were handed out travel with a transaction as the offsets of that group
    of consumers, once a second at most: a hint for Kafka's own tools that show lag; nobody starts from them.
    """

    def __init__(self, reader: KafkaReader, producer: AIOKafkaProducer, transactional_id: str, group: str = "") -> None:
        """`open` makes one."""
        self.owns_reader = False
        self._reader = reader
        self._producer = producer
        self._id = transactional_id
        self._group = group
        self._lines: dict[tuple[str, bytes | None], Line] = {}
        self._handed: dict[Line, int] = {}
        self._hinted_s = 0.0
        self._settled: set[int] = set()
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._failed = ""
        self._fenced = False

    @classmethod
    async def open(
        cls,
        options: Options,
        transactional_id: str,
        *,
        reader: KafkaReader | None = None,
        group: str = "",
        topics: Sequence[str] = TOPICS,
        index: Path | None = None,
    ) -> "KafkaLog":
        """Take over from whoever held the id: what they had not committed is gone, and what they commit later fails.

        A `reader` that is given stays its giver's, to close it; else one is opened with the `index`. `LogError` says
        why this log cannot be written, or may not be as it could lose its history.
        """
        own = reader or await KafkaReader.open(options, topics, index)
        producer = AIOKafkaProducer(
            **options,
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_S * 1_000,
            max_batch_size=BATCH_BYTES,
            max_request_size=MESSAGE_BYTES_MAX,
        )
        try:
            await check_ledger(options, own.topics)
            await own.check_beginnings()
            async with asyncio.timeout(APPEND_S):
                await producer.start()
        except BaseException as error:
            await _stopped(producer)
            if reader is None:
                await own.close()
            if isinstance(error, TimeoutError | KafkaError | OSError):
                raise _refusal(error, own.bootstrap, transactional_id) from None
            raise
        log = cls(own, producer, transactional_id, group)
        log.owns_reader = reader is None
        return log

    @property
    def partitions(self) -> int:
        """How many partitions each topic has."""
        return self._reader.partitions

    @property
    def is_lost(self) -> bool:
        """Whether it can be written no longer: to be closed, and opened anew by whoever then reads before it writes."""
        return bool(self._failed)

    @property
    def reader(self) -> KafkaReader:
        """What it reads by."""
        return self._reader

    async def append(self, records: Sequence[Record | Stray]) -> list[Place]:
        """Append records, each to the partition of its key, all or none; their places in the order given.

        `AppendFenced` if another holder came after this one, `AppendUnknown` if nobody can say; after both, and after
        any error that says so, this log must be closed and a new one opened.
        """
        self._alive()
        if not records:
            return []
        return await self._append(list(map(self._entry, records)))

    async def bring(self, records: Sequence[Stored]) -> list[Place]:
        """Append records that another log has, each to the partition number that it has there: for an import."""
        self._alive()
        entries = [self._entry(each.record)._replace(line=Line(each.topic, each.partition)) for each in records]
        return await self._append(entries)

    async def _append(self, entries: list[_Entry]) -> list[Place]:
        waiting = _Waiting(entries, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        return await waiting.future

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        """At most `limit` committed records from the place `offset` on."""
        await self._settle_first(partition)
        stored = await self._reader.read(topic, partition, offset, limit)
        if stored and self._group:
            self._handed[Line(topic, partition)] = stored[-1].offset + 1
        return stored

    async def read_bare(self, topic: str, partition: int, offset: int, limit: int) -> list[Bare]:
        """The same records without what proves them."""
        await self._settle_first(partition)
        return await self._reader.read_bare(topic, partition, offset, limit)

    async def ends(self, partition: int) -> Mapping[str, int]:
        """As the reader has them."""
        await self._settle_first(partition)
        return await self._reader.ends(partition)

    async def wait(self, partition: int, ends: Mapping[str, int], timeout_s: float) -> None:
        """Return as soon as a topic has grown past `ends`, or after the time."""
        self._alive()
        await self._reader.wait(partition, ends, timeout_s)

    async def settle(self, partition: int) -> None:
        """Return when all that had been written when this was called is decided."""
        await self._reader.settle(partition)

    async def close(self) -> None:
        """Write what waits, then close all connections."""
        if self._writing is not None:
            with suppress(LogError):
                await self._writing
        self._failed = self._failed or f"the log at {self._reader.bootstrap} is closed"
        await _stopped(self._producer)
        if self.owns_reader:
            await self._reader.close()

    async def _settle_first(self, partition: int) -> None:
        """What a holder before this one had committed may stand behind another's open transaction: it is waited for."""
        if partition in range(self.partitions) and partition not in self._settled:
            await self._reader.settle(partition)
            self._settled.add(partition)

    def _alive(self) -> None:
        if self._failed:
            raise (AppendFenced if self._fenced else LogError)(self._failed)

    def _entry(self, record: Record | Stray) -> _Entry:
        if isinstance(record, Record):
            key = record.key.encode()
            return _Entry(self._line(record.topic, key), key, record.value, list(headers_of(record)))
        if not all(name.isprintable() for name, _ in record.headers):
            raise LogError(f"{record.topic}: a header's name is no text, and Kafka's clients write nothing else")
        return _Entry(self._line(record.topic, record.key), record.key, record.value, list(record.headers))

    def _line(self, topic: str, key: bytes | None) -> Line:
        line = self._lines.get((topic, key))
        if line is not None:
            return line
        if topic not in self._reader.topics:
            known = ", ".join(self._reader.topics)
            raise LogError(f"the log at {self._reader.bootstrap} has no topic {topic!r}; its topics: {known}")
        line = Line(topic, partition_of(key, self.partitions) if key else 0)
        if len(self._lines) < _LINES_KEPT:
            self._lines[topic, key] = line
        return line

    async def _write(self) -> None:
        """Write what waits, transaction by transaction, and answer."""
        while self._waiting:
            appends, self._waiting = self._waiting, []
            try:
                answers: Sequence[list[Place] | LogError] = await self._transact(appends)
            except LogError as error:
                answers = [type(error)(str(error)) for _ in appends]
            except Exception as error:  # noqa: BLE001 (whoever appends must get an answer, whatever went wrong)
                failed = self._fail(AppendUnknown, f"{type(error).__name__}: {error}")
                answers = [type(failed)(str(failed)) for _ in appends]
            for waiting, answer in zip(appends, answers, strict=True):
                if waiting.future.done():
                    continue
                if isinstance(answer, LogError):
                    waiting.future.set_exception(answer)
                else:
                    waiting.future.set_result(answer)

    async def _transact(self, appends: list[_Waiting]) -> list[list[Place]]:
        self._alive()
        by_line: dict[Line, list[_Entry]] = {}
        for waiting in appends:
            for entry in waiting.entries:
                by_line.setdefault(entry.line, []).append(entry)
        firsts: dict[Line, int] = {}
        try:
            sent = await self._send(by_line)
            firsts = {line: there.offsets[0] for line, there in sent.items()}
            await self._reader.veil(firsts)
            await self._commit()
            taken = await self._taken(by_line, sent)
        finally:
            self._reader.unveil(firsts)
        return [[Place(*line, next(taken[line])) for line, *_ in waiting.entries] for waiting in appends]

    async def _send(self, by_line: Mapping[Line, list[_Entry]]) -> dict[Line, _Sent]:
        """Write all records of a transaction. After an error they are aborted and none counts."""
        try:
            async with asyncio.timeout(APPEND_S):
                await self._producer.begin_transaction()
                sent = [await self._batches(line, entries) for line, entries in by_line.items()]
                await self._hint()
                return {line: await _told(batches) for line, batches in zip(by_line, sent, strict=True)}
        except (KafkaError, TimeoutError, OSError) as error:
            if isinstance(error, ProducerFenced | InvalidProducerEpoch):
                raise self._fail(AppendFenced, "") from None
            await self._abort(error)
            raise LogError(f"nothing was appended at {self._reader.bootstrap}: {_words(error)}") from None

    async def _batches(self, line: Line, entries: list[_Entry]) -> list[tuple[int, asyncio.Future[Any]]]:
        """Send the records of a topic-partition; how many each batch has and who knows its first place."""
        sent = []
        batch, count = self._producer.create_batch(), 0
        for _, key, value, headers in entries:
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                sent.append((count, await self._producer.send_batch(batch, line.topic, partition=line.partition)))
                batch, count = self._producer.create_batch(), 0
                batch.append(key=key, value=value, timestamp=None, headers=headers)
            count += 1
        sent.append((count, await self._producer.send_batch(batch, line.topic, partition=line.partition)))
        return sent

    async def _hint(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._handed and now_s - self._hinted_s >= _HINT_EVERY_S:
            handed = {TopicPartition(*line): self._reader.offset_of(line, at) for line, at in self._handed.items()}
            await self._producer.send_offsets_to_transaction(handed, self._group)
            self._handed, self._hinted_s = {}, now_s

    async def _commit(self) -> None:
        try:
            async with asyncio.timeout(APPEND_S):
                await self._producer.commit_transaction()
        except (ProducerFenced, InvalidProducerEpoch):
            raise self._fail(AppendFenced, "") from None
        except (KafkaError, TimeoutError, OSError) as error:
            raise self._fail(AppendUnknown, _words(error)) from None

    async def _taken(
        self, by_line: Mapping[Line, list[_Entry]], sent: Mapping[Line, _Sent]
    ) -> dict[Line, Iterator[int]]:
        """The places of what is committed. Where they cannot be read, who appended must not believe it failed."""
        try:
            return {line: iter(await self._reader.places(line, _kept(by_line[line], sent[line]))) for line in sent}
        except LogError as error:
            unknown = self._fail(AppendUnknown, str(error))
            raise (error if isinstance(error, LogCorrupt) else unknown) from None

    async def _abort(self, why: BaseException) -> None:
        try:
            async with asyncio.timeout(APPEND_S):
                await self._producer.abort_transaction()
        except (KafkaError, TimeoutError, OSError, AssertionError) as error:
            if isinstance(error, ProducerFenced | InvalidProducerEpoch):
                raise self._fail(AppendFenced, "") from None
            raise self._fail(LogError, f"{_words(why)}, then {_words(error)}") from None

    def _fail(self, kind: type[LogError], why: str) -> LogError:
        """From now on nothing can be appended here; the error to be raised."""
        at, self._fenced = self._reader.bootstrap, kind is AppendFenced
        if kind is AppendFenced:
            self._failed = f"another writer has taken over {self._id} at {at}: nothing was appended, and this one ends"
        elif kind is AppendUnknown:
            self._failed = (
                f"the log at {at} is closed to {self._id}, as nobody can say whether its last append took place "
                f"({why}); open it again and read what is there"
            )
        else:
            self._failed = f"the log at {at} is closed to {self._id}: nothing was appended ({why}); open it again"
        return kind(self._failed)


async def _told(batches: Sequence[tuple[int, asyncio.Future[Any]]]) -> _Sent:
    """Where the broker put the records of some batches, of which each has so many."""
    offsets: list[int] = []
    times_ms: list[int] = []
    for count, answer in batches:
        told = await answer
        offsets += range(told.offset, told.offset + count)
        times_ms += repeat(told.timestamp, count)
    return _Sent(offsets, times_ms)


def _kept(entries: Sequence[_Entry], sent: _Sent) -> list[Kept]:
    """Records as the broker keeps them."""
    places = zip(sent.offsets, sent.times_ms, entries, strict=True)
    return [Kept(offset, time_ms, key, value, headers) for offset, time_ms, (_, key, value, headers) in places]


async def _stopped(producer: AIOKafkaProducer) -> None:
    with suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(CLOSE_S):
            await producer.stop()
    with suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(CLOSE_S):
            await producer.client.close()


def _refusal(error: BaseException, bootstrap: str, transactional_id: str) -> LogError:
    if isinstance(error, TransactionalIdAuthorizationFailed):
        return LogError(f"this user may not write under the transactional id {transactional_id} at {bootstrap}")
    if isinstance(error, TimeoutError):
        return LogError(f"{bootstrap} has given {transactional_id} no transaction for {APPEND_S:g} s; see its log")
    return LogError(f"{transactional_id} cannot write at {bootstrap}: {_words(error)}")


def _words(error: BaseException) -> str:
    if isinstance(error, TopicAuthorizationFailedError):
        return f"this user may not write to {error}"
    if isinstance(error, MessageSizeTooLargeError):
        return f"a record is larger than the {MESSAGE_BYTES_MAX:,} bytes that the topic takes"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
