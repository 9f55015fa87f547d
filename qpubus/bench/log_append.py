"""How fast sealed events are appended durably: against the same bytes written raw, and against another event store.

One author appends batches of 100, one after the other; beside it stands what eight authors reach who append at once.
The raw writer is given the same batches, each a transaction.
"""

import asyncio
import gc
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder

from schemas.codec import encode, own_schemas
from schemas.envelope import Cause, Record, headers_of
from schemas.events import StepStarted
from streams.author import Draft, Scribe, seal_all
from streams.log.database import PAGE_BYTES
from streams.log.embedded import EmbeddedLog, create

BATCH = 100
BATCHES = 160
"""Batches that are appended in a round."""
ROUNDS = 7
_FULL = 2
_ON_DISK = "/var/tmp" if Path("/var/tmp").is_dir() else None  # noqa: S108 (a directory of its own is made in it)
"""Where files outlive a restart, so not in memory: there, a sync costs nothing and a durable append means nothing."""
_SITE = "site-a"
_JOB = "poctest-2026-01-18-001"
_START_US = 1_784_000_000_000_000
_CIRCUITS = 5
_DIGESTS = tuple(sha256(b"circuit %d" % number).hexdigest() for number in range(_CIRCUITS))
_SUCCESS = tuple(0.9 + number / 137 for number in range(_CIRCUITS))
_SCHEMAS = {schema.event_type: schema for schema in own_schemas()}


class Figures(NamedTuple):
    """Records a second of each way to write, by rounds."""

    raw: list[float]
    sealed: list[float]
    grouped: list[float]
    typed: list[float]
    eventsourcing: list[float]


class Started(DomainEvent):
    """The same facts as StepStarted, as `eventsourcing` has its events."""

    job_id: str
    step: int
    kind: str
    device: str
    snapshot_digest: str
    compiled_digests: list[str]
    predicted_success: list[float]
    seed_honoured: bool
    started_us: int
    isolation: str


def measure() -> list[dict[str, Any]]:
    """Append the same events in five ways, turn by turn, and compare the medians."""
    figures = Figures([], [], [], [], [])
    for _ in range(ROUNDS + 1):
        for rate, way in zip(figures, (_raw, _sealed, _grouped, _typed, _eventsourcing), strict=True):
            with tempfile.TemporaryDirectory(prefix="qpubus-bench-", dir=_ON_DISK) as directory:
                rate.append(way(Path(directory)))
    raw, sealed, grouped, typed, other = (statistics.median(rates[1:]) for rates in figures)  # the first round warms up
    return [
        _figure("log.append_sealed", sealed, "the same bytes, raw through apsw", raw),
        _figure("log.append_sealed_by_8", grouped, "the same bytes, raw through apsw", raw),
        _figure("log.append_sealed_typed", typed, "the same bytes, raw through apsw", raw),
        _figure("log.append_sealed_vs_eventsourcing", typed, "eventsourcing on SQLite, unsigned", other),
    ]


def _figure(name: str, value: float, reference: str, reference_value: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value),
        "unit": "records/s",
        "reference": reference,
        "reference_value": round(reference_value),
        "ratio": round(value / reference_value, 3),
    }


def _rate(write: Callable[[], None]) -> float:
    with _collected():
        started = time.perf_counter()
        write()
        return BATCH * BATCHES / (time.perf_counter() - started)


