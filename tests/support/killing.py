"""Demos that are killed with SIGKILL at a commit of their own choosing, in the log or in a device's ledger alike.

A child is forked from a server that has imported everything, so that a run costs no more than its work.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import apsw

from qpubus.demo import run_demo
from schemas.envelope import Record, Stray
from streams.log.embedded import EmbeddedLog
from streams.log.port import Place

ACKNOWLEDGED = "acknowledged.txt"
KILLED = -signal.SIGKILL


def run_demo_apart(directory: Path, seed: int, die_at: int | None) -> int:
    """Run a demo in a process of its own, killed at its `die_at`-th moment; its exit code, negative for a signal.

    Moments are counted over all SQLite files of the process: just before each commit, and just after it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    child = context.Process(target=_demo, args=(directory, seed, die_at))
    child.start()
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
    """How many moments the demos in a directory have lived through."""
    return int((directory / "moments.txt").read_text())


def _demo(directory: Path, seed: int, die_at: int | None) -> None:
    os.environ["XDG_STATE_HOME"] = str(directory / "state")
    directory.mkdir(exist_ok=True)
    lived = 0

    def live() -> bool:
        nonlocal lived
        lived += 1
        if lived == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def watch(connection: apsw.Connection) -> None:
        connection.set_commit_hook(live)
        connection.set_wal_hook(lambda *_: live() or apsw.SQLITE_OK)

    apsw.connection_hooks.append(watch)
    _note_acknowledgements(directory / ACKNOWLEDGED)
    asyncio.run(run_demo(directory / "data", seed))
    (directory / "moments.txt").write_text(str(lived))


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
