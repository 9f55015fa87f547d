"""A party: reads the log, knows what it owes, does it, and says so under its own name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.admission import Refused
from schemas.envelope import Cause, Record
from schemas.events import GapAccepted
from schemas.keys import key_id, raw_public_key
from schemas.seal import seal_of
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


class RecordRefused(Exception):
    """What a party said last on a topic is refused by those who read it. It would only be refused again: it stops."""

    def __init__(self, source: str, refused: Refused) -> None:
        stored = refused.stored
        super().__init__(
            f"{source} says nothing more: its record at {stored.topic}/{stored.partition}/{stored.offset} is refused "
            f"({refused.reason}: {refused.detail}). Find out why; once it is mended, a GapAccepted that names "
            f"{source} and {stored.topic}, or a new key, lets it go on"
        )


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
        self._unheard: dict[tuple[str, int], Record] = {}
        self._key_id = key_id(raw_public_key(membership.key))
        self._refused: dict[str, Refused] = {}
        self._pardoned: dict[str, int] = {}

    @property
    def offsets(self) -> dict[str, int]:
        """The next place of each topic that it reads: all before it has been heard."""
        return self._reader.offsets

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
        """Hear all there is to hear now; True if there was anything. `RecordRefused` if this party is not believed."""
        any_heard = False
        while items := await self._reader.read():
            any_heard = True
            for item in items:
                if isinstance(item, Heard):
                    self._note_heard(item)
                    self.hear(item)
                else:
                    self._note_refused(item)
        for refused in self._refused.values():
            raise RecordRefused(self.source, refused)
        if not self._is_up_to_date:
            self._scribe.sequences = dict(self._own_sequences())
            self._is_up_to_date = True
        return any_heard

    async def say(self, *drafts: Draft) -> list[Cause]:
        """Append events, all or none; when this returns they are durable. Each as a cause for what follows.

        `EventOversized` if no reader would take one of them: then nothing was appended, and the party may go on. After
        an error of the log the next `listen` finds out what was appended, so it may go on then too.
        """
        if not self._is_up_to_date:
            await self.listen()
        written = self._scribe.write_all(drafts)
        sealed = seal_all(written, self._key)
        self._unheard |= {(each.topic, int(each.sequence)): each for each in sealed if each.topic in self.topics}
        try:
            await self._log.append(sealed)
        except LogError:
            self._is_up_to_date = False
            raise
        return [each.cause for each in written]

    def _note_heard(self, heard: Heard) -> None:
        """What is believed of this party ends what was not; so does an admin who looked into it."""
        topic = heard.cause.topic
        if heard.source == self.source:
            self._unheard.pop((topic, heard.cause.sequence), None)
            self._refused.pop(topic, None)
        elif isinstance(heard.event, GapAccepted) and heard.event.source == self.source:
            topic = heard.event.topic
            self._pardoned[topic] = max(self._pardoned.get(topic, 0), heard.event.next_sequence)
            if topic in self._refused and self._is_pardoned(self._refused[topic]):
                del self._refused[topic]

    def _note_refused(self, refused: Refused) -> None:
        """A record counts that this party wrote in this life, byte for byte, or that its key sealed in another.

        A copy of an old record proves nothing against its author.
        """
        record = refused.stored.record
        if not isinstance(record, Record) or self._is_pardoned(refused):
            return
        is_of_then = (
            refused.source == self.source
            and refused.reason != "sequence_repeated"
            and seal_of(record.seal).key_id == self._key_id
        )
        if is_of_then or record in self._unheard.values():
            self._refused[record.topic] = refused

    def _is_pardoned(self, refused: Refused) -> bool:
        record = refused.stored.record
        sequence = record.sequence if isinstance(record, Record) else ""
        return sequence.isdecimal() and int(sequence) < self._pardoned.get(refused.stored.topic, 0)

    def _own_sequences(self) -> Mapping[str, int]:
        sequences = self._reader.admission(self.site).sequences
        return {topic: last for (source, topic), last in sequences.items() if source == self.source}