@contextmanager
def _collected() -> Iterator[None]:
    """What was made for the measurement is no garbage: the collector need not go through it again and again."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _drafts() -> list[list[Draft]]:
    """What the author has to say, in batches: starts of quantum steps of five circuits, bodies of some 500 bytes."""
    cause = Cause("intents", "stage:orchestrator", 17, sha256(b"cause").hexdigest())
    numbers = itertools.count()
    return [[_draft(next(numbers), cause) for _ in range(BATCH)] for _ in range(BATCHES)]


def _draft(number: int, cause: Cause) -> Draft:
    started_us = _START_US + 102_000_000 * number
    event = StepStarted(
        job_id=_JOB,
        step=number,
        kind="quantum",
        device="ion-1",
        snapshot_digest=_DIGESTS[0],
        compiled_digests=_DIGESTS,
        predicted_success=_SUCCESS,
        started_us=started_us,
    )
    return Draft("results", event, _JOB, started_us, (cause,))


def _scribe(number: int = 0) -> Scribe:
    return Scribe(f"device:ion-{number}", _SITE, _SCHEMAS)


def _raw(directory: Path) -> float:
    """Batches of rows with key, value and headers, each batch a transaction, at the log's own settings."""
    key = Ed25519PrivateKey.generate()
    scribe = _scribe()
    batches = [
        [_raw_row(record) for record in seal_all([scribe.write(draft) for draft in batch], key)] for batch in _drafts()
    ]
    connection = apsw.Connection(str(directory / "raw.sqlite"))
    connection.pragma("page_size", PAGE_BYTES)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE raw(position INTEGER PRIMARY KEY, key, value, headers)")

    def write() -> None:
        for batch in batches:
            with connection:
                connection.executemany("INSERT INTO raw(key, value, headers) VALUES(?, ?, ?)", batch)

    try:
        return _rate(write)
    finally:
        connection.close()


def _raw_row(record: Record) -> tuple[str, bytes, bytes]:
    return record.key, record.value, b"".join(text for _, text in headers_of(record))


def _sealed(directory: Path) -> float:
    """Bodies are encoded beforehand; seal, append, head and its sync are measured."""
    drafts = _drafts()
    bodies = [[encode(draft.event) for draft in batch] for batch in drafts]
    return asyncio.run(_appended(directory, drafts, bodies))


def _grouped(directory: Path) -> float:
    """As `_sealed`, but the batches are those of eight authors who append at once, so that some share a transaction."""
    drafts = _drafts()
    bodies = [[encode(draft.event) for draft in batch] for batch in drafts]
    return asyncio.run(_appended(directory, drafts, bodies, authors=8))


def _typed(directory: Path) -> float:
    """As `_sealed`, with the Avro encoding measured too."""
    return asyncio.run(_appended(directory, _drafts(), None))


async def _appended(
    directory: Path, drafts: list[list[Draft]], bodies: Sequence[list[bytes]] | None, authors: int = 1
) -> float:
    create(directory / "data")
    log = EmbeddedLog(directory / "data", lambda: time.time_ns() // 1_000)

    async def author(number: int) -> None:
        scribe, key = _scribe(number), Ed25519PrivateKey.generate()
        for at in range(number, len(drafts), authors):
            await log.append(seal_all(scribe.write_all(drafts[at], bodies[at] if bodies else None), key))

    with _collected():
        started = time.perf_counter()
        await asyncio.gather(*map(author, range(authors)))
        rate = BATCH * BATCHES / (time.perf_counter() - started)
    await log.close()
    return rate


def _eventsourcing(directory: Path) -> float:
    """As many events a save, handed to an application that keeps them in SQLite; no aggregate is built meanwhile."""
    application: Application[UUID] = Application(
        {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(directory / "events.sqlite")}
    )
    _check_full(application)
    batches = [
        [_started(version, draft) for version, draft in enumerate(batch, BATCH * at + 1)]
        for at, batch in enumerate(_drafts())
    ]

    def write() -> None:
        for batch in batches:
            application.save(*batch)

    try:
        return _rate(write)
    finally:
        application.close()


def _check_full(application: Application[UUID]) -> None:
    """The package leaves `synchronous` as the standard library's SQLite has it, which a distributor may change."""
    recorder = application.recorder
    if not isinstance(recorder, SQLiteApplicationRecorder):
        raise TypeError("eventsourcing keeps its events elsewhere than asked")
    with recorder.datastore.transaction(commit=False) as cursor:
        cursor.execute("PRAGMA synchronous")
        if cursor.fetchone()[0] != _FULL:
            raise RuntimeError("eventsourcing does not write at synchronous=FULL here; the comparison would be unfair")


def _started(version: int, draft: Draft) -> Started:
    facts = draft.event.model_dump()
    facts |= {name: list(facts[name]) for name in ("compiled_digests", "predicted_success")}
    return Started(UUID(int=1), version, datetime.fromtimestamp(draft.time_us / 1e6, UTC), **facts)
