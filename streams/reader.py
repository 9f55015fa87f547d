"""A reader: verified events of some topics of one partition number, each after its causes."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from schemas.admission import Admission, Admitted, Refused, Stored
from schemas.envelope import Cause, EnvelopeInvalid, Record, causes_of
from schemas.said import GrowingBytes, Said
from streams.echoes import Echoes
from streams.log.port import ReadableLog
from streams.stage import Heard

FETCH = 512
"""Records fetched of a topic at a time."""

_FIRST = "governance"
"""Read as early as may be: it says who may speak."""

Item = Heard | Refused


@dataclass(frozen=True)
class Bookmark:
    """How far a reader has read: the next place of each topic, what authors have said, and who is suspended, by site.

    Sequences, and digests in base64, stand by topic and source.
    """

    offsets: dict[str, int]
    sequences: dict[str, dict[str, dict[str, int]]]
    suspended: dict[str, list[tuple[str, str]]]
    said: dict[str, dict[str, dict[str, str]]]


class Reader:
    """Reads topics of one partition number and judges each record for its site.

    Governance is read before anything else that could be read as well. An event is held back until its causes in these
    topics have been read. One whose cause is not there up to the log's end, as it stood when the event was fetched, is
    read all the same, and refused with `cause_absent`.

    A record whose key is no site of `roots` counts as the first site's, so that one stage answers for it.
    """

    def __init__(
        self,
        log: ReadableLog,
        partition: int,
        topics: Sequence[str],
        roots: Mapping[str, bytes],
        *,
        heeds_causes: bool = True,
        growing: Callable[[], GrowingBytes] = bytearray,
    ) -> None:
        """`roots` gives the root public key of each site on this partition number.

        Without `heeds_causes` nothing is held back: for whoever looks for one author's events and asks no more.
        `growing` makes what the digests of an author are kept in.
        """
        self._log = log
        self._partition = partition
        self._topics = tuple(topics)
        self._home = min(roots)
        self._offsets = dict.fromkeys(self._topics, 0)
        self._fetched: dict[str, deque[Stored]] = {topic: deque() for topic in self._topics}
        self._awaited = frozenset(self._topics) if heeds_causes else frozenset()
        self._admissions = {
            site: Admission(root, site, topics=self._awaited, said=Said(growing)) for site, root in roots.items()
        }
        self._echoes = {site: Echoes(admission) for site, admission in self._admissions.items()}

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites whose records are judged."""
        return tuple(self._admissions)

    def admission(self, site: str) -> Admission:
        """What has been read of a site's keys, schemas and sequences."""
        return self._admissions[site]

    def expect(self, site: str, sealed: Sequence[Record], heard: Sequence[Heard]) -> None:
        """Know records that are appended now when they come back; `heard` are their events in any order."""
        self._echoes[site].expect(sealed, heard)

    def site_of(self, stored: Stored) -> str:
        """The site that a record counts for."""
        key = stored.record.key if isinstance(stored.record, Record) else (stored.record.key or b"").decode("latin-1")
        return key if key in self._admissions else self._home

    @property
    def offsets(self) -> dict[str, int]:
        """The next place of each topic: all before it has been read."""
        return {
            topic: self._fetched[topic][0].offset if self._fetched[topic] else offset
            for topic, offset in self._offsets.items()
        }

    def bookmark(self) -> Bookmark:
        """Where this reader stands, for another one to go on from."""
        sequences: dict[str, dict[str, dict[str, int]]] = {}
        for site, admission in self._admissions.items():
            by_topic = sequences[site] = {}
            for (source, topic), last in admission.sequences.items():
                by_topic.setdefault(topic, {})[source] = last
        suspended = {site: sorted(admission.suspended) for site, admission in self._admissions.items()}
        said = {site: admission.said.to_text() for site, admission in self._admissions.items()}
        return Bookmark(self.offsets, sequences, suspended, said)

    async def resume(self, bookmark: Bookmark) -> None:
        """Stand where another reader of the same topics stood: its counts are taken over, governance is read again."""
        for site, admission in self._admissions.items():
            by_topic = bookmark.sequences.get(site, {})
            for topic, sources in by_topic.items():
                if topic != "governance":
                    admission.sequences.update({(source, topic): last for source, last in sources.items()})
            said = bookmark.said.get(site, {})
            admission.said.take_over({topic: said[topic] for topic in said if topic != "governance"})
        end = bookmark.offsets.get("governance", 0)
        while self._offsets.get("governance", end) < end and await self._fetch_topic("governance"):
            fetched = self._fetched["governance"]
            known = [fetched.popleft() for _ in range(len(fetched)) if fetched[0].offset < end]
            deque(self._judge(known), maxlen=0)
        for site, admission in self._admissions.items():
            admission.suspended = {(source, topic) for source, topic in bookmark.suspended.get(site, [])}
        self._offsets.update({topic: bookmark.offsets.get(topic, 0) for topic in self._topics if topic != "governance"})

    async def read(self, limit: int = FETCH) -> list[Item]:
        """At most `limit` further items; none if nothing new can be read now."""
        items: list[Item] = []
        while len(items) < limit:
            await self._fetch()
            before = len(items)
            awaited = self._awaited_by_governance()
            for topic in sorted(self._topics, key=lambda topic: (topic != _FIRST, topic not in awaited)):
                ready = self._ready(topic, limit - len(items), awaited)
                items.extend(self._judge(ready))
                if len(items) >= limit or (ready and (awaited or topic == _FIRST)):
                    break
            if len(items) == before:
                stuck = next((topic for topic in self._topics if self._fetched[topic]), None)
                if stuck is None:
                    break
                if await self._fetch_late():
                    continue
                items.extend(self._judge([self._fetched[stuck].popleft()]))
        return items

    async def take(self, topic: str, site: str) -> Item:
        """The next item of one topic and site, whatever its causes; for replaying a journal. `LookupError` at the end.

        Records of other sites in between are put aside for them: replay one site after the other, then `read` on.
        """
        [item] = await self.take_run(topic, site, 1)
        return item

    async def take_run(self, topic: str, site: str, count: int) -> list[Item]:
        """So many of the next items, all or none."""
        waiting = self._fetched[topic]
        taken: list[Stored] = []
        lacking = count
        while lacking:
            while waiting and lacking:
                taken.append(waiting.popleft())
                lacking -= self.site_of(taken[-1]) == site
            if lacking and not await self._fetch_topic(topic):
                waiting.extendleft(reversed(taken))
                raise LookupError(f"the journal of {site} names more records of {topic} than there are")
        waiting.extendleft(stored for stored in reversed(taken) if self.site_of(stored) != site)
        return list(self._judge([stored for stored in taken if self.site_of(stored) == site]))

    async def _fetch(self) -> bool:
        """Fetch more of each topic of which nothing is at hand; True if there was any."""
        any_fetched = False
        for topic in self._topics:
            if not self._fetched[topic]:
                any_fetched = await self._fetch_topic(topic) or any_fetched
        return any_fetched

    async def _fetch_late(self) -> bool:
        """Fetch what was being appended while the rest was fetched: the cause that is waited for may be among it."""
        await self._log.settle(self._partition)
        return await self._fetch()

    async def _fetch_topic(self, topic: str) -> bool:
        records = await self._log.read(topic, self._partition, self._offsets[topic], FETCH)
        if records:
            self._offsets[topic] = records[-1].offset + 1
            self._fetched[topic].extend(records)
        return bool(records)

    def _awaited_by_governance(self) -> dict[str, set[tuple[str, str]]]:
        """For each topic, by author and number, the records that hold governance back, as those of a revoked key do.

        They are read first, and nothing behind them before it must be: what a key says after its end is then refused.
        """
        awaited: dict[str, set[tuple[str, str]]] = {}
        if waiting := self._fetched.get(_FIRST):
            for cause in self._holding_back(waiting[0]):
                awaited.setdefault(cause.topic, set()).add((cause.source, str(cause.sequence)))
        return awaited

    def _ready(self, topic: str, limit: int, awaited: Mapping[str, set[tuple[str, str]]]) -> list[Stored]:
        """Take the records from the head of a topic that wait for nothing in another topic."""
        fetched, here = self._fetched[topic], awaited.get(topic)
        if awaited and not here:
            limit = 1
        ready: list[Stored] = []
        while fetched and len(ready) < limit and not self._holding_back(fetched[0]):
            ready.append(fetched.popleft())
            if here and isinstance(record := ready[-1].record, Record) and (record.source, record.sequence) in here:
                break
        return ready

    def _holding_back(self, stored: Stored) -> list[Cause]:
        """The causes of a record, in other topics that are read here, that have not been read yet."""
        record = stored.record
        if not isinstance(record, Record) or not record.causes:
            return []
        site = self.site_of(stored)
        if self._echoes[site].has(stored):
            return []
        try:
            causes = causes_of(record.causes)
        except EnvelopeInvalid:
            return []
        sequences = self._admissions[site].sequences
        return [
            cause
            for cause in causes
            if cause.topic != record.topic
            and cause.topic in self._awaited
            and sequences.get((cause.source, cause.topic), 0) < cause.sequence
        ]

    def _judge(self, records: Sequence[Stored]) -> Iterator[Item]:
        for site, neighbours in groupby(records, key=self.site_of):
            echoes = self._echoes[site]
            for is_echo, group in groupby(neighbours, key=echoes.has):
                if is_echo:
                    for stored in group:
                        yield echoes.hear(stored) or next(self._admit([stored], site))
                else:
                    yield from self._admit(list(group), site)

    def _admit(self, records: Sequence[Stored], site: str) -> Iterator[Item]:
        for verdict in self._admissions[site].admit(records):
            yield self._hear(verdict, site) if isinstance(verdict, Admitted) else verdict

    def _hear(self, admitted: Admitted, site: str) -> Heard:
        record = admitted.stored.record
        return Heard(
            admitted.event,
            site,
            admitted.source,
            admitted.role,
            admitted.key_id,
            admitted.digest.hex(),
            admitted.time_us,
            admitted.cause,
            record.traceparent if isinstance(record, Record) else "",
            admitted.inputs,
        )
