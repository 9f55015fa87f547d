"""The embedded engine keeps the promises of the port."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from streams.log.embedded import EmbeddedLog, create
from streams.log.port import Log
from tests.contract.log_contract import PARTITIONS, LogContract


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class TestEmbedded(LogContract):
    def opened(self, directory: Path) -> AbstractAsyncContextManager[Log]:
        if not (directory / "data").exists():
            create(directory / "data", PARTITIONS)
        return _opened(directory / "data")


@asynccontextmanager
async def _opened(directory: Path) -> AsyncIterator[Log]:
    ticks = itertools.count(1_700_000_000_000_000)
    log = EmbeddedLog(directory, lambda: next(ticks))
    try:
        yield log
    finally:
        await log.close()
