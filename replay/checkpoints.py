"""Checkpoints in an audit: every sealed round against trees grown anew, and what witnesses have seen of them.

During the pass the leaf hashes of all records are kept aside, and every round and every cosignature that may be
believed is heard. Afterwards each topic's tree is grown once. On its way it must have the root that each round sealed
at its size, and the root of each checkpoint that a witness has kept.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple

from replay.index import Index, Rows
from replay.leaves import Leaves
from replay.rounds import RECENT, Rounds, Sealed
from replay.verdict import Audit, Finding, about
from replay.witnessed import Asked, Coverage
from schemas.admission import Admitted, EnrolledKey, Stored
from schemas.checkpoints import Vocabulary, head_holds, note_of, origin_of
from schemas.events import CheckpointSealed, CheckpointWitnessed, Cosignature
from schemas.keys import raw_public_key
from schemas.merkle import Frontier, leaf_hash
from schemas.note import Note, Signature, parse_checkpoint
from schemas.topics import TOPICS, UNSEALED_ALONE
from streams.log.port import ReadableLog

FETCH = 512
Refusals = Callable[[str], Iterator[int]]


class Known(NamedTuple):
    """A root that a tree must have at a size, and who says so."""

    size: int
    root: bytes
    said_by: str


Kept = dict[tuple[str, str], list[Known]]
"""By site and topic."""


class Checkpoints:
    """All that concerns checkpoints in the audit of one partition number."""

    def __init__(self, partition: int, roots: Mapping[str, bytes], asked: Asked | None, index: Index) -> None:
        """`roots` gives the root public key of each site; without `asked` cosignatures are not looked at."""
        self._index = index
        self.leaves = Leaves()
        self._partition = partition
        self._roots = roots
        self._coverage = Coverage(asked) if asked else None
        self._rounds: dict[tuple[str, str], Rounds] = {}
        self._findings = Rows(index, Finding._fields, Finding._make)
        self._count = 0

    def hear(self, site: str, verdict: Admitted, key: EnrolledKey) -> None:
        """Take in a round, or what a witness said of one."""
        match verdict.event:
            case CheckpointSealed() as sealed:
                author = (site, verdict.source)
                if author not in self._rounds:
                    public_key, recent_max = raw_public_key(key.public_key), RECENT if self._coverage else 1
                    self._rounds[author] = Rounds(site, public_key, self._partition, self._index, recent_max)
                rounds = self._rounds[author]
                rounds.public_key = raw_public_key(key.public_key)
                rounds.take(sealed, verdict.stored)
                self._count += 1
            case CheckpointWitnessed() as witnessed if self._coverage:
                for cosignature in witnessed.cosignatures:
                    self._cosigned(site, witnessed.round, cosignature, verdict.stored)
            case _:
                pass

    async def check(
        self, log: ReadableLog, refused: Refusals, broken: Collection[str], audit: Audit
    ) -> AsyncIterator[Finding]:
        """What is wrong with the trees of the topics that are not `broken`; `audit` gets counts, notes and coverage.

        `refused` tells the offsets of the refused records of a topic, in order.
        """
        audit.rounds += self._count
        kept = self._kept(audit)
        for rounds in self._rounds.values():
            for each in rounds.findings:
                yield each
            if "governance" in broken:
                continue
            vocabulary = await self._vocabulary(log, rounds)
            for head in rounds.last.heads if rounds.last else ():
                known = merged(rounds.of(head.topic), kept.pop((rounds.site, head.topic), []))
                if head.topic not in broken:
                    corrections = await self._corrections(log, vocabulary, head.topic, refused(head.topic))
                    for each in Tree(head.topic, self._partition, corrections).check(self.leaves, known):
                        yield each
            for each in self._signatures(rounds):
                yield each
            self._count_on_log(rounds)
        if kept and "governance" not in broken:
            async for each in self._unsealed(log, refused, broken, kept):
                yield each
        if self._coverage:
            self._tail(audit)
        for each in self._findings:
            yield each

    async def _unsealed(
        self, log: ReadableLog, refused: Refusals, broken: Collection[str], kept: Kept
    ) -> AsyncIterator[Finding]:
        """What witnesses have kept of trees that no round on the log seals."""
        vocabulary = await self._vocabulary(log, *self._rounds.values())
        for (_, topic), known in kept.items():
            if topic not in broken:
                corrections = await self._corrections(log, vocabulary, topic, refused(topic))
                for each in Tree(topic, self._partition, corrections).check(self.leaves, merged((), known)):
                    yield each

    async def _vocabulary(self, log: ReadableLog, *rounds: Rounds) -> Vocabulary:
        vocabulary, offset = Vocabulary(self._roots), 0
        for each in rounds:
            each.teach(vocabulary)
        while records := await log.read("governance", self._partition, offset, FETCH):
            vocabulary.read(records)
            offset = records[-1].offset + 1
        return vocabulary

    async def _corrections(
        self, log: ReadableLog, vocabulary: Vocabulary, topic: str, refused: Iterator[int]
    ) -> Rows[tuple[int, bytes]]:
        """By place, digests that the pass could not know: of refused records, and of records before their schema."""
        digests = Rows[tuple[int, bytes]](self._index, ("place", "digest"), tuple)
        end, at, wanted = vocabulary.first_places(topic), 0, next(refused, None)
        while at < end or wanted is not None:
            records = await log.read(topic, self._partition, at if at < end or wanted is None else wanted, FETCH)
            if not records:
                break
            at = records[-1].offset + 1
            for each, digest in zip(records, vocabulary.digests(records), strict=True):
                if each.offset < end or each.offset == wanted:
                    digests.append((each.offset, digest))
                while wanted is not None and wanted <= each.offset:
                    wanted = next(refused, None)
        return digests

    def sealed_with(self, offset: int, topic: str) -> int | None:
        """How far the first round goes in a topic that covers a place in governance; None if no round does."""
        sizes = [rounds.with_governance(offset, topic) for rounds in self._rounds.values()]
        return max((size for size in sizes if size is not None), default=None)

    def _origin(self, rounds: Rounds, topic: str) -> str:
        return origin_of(self._roots[rounds.site], topic, self._partition)

    def _cosigned(self, site: str, number: int, cosignature: Cosignature, stored: Stored) -> None:
        if self._coverage is None:
            return
        for rounds in (each for each in self._rounds.values() if each.site == site):
            if not self._is_listed(rounds):
                continue
            head = rounds.head(number, cosignature.topic)
            if head:
                text = note_of(self._origin(rounds, head.topic), head, rounds.public_key).text
                line = Signature(cosignature.witness, bytes.fromhex(cosignature.key_id), cosignature.signature)
                for error in self._coverage.hear(head.topic, Note(text, (line,))):
                    what = f"round {number}, {head.topic}: {error}"
                    self._findings.append(about(stored, "cosignature_broken", what, rank=1))

    def _is_listed(self, rounds: Rounds) -> bool:
        """Whether the policy takes the sealer's word; one that lists no log takes the one that governance enrolled."""
        logs = self._coverage.asked.policy.logs if self._coverage else ()
        return not logs or any(log.public_key == rounds.public_key for log in logs)

    def _count_on_log(self, rounds: Rounds) -> None:
        """Where a policy asks for no witness, what the log itself has sealed is covered."""
        if self._coverage and rounds.last and self._is_listed(rounds) and self._coverage.asked.policy.is_met(()):
            self._coverage.sizes.update({head.topic: head.size for head in rounds.last.heads})

    def _kept(self, audit: Audit) -> Kept:
        """By site and topic, what witnesses have kept themselves: it binds a log without rounds as well."""
        kept: Kept = {}
        if self._coverage is None:
            return kept
        sealed = {rounds.site for rounds in self._rounds.values()}
        listed = {rounds.site for rounds in self._rounds.values() if self._is_listed(rounds)}
        if sealed > listed:
            audit.notes.append("the key of this log's sealer is not in the policy, so its cosignatures do not cover it")
        trees = {
            origin_of(root, topic, self._partition): (site, topic)
            for site, root in self._roots.items()
            for topic in TOPICS
        }
        for note in self._coverage.asked.notes:
            checkpoint = parse_checkpoint(note.text)
            tree = trees.get(checkpoint.origin)
            if tree is None:
                continue
            names, broken = self._coverage.cosigners(note)
            what = f"a checkpoint of {checkpoint.origin} with {checkpoint.size} records"
            audit.unheld += [f"{what}: {error}" for error in broken]
            if names:
                kept.setdefault(tree, []).append(Known(checkpoint.size, checkpoint.root, "a witness"))
            elif not broken:
                audit.unheld.append(f"{what}: no witness of the policy has cosigned it")
            if tree[0] in listed or tree[0] not in sealed:
                self._coverage.count(tree[1], checkpoint, names)
        return kept

    def _signatures(self, rounds: Rounds) -> Iterator[Finding]:
        """The sealer's signatures on the notes of its last round; those before are superseded by them."""
        if rounds.last is None:
            return
        at = next((each.offset for each in self._last_of(rounds)), 0)
        for head in rounds.last.heads:
            origin = self._origin(rounds, head.topic)
            if not head_holds(origin, head, rounds.public_key):
                detail = f"round {rounds.last.round}: the signature on the checkpoint {origin} does not hold"
                yield Finding(1, "checkpoints", self._partition, at, "", "note_signature_broken", detail)

    def _last_of(self, rounds: Rounds) -> Iterator[Sealed]:
        if rounds.last:
            for head in rounds.last.heads:
                yield from (each for each in rounds.of(head.topic) if each.round == rounds.last.round)

    def _tail(self, audit: Audit) -> None:
        """Say which records no quorum of witnesses covers. What is in no round can be covered by nobody."""
        if self._coverage is None:
            return
        for topic, size in self.leaves.counts.items():
            covered = self._coverage.sizes.get(topic, 0)
            if topic not in UNSEALED_ALONE and covered < size:
                audit.uncovered.append(f"{topic} partition {self._partition} offset {covered} to {size - 1}")

    def close(self) -> None:
        """Give the temporary files back."""
        self.leaves.close()
        for rounds in self._rounds.values():
            rounds.close()


