"""A log that another release began: `up` says what it lacks, and `log upgrade` publishes it."""

from pathlib import Path

import pytest

from qpubus import founding
from schemas.codec import own_schemas
from tests.support.commands import qpubus, running_bus

LACKING = ("qpubus.TraceSealed", "qpubus.RunCancelled")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site that a release founded which knew two kinds of events less."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with monkeypatch.context() as older:
        older.setattr(founding, "own_schemas", lambda: (s for s in own_schemas() if s.event_type not in LACKING))
        assert qpubus("init", "--data", tmp_path / "data").code == 0
    return tmp_path / "data"


def test_a_bus_does_not_start_on_a_log_on_which_it_could_not_speak(data: Path) -> None:
    done = qpubus("up", "--data", data, "--http", "off")
    assert done.code == 1
    assert "lacks the schemas of 2 kinds of events" in done.err
    assert f"qpubus log upgrade --data {data}" in done.err


def test_what_is_lacking_is_published_once_and_the_bus_starts(data: Path) -> None:
    assert qpubus("log", "upgrade", "--data", data, "--json").json == {"published": sorted(LACKING)}
    assert qpubus("log", "upgrade", "--data", data, "--json").json == {"published": []}
    assert qpubus("audit", "verify", "--data", data).code == 0
    with running_bus(data):
        pass


def test_who_may_not_govern_publishes_nothing(data: Path) -> None:
    key = data / "keys" / "auditor.pem"
    done = qpubus("log", "upgrade", "--data", data, "--key", key)
    assert done.code == 1
    assert "may not govern" in done.err
