"""Audits by several processes come to what one process comes to, and an audit that goes on finds every place."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from replay import crew
from replay.audit import roots_of, verify
from replay.verdict import Audit, Verdict
from schemas.admission import Stored
from streams.log.reading import open_copy
from tests.support.golden_log import LOG_ID, golden_logs, restore
from tests.support.rows import Rows

PIECE = 7
"""Far fewer records than a piece has, so that a small log is cut into many."""


@pytest.fixture(autouse=True)
def _small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(crew, "PIECE", PIECE)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return restore(golden_logs()[0], tmp_path / "data")


def audited(data: Path, jobs: int = 1, *, everything: bool = False) -> Audit:
    return asyncio.run(verify(data, jobs=jobs, everything=everything))


def stored_in(data: Path) -> list[Stored]:
    with open_copy(data) as log:
        return [stored for topic in log.topics for stored in log.rows(topic, 0)]


def places(audit: Audit) -> set[tuple[str, int]]:
    return {(finding.topic, finding.offset) for finding in audit.findings}


def test_two_processes_come_to_the_same_of_a_sound_log(data: Path) -> None:
    alone = audited(data)
    assert alone.verdict is Verdict.SOUND
    assert audited(data, 2) == alone


def test_helpers_do_judge_pieces(data: Path) -> None:
    with open_copy(data) as log:
        made = crew.Crew(log, 0, asyncio.run(roots_of(log)), 2)
        try:
            parts = [part for topic in log.topics if topic not in crew.ALONE for _, part in made.parts(topic)]
        finally:
            made.close()
    assert len(parts) > 2 * PIECE
    assert all(parts)


def test_without_its_helpers_an_audit_comes_to_the_same(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> None:
        os._exit(1)

    alone = audited(data)
    monkeypatch.setattr(crew._Helper, "judge", dies)
    assert audited(data, 2) == alone


@pytest.mark.parametrize("change", ["flip", "drop", "leave_out", "cut"])
@pytest.mark.parametrize("forges", [False, True])
def test_two_processes_come_to_the_same_of_a_log_that_was_changed(data: Path, change: str, forges: bool) -> None:
    rng, rows = Random(f"{change} {forges}"), Rows(data, LOG_ID)  # noqa: S311 (seeded on purpose)
    stored = rng.choice([each for each in stored_in(data) if each.topic not in crew.ALONE])
    if change == "flip":
        rows.flip(stored, rng)
    else:
        getattr(rows, change)(stored)
    if forges:
        rows.forge()
    alone = audited(data)
    assert alone.verdict in {Verdict.TAMPERED, Verdict.INCOMPLETE}
    assert audited(data, 2) == alone
    assert audited(data, 2, everything=True) == audited(data, everything=True)


def test_every_place_that_was_changed_is_listed(data: Path) -> None:
    rng, rows = Random(5), Rows(data, LOG_ID)  # noqa: S311 (seeded on purpose)
    changed = list(_apart([each for each in stored_in(data) if each.topic not in crew.ALONE]))
    for stored in changed:
        rows.flip(stored, rng)
    found = audited(data, everything=True)
    assert found.verdict is Verdict.TAMPERED
    assert places(found) >= {(stored.topic, stored.offset) for stored in changed}
    assert len(places(audited(data))) < len(places(found))


def _apart(records: list[Stored]) -> Iterator[Stored]:
    """Every fifth record."""
    yield from records[::5]
