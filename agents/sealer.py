"""The sealer: reads how far the log has grown, and seals rounds of checkpoints (`schemas.checkpoints`).

A round is due a second after something new came onto the log, or when a thousand records did. It covers all topics of
one partition number, so rounds order what topics do not.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from agents.drafts import draft
from agents.party import Clock, Membership, Party
from schemas.checkpoints import Sizes, head_of, origin_of
from schemas.events import CheckpointSealed, TreeHead
from schemas.topics import TOPICS, UNSEALED_ALONE
from streams.disk import put
from streams.log.port import Log, LogIncomplete, partition_of
from streams.log.recent import KeepsLeaves
from streams.stage import Heard
from streams.trees import Trees, sizes_of

INTERVAL_US = 1_000_000
RECORDS_MAX = 1_000
SAVE_EVERY = 64
"""After so many rounds the trees are saved."""


class Sealer(Party):
    """Seals what is on the log, and never against what it sealed before.

    After a start it grows its trees from the log's first record, or from trees that were saved, if they are those of a
    round on the log. If they do not lead to its last round, the log was changed, and it seals nothing more. What saved
    trees cover is not read again: whether that was changed is for an audit to say. Of the log it verifies governance
    and rounds; the rest it hashes as it stands, or as it was appended, if this process did that a moment ago.
    """

    topics: ClassVar[tuple[str, ...]] = ("governance", "checkpoints")

    def __init__(
        self,
        membership: Membership,
        log: Log,
        clock: Clock,
        other_sites: Mapping[str, bytes] | None = None,
        saved: Path | None = None,
    ) -> None:
        """`other_sites` are root public keys of further sites on the same partition number.

        The file `saved` keeps the trees from one start to the next; without one they are grown anew.
        """
        super().__init__(membership, log, clock)
        self._root = membership.root_public_key
        self._partition = partition_of(self.site.encode(), log.partitions)
        recent = log.keep_leaves() if isinstance(log, KeepsLeaves) else None
        self._trees = Trees(log, self._partition, {**(other_sites or {}), self.site: self._root}, recent=recent)
        self._path = saved
        self._saved = self._read()
        self._unsaved = 0
        self._last: CheckpointSealed | None = None
        self._is_compared = False
        self._since_us: int | None = None
        self._heads: dict[str, TreeHead] = {}

    def hear(self, heard: Heard) -> None:
        """Take in a round of one's own."""
        if isinstance(heard.event, CheckpointSealed) and heard.source == self.source:
            self._last = heard.event
            self._trees.hear(heard.event)
            if self._saved and not self._is_compared and self._trees.adopt(self._saved, heard.event):
                self._saved = b""

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
        if self._last:
            self._save(self._last.round)

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
        self._unsaved += 1
        if self._unsaved >= SAVE_EVERY:
            self._save(number)

    def _save(self, number: int) -> None:
        """Keep the trees of a round; a start without them takes longer, and no more."""
        if self._path and self._unsaved:
            with suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                put(self._path, self._trees.to_bytes(number))
        self._unsaved = 0

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes() if self._path else b""
        except OSError:
            return b""

    def _head(self, topic: str) -> TreeHead:
        """The head of a tree, signed anew only if the tree has grown."""
        frontier, known = self._trees.frontiers[topic], self._heads.get(topic)
        if known is None or known.size != frontier.size:
            origin = origin_of(self._root, topic, self._partition)
            known = self._heads[topic] = head_of(origin, topic, frontier.size, frontier.root(), self._key)
        return known
