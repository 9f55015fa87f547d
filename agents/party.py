"""A party: reads the log, knows what it owes, does it, and says so under its own name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.envelope import Cause
from schemas.topics import TOPICS
from streams.author import Draft, Scribe, seal_all
from streams.log.port import Log, LogError, partition_of
from streams.reader import Reader
from streams.stage import Heard


class Clock(Protocol):
    """Where parties take the time from."""

    def now_us(self) -> int:
        """UTC microseconds."""
        ...


@dataclass(frozen=True, slots=True)
class Membership:
    """Who a party is at a site: its name and key, and the root public key by which it knows the others."""

    source: str
    site: str
    key: Ed25519PrivateKey
    root_public_key: bytes


class Party:
    """Base of all that hold a key and touch the world.

    What a party owes follows from the events it heard and its own events that answered them, so after a crash it reads
    again from the start and goes on. It keeps nothing else; whatever it does to the world is idempotent.
    """

    topics: ClassVar[tuple[str, ...]] = tuple(topic for topic in TOPICS if topic != "checkpoints")
    """What it reads. Checkpoints call for nothing but by those who make and witness them."""

    def __init__(self, membership: Membership, log: Log, clock: Clock) -> None:
        self.name = self.source = membership.source
        self.site = membership.site
        self.clock = clock
        self._key = membership.key
        self._log = log
        partition = partition_of(self.site.encode(), log.partitions)
        self._reader = Reader(log, partition, self.topics, {self.site: membership.root_public_key})
        self._scribe = Scribe(self.source, self.site, self._reader.admission(self.site).writable)
        self._is_up_to_date = False

    def hear(self, heard: Heard) -> None:
        """Take in one event, one's own among them."""

    async def work(self) -> bool:
        """Do what is owed and say it; True if anything was done."""
        return False

    def next_due_us(self) -> int | None:
        """When time alone will give this party work."""
        return None

    @property
    def patience(self) -> int:
        """So many records of a topic may come before this party needs its turn."""
        return 0

    async def step(self) -> bool:
        """Hear what is new, then work; True if there was anything."""
        heard = await self.listen()
        worked = await self.work()
        return heard or worked

    async def listen(self) -> bool:
        """Hear all there is to hear now; True if there was anything."""
        any_heard = False
        while items := await self._reader.read():
            any_heard = True
            for item in items:
                if isinstance(item, Heard):
                    self.hear(item)
        if not self._is_up_to_date:
            self._scribe.sequences = dict(self._own_sequences())
            self._is_up_to_date = True
        return any_heard

    async def say(self, *drafts: Draft) -> list[Cause]:
        """Append events, all or none; when this returns they are durable. Each as a cause for what follows.

        After an error of the log the next `listen` finds out what was appended, so the party may go on.
        """
        if not self._is_up_to_date:
            await self.listen()
        written = [self._scribe.write(draft) for draft in drafts]
        try:
            await self._log.append(seal_all(written, self._key))
        except LogError:
            self._is_up_to_date = False
            raise
        return [each.cause for each in written]

    def _own_sequences(self) -> Mapping[str, int]:
        sequences = self._reader.admission(self.site).sequences
        return {topic: last for (source, topic), last in sequences.items() if source == self.source}
