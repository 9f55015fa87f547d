"""One pass over the records of a site: each is judged by its bytes, and what is needed later is kept."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from replay.awaited import Awaited
from replay.checkpoints import Checkpoints
from replay.index import Index, Places, Row, Rows, Table, Texts, storable
from replay.inside import SIGNED, TELLING, Inside
from replay.journals import Journals
from replay.leaves import LEAF_BYTES
from replay.spill import Spill
from replay.traces import Traces
from replay.verdict import Finding
from schemas.admission import Admission, Admitted, Believed, Refused
from schemas.batch import Batch, Stored
from schemas.envelope import Cause, Record, causes_text, number_of
from schemas.events import (
    CheckpointSealed,
    CheckpointWitnessed,
    EventRejected,
    IntentDeclared,
    KeyEnrolled,
    KeyRevoked,
    TraceSealed,
)
from schemas.merkle import leaf_hashes
from schemas.said import Said
from schemas.words import Event, wire_name

_INSIDE = SIGNED | TELLING
_KEPT: frozenset[type[Event]] = _INSIDE | {
    *(CheckpointSealed, CheckpointWitnessed, EventRejected, IntentDeclared, KeyEnrolled, KeyRevoked, TraceSealed),
}
_READ = frozenset({wire_name(kind) for kind in _KEPT})
"""The bodies that an audit reads, besides governance. What others say matters where decisions are made again."""


_LASTING = {
    **dict.fromkeys(("rejections", "declared", "named", "sealed", "asked", "excused", "granted", "used")),
    "refused": 0,
    "faults": 0,
    "doubtful": 0,
    "journal": 3,
}
"""What a later audit goes on from, and where in its rows the topic stands in which it was read. In a sound log no cause
is early. Signatures that do not hold are all excused in it, until an admission rests on them."""
_COUNTED = frozenset({"faults", "doubtful", "waiting"})
"""Rows of which the third cell counts the records before."""
_DETAIL_MAX = 240
_DIGITS_MAX = 18
_NOBODY = ("", "", "")


class Rejection(NamedTuple):
    """What an EventRejected says, who said it, and where it stands."""

    reason: str
    digest: str
    role: str
    topic: str
    offset: int
    event_id: str


class RefusedHere(NamedTuple):
    """A refused record without its bytes, which anyone may make a mebibyte of, and where it stands.

    `before` is how many records of its site and topic stand before it; `sequence` is 0 where it has none.
    """

    topic: str
    offset: int
    event_id: str
    reason: str
    detail: str
    digest: str
    source: str
    author: str
    sequence: int
    before: int

    @classmethod
    def of(cls, refused: Refused, before: int) -> "RefusedHere":
        """What an audit keeps of a refused record."""
        stored, record = refused.stored, refused.stored.record
        event_id, author, number = (
            (record.id, record.source, record.sequence) if isinstance(record, Record) else _NOBODY
        )
        sequence = int(number) if number.isascii() and number.isdigit() and len(number) <= _DIGITS_MAX else 0
        detail = refused.detail if len(refused.detail) <= _DETAIL_MAX else f"{refused.detail[:_DETAIL_MAX]}…"
        event_id, detail, source, author = map(
            storable, (event_id[:_DETAIL_MAX], detail, refused.source, author[:_DETAIL_MAX])
        )
        return cls(
            stored.topic, stored.offset, event_id, refused.reason, detail, refused.digest.hex(), source, author,
            sequence, before,
        )  # fmt: skip


class Part(NamedTuple):
    """What is kept of a piece of a topic in which every record was believed; see `replay.crew`."""

    topic: str
    starts: dict[str, int]
    ends: dict[str, int]
    leaves: bytes
    said: dict[str, bytes]
    early: list[Row]
    awaited: str
    kept: dict[str, list[Row]]
    signers: set[str]
    signatures: int

    @property
    def size(self) -> int:
        """How many records it has."""
        return len(self.leaves) // LEAF_BYTES


class SiteScan:
    """What is kept of one site."""

    def __init__(self, site: str, root: bytes, partition: int, checkpoints: Checkpoints, index: Index) -> None:
        """`index` takes what grows with the log."""
        self.site = site
        self.index = index
        self.checkpoints = checkpoints
        self.admission = Admission(root, site, topics=frozenset(), passes_over_revocations=True, reads=_READ)
        self.journals = Journals(index)
        self._spills: list[Spill] = []
        self.said = Said(self._spill)
        self.sizes: Counter[str] = Counter()
        self.traces = Traces(index)
        self.inside = Inside(index)
        self.refused = Places(index, RefusedHere._fields, RefusedHere._make)
        self.rejections = Places(index, Rejection._fields, Rejection._make)
        self.early = Rows[tuple[Any, ...]](index, ("at_topic", "at_offset", *Cause._fields), tuple)
        self.signatures: Counter[str] = Counter()
        self.revoked: dict[str, tuple[int, int]] = {}
        self._enrolled: dict[str, int] = {}
        self._signers: set[str] = set()
        self._partition = partition
        self._awaited = Awaited()
        self._tables: dict[str, Table] = {
            "rejections": self.rejections,
            "refused": self.refused,
            "journal": self.journals.outputs,
            "declared": self.traces.declared,
            "named": self.traces.named,
            "sealed": self.traces.sealed,
            "asked": self.inside.asked,
            "excused": self.inside.refused,
            "granted": self.inside.admissions.granted,
            "admitted": self.inside.admissions.named,
            "used": self.inside.admissions.used,
            "faults": self.inside.faults,
            "doubtful": self.inside.doubtful,
            "waiting": self.inside.waiting,
        }

    def take(self, records: Sequence[Stored]) -> None:
        """Judge neighbours of one topic."""
        checked = self.admission.signatures
        believed = self.admission.admit_all(records) if isinstance(records, Batch) else None
        if believed:
            self._take_all(believed)
            leaves = believed.opened.leaves
        else:
            leaves = leaf_hashes([self._take(verdict, records) for verdict in self.admission.admit(records)])
        topic = records[0].topic
        self.sizes[topic] += len(records)
        self.signatures[topic] += self.admission.signatures - checked
        self.checkpoints.leaves.add(topic, b"".join(leaves))

    def _take_all(self, believed: Believed) -> None:
        """Keep what is needed of neighbours that may all be believed."""
        batch, opened, events, sequences, causes, inputs = believed
        key, causes_before = opened.key, None
        self._signers.add(key.key_id)
        self.said.add(key.source, batch.topic, sequences[0], b"".join(opened.digests))
        for offset, sequence, named in zip(batch.offsets, sequences, causes, strict=True):
            if named is not causes_before:
                causes_before = named
                self._look_up(named, batch.topic, offset, (key.source, sequence))
        for offset, each in zip(batch.offsets, inputs, strict=True) if inputs[0] else ():
            if each:
                self.journals.note(key.source, each, batch.topic, offset)
        if not _KEPT.isdisjoint(map(type, events)):
            for admitted in believed.admitted():
                self._keep(admitted.event, admitted, self._before(admitted.stored, batch))

    def _before(self, stored: Stored, records: Sequence[Stored]) -> int:
        """How many of the site's records in its topic stand before one of neighbours that are being taken."""
        return self.sizes[stored.topic] + stored.offset - records[0].offset

    def _take(self, verdict: Admitted | Refused, records: Sequence[Stored]) -> bytes:
        """Keep what is needed of one verdict; the digest of its record."""
        stored = verdict.stored
        if isinstance(verdict, Refused):
            refused = RefusedHere.of(verdict, self._before(stored, records))
            self.refused.put(stored.topic, stored.offset, refused)
            return verdict.digest
        self._signers.add(verdict.key_id)
        self.said.add(verdict.source, stored.topic, verdict.sequence, verdict.digest)
        self._look_up(verdict.causes, stored.topic, stored.offset, (verdict.source, verdict.sequence))
        if verdict.inputs:
            self.journals.note(verdict.source, verdict.inputs, stored.topic, stored.offset)
        if type(verdict.event) in _KEPT:
            self._keep(verdict.event, verdict, self._before(stored, records))
        return verdict.digest

    def _look_up(self, causes: Sequence[Cause], topic: str, offset: int, own: tuple[str, int]) -> None:
        """Find the causes of an event at a place, which is the author's so-and-so-many-th in the topic."""
        for cause in causes:
            is_later = cause.topic == topic and cause.source == own[0] and cause.sequence >= own[1]
            if is_later or self.said.fault(cause):
                self._await(cause, topic, offset)

    def go_on(self, records: Sequence[Stored], starts: dict[str, int]) -> None:
        """Take the number with which an author goes on in a topic as the one that is due, once; `starts` has them."""
        first = records[0].record
        if isinstance(first, Record) and first.source not in starts:
            author = first.source, first.topic
            starts[first.source] = number_of(first.sequence, "sequence")
            self.admission.suspended.discard(author)
            self.admission.sequences[author] = starts[first.source] - 1

    def pass_over(self, stored: Stored) -> None:
        """Let the author of a refused record go on behind it."""
        record = stored.record
        if isinstance(record, Record) and record.sequence.isascii() and record.sequence.isdigit():
            author = record.source, record.topic
            self.admission.suspended.discard(author)
            self.admission.sequences[author] = max(int(record.sequence[:18]), self.admission.sequences.get(author, 0))

    def part(self, topic: str, starts: dict[str, int]) -> Part:
        """What was kept, of a piece of one topic; `starts` are the first numbers of its authors."""
        ends = {source: self.admission.sequences[source, topic] for source in starts}
        said = {source: self.said.digests(source, topic, starts[source]) for source in starts}
        leaves = b"".join(map(b"".join, self.checkpoints.leaves.read(topic)))
        return Part(
            topic, starts, ends, leaves, said, list(self.early.rows()), self._awaited.text(),
            {name: list(table.rows()) for name, table in self._tables.items()}, self._signers, self.signatures[topic],
        )  # fmt: skip

    def absorb(self, part: Part) -> bool:
        """Take over a piece that goes on where this scan stands; false, and nothing is taken over, if it does not."""
        for source, start in part.starts.items():
            author = source, part.topic
            if author in self.admission.suspended or self.admission.sequences.get(author, 0) + 1 != start:
                return False
        if any(self.said.fault(Cause(*cause)) for _, _, *cause in part.early):
            return False
        for source, start in part.starts.items():
            self.said.add(source, part.topic, start, part.said[source])
            self.admission.sequences[source, part.topic] = part.ends[source]
        self._awaited.add_text(part.awaited)
        before = self.sizes[part.topic]
        for name, rows in part.kept.items():
            self._tables[name].take((*row[:2], row[2] + before, *row[3:]) if name in _COUNTED else row for row in rows)
        self._signers |= part.signers
        self.signatures[part.topic] += part.signatures
        self.sizes[part.topic] += part.size
        self.checkpoints.leaves.add(part.topic, part.leaves)
        return True

    def state(self, leaving_out: frozenset[str]) -> dict[str, Any]:
        """What a later audit needs to go on, apart from digests; nothing of the topics that it will read again."""

        def kept(topic: str) -> bool:
            return topic not in leaving_out

        return {
            "sizes": {topic: size for topic, size in self.sizes.items() if kept(topic)},
            "signatures": {topic: count for topic, count in self.signatures.items() if kept(topic)},
            "sequences": [[*author, last] for author, last in self.admission.sequences.items() if kept(author[1])],
            "suspended": [author for author in self.admission.suspended if kept(author[1])],
            "refused": any(kept(refused.topic) for refused in self.refused),
            "signers": sorted(self._signers),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where `state` was told, before anything is read."""
        self.sizes.update(state["sizes"])
        self.signatures.update(state["signatures"])
        self.admission.sequences |= {(source, topic): last for source, topic, last in state["sequences"]}
        self.admission.suspended |= {(source, topic) for source, topic in state["suspended"]}
        self._signers.update(state["signers"])

    def lasting(self, leaving_out: frozenset[str]) -> Iterator[tuple[str, Iterator[Row]]]:
        """What a later audit needs besides, by name, and of the topics that it will read again nothing."""
        for name, topic_at in _LASTING.items():
            rows = self._tables[name].rows()
            yield name, (row for row in rows if topic_at is None or row[topic_at] not in leaving_out)

    def take_lasting(self, name: str, rows: Iterable[Row]) -> None:
        """Know what `lasting` told."""
        self._tables[name].take(rows)

    @property
    def keys_end(self) -> int:
        """The place in governance by which every key that signed anything was enrolled."""
        return max((self._enrolled.get(key_id, -1) + 1 for key_id in self._signers), default=0)

    def _await(self, cause: Cause, topic: str, offset: int) -> None:
        """A cause in another topic may come yet; one in the same topic must have come before."""
        if cause.topic == topic:
            self.early.append((topic, offset, *cause))
        else:
            self._awaited.add(cause, topic, offset)

    def _keep(self, event: object, verdict: Admitted, before: int) -> None:
        if type(event) in _INSIDE:
            self.inside.hear(verdict, before, self.admission.keys, self.site)
        match event:
            case IntentDeclared():
                self.traces.hear(event, verdict.stored.offset)
            case TraceSealed():
                self.traces.hear(event, verdict.stored.offset)
            case EventRejected() if event.partition == self._partition:
                stored = verdict.stored
                event_id = stored.record.id if isinstance(stored.record, Record) else ""
                said = Rejection(event.reason, event.digest, verdict.role, stored.topic, stored.offset, event_id)
                self.rejections.put(event.topic, event.offset, said)
            case KeyEnrolled():
                self._enrolled[event.key_id] = verdict.stored.offset
            case KeyRevoked():
                self.revoked.setdefault(event.key_id, (verdict.stored.offset, before))
            case CheckpointSealed() | CheckpointWitnessed():
                self.checkpoints.hear(self.site, verdict, self.admission.keys[verdict.key_id])
            case _:
                pass

    def cause_findings(self) -> Iterator[Finding]:
        """Events whose causes are nowhere, or are others. What was said twice under one number counts as well."""
        for topic, offset, *named in self.early:
            yield self._of_cause(topic, offset, Cause(*named))
        others = Texts(self.index)
        for each in self.refused:
            if each.reason == "sequence_repeated":
                others.add(causes_text((Cause(each.topic, each.author, each.sequence, each.digest),)))
        told = Texts(self.index)
        for cause, topic, offset in self._awaited:
            if self.said.fault(cause) and (text := causes_text((cause,))) not in others and text not in told:
                told.add(text)
                yield self._of_cause(topic, offset, cause)

    def numbers_refused(self, reason: str) -> Iterator[tuple[tuple[str, str], int, int]]:
        """Authors by source and topic: how many of their numbers were refused for this reason, and the last of them."""
        self.refused.flush()
        sql = "SELECT author, topic, count(DISTINCT sequence), max(sequence) FROM"
        for author, topic, count, last in self.index.execute(
            f"{sql} {self.refused.name} WHERE reason = ? GROUP BY author, topic", (reason,)
        ):
            yield (author, topic), count, last

    def close(self) -> None:
        """Give the temporary files back."""
        self._awaited.close()
        for spill in self._spills:
            spill.close()

    def _spill(self) -> Spill:
        self._spills.append(Spill())
        return self._spills[-1]

    def _of_cause(self, topic: str, offset: int, cause: Cause) -> Finding:
        fault = self.said.fault(cause) or "cause_absent"
        is_missing = fault == "cause_absent"
        how = "not there" if is_missing else "there with another digest"
        what = f"its cause {cause.topic}/{cause.source}/{cause.sequence} is {how}"
        return Finding(1, topic, self._partition, offset, "", fault, what, is_missing)
