"""What a stage heard: its journal walked again, and which records it refused and why.

A key that is revoked without word of what still counts counts as far as the journal of the stage in charge says.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from replay.index import Index, Places
from replay.journals import Journals
from replay.spill import Spill
from replay.stages import STAGES
from schemas.admission import Admitted, EnrolledKey, Refused
from schemas.topics import REJECTS
from streams.journal import JournalBroken, outputs_of
from streams.log.port import ReadableLog
from streams.reader import Reader
from streams.stage import AnyStage


class Hearing(NamedTuple):
    """How many records of each topic a stage's journal covers at a site, and the reasons why it refused some of them.

    `broken` says where the journal does not fit the log; what it covers up to there is told all the same.
    """

    read: Mapping[str, int]
    refused: Places[str]
    broken: str = ""


async def hearing_of(
    stage: AnyStage, log: ReadableLog, partition: int, roots: Mapping[str, bytes], home: tuple[str, Journals, Index]
) -> Hearing:
    """Walk the journal of a stage at a site; keys count from where it read of them to where it read of their end.

    `home` is the site, the journals of its stages as they are known already, and the index that takes what is refused.
    """
    site, journals, index = home
    read: Counter[str] = Counter()
    refused = Places[str](index, ("reason",), "".join)
    spills: list[Spill] = []

    def spill() -> Spill:
        spills.append(Spill())
        return spills[-1]

    reader = Reader(log, partition, stage.inputs, roots, growing=spill)
    try:
        for topic in journals.read_by(stage.source):
            item = await reader.take(topic, site)
            read[topic] += 1
            if isinstance(item, Refused):
                refused.put(item.stored.topic, item.stored.offset, (item.reason,))
    except (JournalBroken, LookupError) as error:
        return Hearing(read, refused, str(error))
    finally:
        for each in spills:
            each.close()
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
            index = Index()
            journals = Journals(index)
            with suppress(JournalBroken):
                for output in (await outputs_of(stage, log, doubtful[0].partition, roots))[site]:
                    if output.inputs:
                        journals.note(stage.source, output.inputs, output.cause.topic, 0)
            hearing = await hearing_of(stage, log, doubtful[0].partition, roots, (site, journals, index))
            for stored in doubtful:
                reason = hearing.refused.get(stored.topic, stored.offset)
                if reason and REJECTS.get(stored.topic) == stage.role:
                    refused[stored.topic, stored.offset] = reason
    return refused
