"""The runner over a real log: what it shows, saves, loads and rebuilds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from projections.jobs import JOBS
from projections.refold import refold
from projections.runner import Runner
from projections.views import Views
from qpubus.bench.history import EPOCH_US, SITE, Historian
from qpubus.bench.projection_rebuild import UNSIGNED
from replay.audit import verify_log
from schemas.envelope import Record, Stray
from streams.log.embedded import EmbeddedLog, create

DAY_US = 86_400_000_000


@pytest.fixture(autouse=True)
def _memory_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@asynccontextmanager
async def log_at(directory: Path) -> AsyncIterator[EmbeddedLog]:
    if not (directory / "log.sqlite").exists():
        create(directory)
    log = EmbeddedLog(directory, lambda: EPOCH_US + DAY_US)
    try:
        yield log
    finally:
        await log.close()


async def two_jobs(log: EmbeddedLog) -> Historian:
    historian = Historian(log)
    await historian.found()
    await historian.tell(0)
    await historian.tell(1)
    return historian


async def up_to_date(runner: Runner) -> Runner:
    while await runner.step():
        pass
    return runner


async def verified(log: EmbeddedLog, historian: Historian) -> dict[str, bytes]:
    """The views from nothing but the log, every record verified as it is folded."""
    return shown((await up_to_date(Runner(log, 0, historian.roots))).views[SITE])


async def refolded(log: EmbeddedLog, historian: Historian) -> dict[str, bytes]:
    """The views from an audited log, as `replay rebuild` makes them."""
    audit = await verify_log(log, historian.roots)
    return shown((await refold(log, 0, [SITE], audit.passed_over))[SITE])


def shown(views: Views) -> dict[str, bytes]:
    return views.to_bytes()


async def test_the_log_that_figures_are_measured_on_is_sound(tmp_path: Path) -> None:
    async with log_at(tmp_path) as log:
        audit = await verify_log(log, (await two_jobs(log)).roots)
        assert ({each.reason for each in audit.findings} - UNSIGNED, set(audit.passed_over)) == (set(), set())


async def test_every_event_of_a_sound_log_is_believed(tmp_path: Path) -> None:
    async with log_at(tmp_path) as log:
        historian = await two_jobs(log)
        runner = await up_to_date(Runner(log, 0, historian.roots))
        assert not runner.refused
        assert {job.state for job in runner.views[SITE][JOBS].jobs.values()} == {"completed"}


async def test_views_kept_event_by_event_equal_their_rebuild(tmp_path: Path) -> None:
    async with log_at(tmp_path) as log:
        historian = Historian(log)
        runner = Runner(log, 0, historian.roots)
        await historian.found()
        for number in range(3):
            await up_to_date(runner)
            await historian.tell(number)
        await up_to_date(runner)
        assert shown(runner.views[SITE]) == await verified(log, historian)


async def test_views_folded_after_an_audit_equal_those_verified_one_by_one(tmp_path: Path) -> None:
    async with log_at(tmp_path) as log:
        historian = await two_jobs(log)
        assert await refolded(log, historian) == await verified(log, historian)


async def test_a_start_reads_on_from_what_was_saved(tmp_path: Path) -> None:
    async with log_at(tmp_path) as log:
        historian = await two_jobs(log)
        (await up_to_date(Runner(log, 0, historian.roots, tmp_path / "views"))).save()
        await historian.tell(2)
        runner = Runner(log, 0, historian.roots, tmp_path / "views")
        await runner.step()
        assert len(runner.views[SITE][JOBS].jobs) == 3
        await up_to_date(runner)
        assert not runner.refused
        assert shown(runner.views[SITE]) == await verified(log, historian)


async def test_a_start_with_all_saved_has_nothing_to_read(tmp_path: Path) -> None:
    async with log_at(tmp_path) as log:
        historian = await two_jobs(log)
        (await up_to_date(Runner(log, 0, historian.roots, tmp_path / "views"))).save()
        runner = Runner(log, 0, historian.roots, tmp_path / "views")
        assert not await runner.step()
        assert len(runner.views[SITE][JOBS].jobs) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "other folds", "another root"])
async def test_a_saved_state_that_does_not_fit_is_passed_over(tmp_path: Path, damage: str) -> None:
    async with log_at(tmp_path) as log:
        historian = await two_jobs(log)
        runner = await up_to_date(Runner(log, 0, historian.roots, tmp_path / "views"))
        runner.save()
        saved = tmp_path / "views" / "partition-0.json"
        text = saved.read_bytes()
        saved.write_bytes(
            {
                "empty": b"",
                "cut": text[: len(text) // 2],
                "other folds": text.replace(b'"folds":"', b'"folds":"0', 1),
                "another root": text.replace(historian.roots[SITE].hex().encode(), b"00" * 32, 1),
            }[damage]
        )
        again = Runner(log, 0, historian.roots, tmp_path / "views")
        assert await again.step()
        assert shown((await up_to_date(again)).views[SITE]) == shown(runner.views[SITE])


async def test_a_saved_state_ahead_of_its_log_is_passed_over(tmp_path: Path) -> None:
    async with log_at(tmp_path / "long") as log:
        historian = await two_jobs(log)
        (await up_to_date(Runner(log, 0, historian.roots, tmp_path / "views"))).save()
        beginning = [stored.record for stored in await log.read("governance", 0, 0, 1_000)]
    async with log_at(tmp_path / "short") as log:
        await log.append(beginning)
        runner = await up_to_date(Runner(log, 0, historian.roots, tmp_path / "views"))
        assert not runner.views[SITE][JOBS].jobs


async def test_a_record_that_is_not_believed_changes_no_view(tmp_path: Path) -> None:
    async with log_at(tmp_path) as log:
        historian = await two_jobs(log)
        before = await verified(log, historian)
        stored = (await log.read("intents", 0, 0, 1))[0]
        assert isinstance(stored.record, Record)
        forged = stored.record._replace(source="gateway:other")
        await log.append([forged, Stray("intents", None, b"x", ())])
        runner = await up_to_date(Runner(log, 0, historian.roots))
        assert sum(runner.refused.values()) == 2
        assert shown(runner.views[SITE]) == before


async def test_refolding_leaves_out_what_the_audit_refused(tmp_path: Path) -> None:
    async with log_at(tmp_path) as log:
        historian = await two_jobs(log)
        results = [stored.record for stored in await log.read("results", 0, 0, 100)]
        shots = [each for each in results if isinstance(each, Record) and each.type == "qpubus.ShotsMeasured"]
        places = await log.append(shots[:1])
        audit = await verify_log(log, historian.roots)
        assert set(audit.passed_over) == set(places)
        assert await refolded(log, historian) == await verified(log, historian)
        assert shown((await refold(log, 0, [SITE], ()))[SITE]) != await verified(log, historian)
