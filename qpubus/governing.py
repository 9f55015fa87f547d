"""Governing a site: what the root or an admin decides goes in, sealed governance events on the log come out.

The key signs here, in the command's own process. Where a bus runs, the sealed records go through its door, and it
judges them before it appends them; where none runs, they are judged and appended here, under the log's lock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.clock import WallClock
from agents.vault import Vault, VaultError
from qpubus.door_client import ask, is_running
from qpubus.ledger import ADMIN, GOVERNOR, Cluster
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.reading import open_desk
from qpubus.requests import Governance, SealedRecord
from schemas.admission import Admission, EnrolledKey, Refused, Stored
from schemas.avro_text import avro_text
from schemas.codec import published
from schemas.envelope import Cause, Record
from schemas.events import GapAccepted, KeyEnrolled, KeyRevoked, SchemaPublished, SiteFounded
from schemas.keys import key_id, raw_public_key
from schemas.reasons_kept import REASON_CHARS_MAX
from schemas.topics import TOPICS, Role
from schemas.words import Event, wire_name
from streams.author import Draft, Scribe, seal_all
from streams.log.embedded import EmbeddedLog
from streams.log.port import Log, ReadableLog, partition_of
from streams.reader import Reader
from streams.stage import Heard

TOPIC = "governance"


@dataclass
class Entry:
    """A key that was enrolled, and what became of it. `cause` is its enrolment, as another event names it."""

    enrolled: KeyEnrolled
    cause: Cause
    enrolled_us: int
    revoked: KeyRevoked | None = None
    revoked_us: int = 0


@dataclass
class Register:
    """A site as its governors see it: who may speak, and the last that each has said in each topic."""

    site: str
    admission: Admission
    entries: dict[str, Entry] = field(default_factory=dict)
    last: dict[tuple[str, str], Cause] = field(default_factory=dict)
    latest_us: int = 0
    founded: SiteFounded | None = None

    @property
    def is_virtual(self) -> bool:
        """Whether its time is virtual, by the first word of its founding; there is no second founding."""
        return self.founded is not None and self.founded.clock == "virtual"

    def hear(self, heard: Heard) -> None:
        """Take in one event."""
        self.latest_us = max(self.latest_us, heard.time_us)
        self.last[heard.source, heard.cause.topic] = heard.cause
        match heard.event:
            case SiteFounded() as founded:
                self.founded = self.founded or founded
            case KeyEnrolled() as enrolled:
                self.entries[enrolled.key_id] = Entry(enrolled, heard.cause, heard.time_us)
            case KeyRevoked() as revoked if revoked.key_id in self.entries:
                entry = self.entries[revoked.key_id]
                if entry.revoked is None:
                    entry.revoked, entry.revoked_us = revoked, heard.time_us
            case _:
                pass

    def entry(self, name: str) -> Entry:
        """A key by its id, or by the first digits of it that no other has."""
        fitting = [entry for identity, entry in self.entries.items() if name and identity.startswith(name)]
        if len(fitting) != 1:
            many = "there is no key" if not fitting else "there are several keys"
            raise Problem(f"{many} {name} at {self.site}", "List them: qpubus keys list", code="key_unknown")
        return fitting[0]

    def revocation(self, entry: Entry, reason: str) -> list[tuple[Event, tuple[Cause, ...]]]:
        """The end of a key: it names the last that its source has said in each topic, so that just this still counts.

        Of a source that has said nothing it names the key's enrolment: nothing counts, by a word and not by silence.
        A number that a refused record used up after that is passed over by name, so that a new key can count on.
        """
        source = entry.enrolled.source
        said = {topic: cause for (author, topic), cause in self.last.items() if author == source}
        gaps = [
            GapAccepted(topic=topic, source=source, next_sequence=used + 1, reason=f"refused, then revoked: {reason}")
            for (author, topic), used in self.admission.sequences.items()
            if author == source and topic in said and used > said[topic].sequence
        ]
        revoked = KeyRevoked(key_id=entry.enrolled.key_id, reason=reason)
        named = tuple(said[topic] for topic in sorted(said)) or (entry.cause,)
        return [(revoked, named), *((gap, ()) for gap in gaps)]


async def read_register(log: ReadableLog, site: str, root_public_key: bytes) -> Register:
    """What a site's log says to its governors. Everything is verified on the way."""
    partition = partition_of(site.encode(), log.partitions)
    reader = Reader(log, partition, TOPICS, {site: root_public_key})
    register = Register(site, reader.admission(site))
    while items := await reader.read():
        for item in items:
            if isinstance(item, Heard):
                register.hear(item)
    return register


async def open_register(directory: Path) -> Register:
    """The register of the one site in a data directory."""
    async with open_desk(directory) as desk:
        return await read_register(desk.log, desk.site, desk.root_public_key)


def governor_of(register: Register, key: Ed25519PrivateKey) -> EnrolledKey:
    """Who governs by a key; `Problem` if nobody may."""
    author = register.admission.keys.get(key_id(raw_public_key(key)))
    if author is None or author.revoked or author.role not in (Role.ROOT, Role.ADMIN):
        raise Problem(
            "this key may not govern here: it is not the root's, and not that of an enrolled admin",
            "Name one that may with --key.",
            code="role_forbidden",
        )
    return author


