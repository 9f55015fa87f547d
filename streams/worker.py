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
from streams.disk import put, sweep
from streams.journal import JournalBroken, decision_of, outputs_of, walk
from streams.log.port import Log
from streams.reader import FETCH, Item, Reader
from streams.saves import Saved, Whose, as_bytes, load
from streams.stage import AnyStage, Heard
from streams.tally import Tally

SAVE_EVERY = 2_000
"""The state is saved after so many records, which a start reads again in half a second, whatever waits to be read."""
PAGES_MAX = 4
"""Pages in a step; who wants a worker to hold still waits for so many."""
FIRST_PAGE = 64
"""Records of a page in the first step, for the site has waited for a decision while the worker was not there."""
SAVE_PART = 0.04
"""Saving takes no more than this part of a worker's time: the larger a state, the more seldom it is saved."""


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
        self._behind: dict[str, int] = {}
        self._unsaved = 0
        self._may_save_s = 0.0
        self._is_whole = False

    async def step(self) -> bool:
        """Read what is there, append what follows; True if anything was read.

        Of what follows from a page all is appended or nothing, and only behind what followed from the page before. The
        next page is read and decided meanwhile.
        """
        self._is_whole, page = False, FETCH
        if not self._courses:
            await self._start()
            page = FIRST_PAGE
        read, appending = 0, asyncio.create_task(self._append([], Sealed()))
        try:
            for _ in range(PAGES_MAX):
                items = await self._reader.read(page)
                records = self._follow(items)
                await appending
                appending = asyncio.create_task(self._append(items, records))
                read += len(items)
                if len(items) < page:
                    break
                await asyncio.sleep(0)  # what is appended goes on its way, and hosts have heartbeats to send
            await appending
        except asyncio.CancelledError:
            appending.cancel()
            raise
        finally:
            await asyncio.gather(appending, return_exceptions=True)
        self._is_whole = True
        if self._unsaved >= SAVE_EVERY and perf_counter() >= self._may_save_s:
            with suppress(OSError):  # a saved state is a convenience: without it the next start takes longer
                await self.save()
        return bool(read)

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
        """Save the courses, if there is a directory for it; not after a step that was broken off, as they may be ahead.

        What holds at any such time, and is all that a saved state needs: of what this stage has said, the courses have
        what stands before a place of ours in each topic. That place is behind what the log held when the worker
        started, and moves behind what it appends: whoever speaks for the stage after us has fenced us first, and
        stands behind our last append. In a topic that the stage also reads it moves along with the reader.
        """
        began = perf_counter()
        try:
            if self._path and self._is_whole and not self._has_been_overtaken():
                bookmark = self._reader.bookmark()
                behind = {topic: max(at, bookmark.offsets.get(topic, 0)) for topic, at in self._behind.items()}
                content = as_bytes(Whose(self._stage, self._roots), bookmark, behind, self._courses)
                self._path.parent.mkdir(parents=True, exist_ok=True)
                await asyncio.to_thread(put, self._path, content)  # the disk may take its time, and heartbeats may not
        finally:
            self._unsaved = 0
            self._may_save_s = perf_counter() + (perf_counter() - began) / SAVE_PART

    async def _append(self, items: list[Item], records: Sealed) -> None:
        """Append what follows from items; then they count as read."""
        if records:
            for place in await self._log.append(records):
                self._behind[place.topic] = place.offset + 1
        self._count(items, len(records))

    def _has_been_overtaken(self) -> bool:
        """Whether the stage has been heard to say what these courses do not know: another worker has said it."""
        return any(
            last > course.scribe.sequences.get(topic, 0)
            for site, course in self._courses.items()
            for (source, topic), last in self._reader.admission(site).sequences.items()
            if source == self.name
        )

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
        ends = await self._log.ends(self._partition)
        self._behind = dict(ends)
        if self._path:
            sweep(self._path)
        saved = load(self._path, Whose(self._stage, self._roots)) if self._path else None
        if saved and all(offset <= ends.get(topic, 0) for topic, offset in saved.outputs.offsets.items()):
            with suppress(JournalBroken):
                self._courses = await self._relive(saved)
                return
        self._reader = Reader(self._log, self._partition, self._stage.inputs, self._roots)
        self._courses = await self._relive(None)

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
                self._unsaved += 1
                await asyncio.sleep(0)  # it may take a while, and whoever is the host has heartbeats to send
        return courses

    def _site_of(self, item: Item) -> str:
        return item.site if isinstance(item, Heard) else self._reader.site_of(item.stored)


def new_course(stage: AnyStage, site: str, reader: Reader) -> Course[Any]:
    """A stage at the beginning of its course; it writes by the schemas that `reader` has read."""
    return Course(stage, site, Scribe(stage.source, site, reader.admission(site).writable), stage.initial)
