"""Reading the log on Kafka: committed records of a topic-partition come out in order, from any place on."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from schemas.admission import Stored
from schemas.topics import TOPICS
from streams.log.kafka.batches import Kept, Line, committed
from streams.log.kafka.index import Index
from streams.log.kafka.track import Page, Track
from streams.log.kafka.wire import Fetched, NotAllowed, Options, Wire
from streams.log.port import Bare, LogError, LogIncomplete

POLL_S = 1.0
"""A broker holds back its answer to who waits for so long; who waits longer asks again. It bounds `close`, too."""
FRESH_S = 0.005
"""What other processes append is seen by `read` within this time, so that who reads all topics in turn asks once."""
SETTLE_S = 90.0
"""Longer than any transaction of ours may stand open."""
_SETTLE_AGAIN_S = 0.002
_SETTLE_AGAIN_MAX_S = 0.1
_R = TypeVar("_R", Stored, Bare)


class KafkaReader:
    """A log that is only read. It belongs to one event loop; all who read in a process may share it.

    Append times are the broker's, in whole milliseconds. With a file for an index, how far topics have been counted is
    kept there from one process to the next; without one, a place in the middle is found by counting from the beginning.
    """

    def __init__(self, wire: Wire, index: Index | None = None) -> None:
        self._wire = wire
        self._index = index
        self._tracks: dict[Line, Track] = {}
        self._polls: dict[int, asyncio.Task[None]] = {}
        self._unreadable: set[str] = set()
        self._looked: dict[int, tuple[float, dict[str, int]]] = {}
        self._read_to: dict[Line, int] = {}
        self._ahead: dict[Line, tuple[int, asyncio.Task[Fetched]]] = {}

    @classmethod
    async def open(cls, options: Options, topics: Sequence[str] = TOPICS, index: Path | None = None) -> "KafkaReader":
        """Connect; `LogError` says why that cannot be."""
        return cls(await Wire.open(options, topics), Index(index) if index else None)

    @property
    def partitions(self) -> int:
        """How many partitions each topic has."""
        return self._wire.partitions

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics of the log."""
        return self._wire.topics

    @property
    def bootstrap(self) -> str:
        """Where it is."""
        return self._wire.bootstrap

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        """At most `limit` committed records from the place `offset` on."""
        line = self._line(topic, partition)
        found: list[Stored] = []
        async for page, at in self._pages(line, offset):
            found += page.stored_from(line, at, limit - len(found))
            if len(found) >= limit:
                break
        return _shown(found, self._tracks[line])

    async def read_bare(self, topic: str, partition: int, offset: int, limit: int) -> list[Bare]:
        """The same records without what proves them."""
        line = self._line(topic, partition)
        found: list[Bare] = []
        async for page, at in self._pages(line, offset):
            found += page.bare_from(at, limit - len(found))
            if len(found) >= limit:
                break
        return _shown(found, self._tracks[line])

    async def _pages(self, line: Line, place: int) -> AsyncIterator[tuple[Page, int]]:
        """Pages from the one that has a place on, each with the first place wanted there, up to the end of the log."""
        track, at = await self._track(line), max(place, 0)
        is_last = False
        while not is_last:
            page = track.page(at)
            if page is None and at >= track.place and (await self._lately(line.partition))[line.topic] <= track.offset:
                return
            if page is None:
                async with track.lock:
                    page = track.page(at)
                    while page is None and not is_last:
                        fetched, is_last = await self._fetch(line, track, *track.nearest(at))
                        page = fetched if fetched.place <= at < fetched.end else None
            if page is None:
                return
            yield page, at
            at = page.end

    async def ends(self, partition: int) -> Mapping[str, int]:
        """For each topic, the place of its next record. A topic that this user may not read seems to have none."""
        self._line(self.topics[0], partition)
        ends = dict.fromkeys(self.topics, 0)
        for topic, offset in (await self._look(partition)).items():
            if topic in self._unreadable:
                continue
            line = Line(topic, partition)
            try:
                track = await self._counted(line, offset)
            except NotAllowed:
                self._unreadable.add(topic)
                continue
            ends[topic] = track.shown
        return ends

    async def wait(self, partition: int, ends: Mapping[str, int], timeout_s: float) -> None:
        """Return as soon as a topic has grown past `ends`, or after the time. The broker says when; nobody polls."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while True:
            now = await self.ends(partition)
            if any(end > ends.get(topic, 0) for topic, end in now.items()):
                return
            left = until - loop.time()
            if left <= 0:
                return
            poll = self._polls.get(partition)
            if poll is None or poll.done():
                readable = [Line(topic, partition) for topic in self.topics if topic not in self._unreadable]
                known = {line: self._tracks[line].offset for line in readable}
                poll = self._polls[partition] = asyncio.create_task(self._wire.grown(known, POLL_S))
            await asyncio.wait([poll], timeout=left)
            if poll.done():
                poll.result()

    async def settle(self, partition: int) -> None:
        """Return when all that had been written when this was called is decided: it can be read, or never will be.

        An append of this process is not read before all its topics can show it, so it is waited for as others' are.
        """
        written = await self._wire.written_ends(partition)
        veiled = {line: track.veils for line, track in self._tracks.items() if line.partition == partition}
        loop = asyncio.get_running_loop()
        until, pause_s = loop.time() + SETTLE_S, _SETTLE_AGAIN_S
        while True:
            now = await self._look(partition)
            hidden = {line.topic for line, veils in veiled.items() if veils & self._tracks[line].veils}
            behind = sorted(hidden | {topic for topic, end in written.items() if now[topic] < end})
            if not behind:
                return
            if loop.time() > until:
                raise LogError(
                    f"a transaction on {', '.join(behind)} partition {partition} has stood open for {SETTLE_S:g} s; "
                    f"find it with kafka-transactions.sh find-hanging at {self.bootstrap}"
                )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _SETTLE_AGAIN_MAX_S)

    async def close(self) -> None:
        """Keep the index and close all connections."""
        for task in (*self._polls.values(), *(fetch for _, fetch in self._ahead.values())):
            task.cancel()
            with suppress(asyncio.CancelledError, LogError):
                await task
        with suppress(OSError):  # without it the next process counts again
            await asyncio.to_thread(self.keep_index)
        await self._wire.close()

    def keep_index(self) -> None:
        """Write down how far topics have been counted, so that the next process need not count again."""
        if self._index:
            self._index.write(self._tracks)

    async def written_ends(self, partition: int) -> Mapping[str, int]:
        """For each topic, Kafka's offset up to which anything was ever written, committed or not."""
        return await self._wire.written_ends(partition)

    async def check_beginnings(self) -> None:
        """`LogIncomplete` names the topic-partitions whose first records are not there any more."""
        cut = [
            f"{topic} partition {partition} offset 0: all before {start} was deleted"
            for partition in range(self.partitions)
            for topic, start in (await self._wire.starts(partition)).items()
            if start > 0
        ]
        if cut:
            raise LogIncomplete("; ".join(cut))

    async def veil(self, firsts: Mapping[Line, int]) -> None:
        """Hide what an append of this process writes from these offsets on, until all its topics can show it."""
        for line, offset in firsts.items():
            (await self._track(line)).veil(offset)

    def unveil(self, firsts: Mapping[Line, int]) -> None:
        """Hide it no longer."""
        for line, offset in firsts.items():
            if line in self._tracks:
                self._tracks[line].unveil(offset)

    async def places(self, line: Line, written: Sequence[Kept]) -> list[int]:
        """The places of records that were committed just now; waits until they can be read."""
        track = await self._track(line)
        offsets = [each.offset for each in written]
        count, after = len(offsets), offsets[-1] + 1
        async with track.lock:
            if track.offset == offsets[0] == after - count:  # nobody wrote in between: no need to read them back
                first = track.place
                track.pass_over(written)
                while track.offset <= after:
                    await self._fetch(line, track, first + count, after, wait_ms=int(POLL_S * 1_000))
                return list(range(first, first + count))
            while track.offset <= offsets[-1]:
                await self._fetch(line, track, track.place, track.offset, wait_ms=int(POLL_S * 1_000))
        places, page = [], None
        for offset in offsets:
            if page is None or offset >= page.following:
                page = track.page_at(offset) or await self._page_at(line, track, offset)
            places.append(page.place_of(offset))
        return places

    def offset_of(self, line: Line, place: int) -> int:
        """Kafka's offset of a place that was read, or a lower one where it is not known any more."""
        return self._tracks[line].nearest(place)[1]

    async def _page_at(self, line: Line, track: Track, offset: int) -> Page:
        """The page of an offset that has been counted, read again."""
        place, at = track.mark_before(offset)
        while True:
            fetched = await self._wire.fetch(line, at)
            records, following = committed(line, fetched.data, fetched.aborted, at)
            page = Page(place, at, records, following)
            if offset < following:
                return page
            place, at = page.end, following

    async def _look(self, partition: int) -> dict[str, int]:
        """For each topic, the offset up to which all is decided now."""
        ends = await self._wire.committed_ends(partition)
        self._looked[partition] = (asyncio.get_running_loop().time(), ends)
        return ends

    async def _lately(self, partition: int) -> dict[str, int]:
        """The same, as it was no longer ago than `FRESH_S`."""
        when_s, ends = self._looked.get(partition, (0.0, {}))
        is_fresh = ends and asyncio.get_running_loop().time() - when_s <= FRESH_S
        return ends if is_fresh else await self._look(partition)

    async def _counted(self, line: Line, end: int) -> Track:
        """The track of a topic-partition, counted up to an offset."""
        track = await self._track(line)
        while track.offset < end:
            async with track.lock:
                if track.offset < end:
                    await self._fetch(line, track, track.place, track.offset)
        return track

    async def _fetch(self, line: Line, track: Track, place: int, offset: int, wait_ms: int = 0) -> tuple[Page, bool]:
        """What the broker has at an offset, which is that of `place`, and whether it is all there is now.

        Who reads on and on has the next page fetched while this one is in use.
        """
        ahead = None if wait_ms else self._taken_ahead(line, offset)
        fetched = await ahead if ahead else None
        is_fresh = fetched is None or not fetched.data
        if fetched is None or is_fresh:
            fetched = await self._wire.fetch(line, offset, wait_ms)
        records, following = committed(line, fetched.data, fetched.aborted, offset)
        page = Page(place, offset, records, following)
        if self._read_to.get(line, 0) == offset and following < fetched.end:
            self._ahead[line] = following, asyncio.create_task(self._wire.fetch(line, following))
            await asyncio.sleep(0)  # the request goes on its way
        self._read_to[line] = following
        if following > offset:
            page = track.keep(page)
        return page, following == offset or (is_fresh and following >= fetched.end)

    def _taken_ahead(self, line: Line, offset: int) -> "asyncio.Task[Fetched] | None":
        """The fetch at an offset that is on its way; one that is for another place is of no use any more."""
        at, fetch = self._ahead.pop(line, (0, None))
        if fetch and at != offset:
            fetch.cancel()
            return None
        return fetch

    async def _track(self, line: Line) -> Track:
        track = self._tracks.get(line)
        if track is None:
            marks = await self._index.marks(line, self._wire) if self._index else None
            track = self._tracks.setdefault(line, Track(marks))
        return track

    def _line(self, topic: str, partition: int) -> Line:
        if topic not in self.topics or not 0 <= partition < self.partitions:
            raise LogError(f"{self.bootstrap} has no partition {partition} of a topic {topic!r}")
        return Line(topic, partition)


def _shown(records: list[_R], track: Track) -> list[_R]:
    """Those of the records that nothing hides."""
    end = track.shown
    return records if not records or records[-1].offset < end else [each for each in records if each.offset < end]
