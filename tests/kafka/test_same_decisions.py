"""The same script of jobs gives the same decisions on both engines: statement by statement, by their digests."""

from collections.abc import Sequence
from pathlib import Path

from qpubus.bench.intents import Declarations
from qpubus.kafka.broker import Broker
from schemas.envelope import Record, Stray
from schemas.topics import STAGES, TOPICS
from streams.log.embedded import EmbeddedLog, create
from streams.log.kafka.log import KafkaLog
from streams.log.port import Log
from streams.policy import POLICY
from streams.reader import Reader
from streams.scheduler import SCHEDULER
from streams.stage import Heard
from streams.worker import Worker
from tests.kafka.ledgers import renew

SITE = "site-a"
JOBS = 500
START_US = 1_700_000_000_000_000
"""In the past: readers refuse what is dated ahead of the time at which Kafka took it."""


async def test_500_jobs_give_the_same_decision_digests_on_both_engines(own_broker: Broker, tmp_path: Path) -> None:
    declarations = Declarations(SITE, START_US)
    script = [declarations.founding(), *declarations.batches(JOBS, 50)]
    operator = await renew(own_broker, 1)
    create(tmp_path / "data")
    kafka = await KafkaLog.open(operator.aiokafka(), "operator.script")
    embedded = EmbeddedLog(tmp_path / "data", lambda: START_US)
    try:
        there, here = [await decided(log, declarations, script) for log in (kafka, embedded)]
    finally:
        await kafka.close()
        await embedded.close()
    assert len(here) > 3 * JOBS
    assert there == here


async def decided(log: Log, declarations: Declarations, script: Sequence[Sequence[Record]]) -> list[str]:
    """Declare batch by batch, something broken after each, and let the stages follow; the digests of what they said."""
    workers = [Worker(each, log, 0, {SITE: declarations.stage(each.role.value)}) for each in (POLICY, SCHEDULER)]
    for batch in script:
        await log.append([*batch, Stray("intents", SITE.encode(), None, ())])
        while any([await worker.step() for worker in workers]):
            pass
    reader = Reader(log, 0, TOPICS, {SITE: declarations.root_public_key})
    digests = []
    while items := await reader.read():
        digests += [item.digest for item in items if isinstance(item, Heard) and item.role in STAGES]
    return sorted(digests)
