"""Settings that all tests share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

# No deadline: a machine with two shared cores stalls now and then. Derandomised: the same tree gives the same verdict.
settings.register_profile("qpubus", deadline=None, derandomize=True, database=None)
settings.load_profile("qpubus")


@pytest.fixture(scope="session", autouse=True)
def _memories_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What logs remember of themselves stays out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
