"""`replay rebuild`: states of stages and views made anew from the log alone, compared byte by byte with the saved ones.

The log is audited first. Only a sound one is folded, and then fast, as nothing has to be verified twice. What was saved
stands for a place on the log, so it is rebuilt up to that place. Nothing saved is evidence; one that differs can be
removed, and is then made from the log.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from projections import saving
from projections.refold import refold
from replay.audit import verify_log
from replay.stages import STAGES
from replay.verdict import Audit, Progress
from schemas.admission import Stored
from streams.course import Course
from streams.journal import JournalBroken, decision_of, outputs_of, walk
from streams.log.port import Bare, LogCorrupt, Place, ReadableLog, partition_of
from streams.log.reading import EmbeddedReader
from streams.reader import Bookmark, Reader
from streams.saves import SavedCourse, Whose, load
from streams.stage import AnyStage, Heard
from streams.state import state_bytes
from streams.worker import new_course

STATES = "states"
VIEWS = "views"

Outcome = Literal["same", "differs", "nothing saved"]


class Rebuilt(NamedTuple):
    """What was made anew, its size as JSON, and how the saved one compares."""

    name: str
    site: str
    outcome: Outcome
    size_bytes: int
    detail: str = ""


class NotSound(LogCorrupt):
    """A log that is not sound, so nothing is made from it; `audit` says what was found."""

    def __init__(self, audit: Audit) -> None:
        super().__init__(f"the log is {audit.verdict.word}, so nothing is made from it: {audit.first_divergence}")
        self.audit = audit


async def rebuild(
    log: EmbeddedReader, directory: Path, roots: Mapping[str, bytes], progress: Progress | None = None
) -> list[Rebuilt]:
    """Audit the log, then make every state and view of a data directory anew; nothing is written.

    `NotSound` if the audit finds anything. `progress` is told of the audit.
    """
    audit = await verify_log(log, roots, progress)
    if audit.findings:
        raise NotSound(audit)
    rebuilt = []
    for partition in range(log.partitions):
        sites = {site: key for site, key in roots.items() if partition_of(site.encode(), log.partitions) == partition}
        if sites:
            for stage in STAGES:
                rebuilt += await _states(stage, log, directory / STATES, partition, sites)
            rebuilt += await _views(log, directory / VIEWS, partition, sites, audit.passed_over)
    return rebuilt


async def _states(
    stage: AnyStage, log: ReadableLog, folder: Path, partition: int, roots: Mapping[str, bytes]
) -> list[Rebuilt]:
    name = stage.role.value
    saved = load(folder / f"{name}-{partition}.json", Whose(stage, roots))
    said = await outputs_of(stage, log, partition, roots)
    reader = Reader(log, partition, stage.inputs, roots)
    rebuilt = []
    for site, outputs in said.items():
        try:
            state = await _state(stage, reader, site, outputs, saved.courses[site] if saved else None)
        except (JournalBroken, LookupError) as error:
            rebuilt.append(Rebuilt(name, site, "differs", 0, str(error)))
            continue
        before = state_bytes(stage.state_type, saved.states[site]) if saved else None
        rebuilt.append(_compared(name, site, before, state_bytes(stage.state_type, state)))
    return rebuilt


async def _state(
    stage: AnyStage, reader: Reader, site: str, outputs: Sequence[Heard], saved: SavedCourse | None
) -> Any:
    """The state of a stage where a saved course stands, or else after its last output."""
    if saved:
        outputs = [output for output in outputs if decision_of(output) <= saved.decision]
    course: Course[Any] = new_course(stage, site, reader)
    async for step in walk(outputs, reader, site):
        course.relive(step.item, step.outputs)
    for topic, count in saved.runs if saved else ():
        for _ in range(count):
            course.relive(await reader.take(topic, site), [])
    if saved and (course.decision, course.time_us) != (saved.decision, saved.time_us):
        raise JournalBroken(f"by the log it had decided {course.decision} times, what was saved says {saved.decision}")
    return course.state


async def _views(
    log: ReadableLog, folder: Path, partition: int, roots: Mapping[str, bytes], refused: Collection[Place]
) -> list[Rebuilt]:
    saved = saving.load(folder / f"partition-{partition}.json", roots)
    views = await refold(UpTo(log, saved.bookmark) if saved else log, partition, roots, refused)
    rebuilt = []
    for site, anew in views.items():
        before = saved.views[site].to_bytes() if saved else {}
        rebuilt += [_compared(name, site, before.get(name), made) for name, made in anew.to_bytes().items()]
    return rebuilt


def _compared(name: str, site: str, before: bytes | None, anew: bytes) -> Rebuilt:
    if before is None:
        return Rebuilt(name, site, "nothing saved", len(anew))
    if before == anew:
        return Rebuilt(name, site, "same", len(anew))
    at = next((i for i, (one, other) in enumerate(zip(before, anew, strict=False)) if one != other), len(anew))
    return Rebuilt(
        name,
        site,
        "differs",
        len(anew),
        f"from byte {at}: saved …{before[at : at + 40]!r}, anew …{anew[at : at + 40]!r}",
    )


class UpTo:
    """A log that ends where a bookmark stands."""

    def __init__(self, log: ReadableLog, bookmark: Bookmark) -> None:
        self._log = log
        self._ends = bookmark.offsets

    @property
    def partitions(self) -> int:
        return self._log.partitions

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        found = await self._log.read(topic, partition, offset, limit)
        return [stored for stored in found if stored.offset < self._ends.get(topic, 0)]

    async def read_bare(self, topic: str, partition: int, offset: int, limit: int) -> list[Bare]:
        left = self._ends.get(topic, 0) - offset
        return await self._log.read_bare(topic, partition, offset, min(limit, left)) if left > 0 else []

    async def ends(self, partition: int) -> Mapping[str, int]:
        ends = await self._log.ends(partition)
        return {topic: min(end, self._ends.get(topic, 0)) for topic, end in ends.items()}

    async def wait(self, partition: int, ends: Mapping[str, int], timeout_s: float) -> None:
        await self._log.wait(partition, ends, timeout_s)

    async def settle(self, partition: int) -> None:
        await self._log.settle(partition)

    async def close(self) -> None:
        await self._log.close()
