"""A worker: one stage over one partition number of a log. Read, verify, decide, append, evolve."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.admission import Refused
from streams.author import Scribe, Sealed, Written, seal_all
from streams.course import Course
from streams.journal import JournalBroken, decision_of, outputs_of, walk
from streams.log.port import Log
from streams.reader import Item, Reader
from streams.saves import Saved, Whose, load, save
from streams.stage import AnyStage, Heard
from streams.tally import Tally

SAVE_EVERY = 20_000
"""The state is saved when there is nothing more to read, if so many records were read since the last time."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a worker must know of a site before it reads: the root public key, and its own key there."""

    root_public_key: bytes
    key: Ed25519PrivateKey


class Worker:
    """Runs a stage. After any error of the log it must be thrown away and a new one started: its state may be ahead."""

    def __init__(
        self, stage: AnyStage, log: Log, partition: int, sites: Mapping[str, Site], directory: Path | None = None
    ) -> None:
        """Without a `directory` for saved states, every start reads the log from its beginning."""
        self.name = stage.source
        self.tally = Tally()
        self._stage = stage
        self._log = log
        self._partition = partition
        self._keys = {site: at.key for site, at in sites.items()}
        self._roots = {site: at.root_public_key for site, at in sites.items()}
        self._path = directory / f"{stage.role.value}-{partition}.json" if directory else None
        self._courses: dict[str, Course[Any]] = {}
        self._reader = Reader(log, partition, stage.inputs, self._roots)
        self._unsaved = 0

    async def step(self) -> bool:
        """Read what is there, append what follows, all of it or nothing; True if anything was read."""
        if not self._courses:
            await self._start()
        items = await self._reader.read()
        if records := self._follow(items):
            await self._log.append(records)
        self._count(items, len(records))
        if not items and self._unsaved >= SAVE_EVERY:
            await self.save()
        return bool(items)

    @property
    def offsets(self) -> dict[str, int]:
        """The next place of each topic that it reads: all before it has been read."""
        return self._reader.offsets

    def next_due_us(self) -> int | None:
        """Never: a stage's time is in the events it reads."""
        return None

    def state(self, site: str) -> Any:
        """The stage's state at a site."""
        return self._courses[site].state

    async def save(self) -> None:
        """Save the courses, if there is a directory for it. To be called when a step has found nothing to read."""
        if self._path and self._courses:
            ends = await self._log.ends(self._partition)
            save(self._path, Whose(self._stage, self._roots), self._reader.bookmark(), ends, self._courses)
        self._unsaved = 0

    def _follow(self, items: list[Item]) -> Sealed:
        """Read items and seal what follows from them."""
        began = perf_counter()
        written: dict[str, list[Written]] = {}
        heard: dict[str, list[Heard]] = {}
        for item in items:
            site = self._site_of(item)
            course = self._courses[site]
            written.setdefault(site, []).extend(course.take(item))
            heard.setdefault(site, []).extend(course.heard)
        records = Sealed()
        for site, said in written.items():
            sealed = seal_all(said, self._keys[site])
            self._reader.expect(site, sealed, heard[site])
            records.add(sealed, sealed.leaves)
        self.tally.decide_s += perf_counter() - began
        return records

    def _count(self, items: list[Item], said: int) -> None:
        self._unsaved += len(items)
        self.tally.read += len(items)
        self.tally.said += said
        self.tally.refused.update(item.reason for item in items if isinstance(item, Refused))

    async def _start(self) -> None:
        """Go on from the saved courses, or from the beginning if there are none that fit the log."""
        saved = load(self._path, Whose(self._stage, self._roots)) if self._path else None
        if saved and await self._is_of_this_log(saved):
            with suppress(JournalBroken):
                self._courses = await self._relive(saved)
                return
        self._reader = Reader(self._log, self._partition, self._stage.inputs, self._roots)
        self._courses = await self._relive(None)

    async def _is_of_this_log(self, saved: Saved) -> bool:
        ends = await self._log.ends(self._partition)
        return all(offset <= ends.get(topic, 0) for topic, offset in saved.outputs.offsets.items())

    async def _relive(self, saved: Saved | None) -> dict[str, Course[Any]]:
        """Courses up to the last output: inputs read in the order of the journal, outputs as they stand on the log."""
        if saved:
            await self._reader.resume(saved.inputs)
        said = await outputs_of(self._stage, self._log, self._partition, self._roots, saved.outputs if saved else None)
        courses = {}
        for site, outputs in said.items():
            courses[site] = course = new_course(self._stage, site, self._reader)
            if saved:
                saved.restore(course)
            if outputs and decision_of(outputs[0]) != course.decision + 1:
                raise JournalBroken(f"{self.name} at {site}: decision {course.decision + 1} is not on the log")
            for output in outputs:
                course.scribe.sequences[output.cause.topic] = output.cause.sequence
            async for step in walk(outputs, self._reader, site, tuple(course.runs)):
                course.relive(step.item, step.outputs)
                await asyncio.sleep(0)  # it may take a while, and whoever is the host has heartbeats to send
        return courses

    def _site_of(self, item: Item) -> str:
        return item.site if isinstance(item, Heard) else self._reader.site_of(item.stored)


def new_course(stage: AnyStage, site: str, reader: Reader) -> Course[Any]:
    """A stage at the beginning of its course; it writes by the schemas that `reader` has read."""
    return Course(stage, site, Scribe(stage.source, site, reader.admission(site).writable), stage.initial)
