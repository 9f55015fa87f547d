"""Founding: all of a site or none of it, its keys before its log, once and for ever."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.clock import WallClock
from qpubus.founding import Founding, found, is_founded
from qpubus.governing import govern, open_register
from qpubus.keyfile import read_key
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.wiring import open_machine
from schemas.events import SiteFounded
from streams.log import making
from streams.log.database import Settings
from streams.log.port import LogError
from tests.support.commands import qpubus


def founding() -> Founding:
    return Founding("site-a", "agent:a", "approver:b", "wall", WallClock().now_us(), 1, 0, "operator:c")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where a site is to be founded."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Place(tmp_path / "data")


def broken_off(place: Place, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Break a founding off when all but the log is there; the key files that it leaves."""

    def full(_: making.NewLog) -> list[str]:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(making.NewLog, "finish", full)
        with pytest.raises(OSError, match="No space left"):
            found(place, founding())
    return {path.name: path.read_bytes() for path in place.keys.iterdir()}


def test_keys_and_trust_anchor_are_durable_before_the_log_is_in_its_place(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    when_put: set[int] = set()
    replace = os.replace

    def noting(sync: Callable[[int], None]) -> Callable[[int], None]:
        def noted(descriptor: int) -> None:
            sync(descriptor)
            synced.add(os.fstat(descriptor).st_ino)

        return noted

    def noted_replace(source: Path, target: Path) -> None:
        replace(source, target)
        if Path(target).name == "log.sqlite":
            when_put.update(synced)

    monkeypatch.setattr(os, "fsync", noting(os.fsync))
    monkeypatch.setattr(os, "fdatasync", noting(os.fdatasync))
    monkeypatch.setattr(os, "replace", noted_replace)

    found(place, founding())

    needed = [place.directory, place.keys, place.root_public_key, place.directory / "log.sqlite", *place.keys.iterdir()]
    assert [path for path in needed if path.stat().st_ino not in when_put] == []


def test_a_founding_that_was_broken_off_is_no_site(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_off(place, monkeypatch)

    assert not is_founded(place)


def test_a_founding_that_was_broken_off_is_ended_with_the_keys_it_made(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = broken_off(place, monkeypatch)

    made = qpubus("init", "--data", place.directory)

    assert made.code == 0
    assert f"A founding was broken off in {place.directory}" in made.out
    assert {path.name: path.read_bytes() for path in place.keys.iterdir()} == before
    assert qpubus("audit", "verify", "--data", place.directory).code == 0


def test_the_demo_ends_a_founding_that_was_broken_off(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_off(place, monkeypatch)

    assert qpubus("demo", "--json", "--data", place.directory).json["audit"]["verdict"] == "sound"


@pytest.mark.parametrize("command", ["init", "demo"])
def test_a_site_that_lost_its_log_keeps_its_keys_and_is_not_founded_anew(place: Place, command: str) -> None:
    found(place, founding())
    before = {path.name: path.read_bytes() for path in (*place.keys.iterdir(), place.root_public_key)}
    (place.directory / "log.sqlite").unlink()

    refused = qpubus(command, "--data", place.directory)

    assert refused.code == 1
    assert "seems to have lost it" in refused.err
    assert {path.name: path.read_bytes() for path in (*place.keys.iterdir(), place.root_public_key)} == before


async def test_what_a_founding_noted_is_gone_once_the_site_is_opened(place: Place) -> None:
    found(place, founding())
    place.founding.touch()

    async with open_machine(place):
        pass

    assert not place.founding.exists()


def test_a_site_without_its_trust_anchor_is_told_what_is_missing(place: Place) -> None:
    found(place, founding())
    place.root_public_key.unlink()

    with pytest.raises(Problem, match=r"root\.pub is missing"):
        place.read_root_public_key()


def test_who_founds_where_somebody_founds_is_told(place: Place) -> None:
    with making.new_log(place.directory, Settings("0" * 32, 1, ("governance",))), pytest.raises(LogError):
        found(place, founding())


async def founded_twice(place: Place) -> Ed25519PrivateKey:
    """A site on the wall's clock whose root said later that it was founded on a virtual one."""
    found(place, founding())
    root = read_key(place.key("root"))
    register = await open_register(place.directory)
    await govern(place.directory, register, root, [(SiteFounded(clock="virtual", epoch_us=1, seed=2), ())])
    return root


async def test_a_site_that_was_founded_on_the_wall_stays_there(place: Place) -> None:
    await founded_twice(place)

    async with open_machine(place) as machine:
        assert not machine.is_virtual


async def test_who_governs_goes_by_the_first_founding(place: Place) -> None:
    await founded_twice(place)

    assert not (await open_register(place.directory)).is_virtual