class Tree:
    """The tree of one topic, grown along all that is known of it."""

    def __init__(self, topic: str, partition: int, corrections: Iterable[tuple[int, bytes]]) -> None:
        """`corrections` are digests by place, in order, that count in the stead of leaves."""
        self._topic = topic
        self._partition = partition
        self._corrections = iter(corrections)
        self._next = next(self._corrections, None)
        self._frontier = Frontier()
        self._sound = 0

    def check(self, leaves: Leaves, known: Iterator[Known]) -> Iterator[Finding]:
        """Grow by `leaves` and compare at each size that is known, in rising order. The first difference is enough."""
        waiting = chain.from_iterable(leaves.read(self._topic))
        for size, root, said_by in known:
            if size > self._frontier.size:
                self._frontier.extend(self._corrected(list(islice(waiting, size - self._frontier.size))))
            if self._frontier.size < size:
                detail = f"by {said_by} there are {size} records, but {self._frontier.size} are left"
                yield self._finding(self._frontier.size, "sealed_record_missing", detail, is_missing=True)
                return
            if self._frontier.root() != root:
                detail = f"one of the records up to offset {size - 1} is not what {said_by} has seen"
                yield self._finding(min(self._sound, size), "sealed_record_changed", detail)
                return
            self._sound = size

    def _corrected(self, leaves: Sequence[bytes]) -> Iterable[bytes]:
        if self._next is None:
            return leaves
        corrected, at = list(leaves), self._frontier.size
        while self._next and self._next[0] < at + len(corrected):
            place, digest = self._next
            corrected[place - at] = leaf_hash(digest)
            self._next = next(self._corrections, None)
        return corrected

    def _finding(self, offset: int, reason: str, detail: str, *, is_missing: bool = False) -> Finding:
        return Finding(1, self._topic, self._partition, offset, "", reason, detail, is_missing)


def merged(sealed: Iterable[Sealed], kept: Sequence[Known]) -> Iterator[Known]:
    """What rounds and witnesses know of one tree, by rising size; sizes of rounds rise already."""
    left = sorted(kept, key=lambda each: each.size)
    for each in sealed:
        while left and left[0].size <= each.size:
            yield left.pop(0)
        yield Known(each.size, each.root, f"round {each.round}")
    yield from left
