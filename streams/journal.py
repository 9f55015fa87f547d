"""The journal of a stage, which is the log itself: what the stage said, and in which order it had read its inputs."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from schemas.envelope import Cause
from schemas.topics import WRITERS
from streams.log.port import ReadableLog
from streams.reader import FETCH, Bookmark, Item, Reader
from streams.stage import AnyStage, Heard


class JournalBroken(Exception):
    """The journal of a stage does not fit the log; the message names the place.

    Where it is about one decision of a stage, `what` is the message without these and `decision` its number, else 0.
    """

    def __init__(self, what: str, about: str = "", decision: int = 0) -> None:
        super().__init__(f"{about}, decision {decision}: {what}" if about else what)
        self.what = what
        self.decision = decision


class Step(NamedTuple):
    """One input of a stage and the outputs that the log says followed from it."""

    item: Item
    outputs: list[Heard]


def output_topics(stage: AnyStage) -> tuple[str, ...]:
    """The topics that a stage may write to."""
    return tuple(topic for topic, types in WRITERS.items() if any(stage.role in roles for roles in types.values()))


async def outputs_of(
    stage: AnyStage, log: ReadableLog, partition: int, roots: Mapping[str, bytes], since: Bookmark | None = None
) -> dict[str, list[Heard]]:
    """All that a stage said on one partition number, by site, in the order in which it was said; or all `since` then.

    What the stage said before its key was revoked counts, so revocations are passed over here; who walks the journal
    meets them in their place. Raises `JournalBroken` if a decision number is missing or is there twice.
    """
    found: dict[str, list[Heard]] = {site: [] for site in roots}
    reader = Reader(log, partition, ("governance", *output_topics(stage)), roots, heeds_causes=False)
    for site in roots:
        reader.admission(site).passes_over_revocations = True
    if since:
        await reader.resume(since)
    while items := await reader.read():
        for item in items:
            if isinstance(item, Heard) and item.source == stage.source:
                found[item.site].append(item)
    for outputs in found.values():
        outputs.sort(key=decision_of)
        for before, output in pairwise(outputs):
            if decision_of(output) != decision_of(before) + 1:
                raise _out_of_turn(before, output)
    return found


def decision_of(output: Heard) -> int:
    """The decision number of a stage's output; 0 for what no stage said."""
    return output.inputs.decision if output.inputs else 0


def place_of(cause: Cause) -> str:
    """Where an event stands, for people: topic, author, the author's sequence there."""
    return f"{cause.topic} {cause.source} {cause.sequence}"


def _about(output: Heard) -> tuple[str, int]:
    """Whose decision an output is, and its number."""
    return f"{output.source} at {output.site}", decision_of(output)


def _out_of_turn(before: Heard, output: Heard) -> JournalBroken:
    """What to say of neighbours in a journal whose decision numbers do not follow each other."""
    about, number = _about(output)
    if number == decision_of(before):
        what = f"it is there twice: {place_of(before.cause)} and {place_of(output.cause)}"
        return JournalBroken(what, about, number)
    return JournalBroken(f"it is missing before {place_of(output.cause)}", about, decision_of(before) + 1)


async def walk(
    outputs: Sequence[Heard], reader: Reader, site: str, already_read: Sequence[tuple[str, int]] = ()
) -> AsyncIterator[Step]:
    """Read a stage's inputs again in the order its outputs tell; each with the outputs that followed from it.

    `reader` reads the stage's input topics and stands, for this site, where the first output's runs begin, or after
    `already_read` of them. Raises `JournalBroken` where the outputs tell another order than the log can give.
    """
    at, skipped = 0, _topics(already_read)
    while at < len(outputs):
        following = at + 1
        while following < len(outputs) and not _runs(outputs[following]):
            following += 1
        topics = _topics(_runs(outputs[at]))
        if topics[: len(skipped)] != skipped or len(topics) == len(skipped):
            raise JournalBroken("it tells another order of inputs", *_about(outputs[at]))
        topics, skipped = topics[len(skipped) :], []
        left = len(topics)
        for topic, count in _pieces(topics):
            try:
                items = await reader.take_run(topic, site, count)
            except LookupError as error:
                raise JournalBroken(str(error), *_about(outputs[at])) from None
            left -= len(items)
            for item in items[:-1]:
                yield Step(item, [])
            yield Step(items[-1], [] if left else list(outputs[at:following]))
        at = following


def _pieces(topics: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Topics of neighbouring records, each with how many there are, but no more than are to be judged at once."""
    for topic, run in groupby(topics):
        count = len(list(run))
        for at in range(0, count, FETCH):
            yield topic, min(FETCH, count - at)


def _topics(runs: Sequence[tuple[str, int]]) -> list[str]:
    """The topic of each record of some runs, one after the other."""
    return [topic for topic, count in runs for _ in range(count)]


def _runs(output: Heard) -> tuple[tuple[str, int], ...]:
    return output.inputs.runs if output.inputs else ()
