"""The demo twice under one seed tells the same; under another seed it tells something else."""

import asyncio
from pathlib import Path

import pytest

from qpubus.reading import open_desk
from schemas.events import BudgetCaptured, Observable, PlacementDecided, ResultRecorded, ShotsMeasured
from schemas.topics import TOPICS
from schemas.words import Event
from streams.reader import Reader
from streams.stage import Heard
from tests.support.killing import run_demo_apart

TOLD = (ShotsMeasured, PlacementDecided, BudgetCaptured, ResultRecorded)
"""Counts, decisions, money and energies; what hangs on the keys, which are drawn anew for each site, is left out."""


async def told(directory: Path, seed: int) -> list[Event]:
    assert run_demo_apart(directory, seed, None) == 0
    async with open_desk(directory / "data") as desk:
        reader = Reader(desk.log, desk.partition, TOPICS, {desk.site: desk.root_public_key})
        items = await reader.read(1_000_000)
    return [item.event for item in items if isinstance(item, Heard) and isinstance(item.event, TOLD)]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return asyncio.run(told(tmp_path_factory.mktemp("first"), 7))


def energies(events: list[Event]) -> list[tuple[Observable, ...]]:
    return [event.observables for event in events if isinstance(event, ResultRecorded)]


async def test_the_same_seed_gives_the_same_counts_decisions_and_energy(first: list[Event], tmp_path: Path) -> None:
    assert await told(tmp_path, 7) == first


async def test_another_seed_gives_another_energy(first: list[Event], tmp_path: Path) -> None:
    assert energies(await told(tmp_path, 8)) != energies(first)
