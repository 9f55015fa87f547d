"""Where figures on Kafka are measured: a broker of their own, and worker processes that end with the measurement."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from qpubus.bench.intents import Declarations
from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from qpubus.kafka.setup import set_up
from schemas.envelope import Record
from schemas.events import IntentAdmitted
from schemas.words import wire_name
from streams.log.kafka.log import KafkaLog
from streams.log.kafka.reading import KafkaReader
from streams.log.port import ReadableLog, partition_of

PATIENCE_S = 120.0
SESSION_S = 6.0
_ADMITTED = wire_name(IntentAdmitted)


class Slow(RuntimeError):
    """What was to be measured did not come to its end in time."""


@dataclass
class Ground:
    """A broker, its directory, and the processes started on it. `web` is where the last worker has its pages."""

    directory: Path
    broker: Broker
    partitions: int
    web: str = ""
    _ended: ExitStack = field(default_factory=ExitStack)

    def site(self, partition: int) -> Declarations:
        """A site on a partition number, its keys written where `data` says."""
        names = (f"site-{number}" for number in count())
        name = next(name for name in names if partition_of(name.encode(), self.partitions) == partition)
        site = Declarations(name, time.time_ns() // 1_000)
        site.write_keys(self.data(site))
        return site

    def data(self, site: Declarations) -> Path:
        """The data directory of a site."""
        return self.directory / site.site

    async def writing(self) -> KafkaLog:
        """A log that may write everything."""
        return await KafkaLog.open(self.broker.access(OPERATOR).aiokafka(), f"{OPERATOR}.bench")

    async def reading(self, topics: Sequence[str]) -> KafkaReader:
        """A log that may read everything."""
        return await KafkaReader.open(self.broker.access(OPERATOR).aiokafka(), topics)

    def worker(self, site: Declarations, *stages: str, member: str = "one") -> subprocess.Popen[bytes]:
        """A worker process, hosted as users host it."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.web = f"127.0.0.1:{listener.getsockname()[1]}"
        return self.process(
            *("-m", "qpubus", "worker", *stages, "--access", str(self.broker.directory / "access")),
            *("--data", str(self.data(site)), "--states", str(self.directory / "states")),
            *("--member", member, "--session", str(SESSION_S), "--web", self.web),
        )

    def process(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A Python process; its lines go to a file."""
        with (self.directory / "processes.txt").open("ab") as lines:
            process = subprocess.Popen(  # noqa: S603 - our own words and paths
                [sys.executable, *arguments], stdout=lines, stderr=lines, env={**os.environ}, cwd=self.directory
            )
        self._ended.callback(_end, process)
        return process

    def said(self) -> str:
        """What the processes have written."""
        return (self.directory / "processes.txt").read_text()

    def end(self) -> None:
        """End all processes."""
        self._ended.close()


@contextmanager
def ground(partitions: int = 1) -> Iterator[Ground]:
    """A broker on free ports with the topics of the bus, for as long as something is measured."""
    with tempfile.TemporaryDirectory(prefix="qpubus-bench-") as directory:
        broker = Broker(Path(directory) / "kafka")
        broker.start(port=0)
        here = Ground(Path(directory), broker, partitions)
        try:
            asyncio.run(set_up(broker, partitions))
            yield here
        finally:
            here.end()
            broker.kill()


async def admissions(log: ReadableLog, partition: int, place: int) -> AsyncIterator[tuple[Record, int]]:
    """The admissions of a partition number from a place on, each with the place after it; `Slow` if none comes."""
    while True:
        records = await log.read("approvals", partition, place, 1_000)
        for stored in records:
            place = stored.offset + 1
            if isinstance(stored.record, Record) and stored.record.type == _ADMITTED:
                yield stored.record, place
        if not records:
            began = time.monotonic()
            while (now := await log.ends(partition))["approvals"] <= place:
                if time.monotonic() - began > PATIENCE_S:
                    raise Slow(f"nothing was decided for {PATIENCE_S:g} s")
                await log.wait(partition, now, 1.0)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
