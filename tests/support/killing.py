"""Demos and foundings that are killed with SIGKILL at a moment of their own choosing.

A moment is just before or just after a durable step of the process: a commit in any of its SQLite files (the log, a
device's ledger), a sync, a rename. A child is forked from a server that has imported everything, so that a run costs no
more than its work.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from hashlib import sha256
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock
from typing import Any

import apsw

from qpubus import demo
from qpubus.founding import Founding, found
from qpubus.place import Place as DataPlace
from schemas.envelope import Record, Stray
from streams.log import embedded
from streams.log.embedded import EmbeddedLog
from streams.log.port import Place

ACKNOWLEDGED = "acknowledged.txt"
KILLED = -signal.SIGKILL
_STARTING = Lock()


def run_demo_apart(directory: Path, seed: int, die_at: int | None) -> int:
    """Run a demo in a process of its own, killed at its `die_at`-th moment; its exit code, negative for a signal."""
    return _apart(_demo, directory, seed, die_at)


def found_apart(directory: Path, seed: int, die_at: int | None) -> int:
    """Only found the site of a demo, in a process of its own, killed at its `die_at`-th moment."""
    return _apart(_found, directory, seed, die_at)


def _apart(body: Callable[[Path, int, int | None], None], directory: Path, seed: int, die_at: int | None) -> int:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    child = context.Process(target=body, args=(directory, seed, die_at))
    with _STARTING:  # a start looks after all children, and two threads must not ask for one exit code
        child.start()
    wait([child.sentinel])
    with _STARTING:
        child.join()
    return child.exitcode if child.exitcode is not None else 1


def acknowledged(directory: Path) -> list[tuple[Place, str]]:
    """The appends that some demo in the directory was told are done: each record's place and fingerprint."""
    lines = (directory / ACKNOWLEDGED).read_text().splitlines()
    parts = [line.split() for line in lines]
    return [(Place(topic, int(partition), int(offset)), print_) for topic, partition, offset, print_ in parts]


def fingerprint(record: Record | Stray) -> str:
    """SHA-256 over all of a record."""
    return sha256(repr(tuple(record)).encode()).hexdigest()


def moments(directory: Path) -> int:
    """How many moments the demo in a directory has lived through, its founding included."""
    return int((directory / "moments.txt").read_text())


def founding_moments(directory: Path) -> int:
    """How many of them were its founding."""
    return int((directory / "founding.txt").read_text())


class Life:
    """Counts the moments of this process, and ends it at one of them."""

    def __init__(self, directory: Path, die_at: int | None) -> None:
        os.environ["XDG_STATE_HOME"] = str(directory / "state")
        directory.mkdir(exist_ok=True)
        embedded.MEMORY_EVERY_S = (
            0.0  # else time, which differs from run to run, would decide how many renames there are
        )
        self.lived = 0
        self._die_at = die_at
        apsw.connection_hooks.append(self._watch)
        for name in ("fsync", "fdatasync", "rename", "replace"):
            if hasattr(os, name):
                setattr(os, name, self._counted(getattr(os, name)))

    def live(self) -> bool:
        """One more moment."""
        self.lived += 1
        if self.lived == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def _watch(self, connection: apsw.Connection) -> None:
        connection.set_commit_hook(self.live)
        connection.set_wal_hook(lambda *_: self.live() or apsw.SQLITE_OK)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.live()
            done = call(*arguments, **named)
            self.live()
            return done

        return counted


def _demo(directory: Path, seed: int, die_at: int | None) -> None:
    life = Life(directory, die_at)

    def noted(place: DataPlace, founding: Founding) -> None:
        found(place, founding)
        (directory / "founding.txt").write_text(str(life.lived))

    vars(demo)["found"] = noted
    _note_acknowledgements(directory / ACKNOWLEDGED)
    asyncio.run(demo.run_demo(directory / "data", seed))
    (directory / "moments.txt").write_text(str(life.lived))


def _found(directory: Path, seed: int, die_at: int | None) -> None:
    life = Life(directory, die_at)
    found(DataPlace(directory / "data"), demo.demo_founding(seed))
    (directory / "founding.txt").write_text(str(life.lived))


def _note_acknowledgements(path: Path) -> None:
    append = EmbeddedLog.append

    async def noted(log: EmbeddedLog, records: Sequence[Record | Stray]) -> list[Place]:
        places = await append(log, records)
        with path.open("a") as file:
            file.writelines(
                f"{place.topic} {place.partition} {place.offset} {fingerprint(record)}\n"
                for place, record in zip(places, records, strict=True)
            )
        return places

    EmbeddedLog.append = noted  # type: ignore[assignment]  # this process exists to watch that method
