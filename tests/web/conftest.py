"""One site, founded once; each module opens a copy of it behind a door of its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.web_house import House, copy_of, open_house, site_with_agents

Founded = tuple[Path, dict[str, Ed25519PrivateKey]]


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    directory = tmp_path_factory.mktemp("founded") / "site"
    return directory, site_with_agents(directory)


@pytest_asyncio.fixture
async def house(founded: Founded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A door of a test's own. It is opened and closed in one task: a fixture's two halves run in two."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # copies of one log have one name
    directory, keys = founded
    opened: asyncio.Future[House] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def host() -> None:
        async with open_house(copy_of(directory, tmp_path / "site"), dict(keys)) as house:
            opened.set_result(house)
            await done.wait()

    hosting = asyncio.create_task(host())

    def told(ended: asyncio.Task[None]) -> None:
        if not opened.done():
            opened.set_exception(ended.exception() or EOFError("the door did not open"))

    hosting.add_done_callback(told)
    yield await opened
    done.set()
    await hosting
