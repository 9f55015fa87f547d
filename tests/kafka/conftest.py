"""One real broker for the tests of a session, on free ports and fresh data, with topics, users and ACLs of the bus.

Where Java or Maven are missing, the tests are skipped and say what installs them; in CI that is an error. With
pytest-xdist each worker has a broker of its own.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qpubus.kafka.broker import Broker, Engine
from qpubus.kafka.packages import NOT_INSTALLED
from qpubus.kafka.registry import Registry
from qpubus.kafka.setup import set_up
from qpubus.problem import Problem


@contextmanager
def needed() -> Iterator[None]:
    """What is started here needs what the system may lack."""
    try:
        yield
    except Problem as problem:
        if problem.code == NOT_INSTALLED and not os.environ.get("CI"):
            pytest.skip(f"{problem.what}. {problem.next_step}")
        raise


def started(broker: Broker) -> Broker:
    """The broker, started on a free port: in Java where that is there, so that no image need be fetched."""
    with needed():
        broker.start(port=0, engine=Engine.JAVA if shutil.which("java") else None)
    return broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker."""
    running = started(Broker(tmp_path_factory.mktemp("kafka")))
    try:
        asyncio.run(set_up(running))
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Another running broker, for tests that make all topics anew; it has no topics, users and ACLs of the bus yet."""
    running = started(Broker(tmp_path_factory.mktemp("kafka-own")))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A running schema registry."""
    running = Registry(tmp_path_factory.mktemp("registry"))
    with needed():
        running.start(port=0)
    try:
        yield running
    finally:
        running.stop()
