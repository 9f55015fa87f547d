"""What a stage heard: its journal walked again, and which records it refused and why.

A key that is revoked without word of what still counts counts as far as the journal of the stage in charge says.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from replay.stages import STAGES
from schemas.admission import Admitted, EnrolledKey, Refused
from schemas.topics import REJECTS
from streams.journal import JournalBroken, outputs_of, walk
from streams.log.port import ReadableLog
from streams.reader import Reader
from streams.stage import AnyStage


class Hearing(NamedTuple):
    """How many records of each topic a stage's journal covers at a site, and which of them it refused and why."""

    read: Mapping[str, int]
    refused: Mapping[tuple[str, int], str]
    broken: str = ""


async def hearing_of(
    stage: AnyStage, log: ReadableLog, partition: int, roots: Mapping[str, bytes], site: str
) -> Hearing:
    """Walk the journal of a stage at a site; keys count from where it read of them to where it read of their end."""
    read: Counter[str] = Counter()
    refused: dict[tuple[str, int], str] = {}
    try:
        outputs = (await outputs_of(stage, log, partition, roots))[site]
        async for step in walk(outputs, Reader(log, partition, stage.inputs, roots), site):
            if isinstance(step.item, Refused):
                stored = step.item.stored
                refused[stored.topic, stored.offset] = step.item.reason
                read[stored.topic] += 1
            else:
                read[step.item.cause.topic] += 1
    except JournalBroken as error:
        return Hearing(read, refused, str(error))
    return Hearing(read, refused)


async def refused_of_revoked(
    events: Iterable[Admitted],
    keys: Mapping[str, EnrolledKey],
    log: ReadableLog,
    roots: Mapping[str, bytes],
    site: str,
) -> dict[tuple[str, int], str]:
    """By topic and offset, which of a site's events under keys revoked by now the stage in charge refused, and why.

    `roots` gives the root public key of each site on the same partition number.
    """
    doubtful = [each.stored for each in events if keys[each.key_id].revoked]
    roles = {REJECTS[stored.topic] for stored in doubtful if stored.topic in REJECTS}
    refused: dict[tuple[str, int], str] = {}
    for stage in STAGES:
        if stage.role in roles:
            hearing = await hearing_of(stage, log, doubtful[0].partition, roots, site)
            refused |= {
                (stored.topic, stored.offset): hearing.refused[stored.topic, stored.offset]
                for stored in doubtful
                if REJECTS.get(stored.topic) == stage.role and (stored.topic, stored.offset) in hearing.refused
            }
    return refused
