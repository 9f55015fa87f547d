"""A log that is never quiet is copied for an audit: each copy holds together, wherever it was cut."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from qpubus.copying import Copying
from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from qpubus.kafka.setup import set_up
from qpubus.problem import Problem
from replay.audit import verify_log
from replay.redecide import redecide
from streams.log.database import Settings
from streams.log.kafka.reading import KafkaReader
from streams.log.making import new_log
from streams.log.reading import EmbeddedReader
from tests.kafka.ledgers import renew
from tests.support.kafka_site import KafkaSite
from tests.support.worker_processes import Workforce

COPIES, JOBS, BATCH = 3, 400, 5
APART_S = 0.03


class Scattered(KafkaReader):
    """Reads a log whose topics have leaders on machines apart: what they say of their ends is of different moments."""

    async def ends(self, partition: int) -> Mapping[str, int]:
        found = {}
        for topic in self.topics:
            found[topic] = (await super().ends(partition))[topic]
            await asyncio.sleep(APART_S)
        return found


async def test_every_copy_of_a_busy_log_is_sound_and_its_decisions_can_be_taken_again(
    own_broker: Broker, tmp_path: Path
) -> None:
    await renew(own_broker, 1)
    await set_up(own_broker, 1)
    site = await KafkaSite.found(own_broker, "busy", tmp_path / "site")
    log = await Scattered.open(own_broker.access("auditor").aiokafka())
    sizes = []
    with Workforce(tmp_path / "work", own_broker.directory / "access", [site.directory]) as workforce:
        workforce.hire("one", "policy", "scheduler")
        await site.declare(BATCH, BATCH)
        await site.decided(BATCH)
        declaring = asyncio.create_task(site.declare(JOBS, BATCH, APART_S))
        for number in range(COPIES):
            copy = tmp_path / f"copy-{number}"
            with new_log(copy, Settings("0" * 32, log.partitions, log.topics)) as new:
                sizes.append(await Copying(log, new, copy).run())
            await asyncio.sleep(0.1)
        await declaring
    for number in range(COPIES):
        copied = EmbeddedReader(tmp_path / f"copy-{number}")
        audit = await verify_log(copied, site.roots)
        again = await redecide(copied, site.roots)
        copied.close_now()
        assert list(audit.findings) == []
        assert again.is_same, again.differences[:1]
    assert sizes == sorted(set(sizes))
    await log.close()
    await site.log.close()


async def test_a_copy_that_the_disk_has_no_room_for_ends_with_what_it_needs_and_leaves_nothing(
    own_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await renew(own_broker, 1)
    site = await KafkaSite.found(own_broker, "roomy", tmp_path / "site")
    log = await KafkaReader.open(own_broker.access(OPERATOR).aiokafka())
    disk = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: disk)
    settings = Settings("0" * 32, log.partitions, log.topics)
    with pytest.raises(Problem, match=r"MB more, and \S+ has 1 MB"), new_log(tmp_path / "copy", settings) as new:
        await Copying(log, new, tmp_path / "copy").run()
    assert not list((tmp_path / "copy").glob("*.sqlite*"))
    await log.close()
    await site.log.close()
