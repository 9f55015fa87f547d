"""`audit bundle JOB`: a job and all that it rests on go into one file, which `replay/standalone.py` verifies alone.

Into it go all of governance, so that no revocation can be left out; the job's records and, again and again, their
causes; the calibrations that they name; the rejections of any of these. Records are taken as they stand and not judged:
that is the business of whoever reads the bundle. Each comes with its way to the root that the last round of checkpoints
sealed, or the last that witnesses cosigned, if that covers them all.

One pass over the partition number gives leaves and places, so the time is that of hashing the log once.
"""

import base64
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.artifacts import ArtifactError, ArtifactStore
from replay.audit import collector_off
from replay.provenance import Fact, envelope, named_documents, statement
from schemas.admission import Admission, Stored
from schemas.checkpoints import Vocabulary, head_holds, note_of, origin_of
from schemas.codec import Undecodable, decode, unframe
from schemas.digests import sha256_hex
from schemas.envelope import Cause, EnvelopeInvalid, Record, causes_of, number_of, record_digest, time_us_of
from schemas.events import (
    CheckpointSealed,
    CheckpointWitnessed,
    DeviceSnapshotTaken,
    EventRejected,
    IntentDeclared,
    SchemaPublished,
    TreeHead,
)
from schemas.keys import raw_public_key
from schemas.merkle import leaf_hash, tree_levels
from schemas.note import Note, Signature
from schemas.seal import seal_of
from schemas.topics import TOPICS, Role
from schemas.words import Event, wire_name
from streams.log.port import ReadableLog, partition_of

KIND = "qpubus bundle"
FORMAT = 1
_FETCH = 4_096
_RECENT = 512
"""So many records of `checkpoints` are looked through for the last round and what witnesses said of it."""
_HASHED = tuple(topic for topic in TOPICS if topic != "checkpoints")
_SCHEMA = wire_name(SchemaPublished)
_LATER = frozenset({wire_name(DeviceSnapshotTaken), wire_name(EventRejected)})
"""Whether these belong to a job is known when all its records are."""
_TEXTS = ("causes", "id", "inputs", "key", "sequence", "source", "subject", "time", "traceparent", "type")

Place = tuple[str, int]
"""Topic and place in the topic's tree, which counts records."""


class JobUnknown(Exception):
    """Nobody declared this job here."""


@dataclass
class _Trove:
    """What one pass over the log keeps: leaf, name and offset of all records, and in full those that may be needed.

    `numbers` are places by topic and by the author's name and number.
    """

    leaves: dict[str, list[bytes]] = field(default_factory=lambda: {topic: [] for topic in _HASHED})
    numbers: dict[str, dict[str, int]] = field(default_factory=lambda: {topic: {} for topic in _HASHED})
    offsets: dict[str, list[int]] = field(default_factory=lambda: {topic: [] for topic in _HASHED})
    chosen: dict[Place, Stored] = field(default_factory=dict)
    later: dict[Place, Stored] = field(default_factory=dict)


class _Round(NamedTuple):
    """Tree heads by topic, and by topic the note of each with all signatures that there are."""

    heads: Mapping[str, TreeHead]
    notes: Mapping[str, Note]


async def bundle(
    log: ReadableLog,
    home: tuple[str, bytes],
    job_id: str,
    key: Ed25519PrivateKey,
    artifacts: ArtifactStore | None = None,
) -> bytes:
    """The bundle of a job, signed by an auditor's `key`; without `artifacts` documents are named and left out.

    `home` is the site with its root public key.
    """
    site, root_public_key = home
    gathering = _Gathering(log, site, root_public_key, job_id)
    with collector_off():
        records, round_ = await gathering.gather()
    facts = gathering.facts(records.values())
    topics = {topic for topic, _ in records if topic in _HASHED}
    content: dict[str, Any] = {
        "artifacts": gathering.documents(facts, artifacts),
        "checkpoints": {topic: round_.notes[topic].data.decode() for topic in topics & round_.notes.keys()},
        "format": FORMAT,
        "job": job_id,
        "kind": KIND,
        "partition": gathering.partition,
        "records": list(gathering.record_documents(records, round_.heads)),
        "root": root_public_key.hex(),
        "site": site,
    }
    byproducts = {"bundle": sha256_hex(rfc8785.dumps(content))}
    said = statement(site, job_id, facts, byproducts)
    return rfc8785.dumps(content | {"dsse": envelope(said, key)}) + b"\n"


