"""A worker on a real broker whose segment has rotted: it tells, and goes on with what is whole."""

import asyncio
from pathlib import Path

from qpubus.kafka.broker import Broker
from qpubus.kafka.setup import set_up
from schemas.envelope import Record
from schemas.events import BudgetHeld, IntentAdmitted
from schemas.words import wire_name
from streams.log.port import partition_of
from streams.policy import POLICY
from streams.worker import Worker
from tests.kafka.ledgers import renew
from tests.kafka.segments import flip
from tests.support.kafka_site import KafkaSite
from tests.support.worker_processes import Workforce

PARTITIONS = 2
BROKEN, WHOLE = (
    next(name for each in range(64) if partition_of((name := f"site-{each}").encode(), PARTITIONS) == number)
    for number in range(PARTITIONS)
)
CORRUPT = 'qpubus_log_corrupt{{stage="policy",partition="{}"}} {:d}'


async def decide(site: KafkaSite) -> None:
    """Let policy answer what is there."""
    name = site.declarations.site
    worker = Worker(POLICY, site.log, site.partition, {name: site.declarations.stage("policy")})
    while await worker.step():
        pass


async def test_a_corrupt_segment_raises_an_alarm_that_stays_and_the_other_site_goes_on(
    own_broker: Broker, tmp_path: Path
) -> None:
    await renew(own_broker, PARTITIONS)
    await set_up(own_broker, PARTITIONS)
    broken, whole = [await KafkaSite.found(own_broker, name, tmp_path / name) for name in (BROKEN, WHOLE)]
    first, second, third = broken.declarations.batches(3, 1)
    await broken.log.append(first)
    await decide(broken)
    decided = await broken.log.read("approvals", broken.partition, 0, 100)
    for declared in (second, third):
        await broken.log.append(declared)
    for site in (broken, whole):
        await site.log.close()
    await asyncio.to_thread(own_broker.stop)
    flip(own_broker.directory / "data" / f"intents-{broken.partition}", second[-1].value)
    await asyncio.to_thread(own_broker.start)

    await whole.open_again()
    with Workforce(tmp_path / "work", own_broker.directory / "access", [broken.directory, whole.directory]) as force:
        worker = force.hire("one", "policy", session_s=1)
        assert await asyncio.to_thread(worker.tells, CORRUPT.format(broken.partition, True))
        await whole.declare(5, 5)
        await whole.admitted(5)
        assert await asyncio.to_thread(worker.tells, CORRUPT.format(whole.partition, False))
        assert await asyncio.to_thread(worker.stop) == 2
    where = f"policy/{broken.partition}"
    assert any(line.startswith(f"ALARM: {where} stands still: intents partition") for line in worker.said())
    assert worker.said()[-1].startswith("This worker leaves: asked to; the log is corrupt")
    assert f"{where}: intents partition" in worker.said()[-1]
    assert worker.starts == 1
    assert [each.record.type for each in decided if isinstance(each.record, Record)] == [
        wire_name(BudgetHeld),
        wire_name(IntentAdmitted),
    ]
    assert await whole.log.read("approvals", broken.partition, 0, 100) == decided
    await whole.log.close()
