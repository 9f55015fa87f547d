"""Keeps all views of a partition number: one pass over the log feeds them all, for each site its own.

    runner = Runner(log, partition, roots, directory)
    while await runner.step(): ...
    runner.views["site-a"][JOBS].jobs["poctest-1"].state

What it saves lets the next start read on from there. It is a convenience and never evidence: a file that is missing,
broken, made by other folds or ahead of the log is passed over, and everything is read anew.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from projections.saving import Saved, load, save
from projections.views import Views
from schemas.admission import Refused
from schemas.codec import Schema
from schemas.topics import TOPICS
from streams.log.port import ReadableLog
from streams.reader import Reader

SAVE_EVERY = 20_000
"""Views are saved after this many records, and when whoever runs them asks."""


class Runner:
    """Verifies what the log holds and keeps `views`, by site, up to date with it."""

    def __init__(
        self, log: ReadableLog, partition: int, roots: Mapping[str, bytes], directory: Path | None = None
    ) -> None:
        """`roots` gives the root public key of each site; without a `directory` nothing is saved or loaded."""
        self.name = f"projections:{partition}"
        self.views = {site: Views() for site in roots}
        self.read = 0
        self.refused: Counter[str] = Counter()
        self.refused_places: set[tuple[str, int]] = set()
        self._log = log
        self._partition = partition
        self._roots = dict(roots)
        self._path = directory / f"partition-{partition}.json" if directory else None
        self._reader = _reader(log, partition, self._roots)
        self._turn = asyncio.Lock()
        self._is_started = False
        self._unsaved = 0

    async def step(self) -> bool:
        """Fold what is new on the log; True if there was anything. Turns may be asked for at the same time.

        `read` counts what was read, `refused` by reason what was not believed; `refused_places` are the topics and
        places of all of it.
        """
        async with self._turn:
            if not self._is_started:
                await self._start()
            items = await self._reader.read()
            for item in items:
                if isinstance(item, Refused):
                    self.refused[item.reason] += 1
                    self.refused_places.add((item.stored.topic, item.stored.offset))
                else:
                    self.views[item.site].hear(item)
            self.read += len(items)
            self._unsaved += len(items)
            if self._unsaved >= SAVE_EVERY:
                self.save()
            return bool(items)

    @property
    def offsets(self) -> dict[str, int]:
        """The next place of each topic: all before it has been judged."""
        return self._reader.offsets

    def schemas(self, site: str) -> Mapping[int, Schema]:
        """The schemas that a site has published, by their numbers."""
        return self._reader.admission(site).schemas

    def next_due_us(self) -> int | None:
        """Never: views change with the log alone."""
        return None

    def save(self) -> None:
        """Save the views and the place they stand for, if anything is new and there is a directory for it."""
        if self._path and self._unsaved:
            save(self._path, self._roots, Saved(self._reader.bookmark(), self.views, frozenset(self.refused_places)))
        self._unsaved = 0

    async def _start(self) -> None:
        self._is_started = True
        saved = load(self._path, self._roots) if self._path else None
        if saved is None:
            return
        ends = await self._log.ends(self._partition)
        if any(offset > ends.get(topic, 0) for topic, offset in saved.bookmark.offsets.items()):
            return
        await self._reader.resume(saved.bookmark)
        self.views = saved.views
        self.refused_places = set(saved.refused)


def _reader(log: ReadableLog, partition: int, roots: Mapping[str, bytes]) -> Reader:
    """A reader of everything. What a key said before it was revoked stays true, in whatever order topics are read.

    Until checkpoints order topics, what a revoked key says afterwards is shown too; no stage acts on it.
    """
    reader = Reader(log, partition, TOPICS, roots)
    for site in roots:
        reader.admission(site).passes_over_revocations = True
    return reader