class _Gathering:
    """One job's bundle in the making."""

    def __init__(self, log: ReadableLog, site: str, root_public_key: bytes, job_id: str) -> None:
        self.partition = partition_of(site.encode(), log.partitions)
        self._log, self._site, self._root, self._job_id = log, site, root_public_key, job_id
        self._admission = Admission(root_public_key, site, topics=frozenset(), passes_over_revocations=True)
        self._trove = _Trove()

    async def gather(self) -> tuple[dict[Place, Stored], _Round]:
        """The records of the bundle by their places, and the round that proves them."""
        vocabulary = await self._vocabulary()
        for topic in _HASHED:
            await self._pass_over(topic, vocabulary)
        chosen = self._trove.chosen
        own = [stored for (topic, _), stored in chosen.items() if topic == "intents"]
        if not any(isinstance(self._event(stored), IntentDeclared) for stored in own):
            raise JobUnknown(self._job_id)
        await self._follow_causes()
        self._take_named()
        await self._follow_causes()
        order = {topic: number for number, topic in enumerate(TOPICS)}
        records = dict(sorted(chosen.items(), key=lambda each: (order[each[0][0]], each[0][1])))
        return records, await self._round(records)

    async def _records(self, topic: str, offset: int = 0) -> AsyncIterator[list[Stored]]:
        while found := await self._log.read(topic, self.partition, offset, _FETCH):
            yield found
            offset = found[-1].offset + 1

    async def _vocabulary(self) -> Vocabulary:
        """What tells the leaves of records. Of rounds it must know those up to the one that covers all schemas."""
        governance = [stored async for found in self._records("governance") for stored in found]
        deque(self._admission.admit(governance), maxlen=0)
        last = max((at for at, stored in enumerate(governance) if _type(stored) == _SCHEMA), default=-1)
        vocabulary = Vocabulary({self._site: self._root})
        async for sealed in self._rounds():
            sizes = {head.topic: head.size for head in sealed.heads}
            vocabulary.seal(sizes)
            if sizes.get("governance", 0) > last:
                break
        vocabulary.read(governance)
        return vocabulary

    async def _rounds(self, offset: int = 0) -> AsyncIterator[CheckpointSealed]:
        async for found in self._records("checkpoints", offset):
            for stored in found:
                event = self._event(stored)
                if isinstance(event, CheckpointSealed):
                    yield event

    async def _pass_over(self, topic: str, vocabulary: Vocabulary) -> None:
        """Take the leaves and names of a topic's records, and those records that may belong to the bundle."""
        trove, leaves, numbers = self._trove, self._trove.leaves[topic], self._trove.numbers[topic]
        async for found in self._records(topic):
            before = len(leaves)
            leaves += map(leaf_hash, vocabulary.digests(found))
            trove.offsets[topic] += [stored.offset for stored in found]
            for number, stored in enumerate(found, before):
                record = stored.record
                if not isinstance(record, Record):
                    continue
                numbers.setdefault(f"{record.source}/{record.sequence}", number)
                if record.subject == self._job_id or topic == "governance":
                    trove.chosen[topic, number] = stored
                elif record.type in _LATER:
                    trove.later[topic, number] = stored

    async def _follow_causes(self) -> None:
        """Take in the causes of the records so far, and theirs. Those of governance are the log's, not the job's."""
        trove = self._trove
        waiting = [stored for (topic, _), stored in trove.chosen.items() if topic != "governance"]
        while waiting:
            for cause in _causes(waiting.pop()):
                number = trove.numbers.get(cause.topic, {}).get(f"{cause.source}/{cause.sequence}")
                if number is None or (cause.topic, number) in trove.chosen:
                    continue
                [stored] = await self._log.read(cause.topic, self.partition, trove.offsets[cause.topic][number], 1)
                trove.chosen[cause.topic, number] = stored
                waiting.append(stored)

    def _take_named(self) -> None:
        """Take in the calibrations that the records so far name, and what was rejected of them."""
        trove = self._trove
        digests = {digest for fact in self.facts(trove.chosen.values()) for digest in named_documents(fact.event)}
        offsets = {(stored.topic, stored.offset) for stored in trove.chosen.values()}
        for place, stored in trove.later.items():
            match self._event(stored):
                case DeviceSnapshotTaken(snapshot_digest=digest) if digest in digests:
                    trove.chosen[place] = stored
                case EventRejected(topic=topic, offset=offset) if (topic, offset) in offsets:
                    trove.chosen[place] = stored
                case _:
                    pass

    async def _round(self, records: Iterable[Place]) -> _Round:
        """The last round; or the last that has cosignatures, if its trees have all of the records."""
        sizes: dict[str, int] = {}
        for topic, number in records:
            sizes[topic] = max(sizes.get(topic, 0), number + 1)
        ends = await self._log.ends(self.partition)
        rounds: dict[int, _Round] = {}
        best = _Round({}, {})
        cosigned: dict[int, list[tuple[str, Signature]]] = {}
        async for found in self._records("checkpoints", max(0, ends["checkpoints"] - _RECENT)):
            for stored in found:
                match self._event(stored):
                    case CheckpointSealed() as sealed:
                        best = rounds[sealed.round] = self._sealed(sealed, stored) or best
                    case CheckpointWitnessed() as witnessed:
                        for each in witnessed.cosignatures:
                            line = Signature(each.witness, bytes.fromhex(each.key_id), each.signature)
                            cosigned.setdefault(witnessed.round, []).append((each.topic, line))
                    case _:
                        pass
        for number in sorted(cosigned.keys() & rounds.keys()):
            heads, notes = rounds[number]
            if all(topic in heads and heads[topic].size >= size for topic, size in sizes.items()):
                best = _Round(heads, _with_lines(notes, cosigned[number]))
        return best

    def _sealed(self, sealed: CheckpointSealed, stored: Stored) -> _Round | None:
        """The trees of a round; None if no enrolled sealer has signed them."""
        record = stored.record
        try:
            key = self._admission.keys.get(seal_of(record.seal).key_id) if isinstance(record, Record) else None
        except EnvelopeInvalid:
            key = None
        if key is None or key.role != Role.SEALER.value:
            return None
        sealer, notes = raw_public_key(key.public_key), {}
        for head in sealed.heads:
            origin = origin_of(self._root, head.topic, self.partition)
            if not head_holds(origin, head, sealer):
                return None
            notes[head.topic] = note_of(origin, head, sealer)
        return _Round({head.topic: head for head in sealed.heads}, notes)

    def _event(self, stored: Stored) -> Event | None:
        """The event in a record as it stands; None if there is none to be read."""
        record = stored.record
        try:
            number, body = unframe(record.value or b"")
            schema = self._admission.schemas.get(number)
            return decode(body, schema) if schema and isinstance(record, Record) else None
        except Undecodable:
            return None

    def facts(self, records: Iterable[Stored]) -> list[Fact]:
        """The events that can be read, in the order of their signed times."""
        found = []
        for stored in records:
            event, record = self._event(stored), stored.record
            if event is None or not isinstance(record, Record):
                continue
            schema = self._admission.schemas[unframe(record.value)[0]]
            try:
                name = Cause(stored.topic, record.source, number_of(record.sequence, "sequence"),
                             record_digest(record, schema.digest).hex())  # fmt: skip
                found.append(Fact(event, name, time_us_of(record.time)))
            except EnvelopeInvalid:
                continue
        return sorted(found, key=lambda fact: fact.time_us)

    def documents(self, facts: Iterable[Fact], artifacts: ArtifactStore | None) -> dict[str, str | None]:
        """The documents that the events name: all that are in the store, or only their digests."""
        documents: dict[str, str | None] = {}
        for digest in sorted({digest for fact in facts for digest in named_documents(fact.event)}):
            documents[digest] = None
            if artifacts is not None:
                with suppress(ArtifactError):
                    documents[digest] = _base64(artifacts.get(digest))
        return documents

    def record_documents(
        self, records: Mapping[Place, Stored], heads: Mapping[str, TreeHead]
    ) -> Iterator[dict[str, Any]]:
        """The records as the bundle has them, each with its inclusion proof where its tree is sealed that far."""
        levels = {
            topic: tree_levels(self._trove.leaves[topic][: head.size])
            for topic, head in heads.items()
            if topic in self._trove.leaves
        }
        for (topic, number), stored in records.items():
            record = stored.record
            if isinstance(record, Record):
                texts = {name: getattr(record, name) for name in _TEXTS}
                yield {
                    "append_time_us": str(stored.append_time_us),
                    "offset": stored.offset,
                    "proof": _proof(levels.get(topic, [[]]), number),
                    "record": {**texts, "seal": _base64(record.seal), "value": _base64(record.value)},
                    "topic": topic,
                }


def _proof(levels: Sequence[Sequence[bytes]], number: int) -> str:
    """The upper part of a C2SP tlog-proof: the topic's checkpoint after an empty line makes it whole."""
    if number >= len(levels[0]):
        return ""
    lines, at = ["c2sp.org/tlog-proof@v1", f"index {number}"], number
    for level in levels[:-1]:
        if at ^ 1 < len(level):
            lines.append(_base64(level[at ^ 1]))
        at >>= 1
    return "\n".join(lines) + "\n"


def _with_lines(notes: Mapping[str, Note], lines: Iterable[tuple[str, Signature]]) -> dict[str, Note]:
    """Notes with cosignatures added to their topics' ones."""
    added = dict(notes)
    for topic, line in lines:
        if topic in added and line not in added[topic].signatures:
            added[topic] = added[topic]._replace(signatures=(*added[topic].signatures, line))
    return added


def _type(stored: Stored) -> str:
    return stored.record.type if isinstance(stored.record, Record) else ""


def _causes(stored: Stored) -> tuple[Cause, ...]:
    try:
        return causes_of(stored.record.causes) if isinstance(stored.record, Record) else ()
    except EnvelopeInvalid:
        return ()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
