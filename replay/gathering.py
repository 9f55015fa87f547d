"""A job's events and all that they rest on are gathered from a log, for a bundle or a statement about the job.

These are all of governance, so that no revocation can be left out; the job's records and, again and again, their
causes; the calibrations that they name; the rejections of any of these. Records are taken as they stand and not judged:
that is the business of whoever reads what is made of them.

One pass over the partition number gives leaves and places, so the time is that of hashing the log once.
"""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field

from replay.provenance import Fact, named_documents
from schemas.admission import Admission, Stored
from schemas.checkpoints import Vocabulary
from schemas.codec import Undecodable, decode, unframe
from schemas.envelope import Cause, EnvelopeInvalid, Record, causes_of, number_of, record_digest, time_us_of
from schemas.events import CheckpointSealed, DeviceSnapshotTaken, EventRejected, IntentDeclared, SchemaPublished
from schemas.merkle import leaf_hash
from schemas.topics import TOPICS
from schemas.words import Event, wire_name
from streams.log.port import ReadableLog, partition_of

HASHED = tuple(topic for topic in TOPICS if topic != "checkpoints")
"""The topics whose records may belong to a job."""
_FETCH = 4_096
_SCHEMA = wire_name(SchemaPublished)
_LATER = frozenset({wire_name(DeviceSnapshotTaken), wire_name(EventRejected)})
"""Whether these belong to a job is known when all its records are."""
_SUBJECT = "ce_subject"

Place = tuple[str, int]
"""Topic and place in the topic's tree, which counts records."""


class JobUnknown(Exception):
    """Nobody declared this job here."""


@dataclass
class Trove:
    """What one pass over the log keeps: leaf, name and offset of all records, and in full those that may be needed.

    `numbers` are places by topic and by the name and number that an author of the job's site gave.
    """

    leaves: dict[str, list[bytes]] = field(default_factory=lambda: {topic: [] for topic in HASHED})
    numbers: dict[str, dict[str, int]] = field(default_factory=lambda: {topic: {} for topic in HASHED})
    offsets: dict[str, list[int]] = field(default_factory=lambda: {topic: [] for topic in HASHED})
    chosen: dict[Place, Stored] = field(default_factory=dict)
    later: dict[Place, Stored] = field(default_factory=dict)


