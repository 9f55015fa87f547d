"""A log that comes to Kafka: an export goes in, all of its records stand in empty topics, or none that counts.

Governance is written last, in one transaction: without it no site is founded on the log, so what an import that was
broken off has left there is believed by nobody. Each record keeps its place, and gets the time at which Kafka takes it;
the time at which the log before had taken it stays in the export alone. It proves nothing there or here.
"""

from collections import Counter
from collections.abc import Callable

from agents.clock import WallClock
from qpubus.kafka.access import Access
from qpubus.kafka.acls import IMPORTER
from qpubus.kafka.importing import importer
from qpubus.problem import Problem
from schemas.admission import CLOCK_SKEW_US_MAX, Stored
from schemas.envelope import Record, time_text
from streams.log.kafka.log import KafkaLog
from streams.log.lines import Export
from streams.log.port import LogError

TOGETHER = 2_000
"""Records of one transaction, but for those of governance."""
_FIRST = "governance"


async def bring(export: Export, operator: Access, told: Callable[[], None]) -> int:
    """Import; how many records. `Problem` if the topics are not empty, or have another number of partitions."""
    async with importer(operator) as access:
        log = await KafkaLog.open(access.aiokafka(), f"{IMPORTER}.import")
        try:
            await _check(export, log)
            return await _bring(export, log, told)
        except LogError as error:
            raise Problem(
                f"the import was broken off: {error}",
                "Nothing of it counts. Delete the topics, make them with `qpubus kafka start`, and import again.",
            ) from None
        finally:
            await log.close()


async def _check(export: Export, log: KafkaLog) -> None:
    here, there = log.partitions, export.settings.partitions
    if here != there:
        raise Problem(
            f"the exported log has {there} partitions a topic, this one {here}: places would not stay what they are",
            f"Make empty topics with as many: qpubus kafka start --partitions {there}",
        )
    for partition in range(here):
        ends = await log.reader.written_ends(partition)
        for topic, end in ends.items():
            if end:
                raise Problem(
                    f"{topic} partition {partition} is not empty, and an import would mix two logs",
                    "Import on a cluster whose topics were made for it.",
                )


async def _bring(export: Export, log: KafkaLog, told: Callable[[], None]) -> int:
    latest = time_text(WallClock().now_us() + CLOCK_SKEW_US_MAX)
    governance: list[Stored] = []
    together: list[Stored] = []
    counts: Counter[tuple[str, int]] = Counter()
    for stored in export.records():
        counts[stored.topic, stored.partition] += 1
        if isinstance(stored.record, Record) and stored.record.time > latest:
            raise Problem(
                f"{stored.topic} partition {stored.partition} offset {stored.offset} is dated {stored.record.time}: "
                "Kafka would take it in before that, and readers refuse what is dated ahead",
                "A log whose virtual clock runs ahead of the wall's stays on the embedded engine, or waits.",
            )
        (governance if stored.topic == _FIRST else together).append(stored)
        told()
        if len(together) >= TOGETHER:
            await log.bring(together)
            together = []
    await log.bring([*together, *governance])
    for partition in range(log.partitions):
        ends = await log.ends(partition)
        if differing := [topic for topic, end in ends.items() if end != counts[topic, partition]]:
            raise LogError(f"somebody else writes to {', '.join(differing)} meanwhile")
    return counts.total()
