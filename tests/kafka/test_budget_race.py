"""A hundred intents race for a budget of ten, on real engines: while they come in, the policy worker is taken over."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from random import Random

import pytest

from qpubus.bench.intents import COST_MICROUSD, Declarations
from qpubus.kafka.broker import Broker
from schemas.events import IntentAdmitted, IntentRefused
from schemas.topics import TOPICS
from streams.log.embedded import EmbeddedLog, create
from streams.log.kafka.log import KafkaLog
from streams.log.kafka.wire import Options
from streams.log.port import AppendFenced, Log, partition_of
from streams.policy import POLICY
from streams.reader import Reader
from streams.worker import Worker
from tests.kafka.ledgers import PATIENCE_S, renew

JOBS, PAID_FOR = 100, 10
START_US = 1_700_000_000_000_000
"""In the past: readers refuse what is dated ahead of the time at which Kafka took it."""
TAKE_OVERS = 3
LEDGER = 40
"""Races on one set of topics, each on a partition number of its own: making topics takes longer than a race."""

Tasks = Sequence[asyncio.Task[None]]


async def race(seed: int, log: Log, partition: int, taken_over: Callable[[Tasks], Awaitable[Log]]) -> Counter[str]:
    """How many intents were admitted, and how many refused. `taken_over` gives the next worker a log to write."""
    rng = Random(seed)  # noqa: S311 (an order by its seed, nothing secret)
    names = (f"site-{number}" for number in count())
    site = next(name for name in names if partition_of(name.encode(), log.partitions) == partition)
    declarations = Declarations(site, START_US)
    await log.append(declarations.founding(budget_microusd=PAID_FOR * COST_MICROUSD))
    moments = sorted(rng.sample(range(1, JOBS), TAKE_OVERS))
    workers: list[asyncio.Task[None]] = []
    for number, [intent] in enumerate(declarations.batches(JOBS, 1)):
        if number in (0, *moments):
            worker = Worker(POLICY, await taken_over(workers), partition, {site: declarations.stage("policy")})
            workers.append(asyncio.create_task(_work(worker)))
        await log.append([intent])
        if rng.random() < 0.5:
            await asyncio.sleep(0)
    told = Counter[str]()
    reader = Reader(log, partition, TOPICS, {site: declarations.root_public_key})
    async with asyncio.timeout(PATIENCE_S):
        while told.total() < JOBS:
            ends = await log.ends(partition)
            while items := await reader.read():
                events = [getattr(item, "event", None) for item in items]
                told.update(type(each).__name__ for each in events if isinstance(each, IntentAdmitted | IntentRefused))
            if told.total() < JOBS:
                await log.wait(partition, ends, 1.0)
    for task in workers:
        task.cancel()
    ended = await asyncio.gather(*workers, return_exceptions=True)
    assert not [each for each in ended if isinstance(each, Exception)]
    return told


async def _work(worker: Worker) -> None:
    """Decide until another has taken over."""
    try:
        while True:
            if not await worker.step():
                await asyncio.sleep(0.01)
    except AppendFenced:
        pass


EXACTLY_TEN = {"IntentAdmitted": PAID_FOR, "IntentRefused": JOBS - PAID_FOR}


@pytest.mark.parametrize(
    "times",
    [pytest.param(1, id="sample"), pytest.param(200, id="all", marks=[pytest.mark.long, pytest.mark.timeout(2_400)])],
)
async def test_exactly_ten_are_admitted_on_kafka_whoever_fences_whom(own_broker: Broker, times: int) -> None:
    for first in range(0, times, LEDGER):
        seeds = range(first, min(first + LEDGER, times))
        options = (await renew(own_broker, len(seeds))).aiokafka()
        for partition, seed in enumerate(seeds):
            async with AsyncExitStack() as stack:

                async def opened(name: str, options: Options = options, stack: AsyncExitStack = stack) -> Log:
                    log = await KafkaLog.open(options, f"operator.{name}")
                    stack.push_async_callback(log.close)
                    return log

                told = await race(seed, await opened("gateway"), partition, lambda _: opened("policy"))
                assert told == EXACTLY_TEN, seed


@pytest.mark.parametrize(
    "times",
    [pytest.param(5, id="sample"), pytest.param(200, id="all", marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
async def test_exactly_ten_are_admitted_on_the_embedded_log_whoever_is_thrown_away(tmp_path: Path, times: int) -> None:
    for seed in range(times):
        create(tmp_path / str(seed))
        log = EmbeddedLog(tmp_path / str(seed), lambda: START_US)

        async def thrown_away(workers: Tasks, log: Log = log) -> Log:
            for task in workers:
                task.cancel()
            return log

        assert await race(seed, log, 0, thrown_away) == EXACTLY_TEN, seed
        await log.close()
