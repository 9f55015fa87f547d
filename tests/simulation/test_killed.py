"""The demo is killed with `kill -9` at seeded points and started again: it ends as if nothing had happened.

Points are drawn from all moments of its life; some always from its founding, which is short and would else be missed.
"""

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents.devices.fleet import open_fleet
from agents.devices.ledger import ChunkRecord
from agents.devices.profiles import PROFILES
from qpubus import demo
from qpubus.founding import is_founded, members
from qpubus.governing import read_register
from qpubus.keyfile import read_key
from qpubus.place import Place
from qpubus.reading import open_desk
from schemas.admission import Refused
from schemas.events import ResultRecorded, ShotsMeasured
from schemas.keys import raw_public_key
from schemas.topics import TOPICS
from streams.reader import Reader
from streams.stage import Heard
from tests.support.killing import (
    KILLED,
    acknowledged,
    fingerprint,
    found_apart,
    founding_moments,
    moments,
    run_demo_apart,
)

SEED = 11


@dataclass(frozen=True)
class Ended:
    """What a demo leaves: what the log says was measured and found, and what the devices' own ledgers say ran."""

    measured: Counter[tuple[int, int, int, tuple[tuple[str, int], ...]]]
    results: list[ResultRecorded]
    chunks: list[ChunkRecord]
    refused: list[Refused]


async def ended(directory: Path) -> Ended:
    async with open_desk(directory / "data") as desk:
        reader = Reader(desk.log, desk.partition, TOPICS, {desk.site: desk.root_public_key})
        items = await reader.read(1_000_000)
    events = [item.event for item in items if isinstance(item, Heard)]
    measured = Counter(
        (event.step, event.circuit, event.chunk, tuple(sorted(event.counts.items())))
        for event in events
        if isinstance(event, ShotsMeasured)
    )
    fleet = open_fleet(directory / "data" / "devices", SEED)
    chunks = [chunk for device in fleet.values() for chunk in device.ledger.chunks()]
    results = [event for event in events if isinstance(event, ResultRecorded)]
    return Ended(measured, results, chunks, [item for item in items if isinstance(item, Refused)])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo that nobody kills."""
    directory = tmp_path_factory.mktemp("undisturbed")
    assert run_demo_apart(directory, SEED, None) == 0
    return directory


def points(directory: Path, count: int) -> list[int]:
    """Moments of the demo's life, drawn with a fixed seed from all of them; a fifth is from its founding."""
    drawn = random.Random(SEED)  # noqa: S311 - no secret
    founded, all_ = founding_moments(directory), moments(directory)
    early = {1, founded, *drawn.sample(range(2, founded), count // 5 - 2)}
    return sorted({*early, *drawn.sample(range(founded + 1, all_ + 1), count - len(early))})


async def check_point(undisturbed: Path, directory: Path, point: int) -> None:
    """Kill a demo at a point, start it again, and compare its end with that of the undisturbed one."""
    expected = await ended(undisturbed)
    assert await asyncio.to_thread(run_demo_apart, directory, SEED, point) == KILLED
    assert await asyncio.to_thread(run_demo_apart, directory, SEED, None) == 0
    seen = await ended(directory)
    assert not seen.refused
    assert set(seen.measured.values()) == {1}, "each chunk is told once"
    assert len(seen.chunks) == len(seen.measured), "each chunk told ran once, by the device's own ledger"
    assert Counter(tuple(sorted(chunk.counts.items())) for chunk in seen.chunks) == Counter(
        counts for _, _, _, counts in seen.measured
    )
    assert seen.measured == expected.measured, "a kill changes no count"
    assert [each.observables for each in seen.results] == [each.observables for each in expected.results]
    await check_acknowledged(directory)


async def check_acknowledged(directory: Path) -> None:
    """Every append that a killed demo was told is done stands on the log, byte for byte."""
    async with open_desk(directory / "data") as desk:
        for place, print_ in acknowledged(directory):
            [stored] = await desk.log.read(place.topic, place.partition, place.offset, 1)
            assert (stored.offset, fingerprint(stored.record)) == (place.offset, print_)


async def check_founding(directory: Path, point: int) -> None:
    """Kill a founding at a point and begin it again: a whole site, with every key that was there before."""
    assert await asyncio.to_thread(found_apart, directory, SEED, point) == KILLED
    place = Place(directory / "data")
    before = {path: path.read_bytes() for path in place.keys.glob("*.pem")}
    stood = is_founded(place)
    if not stood:
        assert await asyncio.to_thread(found_apart, directory, SEED, None) == 0
    assert {path: path.read_bytes() for path in before} == before, "no key is lost"
    async with open_desk(place.directory) as desk:
        register = await read_register(desk.log, desk.site, place.read_root_public_key())
    people = {each.source: place.keys / each.key_file for each in members(tuple(PROFILES), demo.AGENT, demo.APPROVER)}
    assert {each.enrolled.source: each.enrolled.public_key for each in register.entries.values()} == {
        source: raw_public_key(read_key(path)) for source, path in people.items()
    }
    assert register.founded is not None
    assert not stood or len(before) == len(people) + 1, "where the log stands, so does everything else"


async def check_points(undisturbed: Path, directory: Path, count: int) -> None:
    """Check seeded points, as many at once as there are processors."""
    processors = asyncio.Semaphore(os.cpu_count() or 1)

    async def check(point: int) -> None:
        async with processors:
            await check_point(undisturbed, directory / str(point), point)

    async with asyncio.TaskGroup() as group:
        for point in points(undisturbed, count):
            group.create_task(check(point))


@pytest.mark.timeout(600)
async def test_a_founding_killed_anywhere_is_ended_by_the_next_start(undisturbed: Path, tmp_path: Path) -> None:
    processors = asyncio.Semaphore(os.cpu_count() or 1)

    async def check(point: int) -> None:
        async with processors:
            await check_founding(tmp_path / str(point), point)

    async with asyncio.TaskGroup() as group:
        for point in range(1, founding_moments(undisturbed) + 1):
            group.create_task(check(point))


@pytest.mark.timeout(600)
async def test_a_demo_killed_anywhere_goes_on_and_ends_the_same(undisturbed: Path, tmp_path: Path) -> None:
    await check_points(undisturbed, tmp_path, 20)


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_a_demo_killed_at_a_hundred_points_goes_on_and_ends_the_same(undisturbed: Path, tmp_path: Path) -> None:
    await check_points(undisturbed, tmp_path, 100)
