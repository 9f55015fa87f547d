"""One pass over the records of a site: each is judged by its bytes, and what is needed later is kept."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import starmap
from typing import Any, NamedTuple

from replay.checkpoints import Checkpoints
from replay.inside import SIGNED, TELLING, Inside
from replay.journals import Journals, Runs
from replay.leaves import LEAF_BYTES
from replay.spill import IN_MEMORY_BYTES, Spill
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
        return cls(
            stored.topic, stored.offset, event_id[:_DETAIL_MAX], refused.reason, detail, refused.digest.hex(),
            refused.source, author[:_DETAIL_MAX], sequence, before,
        )  # fmt: skip


class Part(NamedTuple):
    """What is kept of a piece of a topic in which every record was believed; see `replay.crew`."""

    topic: str
    starts: dict[str, int]
    ends: dict[str, int]
    leaves: bytes
    said: dict[str, bytes]
    early: list[tuple[str, int, Cause]]
    awaited: str
    journal: list[tuple[str, int, Runs, str, int]]
    jobs: set[str]
    traces: Traces
    inside: Inside
    rejections: dict[tuple[str, int], Rejection]
    signers: set[str]
    signatures: int

    @property
    def size(self) -> int:
        """How many records it has."""
        return len(self.leaves) // LEAF_BYTES


class SiteScan:
    """What is kept of one site."""

    def __init__(self, site: str, root: bytes, partition: int, checkpoints: Checkpoints) -> None:
        self.site = site
        self.checkpoints = checkpoints
        self.admission = Admission(root, site, topics=frozenset(), passes_over_revocations=True, reads=_READ)
        self.journals = Journals()
        self._spills: list[Spill] = []
        self.said = Said(self._spill)
        self.sizes: Counter[str] = Counter()
        self.jobs: set[str] = set()
        self.traces = Traces()
        self.inside = Inside()
        self.events = 0
        self.refused: dict[tuple[str, int], RefusedHere] = {}
        self.rejections: dict[tuple[str, int], Rejection] = {}
        self.early: list[tuple[str, int, Cause]] = []
        self.signatures: Counter[str] = Counter()
        self.revocations = 0
        self._enrolled: dict[str, int] = {}
        self._signers: set[str] = set()
        self._partition = partition
        self._awaited = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, "w+")  # noqa: SIM115 (`close` closes it)

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
                self._keep(admitted.event, admitted)

    def _take(self, verdict: Admitted | Refused, records: Sequence[Stored]) -> bytes:
        """Keep what is needed of one verdict; the digest of its record."""
        stored = verdict.stored
        if isinstance(verdict, Refused):
            place = stored.topic, stored.offset
            self.refused[place] = RefusedHere.of(verdict, self.sizes[place[0]] + stored.offset - records[0].offset)
            return verdict.digest
        self._signers.add(verdict.key_id)
        self.said.add(verdict.source, stored.topic, verdict.sequence, verdict.digest)
        self._look_up(verdict.causes, stored.topic, stored.offset, (verdict.source, verdict.sequence))
        if verdict.inputs:
            self.journals.note(verdict.source, verdict.inputs, stored.topic, stored.offset)
        if type(verdict.event) in _KEPT:
            self._keep(verdict.event, verdict)
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
        self._awaited.seek(0)
        return Part(
            topic, starts, ends, leaves, said, self.early, self._awaited.read(), self.journals.entries(),
            self.jobs, self.traces, self.inside, self.rejections, self._signers, self.signatures[topic],
        )  # fmt: skip

    def absorb(self, part: Part) -> bool:
        """Take over a piece that goes on where this scan stands; false, and nothing is taken over, if it does not."""
        for source, start in part.starts.items():
            author = source, part.topic
            if author in self.admission.suspended or self.admission.sequences.get(author, 0) + 1 != start:
                return False
        if any(self.said.fault(cause) for _, _, cause in part.early):
            return False
        for source, start in part.starts.items():
            self.said.add(source, part.topic, start, part.said[source])
            self.admission.sequences[source, part.topic] = part.ends[source]
        self._awaited.write(part.awaited)
        for entry in part.journal:
            self.journals.add(*entry)
        self.jobs |= part.jobs
        self.traces.absorb(part.traces)
        self.inside.absorb(part.inside)
        self.rejections |= part.rejections
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
            "refused": [refused for (topic, _), refused in self.refused.items() if kept(topic)],
            "rejections": [[*place, said] for place, said in self.rejections.items()],
            "signers": sorted(self._signers),
            "jobs": sorted(self.jobs),
            "traces": self.traces.state(),
            "inside": self.inside.state(),
            "journals": self.journals.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where `state` was told, before anything is read."""
        self.sizes.update(state["sizes"])
        self.signatures.update(state["signatures"])
        self.admission.sequences |= {(source, topic): last for source, topic, last in state["sequences"]}
        self.admission.suspended |= {(source, topic) for source, topic in state["suspended"]}
        self.refused = {(each.topic, each.offset): each for each in starmap(RefusedHere, state["refused"])}
        self.rejections = {(topic, offset): Rejection(*said) for topic, offset, said in state["rejections"]}
        self._signers.update(state["signers"])
        self.jobs.update(state["jobs"])
        self.traces.restore(state["traces"])
        self.inside.restore(state["inside"])
        self.journals.restore(state["journals"])

    @property
    def keys_end(self) -> int:
        """The place in governance by which every key that signed anything was enrolled."""
        return max((self._enrolled.get(key_id, -1) + 1 for key_id in self._signers), default=0)

    def _await(self, cause: Cause, topic: str, offset: int) -> None:
        """A cause in another topic may come yet; one in the same topic must have come before."""
        if cause.topic == topic:
            self.early.append((topic, offset, cause))
        else:
            self._awaited.write(f"{topic} {offset} {causes_text((cause,))}\n")

    def _keep(self, event: object, verdict: Admitted) -> None:
        if type(event) in _INSIDE:
            self.inside.hear(verdict, self.admission.keys, self.site)
        match event:
            case IntentDeclared():
                self.jobs.add(event.job_id)
                self.traces.hear(event, verdict.stored.offset)
            case TraceSealed():
                self.traces.hear(event, verdict.stored.offset)
            case EventRejected() if event.partition == self._partition:
                stored = verdict.stored
                event_id = stored.record.id if isinstance(stored.record, Record) else ""
                self.rejections[event.topic, event.offset] = Rejection(
                    event.reason, event.digest, verdict.role, stored.topic, stored.offset, event_id
                )
            case KeyEnrolled():
                self._enrolled[event.key_id] = verdict.stored.offset
            case KeyRevoked():
                self.revocations += 1
            case CheckpointSealed() | CheckpointWitnessed():
                self.checkpoints.hear(self.site, verdict, self.admission.keys[verdict.key_id])
            case _:
                pass

    def cause_findings(self) -> list[Finding]:
        """Events whose causes are nowhere, or are others."""
        for refused in self.refused.values():
            if refused.reason == "sequence_repeated":
                self.said.add_other(Cause(refused.topic, refused.author, refused.sequence, refused.digest))
        late: dict[Cause, tuple[str, int]] = {}
        self._awaited.seek(0)
        for line in self._awaited:
            topic, offset, named = line.split()
            home, source, sequence, digest = named.split("/")
            cause = Cause(home, source, int(sequence), digest)
            if self.said.fault(cause):
                late.setdefault(cause, (topic, int(offset)))
        return [self._of_cause(*each) for each in (*self.early, *((*place, cause) for cause, place in late.items()))]

    def close(self) -> None:
        """Give the temporary files back."""
        self._awaited.close()
        for spill in self._spills:
            spill.close()

    def _spill(self) -> Spill:
        self._spills.append(Spill())
        return self._spills[-1]

    def _of_cause(self, topic: str, offset: int, cause: Cause) -> Finding:
        fault = self.said.fault(cause)
        is_missing = fault == "cause_absent"
        how = "not there" if is_missing else "there with another digest"
        what = f"its cause {cause.topic}/{cause.source}/{cause.sequence} is {how}"
        return Finding(1, topic, self._partition, offset, "", fault, what, is_missing)