class Gathering:
    """One job's records in the making."""

    def __init__(
        self, log: ReadableLog, home: tuple[str, bytes], job_id: str, others: Mapping[str, bytes] | None = None
    ) -> None:
        """`home` is the job's site with its root public key; `others` are further sites on its partition number."""
        self.site, self.root_public_key = home
        self.partition = partition_of(self.site.encode(), log.partitions)
        self.log = log
        self.admission = Admission(self.root_public_key, self.site, topics=frozenset(), passes_over_revocations=True)
        self.trove = Trove()
        self._job_id = job_id
        self._others = dict(others or {})
        self.vocabulary = Vocabulary({**self._others, self.site: self.root_public_key})

    async def gather(self) -> dict[Place, Stored]:
        """The records by their places, in the order of topics and places; `JobUnknown` if nobody declares the job."""
        await self._learn()
        for topic in HASHED:
            await self._pass_over(topic)
        chosen = self.trove.chosen
        own = [stored for (topic, _), stored in chosen.items() if topic == "intents"]
        if not any(isinstance(self.event(stored), IntentDeclared) for stored in own):
            raise JobUnknown(self._job_id)
        await self._follow_causes()
        self._take_named()
        await self._follow_causes()
        order = {topic: number for number, topic in enumerate(TOPICS)}
        return dict(sorted(chosen.items(), key=lambda each: (order[each[0][0]], each[0][1])))

    async def records(self, topic: str, offset: int = 0) -> AsyncIterator[list[Stored]]:
        """The records of a topic from an offset on, in portions."""
        while found := await self.log.read(topic, self.partition, offset, _FETCH):
            yield found
            offset = found[-1].offset + 1

    def is_of_others(self, stored: Stored) -> bool:
        """Whether a record is of another site on the same partition number, whose affairs are not told."""
        return isinstance(stored.record, Record) and stored.record.key in self._others

    def event(self, stored: Stored) -> Event | None:
        """The event in a record as it stands; None if there is none to be read."""
        record = stored.record
        try:
            number, body = unframe(record.value or b"")
            schema = self.admission.schemas.get(number)
            return decode(body, schema) if schema and isinstance(record, Record) else None
        except Undecodable:
            return None

    def facts(self, records: Iterable[Stored]) -> list[Fact]:
        """The events of the site that can be read, in the order of their signed times."""
        found = []
        for stored in records:
            record = stored.record
            event = None if self.is_of_others(stored) else self.event(stored)
            if event is None or not isinstance(record, Record):
                continue
            schema = self.admission.schemas[unframe(record.value)[0]]
            try:
                sequence = number_of(record.sequence, "sequence")
                digest = record_digest(record, schema.digest).hex()
                found.append(Fact(event, Cause(stored.topic, record.source, sequence, digest), time_us_of(record.time)))
            except EnvelopeInvalid:
                continue
        return sorted(found, key=lambda fact: fact.time_us)

    async def _learn(self) -> None:
        """What tells the leaves of records. Of rounds it must know those up to the one that covers all schemas."""
        governance = [stored async for found in self.records("governance") for stored in found]
        deque(self.admission.admit([each for each in governance if not self.is_of_others(each)]), maxlen=0)
        last = max((at for at, stored in enumerate(governance) if _type(stored) == _SCHEMA), default=-1)
        async for sealed in self._rounds():
            sizes = {head.topic: head.size for head in sealed.heads}
            self.vocabulary.seal(sizes)
            if sizes.get("governance", 0) > last:
                break
        self.vocabulary.read(governance)

    async def _rounds(self) -> AsyncIterator[CheckpointSealed]:
        async for found in self.records("checkpoints"):
            for stored in found:
                event = self.event(stored)
                if isinstance(event, CheckpointSealed) and not self.is_of_others(stored):
                    yield event

    async def _pass_over(self, topic: str) -> None:
        """Take the leaves and names of a topic's records, and those records that may belong to the job."""
        trove, leaves, numbers = self.trove, self.trove.leaves[topic], self.trove.numbers[topic]
        others, is_governance = self._others, topic == "governance"
        async for found in self.records(topic):
            before = len(leaves)
            leaves += map(leaf_hash, self.vocabulary.digests(found))
            trove.offsets[topic] += [stored.offset for stored in found]
            for number, stored in enumerate(found, before):
                record = stored.record
                if not isinstance(record, Record):
                    if is_governance or (_SUBJECT, self._job_id.encode()) in record.headers:
                        trove.chosen[topic, number] = stored
                    continue
                if record.key in others:
                    if is_governance:
                        trove.chosen[topic, number] = stored
                    continue
                numbers.setdefault(f"{record.source}/{record.sequence}", number)
                if record.subject == self._job_id or is_governance:
                    trove.chosen[topic, number] = stored
                elif record.type in _LATER:
                    trove.later[topic, number] = stored

    async def _follow_causes(self) -> None:
        """Take in the causes of the records so far, and theirs. Those of governance are the log's, not the job's."""
        trove = self.trove
        waiting = [stored for (topic, _), stored in trove.chosen.items() if topic != "governance"]
        while waiting:
            for cause in _causes(waiting.pop()):
                number = trove.numbers.get(cause.topic, {}).get(f"{cause.source}/{cause.sequence}")
                if number is None or (cause.topic, number) in trove.chosen:
                    continue
                [stored] = await self.log.read(cause.topic, self.partition, trove.offsets[cause.topic][number], 1)
                trove.chosen[cause.topic, number] = stored
                waiting.append(stored)

    def _take_named(self) -> None:
        """Take in the calibrations that the records so far name, and what was rejected of them."""
        trove = self.trove
        digests = {digest for fact in self.facts(trove.chosen.values()) for digest in named_documents(fact.event)}
        offsets = {(stored.topic, stored.offset) for stored in trove.chosen.values()}
        for place, stored in trove.later.items():
            match self.event(stored):
                case DeviceSnapshotTaken(snapshot_digest=digest) if digest in digests:
                    trove.chosen[place] = stored
                case EventRejected(topic=topic, offset=offset) if (topic, offset) in offsets:
                    trove.chosen[place] = stored
                case _:
                    pass


def _type(stored: Stored) -> str:
    return stored.record.type if isinstance(stored.record, Record) else ""


def _causes(stored: Stored) -> tuple[Cause, ...]:
    try:
        return causes_of(stored.record.causes) if isinstance(stored.record, Record) else ()
    except EnvelopeInvalid:
        return ()
