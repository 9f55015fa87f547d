"""A worker process that stands still while records wait for it: it says so, leaves, and its successor goes on."""

import asyncio
import os
from pathlib import Path

from aiokafka import AIOKafkaProducer

from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from streams.log.kafka.reading import KafkaReader
from tests.support.kafka_site import KafkaSite, assert_each_decided_once
from tests.support.worker_processes import Workforce

JOBS = 20
PATIENT = ("--patience", "4")
HANGS_MS = 600_000
FAILED = 1


async def test_a_worker_whose_append_hangs_behind_anothers_transaction_leaves(broker: Broker, tmp_path: Path) -> None:
    site = await KafkaSite.found(broker, "hanging", tmp_path / "site")
    with Workforce(tmp_path / "work", broker.directory / "access", [site.directory]) as workforce:
        worker = workforce.hire("one", "policy", options=PATIENT)
        await site.declare(JOBS, JOBS)
        await site.admitted(JOBS)
        hanging = AIOKafkaProducer(
            **broker.access(OPERATOR).aiokafka(),
            transactional_id=f"{OPERATOR}.neighbour",
            transaction_timeout_ms=HANGS_MS,
        )
        await hanging.start()
        await hanging.begin_transaction()
        await hanging.send_and_wait("approvals", b"never said", partition=site.partition)
        said = len(worker.said())
        await site.declare(JOBS, JOBS)
        why = f"policy/{site.partition} has read nothing for"
        assert await asyncio.to_thread(worker.has_left_saying, why, said)
        await hanging.abort_transaction()
        await hanging.stop()
        await site.admitted(2 * JOBS)
        assert worker.codes == [FAILED]
    await _assert_sound(broker, site, 2 * JOBS)


async def test_a_worker_whose_disk_never_answers_leaves(broker: Broker, tmp_path: Path) -> None:
    site = await KafkaSite.found(broker, "frozen", tmp_path / "site")
    states = tmp_path / "work" / "states"
    states.mkdir(parents=True)
    saved = states / f"policy-{site.partition}.json"
    os.mkfifo(saved)  # who opens it waits for a writer, as on a network file system whose server is gone
    with Workforce(tmp_path / "work", broker.directory / "access", [site.directory]) as workforce:
        worker = workforce.hire("one", "policy", options=PATIENT)
        await site.declare(JOBS, JOBS)
        assert await asyncio.to_thread(worker.has_left_saying, "nothing has moved in this process for", 0)
        saved.unlink()
        await site.admitted(JOBS)
        assert set(worker.codes) == {FAILED}
    await _assert_sound(broker, site, JOBS)


async def _assert_sound(broker: Broker, site: KafkaSite, jobs: int) -> None:
    log = await KafkaReader.open(broker.access("auditor").aiokafka())
    await assert_each_decided_once(log, site, jobs, scheduled=False)
    await log.close()
    await site.log.close()
