"""`qpubus worker callbacks` as a process on a real broker: agents' own HTTPS servers are told how their jobs ended."""

import asyncio
import re
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from joserfc.errors import BadSignatureError

from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from qpubus.kafka.tls import make_certificates
from schemas.codec import own_schemas
from schemas.envelope import Inputs
from schemas.events import CallbackDelivered, JobFailed
from schemas.keys import raw_public_key
from schemas.topics import TOPICS
from streams.author import Draft, Scribe, seal_all
from streams.reader import Reader
from streams.stage import Heard
from tests.support.kafka_site import KafkaSite
from tests.support.worker_processes import Workforce

DOCS = Path(__file__).parents[2] / "docs" / "kafka.md"
WAIT_S = 60.0
ORCHESTRATOR = "stage:orchestrator"
TAKEN = 204
COMMITTED_S = 5.0
"""What is acknowledged is committed within this time."""


class Receiver:
    """An agent's own server, which tells by the key whether it has a notice already."""

    def __init__(self) -> None:
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            self.port: int = chosen.getsockname()[1]
        self.came: Counter[str] = Counter()
        self.notices: dict[str, str] = {}
        self.thinks_s = 0.0

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/told"

    async def take(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"].strip('"')
        notice = await request.text()
        self.came[key] += 1
        assert self.notices.setdefault(key, notice) == notice
        await asyncio.sleep(self.thinks_s)
        return web.Response(status=TAKEN)

    @asynccontextmanager
    async def listening(self, certificates: Path) -> AsyncIterator[None]:
        identity = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        identity.load_cert_chain(certificates / "broker.pem")
        app = web.Application()
        app.router.add_post("/told", self.take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=identity).start()
        try:
            yield
        finally:
            await runner.cleanup()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    directory = tmp_path / "certificates"
    directory.mkdir()
    make_certificates(directory, ("localhost",))
    return directory


@asynccontextmanager
async def founded(broker: Broker, name: str, tmp_path: Path, receiver: Receiver) -> AsyncIterator[KafkaSite]:
    site = await KafkaSite.found(broker, name, tmp_path / "site", receiver.url)
    try:
        yield site
    finally:
        await site.log.close()


def options(receiver: Receiver, certificates: Path) -> list[str]:
    return ["--callback-host", f"localhost:{receiver.port}", "--callback-ca", str(certificates / "ca.pem")]


async def end(site: KafkaSite, jobs: int) -> set[str]:
    """Declare jobs, and end them; the digests of what ended them."""
    await site.declare(jobs, jobs)
    scribe = Scribe(ORCHESTRATOR, site.declarations.site, {each.event_type: each for each in own_schemas()})
    now_us = site.declarations.now_us
    ends = [JobFailed(job_id=f"job-{number:07}", reason="no_device", message="none fits") for number in range(jobs)]
    drafts = [
        Draft("intents", each, each.job_id, now_us, inputs=Inputs(number, 1, ())) for number, each in enumerate(ends, 1)
    ]
    written = scribe.write_all(drafts)
    await site.log.append(seal_all(written, site.declarations.key(ORCHESTRATOR)))
    return {each.digest.hex() for each in written}


async def delivered(site: KafkaSite) -> list[CallbackDelivered]:
    """What is said on the log of notices, of which none may be refused."""
    reader = Reader(site.log, site.partition, TOPICS, site.roots)
    found = []
    while items := await reader.read():
        assert all(isinstance(item, Heard) for item in items)
        found += [item.event for item in items if isinstance(item, Heard)]
    return [event for event in found if isinstance(event, CallbackDelivered)]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_so():  # noqa: ASYNC110 (several things are waited for, none with an event of its own)
            await asyncio.sleep(0.02)


async def acknowledged(broker: Broker, site: KafkaSite, topic: str) -> int:
    """Up to which of Kafka's offsets the group has acknowledged a topic; 0 if it has not."""
    admin = AIOKafkaAdminClient(**broker.access(OPERATOR).aiokafka())
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets("callbacks.worker")
    finally:
        await admin.close()
    found = offsets.get(TopicPartition(topic, site.partition))
    return max(found.offset, 0) if found else 0


async def last_of(site: KafkaSite) -> int:
    """Kafka's offset behind the last record of `intents`; there its transaction has a mark."""
    return (await site.log.reader.written_ends(site.partition))["intents"] - 1


@pytest.mark.parametrize(
    ("jobs", "kills"),
    [
        pytest.param(20, 1, id="sample"),
        pytest.param(1_000, 5, id="all", marks=[pytest.mark.long, pytest.mark.timeout(400)]),
    ],
)
async def test_each_end_is_told_and_counts_once_though_workers_are_killed_in_mid_delivery_and_others_come(
    broker: Broker, tmp_path: Path, certificates: Path, jobs: int, kills: int
) -> None:
    receiver = Receiver()
    receiver.thinks_s = 30.0
    async with receiver.listening(certificates), founded(broker, f"told-{jobs}", tmp_path, receiver) as site:
        with Workforce(tmp_path / "work", broker.directory / "access", [site.directory]) as workforce:
            workers = [workforce.hire("one", "callbacks", session_s=1, options=options(receiver, certificates))]
            ended = await end(site, jobs)
            await until(lambda: bool(receiver.came))
            await asyncio.sleep(COMMITTED_S)
            assert await acknowledged(broker, site, "intents") < await last_of(site)
            workers.append(workforce.hire("two", "callbacks", session_s=1, options=options(receiver, certificates)))
            receiver.thinks_s = 0.1
            for number in range(kills):
                seen = receiver.came.total()
                workers[number % 2].kill()
                if number + 1 < kills:
                    await until(lambda seen=seen: receiver.came.total() > seen)  # type: ignore[misc]  # mypy cannot infer it
            await site.heard(CallbackDelivered, jobs)
            async with asyncio.timeout(WAIT_S):
                while await acknowledged(broker, site, "intents") < await last_of(site):  # noqa: ASYNC110 (the broker tells nobody when)
                    await asyncio.sleep(0.2)
        said = await delivered(site)
    assert set(receiver.notices) == ended
    assert max(receiver.came.values()) > 1  # some were under way when it was killed
    assert (len(said), {each.is_delivered for each in said}) == (jobs, {True})
    assert len({each.job_id for each in said}) == jobs


async def test_a_receiver_that_is_away_is_told_later(broker: Broker, tmp_path: Path, certificates: Path) -> None:
    receiver = Receiver()
    async with founded(broker, "told-later", tmp_path, receiver) as site:
        with Workforce(tmp_path / "work", broker.directory / "access", [site.directory]) as workforce:
            worker = workforce.hire("one", "callbacks", session_s=1, options=options(receiver, certificates))
            ended = await end(site, 1)
            assert await asyncio.to_thread(worker.has_said, "taken over", 1)
            await asyncio.sleep(1.0)  # it finds nobody at home
            async with receiver.listening(certificates):
                await site.heard(CallbackDelivered, 1)
            assert await asyncio.to_thread(worker.stop) == 0
        [said] = await delivered(site)
    assert set(receiver.notices) == ended
    assert (said.is_delivered, said.attempts, said.status) == (True, 2, TAKEN)


async def test_a_receiver_verifies_a_notice_as_the_docs_say(broker: Broker, tmp_path: Path, certificates: Path) -> None:
    receiver = Receiver()
    async with receiver.listening(certificates), founded(broker, "told-signed", tmp_path, receiver) as site:
        with Workforce(tmp_path / "work", broker.directory / "access", [site.directory]) as workforce:
            workforce.hire("one", "callbacks", session_s=1, options=options(receiver, certificates))
            [digest] = await end(site, 1)
            await site.heard(CallbackDelivered, 1)
    [program] = [each for each in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "notice" in each]
    docs: dict[str, Any] = {}
    exec(program, docs)  # noqa: S102 (the receiver that our own docs show)
    keys = {name: raw_public_key(site.declarations.key(name)).hex() for name in ("callbacks:main", "gateway:main")}
    told = docs["read_notice"](receiver.notices[digest], f'"{digest}"', keys["callbacks:main"])
    assert (told["job_id"], told["outcome"], told["event_digest"]) == ("job-0000000", "failed", digest)
    with pytest.raises(BadSignatureError):
        docs["read_notice"](receiver.notices[digest], f'"{digest}"', keys["gateway:main"])
    with pytest.raises(ValueError, match="not the one"):
        docs["read_notice"](receiver.notices[digest], '"another"', keys["callbacks:main"])
