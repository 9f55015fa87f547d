"""A log moves from the embedded engine to Kafka and back, and says the same to whoever doubts it."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from qpubus.kafka.setup import set_up
from streams.log.kafka.log import KafkaLog
from streams.log.kafka.reading import KafkaReader
from tests.kafka.ledgers import renew
from tests.support.commands import qpubus
from tests.support.records import record


@pytest.fixture
def config(own_broker: Broker, tmp_path: Path) -> Path:
    """Says how the broker is reached, whose topics are empty and have one partition as an embedded log has."""

    async def made() -> None:
        await renew(own_broker, 1)
        await set_up(own_broker, 1)

    asyncio.run(made())
    path = tmp_path / "site.toml"
    path.write_text(f'[kafka]\naccess = "{own_broker.directory / "access"}"\n')
    return path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main job, run to its end on the embedded log."""
    data = tmp_path_factory.mktemp("demo") / "data"
    said("demo", "--data", str(data))
    return data


def said(*words: str) -> Any:
    done = qpubus(*words, "--json")
    assert done.code == 0, done.err
    return done.json


def doubted(data: Path) -> dict[str, Any]:
    """What stays the same wherever a log is: verdict, decisions and KPIs."""
    audit = said("audit", "verify", "--data", str(data))
    return {
        "verdict": {name: audit[name] for name in ("verdict", "events", "jobs", "refused", "rounds", "findings")},
        "decisions": said("audit", "redecide", "--data", str(data)),
        "kpis": said("kpis", "--data", str(data)),
    }


def test_a_log_that_moved_to_kafka_and_back_has_the_same_verdict_decisions_and_kpis(
    demo: Path, config: Path, tmp_path: Path
) -> None:
    before = doubted(demo)
    there, back = tmp_path / "there.jsonl", tmp_path / "back.jsonl"
    said("log", "export", str(there), "--data", str(demo))
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "root.pub").write_bytes((demo / "root.pub").read_bytes())
    said("log", "import", str(there), "--data", str(moved), "--config", str(config))
    assert doubted(moved) == before
    said("log", "export", str(back), "--data", str(moved))
    home = tmp_path / "home"
    said("log", "import", str(back), "--data", str(home), "--root", str(demo / "root.pub"))
    assert doubted(home) == before
    assert [_without_engine(line) for line in _lines(back)] == [_without_engine(line) for line in _lines(there)]


def test_an_import_into_topics_that_hold_something_is_refused_before_it_begins(
    demo: Path, config: Path, tmp_path: Path, own_broker: Broker
) -> None:
    async def write() -> None:
        log = await KafkaLog.open(own_broker.access(OPERATOR).aiokafka(), "operator.before")
        await log.append([record("alarms")])
        await log.close()

    asyncio.run(write())
    file = tmp_path / "log.jsonl"
    said("log", "export", str(file), "--data", str(demo))
    data = tmp_path / "moved"
    data.mkdir()
    (data / "root.pub").write_bytes((demo / "root.pub").read_bytes())
    refused = qpubus("log", "import", str(file), "--data", str(data), "--config", str(config))
    assert refused.code == 1
    assert "alarms partition 0 is not empty" in refused.err

    async def governance() -> int:
        reader = await KafkaReader.open(own_broker.access(OPERATOR).aiokafka())
        ends = await reader.ends(0)
        await reader.close()
        return ends["governance"]

    assert asyncio.run(governance()) == 0


def _lines(file: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in file.read_bytes().splitlines()[1:-1]]


def _without_engine(line: dict[str, Any]) -> dict[str, Any]:
    """A line but for what each engine has of its own: the append time, and the chain over it."""
    return {name: value for name, value in line.items() if name not in {"append_time_us", "hash"}}
