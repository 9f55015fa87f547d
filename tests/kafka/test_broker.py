import asyncio
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from qpubus.kafka.access import Access
from qpubus.kafka.broker import Broker
from qpubus.kafka.settings import OPERATOR
from qpubus.kafka.setup import set_up
from qpubus.problem import Problem
from schemas.topics import TOPICS
from streams.log.kafka.settings import LEDGER


@pytest.fixture
def restarted(broker: Broker) -> Iterator[Broker]:
    """The broker of the session for a test that stops it; it runs again afterwards."""
    yield broker
    broker.start()


async def say(access: Access, topic: str, value: bytes) -> int:
    producer = AIOKafkaProducer(**access.aiokafka(), acks="all")
    try:
        await producer.start()
        return int((await producer.send_and_wait(topic, value, key=b"nobody", partition=0)).offset)
    finally:
        await producer.stop()


async def heard_at(access: Access, topic: str, offset: int) -> bytes:
    consumer = AIOKafkaConsumer(**access.aiokafka())
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        consumer.seek(place, offset)
        return bytes((await consumer.getone()).value)
    finally:
        await consumer.stop()


def test_a_broker_that_was_started_has_the_topics_of_the_bus(broker: Broker) -> None:
    assert set(broker.health().topics) >= set(TOPICS)


async def test_topics_are_set_so_that_no_history_is_lost(broker: Broker) -> None:
    admin = AIOKafkaAdminClient(**broker.access("views").aiokafka())
    await admin.start()
    try:
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic) for topic in TOPICS])
    finally:
        await admin.close()
    for code, _, _, topic, entries in answers[0].resources:
        assert (code, topic, {entry[0]: entry[1] for entry in entries if entry[0] in LEDGER}) == (0, topic, LEDGER)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_what_was_acknowledged_is_there_after_a_new_start(restarted: Broker, how: str) -> None:
    offset = await say(restarted.access("clock"), "alarms", how.encode())
    await asyncio.to_thread(getattr(restarted, how))
    assert restarted.pid() is None
    await asyncio.to_thread(restarted.start)
    assert await heard_at(restarted.access("clock"), "alarms", offset) == how.encode()


def test_starting_a_broker_that_runs_leaves_it_as_it_is(broker: Broker) -> None:
    pid = broker.pid()
    Broker(broker.directory).start()
    assert broker.pid() == pid


async def test_setting_up_again_changes_nothing_that_was_given_out(broker: Broker) -> None:
    before = broker.access("policy")
    await set_up(broker)
    assert broker.access("policy") == before
    await say(before, "approvals", b"still let in")


def test_everything_with_a_password_is_for_its_owner_alone(broker: Broker) -> None:
    secret = [*broker.directory.glob("access/*.properties"), broker.directory / "server.properties"]
    assert {path.stat().st_mode & 0o777 for path in [*secret, broker.directory / "access" / "broker.pem"]} == {0o600}
    assert broker.directory.stat().st_mode & 0o077 == 0


def test_no_password_stands_on_a_command_line_or_in_a_log(broker: Broker) -> None:
    passwords = [Access.read(path).password for path in broker.directory.glob("access/*.properties")]
    commands = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    said = commands + (broker.directory / "broker.log").read_text() + repr(broker.access(OPERATOR))
    assert len(passwords) > 10
    assert [password for password in passwords if password in said] == []


async def test_a_wrong_password_is_refused(broker: Broker) -> None:
    known = broker.access("policy")
    with pytest.raises(KafkaConnectionError):
        await say(Access(known.bootstrap, "policy", "guessed", known.ca), "approvals", b"value")


async def test_who_speaks_no_tls_is_not_heard(broker: Broker) -> None:
    words = broker.access("policy").aiokafka() | {"security_protocol": "SASL_PLAINTEXT", "ssl_context": None}
    client = AIOKafkaClient(**words, request_timeout_ms=2_000)
    try:
        with pytest.raises(KafkaError):
            await client.bootstrap()
    finally:
        await client.close()


def test_only_this_machine_reaches_it(broker: Broker) -> None:
    port = int(broker.access(OPERATOR).bootstrap.rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", port)) != 0


def test_a_port_that_is_taken_is_said(tmp_path: Path, broker: Broker) -> None:
    port = int(broker.access(OPERATOR).bootstrap.rpartition(":")[2])
    with pytest.raises(Problem, match=f"port {port}, for clients, is taken"):
        Broker(tmp_path).start(port)


@pytest.mark.usefixtures("broker")  # with it there is a Java
def test_a_broker_that_cannot_start_is_quoted(tmp_path: Path) -> None:
    spoiled = Broker(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=other\nnode.id=99\n")
    with pytest.raises(Problem, match=r"(?s)broker ended instead of answering. It said last:.*node"):
        spoiled.start(port=0)
    assert spoiled.pid() is None


def test_a_broker_that_does_not_run_has_no_health(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no principal operator"):
        Broker(tmp_path).health()
