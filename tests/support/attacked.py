"""A log to be attacked: the golden one with a witness's word on its last round, what the witness has kept, and hands.

Hands are ways to change the records of a log that need no log: whoever has a key says something more with it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from functools import cache

from agents.clock import VirtualClock
from agents.drafts import draft
from agents.party import Membership
from agents.sealer import Sealer
from schemas.admission import Admission, Stored
from schemas.checkpoints import note_of, origin_of
from schemas.codec import Schema, decode, encode_by
from schemas.envelope import Cause, Inputs, Record, causes_of, inputs_of, record_digest, time_us_of
from schemas.events import CheckpointSealed, CheckpointWitnessed, Cosignature, TreeHead
from schemas.keys import raw_public_key
from schemas.note import Kind, Note, NoteKey, Signature, cosign, notes_text
from schemas.topics import TOPICS
from schemas.words import Event, wire_name
from streams.author import Draft, Scribe, seal_all
from streams.log.lines import Export
from tests.support.bundled import HOME
from tests.support.golden_log import GRANTED, golden_logs
from tests.support.memory_log import MemoryLog
from tests.support.signed import private_key

WITNESS = "w.example"
LATER_US = 1_800_000_000_000_000
_NOW_S = 1_800_000_000

Records = list[Stored]


@cache
def truth() -> tuple[Stored, ...]:
    """All records of the log before anybody has attacked it."""
    with golden_logs()[0].open("rb") as file:
        records = list(Export(file).records())
    sealed = rounds_of(records)[-1]
    said = [
        Cosignature(topic=head.topic, witness=WITNESS, key_id=line.key_id.hex(), signature=line.signature)
        for head, line in _cosigned(sealed)
    ]
    event = CheckpointWitnessed(round=sealed.round, partition=0, cosignatures=tuple(said))
    return tuple(with_said(records, "witness:main", event, subject=HOME[0]))


@cache
def kept() -> bytes:
    """What the witness has kept, as it hands it out at `/checkpoints`."""
    sealed = rounds_of(truth())[-1]
    return notes_text([_note(head)._replace(signatures=(line,)) for head, line in _cosigned(sealed)])


def policy() -> bytes:
    """A policy that asks for the word of that witness."""
    key = NoteKey(WITNESS, Kind.COSIGNATURE, raw_public_key(private_key(WITNESS)))
    return f"witness W {key.text}\nquorum W\n".encode()


def rounds_of(records: Sequence[Stored]) -> list[CheckpointSealed]:
    """The rounds among records."""
    return [event for event in map(_event, records) if isinstance(event, CheckpointSealed)]


def with_said(
    records: Sequence[Stored],
    source: str,
    event: Event,
    *because: Cause,
    subject: str = GRANTED,
    time_us: int = LATER_US,
    inputs: Inputs | None = None,
    topic: str = "",
    key: str = "",
) -> Records:
    """The records and one more, that a source says at the end of its topic, or of another, by its key or another's."""
    told = draft(event, time_us, *because, subject=subject)._replace(inputs=inputs)
    told = told._replace(topic=topic or told.topic)
    [record] = seal_all([_scribe(records, source, told.topic).write(told, _body(event))], private_key(key or source))
    return placed([*records, Stored(told.topic, 0, 0, LATER_US, record)])


def said_otherwise(records: Sequence[Stored], at: int, event: Event) -> Records:
    """The records, but that the author of one has said something else, under the same number, sealed by its key."""
    record = records[at].record
    assert isinstance(record, Record)
    told = Draft(record.topic, event, record.subject, time_us_of(record.time), causes_of(record.causes), id=record.id)
    told = told._replace(inputs=inputs_of(record.inputs) if record.inputs else None)
    scribe = Scribe(record.source, HOME[0], _schemas(), {record.topic: int(record.sequence) - 1})
    [other] = seal_all([scribe.write(told, _body(event))], private_key(record.source))
    return [*records[:at], records[at]._replace(record=other), *records[at + 1 :]]


def sealed_anew(records: Sequence[Stored]) -> Records:
    """The records and one more round, that the sealer's key says of all of them."""

    async def sealed() -> Stored:
        log = MemoryLog(lambda: LATER_US)
        await log.append([stored.record for stored in records])
        member = Membership("sealer:main", HOME[0], private_key("sealer:main"), HOME[1])
        before = (await log.ends(0))["checkpoints"]
        await Sealer(member, log, VirtualClock(LATER_US)).finish()
        [said] = await log.read("checkpoints", 0, before, 2)
        return said

    return placed([*records, asyncio.run(sealed())])


def cause_of(record: Record) -> Cause:
    """The event in a record as the cause of another."""
    schema = _admission().schemas[int.from_bytes(record.value[1:5], "big")]
    return Cause(record.topic, record.source, int(record.sequence), record_digest(record, schema.digest).hex())


def placed(records: Sequence[Stored]) -> Records:
    """Records in the order of an export, each with the offset that it then has."""
    found = []
    for topic in TOPICS:
        line = [stored for stored in records if stored.topic == topic]
        found += [stored._replace(offset=offset) for offset, stored in enumerate(line)]
    return found


def _scribe(records: Sequence[Stored], source: str, topic: str) -> Scribe:
    """Who goes on where a source stopped."""
    said = [each.record for each in records if isinstance(each.record, Record) and each.topic == topic]
    last = max((int(each.sequence) for each in said if each.source == source), default=0)
    return Scribe(source, HOME[0], _schemas(), {topic: last})


@cache
def _admission() -> Admission:
    with golden_logs()[0].open("rb") as file:
        governance = [stored for stored in Export(file).records() if stored.topic == "governance"]
    admission = Admission(HOME[1], HOME[0], topics=frozenset())
    for _ in admission.admit(governance):
        pass
    return admission


def _schemas() -> dict[str, Schema]:
    """The schemas of the release that wrote the log."""
    return {schema.event_type: schema for schema in _admission().schemas.values()}


def _body(event: Event) -> bytes:
    return encode_by(event, _schemas()[wire_name(type(event))])


def event_in(record: Record) -> Event:
    """What a record says."""
    return decode(record.value[5:], _admission().schemas[int.from_bytes(record.value[1:5], "big")])


def _event(stored: Stored) -> Event | None:
    record = stored.record
    return event_in(record) if isinstance(record, Record) and record.topic == "checkpoints" else None


def _note(head: TreeHead) -> Note:
    return note_of(origin_of(HOME[1], head.topic, 0), head, raw_public_key(private_key("sealer:main")))


def _cosigned(sealed: CheckpointSealed) -> Iterator[tuple[TreeHead, Signature]]:
    for head in sealed.heads:
        yield head, cosign(private_key(WITNESS), WITNESS, _note(head).text, _NOW_S)
