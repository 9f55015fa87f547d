"""What a stage heard: its journal walked again, and which records it refused and why."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from schemas.admission import Refused
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
