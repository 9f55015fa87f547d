"""The reading desk: a data directory goes in, verified events and up-to-date views come out. Nothing is written there.

It works whether or not a bus runs on the directory.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agents.vault import Vault
from projections.job import Job
from projections.jobs import JOBS
from projections.runner import Runner
from projections.views import Views
from qpubus.documents import told
from qpubus.ledger import Cluster, open_reading
from qpubus.place import Place
from qpubus.problem import Problem
from schemas.topics import TOPICS
from streams.log.port import ReadableLog, partition_of
from streams.reader import Item, Reader

_FOLLOW_S = 10.0


@dataclass(frozen=True, slots=True)
class Desk:
    """A log opened for reading, with the one site that it holds and that site's trust anchor."""

    directory: Path
    log: ReadableLog
    site: str
    root_public_key: bytes

    @property
    def partition(self) -> int:
        """Where all of the site's events lie."""
        return partition_of(self.site.encode(), self.log.partitions)

    async def views(self) -> Views:
        """All views as of now."""
        runner = self.runner()
        while await runner.step():
            pass
        return runner.views[self.site]

    def runner(self) -> Runner:
        """What keeps the views; it goes on from what the bus saved, if that can be read."""
        saved = Place(self.directory).views
        writable = saved.is_dir() and os.access(saved, os.W_OK)
        return Runner(self.log, self.partition, {self.site: self.root_public_key}, saved if writable else None)

    async def job(self, job_id: str) -> tuple[Views, Job]:
        """A job, its reasons out of the vault, and the views that it is in; `Problem` if nobody declared it here."""
        views = await self.views()
        job = views[JOBS].jobs.get(job_id)
        if job is None:
            raise unknown_job(job_id, self.directory)
        return views, told(job, Vault(Place(self.directory).vault))

    async def follow_job(self, job_id: str) -> AsyncIterator[Job]:
        """A job as it stands, again whenever anything about it has changed, until it is over."""
        runner, last = self.runner(), None
        while last is None or not last.is_over:
            ends = await self.log.ends(self.partition)
            while await runner.step():
                pass
            job = runner.views[self.site][JOBS].jobs.get(job_id)
            if job is not None and job != last:
                last = job
                yield job
            else:
                await self.log.wait(self.partition, ends, _FOLLOW_S)

    async def events(self, topics: Sequence[str] = TOPICS) -> AsyncIterator[list[Item]]:
        """What is on the log, causes first, as often as something new was appended. An empty list: that is all now."""
        reader = Reader(self.log, self.partition, topics, {self.site: self.root_public_key})
        reader.admission(self.site).passes_over_revocations = True
        while True:
            ends = await self.log.ends(self.partition)
            items = await reader.read()
            yield items
            if not items:
                await self.log.wait(self.partition, ends, _FOLLOW_S)


@asynccontextmanager
async def open_desk(directory: Path) -> AsyncIterator[Desk]:
    """The log in a data directory, read-only."""
    place = Place(directory)
    async with open_reading(directory) as log:
        cluster = Cluster.of(directory)
        site = cluster.site if cluster else await _site(log, directory)
        yield Desk(directory, log, site, place.read_root_public_key())


def unknown_job(job_id: str, directory: Path) -> Problem:
    """Nobody declared this job here."""
    return Problem(
        f"there is no job {job_id} in {directory}", f"List them: qpubus jobs --data {directory}", code="job_unknown"
    )


async def _site(log: ReadableLog, directory: Path) -> str:
    for partition in range(log.partitions):
        for stored in await log.read("governance", partition, 0, 1):
            key = stored.record.key
            return key if isinstance(key, str) else ""
    raise Problem(
        f"nothing is on the log in {directory}", f"Begin anew in an empty directory: qpubus init --data {directory}"
    )
