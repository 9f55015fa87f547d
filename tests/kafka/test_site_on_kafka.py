"""A site whose log is on Kafka: founded once, governed, read and doubted by the same commands as any other."""

import asyncio
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from qpubus.kafka.setup import set_up
from streams.log.kafka.guard import LedgerUnsafe
from streams.log.kafka.log import KafkaLog
from streams.log.port import partition_of
from tests.kafka.ledgers import renew
from tests.support.commands import Done, qpubus

PARTITIONS = 2
NAMES = [f"site-{letter}" for letter in "abcdefgh"]
EXIT_UNREADABLE = 4


@pytest.fixture
def config(own_broker: Broker, tmp_path: Path) -> Path:
    """Says how a broker is reached that has an empty ledger, with users and ACLs."""
    asyncio.run(_ready(own_broker))
    path = tmp_path / "site.toml"
    path.write_text(f'[kafka]\naccess = "{own_broker.directory / "access"}"\n')
    return path


async def _ready(broker: Broker) -> None:
    await renew(broker, PARTITIONS)
    await set_up(broker, PARTITIONS)


def founded(data: Path, config: Path, *more: str) -> Done:
    return qpubus("init", "--data", data, "--engine", "kafka", "--config", config, *more)


def test_a_site_is_founded_governed_read_and_audited_there(config: Path, own_broker: Broker, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert founded(data, config).code == 0
    keys = qpubus("keys", "list", "--data", data, "--json").json
    (sandbox,) = [each["key_id"] for each in keys if each["source"] == "sandbox:main"]
    root = data / "keys" / "root.pem"
    revoked = qpubus("keys", "revoke", sandbox, "--why", "a test", "--key", root, "--data", data)
    assert revoked.code == 0, revoked.err
    verdict = qpubus("audit", "verify", "--data", data, "--json").json
    auditor = own_broker.access_file("auditor")
    from_afar = qpubus("audit", "verify", "--kafka", auditor, "--root", data / "root.pub", "--json").json
    assert from_afar == verdict
    assert verdict["verdict"] == "sound"


def test_a_name_that_is_taken_under_another_root_key_is_refused(config: Path, tmp_path: Path) -> None:
    assert founded(tmp_path / "first", config).code == 0
    second = founded(tmp_path / "second", config)
    assert second.code == 1
    assert "under another root key" in second.err
    assert not (tmp_path / "second" / "keys").exists()


def test_a_founding_that_was_killed_before_its_end_is_ended_by_the_next(config: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert founded(data, config).code == 0
    (data / "kafka.toml").unlink()
    (data / "founding").touch()
    assert founded(data, config).code == 0
    assert qpubus("audit", "verify", "--data", data, "--json").json["verdict"] == "sound"


def test_sites_that_share_a_cluster_are_audited_together(config: Path, own_broker: Broker, tmp_path: Path) -> None:
    for name in ("site-a", "site-b"):
        assert founded(tmp_path / name, config, "--site", name).code == 0
        assert qpubus("keys", "list", "--data", tmp_path / name, "--json").code == 0
    alone = qpubus("audit", "verify", "--data", tmp_path / "site-a")
    assert alone.code != 0
    assert "several sites: site-a, site-b" in alone.err

    afar: list[str | Path] = ["--kafka", own_broker.access_file("auditor")]
    for name in ("site-a", "site-b"):
        afar += ["--root", tmp_path / name / "root.pub"]
    audit = qpubus("audit", "verify", *afar, "--json").json
    assert (audit["verdict"], set(audit["roots"])) == ("sound", {"site-a", "site-b"})
    assert founded(tmp_path / "third", config, "--site", "site-c").code == 0
    without_it = qpubus("audit", "verify", *afar, "--json")
    assert without_it.code == EXIT_UNREADABLE
    assert "also holds site-c" in without_it.json["notes"][0]


def test_the_bus_does_not_run_for_one_of_several_sites_on_its_partition_number(config: Path, tmp_path: Path) -> None:
    first = next(name for name in NAMES if partition_of(name.encode(), PARTITIONS) == 0)
    second = next(name for name in NAMES if partition_of(name.encode(), PARTITIONS) == 0 and name != first)
    for name in (first, second):
        assert founded(tmp_path / name, config, "--site", name).code == 0
    refused = qpubus("up", "--data", tmp_path / first, "--http", "off")
    assert refused.code == 1
    assert f"several sites: {first}, {second}" in refused.err
    assert "qpubus worker" in refused.err


def test_topics_that_could_lose_history_are_refused(config: Path, own_broker: Broker) -> None:
    assert config.exists()

    async def refused() -> None:
        access = own_broker.access(OPERATOR).aiokafka()
        admin = AIOKafkaAdminClient(**access)
        await admin.start()
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "intents", {"retention.ms": "604800000"})])
        await admin.close()
        await asyncio.sleep(1)
        with pytest.raises(LedgerUnsafe, match=r"intents: retention\.ms is 604800000"):
            await KafkaLog.open(access, "operator.guarded")

    asyncio.run(refused())