async def govern(
    directory: Path,
    register: Register,
    key: Ed25519PrivateKey,
    events: Sequence[tuple[Event, tuple[Cause, ...]]],
    subject: str = "",
) -> None:
    """Seal events, each with its causes, by the root's or an admin's key, and have them appended, all or none."""
    author = governor_of(register, key)
    now_us = register.latest_us if register.is_virtual else WallClock().now_us()
    sequences = {
        topic: used for (source, topic), used in register.admission.sequences.items() if source == author.source
    }
    lacking = _schemas_for([event for event, _ in events], register.admission)
    writable = register.admission.writable | {each.event_type: published(each.schema_id, each.text) for each in lacking}
    drafts = [
        *(Draft(TOPIC, each, register.site, now_us) for each in lacking),
        *(Draft(TOPIC, event, subject or register.site, now_us, causes) for event, causes in events),
    ]
    scribe = Scribe(author.source, register.site, writable, sequences)
    records = seal_all([scribe.write(draft) for draft in drafts], key)
    if is_running(directory):
        ask(directory, "govern", Governance(records=tuple(SealedRecord.of(record) for record in records)))
    else:
        await _append_here(directory, register, records, now_us)


def kept_reason(directory: Path, register: Register, key: Ed25519PrivateKey, text: str, about: str) -> str:
    """What stands on the log for why a governor says something: a pointer to the text, which is kept in the vault.

    It is kept under the governor's name, and `qpubus vault erase` erases it. No reason needs no pointer.
    """
    author = governor_of(register, key)
    if not text:
        return text
    if len(text) > REASON_CHARS_MAX:
        raise Problem(f"the reason has {len(text):,} characters, {REASON_CHARS_MAX:,} are the most", "Say it in less.")
    try:
        return Vault(Place(directory).vault).keep_reason(text, author.source, about)
    except VaultError as error:
        raise Problem(str(error), "Nothing was appended.", code="vault_failed") from None


async def append_governance(
    log: Log, site: str, root_public_key: bytes, records: Sequence[Record], now_us: int
) -> Refused | None:
    """Judge governance records as any reader will, and append them, all or none; the first that does not hold."""
    partition = partition_of(site.encode(), log.partitions)
    reader = Reader(log, partition, (TOPIC,), {site: root_public_key}, heeds_causes=False)
    offset = 0
    while items := await reader.read():
        offset += len(items)
    placed = [Stored(TOPIC, partition, offset + at, now_us, record) for at, record in enumerate(records)]
    for verdict in reader.admission(site).admit(placed):
        if isinstance(verdict, Refused):
            return verdict
    await log.append(records)
    return None


async def _append_here(directory: Path, register: Register, records: Sequence[Record], now_us: int) -> None:
    cluster = Cluster.of(directory)
    reader = await cluster.open_reader(ADMIN) if cluster else None
    log: Log = cluster.late_log(GOVERNOR, reader) if cluster and reader else EmbeddedLog(directory, lambda: now_us)
    try:
        root_public_key = Place(directory).read_root_public_key()
        refused = await append_governance(log, register.site, root_public_key, records, now_us)
    finally:
        await log.close()
        if reader:
            await reader.close()
    if refused:
        raise Problem(f"{refused.detail} ({refused.reason})", "Nothing was appended.", code=refused.reason)


async def check_vocabulary(log: ReadableLog, site: str, root_public_key: bytes, directory: Path) -> None:
    """`Problem` if the log lacks the schema of an event as this release writes it: who has to say it could not."""
    reader = Reader(log, partition_of(site.encode(), log.partitions), (TOPIC,), {site: root_public_key})
    while await reader.read():
        pass
    lacking = [each.event_type for each in lacking_schemas(reader.admission(site))]
    if lacking:
        raise Problem(
            f"the log of {directory} was begun by another release: it lacks the schemas of {len(lacking)} kinds of "
            f"events as this one writes them, {lacking[0]} among them",
            f"Publish them with the root's or an admin's key: qpubus log upgrade --data {directory}",
            code="schemas_lacking",
        )


def lacking_schemas(admission: Admission) -> list[SchemaPublished]:
    """What publishes the schemas of this release that are not on the log word for word."""
    return _publishing(Event.types.values(), admission)


def _schemas_for(events: Sequence[Event], admission: Admission) -> list[SchemaPublished]:
    """The schemas of these events that are not on the log yet, as on one that an older release began."""
    return _publishing(map(type, events), admission)


def _publishing(types: Iterable[type[Event]], admission: Admission) -> list[SchemaPublished]:
    numbers = iter(range(max(admission.schemas) + 1, 1 << 31))
    lacking = {each for each in types if wire_name(each) not in admission.writable}
    return [
        SchemaPublished(schema_id=next(numbers), event_type=wire_name(each), text=avro_text(each))
        for each in sorted(lacking, key=wire_name)
    ]
