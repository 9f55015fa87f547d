"""`audit redecide`: every decision of every stage is made again from what its journal says it had read, and compared.

What is compared is the digest of the statement, which covers all header texts and the body: the same bytes or not. The
journal names the version of the rules for each decision, and it is taken again by the rules of that version.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from replay.stages import OLDER, STAGES
from replay.then import ScribeOfThen
from replay.verdict import Progress
from schemas.envelope import HEADERS, Record
from streams.author import Written
from streams.course import Course
from streams.journal import JournalBroken, Step, decision_of, outputs_of, place_of, walk
from streams.log.port import ReadableLog, partition_of
from streams.reader import Item, Reader
from streams.stage import AnyStage, Heard

_FETCH = 1_024
_PROGRESS_EVERY = 256


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision that comes out otherwise today: where it stands, and its parts as they stand and as made again.

    Of one that cannot be made again there are no parts, and `place` says why.
    """

    stage: str
    site: str
    decision: int
    place: str
    parts: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        parts = "; ".join(
            f"{name} is {stood[:120]!r} and would be {again[:120]!r}" for name, stood, again in self.parts
        )
        where = f"{self.stage} at {self.site}, decision {self.decision}"
        return f"{where} ({self.place}): {parts}" if parts else f"{where}: {self.place}"


@dataclass
class Redecision:
    """How many decisions of each stage came out the same, and the first that did not, stage by stage."""

    decisions: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def is_same(self) -> bool:
        """Whether every decision was made again to the same bytes."""
        return not self.differences


async def redecide(
    log: ReadableLog,
    roots: Mapping[str, bytes],
    progress: Progress | None = None,
    stages: Sequence[AnyStage] = (*STAGES, *OLDER),
) -> Redecision:
    """Decide everything on a log again; per stage, version of its rules and site, up to the first difference.

    `stages` may name a stage several times, with rules of several versions.
    """
    result = Redecision()
    known: dict[str, dict[int, AnyStage]] = {}
    for stage in stages:
        known.setdefault(stage.source, {})[stage.version] = stage
    for partition in range(log.partitions):
        sites = {site: key for site, key in roots.items() if partition_of(site.encode(), log.partitions) == partition}
        for versions in known.values() if sites else ():
            said = await _outputs(next(iter(versions.values())), log, partition, sites, result)
            for site, outputs in said.items():
                for version in sorted({_version(output) for output in outputs}):
                    if version in versions:
                        again = _Again(versions[version], log, partition, sites, site)
                        await again.run(outputs, result, progress)
                    else:
                        result.differences.append(_unknown(version, site, outputs))
    return result


def _version(output: Heard) -> int:
    """The version of the rules by which an output was decided."""
    return output.inputs.version if output.inputs else 0


def _unknown(version: int, site: str, outputs: list[Heard]) -> Difference:
    first = next(output for output in outputs if _version(output) == version)
    place = f"it was taken by version {version} of its rules, and this release does not have them"
    return Difference(first.source, site, decision_of(first), place, ())


async def _outputs(
    stage: AnyStage, log: ReadableLog, partition: int, roots: Mapping[str, bytes], result: Redecision
) -> dict[str, list[Heard]]:
    try:
        return await outputs_of(stage, log, partition, roots)
    except JournalBroken as error:
        result.differences.append(Difference(stage.source, ",".join(roots), error.decision, error.what, ()))
        return {}


class _Unsayable(Exception):
    """A decision that has no bytes on the log at hand."""


class _Again:
    """One stage by one version of its rules at one site, deciding again. What other versions decided it hears told."""

    def __init__(
        self, stage: AnyStage, log: ReadableLog, partition: int, roots: Mapping[str, bytes], site: str
    ) -> None:
        self._stage, self._log, self._partition, self._site = stage, log, partition, site
        self._reader = Reader(log, partition, stage.inputs, roots)
        scribe = ScribeOfThen(stage.source, site, self._reader.admission(site))
        self._course: Course[object] = Course(stage, site, scribe, stage.initial)

    def _begins(self, outputs: list[Heard], result: Redecision) -> bool:
        if not outputs or decision_of(outputs[0]) == 1:
            return True
        place = f"it is missing before {place_of(outputs[0].cause)}"
        result.differences.append(Difference(self._stage.source, self._site, 1, place, ()))
        return False

    async def run(self, outputs: list[Heard], result: Redecision, progress: Progress | None) -> None:
        name, done = self._stage.source, 0
        if not self._begins(outputs, result):
            return
        try:
            at = 0
            async for step in walk(outputs, self._reader, self._site):
                is_other = _version(outputs[at]) != self._stage.version
                at += len(step.outputs)
                if is_other:
                    self._hear_told(step)
                    continue
                for stood, again in zip_longest(step.outputs, self._take(step.item)):
                    if stood is None or again is None or stood.digest != again.digest.hex():
                        result.differences.append(await self._difference(stood, again))
                        return
                    done += 1
                    if progress and done % _PROGRESS_EVERY == 0:
                        progress(done, len(outputs))
        except _Unsayable as error:
            result.differences.append(Difference(name, self._site, self._course.decision + 1, str(error), ()))
        except JournalBroken as error:
            result.differences.append(Difference(name, self._site, error.decision, error.what, ()))
        finally:
            result.decisions[name] = result.decisions.get(name, 0) + done
            if progress:
                progress(done, len(outputs))

    def _take(self, item: Item) -> list[Written]:
        try:
            return self._course.take(item)
        except (KeyError, ValueError) as error:
            raise _Unsayable(f"what is decided now cannot be said by the schemas of this log: {error}") from None

    def _hear_told(self, step: Step) -> None:
        self._course.relive(step.item, step.outputs)
        for output in step.outputs:
            self._course.scribe.sequences[output.cause.topic] = output.cause.sequence

    async def _difference(self, stood: Heard | None, again: Written | None) -> Difference:
        place = stood.cause if stood else again.cause if again else None
        where = place_of(place) if place else ""
        record = await self._record(stood) if stood else None
        parts = tuple(_parts(record, again.record if again else None))
        return Difference(self._stage.source, self._site, self._course.decision, where, parts)

    async def _record(self, heard: Heard) -> Record | None:
        """The record of an output, looked for from the beginning of its topic."""
        offset, cause = 0, heard.cause
        while found := await self._log.read(cause.topic, self._partition, offset, _FETCH):
            for stored in found:
                record = stored.record
                if isinstance(record, Record) and (record.source, record.sequence) == (
                    cause.source,
                    str(cause.sequence),
                ):
                    return record
            offset = found[-1].offset + 1
        return None


def _parts(stood: Record | None, again: Record | None) -> Iterator[tuple[str, str, str]]:
    """Which parts of two records differ; the whole where only one is there."""
    if stood is None or again is None:
        yield "output", stood.type if stood else "nothing", again.type if again else "nothing"
        return
    for name, one, other in zip(("topic", "key", "body", *HEADERS[2:11]), stood, again, strict=False):
        if one != other:
            yield (
                name,
                one.hex() if isinstance(one, bytes) else str(one),
                other.hex() if isinstance(other, bytes) else str(other),
            )
