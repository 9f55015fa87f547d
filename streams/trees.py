"""The trees of all topics of one partition number, grown from a log: a log goes in, sizes and roots come out.

Growing costs the same an event however long the log is: what is kept of a tree is its frontier.
"""

from collections.abc import Mapping, Sequence

import orjson

from schemas.admission import Stored
from schemas.checkpoints import Sizes, Vocabulary
from schemas.events import CheckpointSealed
from schemas.merkle import Frontier, leaf_hashes
from schemas.topics import TOPICS
from streams.log.port import LogCorrupt, LogIncomplete, ReadableLog
from streams.log.recent import Recent

FETCH = 512


class Trees:
    """Knows the trees up to some size. Told of every round on the log, in order, before it grows past it."""

    def __init__(
        self,
        log: ReadableLog,
        partition: int,
        roots: Mapping[str, bytes],
        topics: Sequence[str] = TOPICS,
        recent: Recent | None = None,
    ) -> None:
        """`roots` gives the root public key of each site; `topics` are those whose trees are grown.

        What is `recent` was appended by this process, and is taken as it was appended.
        """
        self.frontiers = {topic: Frontier() for topic in topics}
        self._log = log
        self._partition = partition
        self._vocabulary = Vocabulary(roots)
        self._recent = recent
        self._governed = 0

    @property
    def sizes(self) -> Sizes:
        """How many records each tree has."""
        return {topic: frontier.size for topic, frontier in self.frontiers.items()}

    def hear(self, sealed: CheckpointSealed) -> None:
        """Take in a round that stands on the log."""
        self._vocabulary.seal(sizes_of(sealed))

    def to_bytes(self, number: int) -> bytes:
        """The trees as they stand in round `number`, for `adopt`."""
        trees = {topic: [each.size, b"".join(each.hashes).hex()] for topic, each in self.frontiers.items()}
        return orjson.dumps({"round": number, "trees": trees})

    def adopt(self, saved: bytes, sealed: CheckpointSealed) -> bool:
        """Stand where saved trees stood, if they are the very ones that this round sealed: their roots show it."""
        try:
            said = orjson.loads(saved)
            if said["round"] != sealed.round:
                return False
            trees = {topic: _frontier(*said["trees"][topic]) for topic in self.frontiers}
            sizes = {head.topic: (head.size, head.root) for head in sealed.heads}
            is_same = all(sizes[topic] == (tree.size, tree.root().hex()) for topic, tree in trees.items())
        except (ValueError, KeyError, TypeError):
            return False
        if is_same:
            self.frontiers.update(trees)
        return is_same

    async def grow(self, ends: Sizes) -> None:
        """Grow to the sizes of a round that goes as far as `ends`: the next one on the log, or the next to be made."""
        await self.learn(ends["governance"])
        for topic, frontier in self.frontiers.items():
            await self.extend(frontier, topic, ends[topic])

    async def extend(self, frontier: Frontier, topic: str, end: int) -> None:
        """Grow a frontier of a topic's tree to the size `end`."""
        while frontier.size < end:
            frontier.extend(await self.leaves(topic, frontier.size, end))

    async def leaves(self, topic: str, start: int, end: int) -> Sequence[bytes]:
        """The leaf hashes of records of a topic from place `start` on, at most those before `end`, at least one."""
        told = self._recent.take(topic, self._partition, start, end) if self._recent else None
        if told and self._vocabulary.knows(told.named):
            return told.hashes
        return leaf_hashes(digest for _, digest in await self.entries(topic, start, end))

    async def entries(self, topic: str, start: int, end: int) -> list[tuple[Stored, bytes]]:
        """The same records with their digests, which are what the leaves are hashes of."""
        records = await self._log.read(topic, self._partition, start, min(FETCH, end - start))
        if not records:
            raise LogIncomplete(f"{topic} partition {self._partition} offset {start}: the record is missing")
        return list(zip(records, self._vocabulary.digests(records), strict=True))

    async def compare(self, sealed: CheckpointSealed) -> None:
        """Grow to the sizes of a round, and raise `LogCorrupt` at the first tree that is not as the round says."""
        await self.grow(sizes_of(sealed))
        for head in sealed.heads:
            if self.frontiers[head.topic].root().hex() != head.root:
                raise LogCorrupt(
                    f"{head.topic} partition {self._partition} offset {head.size - 1}: this record, or one before it, "
                    f"is not what round {sealed.round} sealed; find out where with: qpubus audit verify"
                )

    async def learn(self, end: int) -> None:
        """Read governance up to the place where a round ends there: it tells which records have a statement."""
        while self._governed < end:
            limit = min(FETCH, end - self._governed)
            records = await self._log.read("governance", self._partition, self._governed, limit)
            if not records:
                raise LogIncomplete(
                    f"governance partition {self._partition} offset {self._governed}: the record is missing"
                )
            self._vocabulary.read(records)
            self._governed += len(records)


def _frontier(size: int, hashes: str) -> Frontier:
    data = bytes.fromhex(hashes)
    return Frontier(size, [data[at : at + 32] for at in range(0, len(data), 32)])


def sizes_of(sealed: CheckpointSealed) -> Sizes:
    """How far a round goes in each topic."""
    return {head.topic: head.size for head in sealed.heads}
