"""A desk: held while numbers are shared out, closed whatever its log does."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from streams.app.desk import Desk, Opened
from streams.log.embedded import EmbeddedLog, create
from streams.log.port import LogError
from streams.tally import Tally


class _Unsavable:
    """A part with nothing to do whose broker is away when it is to save."""

    name = "idle"
    tally = Tally()
    offsets: Mapping[str, int] = {}

    async def step(self) -> bool:
        return False

    async def save(self) -> None:
        raise LogError("nobody answers")


async def _at_work(log: EmbeddedLog) -> tuple[Desk, asyncio.Task[None]]:
    async def opening(_: int) -> Opened:
        return Opened(_Unsavable(), log)

    said = asyncio.Event()
    desk = Desk("idle", 0, opening, lambda _: said.set())
    running = asyncio.create_task(desk.run())
    await said.wait()
    return desk, running


@pytest.fixture(autouse=True)
def _memory_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "memory"))


async def test_a_desk_that_is_held_already_can_be_held_and_closed_though_its_part_cannot_be_saved(
    tmp_path: Path,
) -> None:
    create(tmp_path / "log", 1)
    log = EmbeddedLog(tmp_path / "log", lambda: 0)
    desk, running = await _at_work(log)
    await desk.hold()
    await asyncio.wait_for(desk.hold(), 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await desk.close(saves=True)
    await EmbeddedLog(tmp_path / "log", lambda: 0).close()  # the desk has given it back, so another may hold it
