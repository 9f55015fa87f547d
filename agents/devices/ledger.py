"""The device's own memory of slots and runs: one SQLite file that is not the log, kept by the device alone.

A reservation holds a slot under the SHA-256 of a token. A chunk runs once: asked again by the same id it gives the
stored outcome, whatever happened in between. Every check and the run itself are one transaction, so a killed process
leaves either a whole chunk or none. No clock is read here; all times are given, in UTC microseconds.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import orjson

_SCHEMA = """
CREATE TABLE IF NOT EXISTS reservation (
    token_sha256 TEXT PRIMARY KEY, job_id TEXT NOT NULL, shots_max INTEGER NOT NULL, slot_start_us INTEGER NOT NULL,
    slot_end_us INTEGER NOT NULL, expires_us INTEGER NOT NULL, released_us INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS chunk (
    chunk_id TEXT PRIMARY KEY, run_id TEXT NOT NULL, token_sha256 TEXT NOT NULL, circuit_digest TEXT NOT NULL,
    shots INTEGER NOT NULL, seed TEXT NOT NULL, counts BLOB NOT NULL, started_us INTEGER NOT NULL,
    ended_us INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS chunk_by_token ON chunk (token_sha256);
CREATE INDEX IF NOT EXISTS chunk_by_end ON chunk (ended_us);
"""


class RunRefused(Exception):
    """The device declines. `reason` is a stable code."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass(frozen=True)
class Reservation:
    """A slot held for a job; live from slot start until expiry, slot end or release, whichever comes first."""

    token_sha256: str
    job_id: str
    shots_max: int
    slot_start_us: int
    slot_end_us: int
    expires_us: int
    released_us: int | None = None


@dataclass(frozen=True)
class ChunkOrder:
    """A request to run part of a circuit's shots. `chunk_id` names it for ever."""

    token: bytes
    run_id: str
    chunk_id: str
    circuit_digest: str
    shots: int
    seed: int


@dataclass(frozen=True)
class ChunkRecord:
    """A chunk really run: who, what, the counts by bit string, and when the device was busy with it."""

    token_sha256: str
    run_id: str
    chunk_id: str
    circuit_digest: str
    shots: int
    seed: int
    counts: dict[str, int]
    started_us: int
    ended_us: int


class DeviceLedger:
    """The ledger file of one device; open it from one process at a time."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.set_busy_timeout(5_000)
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "full")
        self._connection.execute(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def first_free_start_us(self, length_us: int, not_before_us: int, now_us: int) -> int:
        """Return the earliest start at or after `not_before_us` of a slot of `length_us` that no live slot touches."""
        start_us = not_before_us
        for low_us, high_us in self._taken_slots(not_before_us, now_us):
            if low_us >= start_us + length_us:
                break
            start_us = max(start_us, high_us)
        return start_us

    def reserve(self, wanted: Reservation, now_us: int) -> Reservation:
        """Hold a slot; asked again with the same content it returns what is held.

        Raises `RunRefused`: "slot_malformed", "slot_taken", or "token_conflict" if the token already holds something
        else.
        """
        with self._transaction():
            held = self.reservation(wanted.token_sha256)
            if held is not None:
                if (held.job_id, held.slot_start_us, held.slot_end_us, held.shots_max, held.expires_us) != (
                    wanted.job_id, wanted.slot_start_us, wanted.slot_end_us, wanted.shots_max, wanted.expires_us,
                ):  # fmt: skip
                    raise RunRefused("token_conflict", held.job_id)
                return held
            if not now_us <= wanted.slot_start_us < wanted.slot_end_us or wanted.shots_max <= 0:
                raise RunRefused("slot_malformed")
            length_us = wanted.slot_end_us - wanted.slot_start_us
            if self.first_free_start_us(length_us, wanted.slot_start_us, now_us) != wanted.slot_start_us:
                raise RunRefused("slot_taken")
            self._connection.execute(
                "INSERT INTO reservation VALUES (:token_sha256, :job_id, :shots_max, :slot_start_us, :slot_end_us, "
                ":expires_us, NULL)",
                vars(wanted),
            )
        return wanted

    def release(self, token_sha256: str, now_us: int) -> None:
        """Give the rest of a slot back; a second release changes nothing. Raises `RunRefused` "token_unknown"."""
        with self._transaction():
            if self.reservation(token_sha256) is None:
                raise RunRefused("token_unknown")
            self._connection.execute(
                "UPDATE reservation SET released_us = ? WHERE token_sha256 = ? AND released_us IS NULL",
                (now_us, token_sha256),
            )

    def reservation(self, token_sha256: str) -> Reservation | None:
        """Return what a token holds or held."""
        row = self._connection.execute(
            "SELECT token_sha256, job_id, shots_max, slot_start_us, slot_end_us, expires_us, released_us "
            "FROM reservation WHERE token_sha256 = ?",
            (token_sha256,),
        ).fetchone()
        return Reservation(*row) if row else None

    def chunk(self, chunk_id: str) -> ChunkRecord | None:
        """Return a chunk that was run."""
        row = self._connection.execute(f"{_SELECT_CHUNK} WHERE chunk_id = ?", (chunk_id,)).fetchone()
        return _record(row) if row else None

    def chunks(self) -> Iterator[ChunkRecord]:
        """Yield every chunk ever run, in order of device time."""
        for row in self._connection.execute(f"{_SELECT_CHUNK} ORDER BY started_us, chunk_id"):
            yield _record(row)

    def run_once(
        self, order: ChunkOrder, busy_us: int, now_us: int, draw: Callable[[int], dict[str, int]]
    ) -> ChunkRecord:
        """Run a chunk, or return it if it was run before.

        `busy_us` is how long the device needs; `draw` takes the start time and returns the counts, and has no effects.
        The chunk starts when the slot has begun, the device is free and the caller has asked. Raises `RunRefused`:
        "token_unknown", "token_released", "token_expired", "slot_exhausted", "shots_malformed", "shots_exceeded" or,
        for an id that was run with other content, "chunk_conflict".
        """
        token_sha256 = hashlib.sha256(order.token).hexdigest()
        with self._transaction():
            done = self.chunk(order.chunk_id)
            if done is not None:
                return _same_chunk(done, order, token_sha256)
            started_us = self._admit(order, token_sha256, busy_us, now_us)
            counts = draw(started_us)
            record = ChunkRecord(
                token_sha256, order.run_id, order.chunk_id, order.circuit_digest, order.shots, order.seed, counts,
                started_us, started_us + busy_us,
            )  # fmt: skip
            self._connection.execute(
                "INSERT INTO chunk VALUES (:chunk_id, :run_id, :token_sha256, :circuit_digest, :shots, :seed, :counts, "
                ":started_us, :ended_us)",
                {**vars(record), "seed": str(order.seed), "counts": orjson.dumps(counts, option=orjson.OPT_SORT_KEYS)},
            )
        return record

    def _admit(self, order: ChunkOrder, token_sha256: str, busy_us: int, now_us: int) -> int:
        """Return the start time of a chunk that may run."""
        held = self.reservation(token_sha256)
        if held is None:
            raise RunRefused("token_unknown")
        if held.released_us is not None:
            raise RunRefused("token_released")
        if order.shots <= 0:
            raise RunRefused("shots_malformed")
        used = self._one("SELECT coalesce(sum(shots), 0) FROM chunk WHERE token_sha256 = ?", token_sha256)
        if used + order.shots > held.shots_max:
            raise RunRefused("shots_exceeded", f"{used} of {held.shots_max} used, {order.shots} asked")
        free_us = self._one("SELECT coalesce(max(ended_us), 0) FROM chunk WHERE token_sha256 = ?", token_sha256)
        started_us = max(now_us, held.slot_start_us, free_us)
        if started_us >= held.expires_us:
            raise RunRefused("token_expired")
        if started_us + busy_us > held.slot_end_us:
            raise RunRefused("slot_exhausted")
        return started_us

    def _taken_slots(self, from_us: int, now_us: int) -> list[tuple[int, int]]:
        """Return slots that end after `from_us`, by start; a released or expired one up to then or its last chunk."""
        rows = self._connection.execute(
            """SELECT slot_start_us, CASE WHEN coalesce(released_us, expires_us) > :now_us THEN slot_end_us
                   ELSE min(slot_end_us, max(coalesce(released_us, expires_us), (SELECT coalesce(max(ended_us), 0)
                   FROM chunk WHERE chunk.token_sha256 = reservation.token_sha256))) END AS until_us
               FROM reservation WHERE until_us > :from_us AND until_us > slot_start_us ORDER BY slot_start_us""",
            {"from_us": from_us, "now_us": now_us},
        )
        return [(int(low_us), int(high_us)) for low_us, high_us in rows]

    def _one(self, query: str, key: str) -> int:
        return int(self._connection.execute(query, (key,)).get)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        with ExitStack() as otherwise:
            otherwise.callback(self._connection.execute, "ROLLBACK")
            yield
            otherwise.pop_all()
        self._connection.execute("COMMIT")


_SELECT_CHUNK = (
    "SELECT token_sha256, run_id, chunk_id, circuit_digest, shots, seed, counts, started_us, ended_us FROM chunk"
)


def _record(row: tuple[Any, ...]) -> ChunkRecord:
    token_sha256, run_id, chunk_id, digest, shots, seed, counts, started_us, ended_us = row
    return ChunkRecord(
        token_sha256, run_id, chunk_id, digest, shots, int(seed), orjson.loads(counts), started_us, ended_us
    )


def _same_chunk(done: ChunkRecord, order: ChunkOrder, token_sha256: str) -> ChunkRecord:
    asked = (token_sha256, order.run_id, order.circuit_digest, order.shots, order.seed)
    if (done.token_sha256, done.run_id, done.circuit_digest, done.shots, done.seed) != asked:
        raise RunRefused("chunk_conflict", order.chunk_id)
    return done
