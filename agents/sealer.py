"""The sealer: reads how far the log has grown, and seals rounds of checkpoints (`schemas.checkpoints`).

A round is due a second after something new came onto the log, or when a thousand records did. It covers all topics of
one partition number, so rounds order what topics do not.
"""

from collections.abc import Mapping
from typing import ClassVar

from agents.drafts import draft
from agents.party import Clock, Membership, Party
from schemas.checkpoints import Sizes, head_of, origin_of
from schemas.events import CheckpointSealed, TreeHead
from schemas.topics import TOPICS, UNSEALED_ALONE
from streams.log.port import Log, LogIncomplete, partition_of
from streams.stage import Heard
from streams.trees import Trees, sizes_of

INTERVAL_US = 1_000_000
RECORDS_MAX = 1_000


class Sealer(Party):
    """Seals what is on the log, and never against what it sealed before.

    After a start it grows its trees from the log's first record. If they do not lead to its last round, the log was
    changed, and it seals nothing more. Of the log it verifies governance and rounds; the rest it hashes as it stands.
    """

    topics: ClassVar[tuple[str, ...]] = ("governance", "checkpoints")

    def __init__(
        self, membership: Membership, log: Log, clock: Clock, other_sites: Mapping[str, bytes] | None = None
    ) -> None:
        """`other_sites` are root public keys of further sites on the same partition number."""
        super().__init__(membership, log, clock)
        self._root = membership.root_public_key
        self._partition = partition_of(self.site.encode(), log.partitions)
        self._trees = Trees(log, self._partition, {**(other_sites or {}), self.site: self._root})
        self._last: CheckpointSealed | None = None
        self._is_compared = False
        self._since_us: int | None = None
        self._heads: dict[str, TreeHead] = {}

    def hear(self, heard: Heard) -> None:
        """Take in a round of one's own."""
        if isinstance(heard.event, CheckpointSealed) and heard.source == self.source:
            self._last = heard.event
            self._trees.hear(heard.event)

    async def work(self) -> bool:
        """Seal a round if one is due."""
        ends = await self._log.ends(self._partition)
        waiting = self._waiting(ends)
        if waiting == 0:
            self._since_us = None
            return False
        now_us = self.clock.now_us()
        if self._since_us is None:
            self._since_us = now_us
        if waiting < RECORDS_MAX and now_us < self._since_us + INTERVAL_US:
            return False
        await self._seal(ends)
        return True

    async def finish(self) -> None:
        """Seal what is left now, due or not: the last thing before the log is closed."""
        await self.listen()
        ends = await self._log.ends(self._partition)
        if self._waiting(ends):
            await self._seal(ends)
            await self.listen()

    @property
    def patience(self) -> int:
        """Once something waits to be sealed, its time or a good part of a round's records are the next that matters."""
        return 0 if self._since_us is None else RECORDS_MAX // len(TOPICS)

    def next_due_us(self) -> int | None:
        """When what waits to be sealed will have waited long enough."""
        return None if self._since_us is None else self._since_us + INTERVAL_US

    def _waiting(self, ends: Sizes) -> int:
        sealed = sizes_of(self._last) if self._last else {}
        for topic, size in sealed.items():
            if ends.get(topic, 0) < size:
                raise LogIncomplete(
                    f"{topic} partition {self._partition} offset {ends.get(topic, 0)}: "
                    "the record is missing, though it was sealed"
                )
        return sum(ends[topic] - sealed.get(topic, 0) for topic in TOPICS if topic not in UNSEALED_ALONE)

    async def _seal(self, ends: Sizes) -> None:
        if self._last and not self._is_compared:
            await self._trees.compare(self._last)
        self._is_compared = True
        await self._trees.grow(ends)
        now_us = self.clock.now_us()
        number = self._last.round + 1 if self._last else 1
        heads = tuple(self._head(topic) for topic in TOPICS)
        event = CheckpointSealed(round=number, partition=self._partition, heads=heads)
        await self.say(draft(event, now_us, subject=self.site))
        self._since_us = None

    def _head(self, topic: str) -> TreeHead:
        """The head of a tree, signed anew only if the tree has grown."""
        frontier, known = self._trees.frontiers[topic], self._heads.get(topic)
        if known is None or known.size != frontier.size:
            origin = origin_of(self._root, topic, self._partition)
            known = self._heads[topic] = head_of(origin, topic, frontier.size, frontier.root(), self._key)
        return known
