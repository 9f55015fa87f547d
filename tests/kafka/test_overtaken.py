"""A stage that another process has overtaken, on a real broker: what it saves must not make it answer again."""

from pathlib import Path

from qpubus.hosting import StagePart
from qpubus.kafka.broker import Broker
from qpubus.keyfile import read_key
from qpubus.place import Place
from streams.log.kafka.log import KafkaLog
from streams.policy import POLICY
from streams.worker import Site
from tests.support.kafka_site import KafkaSite, assert_each_decided_once


async def _part(broker: Broker, site: KafkaSite, states: Path) -> tuple[StagePart, KafkaLog]:
    log = await KafkaLog.open(broker.access("policy").aiokafka(), f"policy.{site.partition}")
    key = read_key(Place(site.directory).key("policy"))
    sites = {name: Site(root, key) for name, root in site.roots.items()}
    return StagePart(POLICY, log, site.partition, sites, states), log


async def _work(part: StagePart) -> None:
    while await part.step():
        pass


async def test_an_overtaken_stage_that_saves_and_comes_back_decides_nothing_again(
    broker: Broker, tmp_path: Path
) -> None:
    site = await KafkaSite.found(broker, "overtaken", tmp_path / "site")
    overtaken, first = await _part(broker, site, tmp_path / "one")
    await site.declare(2, 2)
    await _work(overtaken)
    following, second = await _part(broker, site, tmp_path / "two")
    await site.declare(3, 3)
    await _work(following)
    await overtaken.save()
    assert (tmp_path / "one" / f"policy-{site.partition}.json").exists()
    back, third = await _part(broker, site, tmp_path / "one")
    await _work(back)
    for log in (first, second):
        await log.close()
    await assert_each_decided_once(third.reader, site, 5, scheduled=False)
    await third.close()
    await site.log.close()
