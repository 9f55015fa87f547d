"""Auditing with several processes: pieces of topics are judged side by side, and taken over in their order.

A process knows nothing of what stands before its piece, so it takes the numbers with which authors go on there as they
are. A piece is taken over only if nothing in it was refused and if its authors, its keys and its causes in the same
topic fit what was read before. Any other is judged again in its place by the one process that knows all: the outcome is
that of an audit without helpers, by construction.
"""

import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import takewhile
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from replay.checkpoints import Checkpoints
from replay.index import Index
from replay.scan import Part, SiteScan
from schemas.envelope import EnvelopeInvalid
from streams.log.port import LogError
from streams.log.reading import EmbeddedReader

PIECE = 16_384
"""So many records make a piece, about: enough that handing it over costs little, few enough that all end together."""
ALONE = frozenset({"governance", "checkpoints"})
"""Topics that the one process reads itself: what stands there concerns all others."""

EMPTY: Mapping[str, int] = MappingProxyType({})


class Piece(NamedTuple):
    """Records of a topic from one row on up to another, or to the end."""

    topic: str
    start: int = 0
    end: int | None = None


class Where(NamedTuple):
    """Where a helper finds the log, and whose it is."""

    directory: Path
    files: Path
    stands_still: bool
    partition: int
    site: str
    root: bytes


class Crew:
    """Helpers for the audit of one partition number with one site. With fewer than two jobs there are none."""

    def __init__(
        self,
        log: EmbeddedReader,
        partition: int,
        roots: Mapping[str, bytes],
        jobs: int,
        starts: Mapping[str, int] = EMPTY,
    ) -> None:
        """`starts` gives the place where a topic is begun, if it is not its first."""
        self._log, self.partition = log, partition
        self._pieces = {topic: [Piece(topic, starts.get(topic, 0))] for topic in log.topics}
        self._pool: ProcessPoolExecutor | None = None
        self._started: deque[Future[Part | None]] = deque()
        left = (log.tip(topic, partition).size - starts.get(topic, 0) for topic in log.topics)
        if jobs < 2 or len(roots) != 1 or max(left) < 2 * PIECE:
            return
        [(site, root)] = roots.items()
        where = Where(log.directory, log.files, log.stands_still, partition, site, root)
        # a forked child has all that was imported; beside threads forking is not safe
        kind = "fork" if os.name == "posix" and threading.active_count() == 1 else "spawn"
        self._pool = ProcessPoolExecutor(jobs, get_context(kind), _begin, (where,))
        self._pieces |= {topic: self._cut(topic) for topic in log.topics if topic not in ALONE}
        self._waiting = iter([piece for topic in log.topics if topic not in ALONE for piece in self._pieces[topic]])
        for _ in range(2 * jobs):
            self._start_one()

    def parts(self, topic: str) -> Iterator[tuple[Piece, Part | None]]:
        """The pieces of a topic in their order, each with what a helper made of it; topics are asked for in theirs."""
        for piece in self._pieces[topic]:
            part = None
            if self._pool and topic not in ALONE:
                try:
                    part = self._started.popleft().result()
                    self._start_one()
                except BrokenProcessPool:  # whatever ended a helper, the work can be done without it
                    self._pool = None
            yield piece, part

    def skip(self, piece: Piece) -> None:
        """Leave out what follows a piece in its topic."""
        pieces = self._pieces[piece.topic]
        for _ in pieces[pieces.index(piece) + 1 :]:
            if self._pool and piece.topic not in ALONE:
                self._started.popleft()
                with suppress(BrokenProcessPool):
                    self._start_one()

    def close(self) -> None:
        """Let the helpers go."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def _start_one(self) -> None:
        piece = next(self._waiting, None)
        if piece and self._pool:
            self._started.append(self._pool.submit(_judge, piece))

    def _cut(self, topic: str) -> list[Piece]:
        size = self._log.tip(topic, self.partition).size
        starts = [self._pieces[topic][0].start]
        while (start := self._log.row_end(topic, self.partition, starts[-1] + PIECE)) < size:
            starts.append(start)
        ends: Sequence[int | None] = (*starts[1:], None)
        return [Piece(topic, start, end) for start, end in zip(starts, ends, strict=True)]


class _Helper:
    """One process: it has read governance, and judges pieces of other topics."""

    def __init__(self, where: Where) -> None:
        self.where = where
        self.log = EmbeddedReader(where.directory, files=where.files, stands_still=where.stands_still)
        self.scan = self._scan(Index())
        for batch in self.log.batches("governance", where.partition):
            self.scan.take(batch)
        self.governed = dict(self.scan.admission.sequences)

    def _scan(self, index: Index) -> SiteScan:
        where = self.where
        return SiteScan(where.site, where.root, where.partition, Checkpoints(where.partition, {}, None, index), index)

    def judge(self, piece: Piece) -> Part | None:
        """What is to be known of a piece in which nothing is refused; None for any other."""
        index = Index()
        scan = self._scan(index)
        scan.admission = self.scan.admission
        scan.admission.sequences = dict(self.governed)
        scan.admission.suspended.clear()
        starts: dict[str, int] = {}
        try:
            batches = self.log.batches(piece.topic, self.where.partition, piece.start)
            for batch in takewhile(lambda batch: piece.end is None or batch[0].offset < piece.end, batches):
                scan.go_on(batch, starts)
                scan.take(batch)
                if scan.refused:
                    return None
            return scan.part(piece.topic, starts)
        except (LogError, EnvelopeInvalid):
            return None
        finally:
            scan.close()
            index.close()


_helper: list[_Helper] = []


def _begin(where: Where) -> None:
    _helper[:] = [_Helper(where)]


def _judge(piece: Piece) -> Part | None:
    return _helper[0].judge(piece)
