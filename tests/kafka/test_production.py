"""The node settings of production, tried on three loopback addresses in the place of three machines."""

import asyncio
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from qpubus.kafka.access import Access, write_private
from qpubus.kafka.cluster import health
from qpubus.kafka.packages import COMPOSE, java, kafka_libraries
from qpubus.kafka.process import Process, choose_port
from qpubus.kafka.settings import BROKER, OPERATOR, Node, format_arguments, in_sync_min, new_cluster_id, replicas
from qpubus.kafka.tls import make_certificates
from qpubus.kafka.topics import create_topics
from tests.kafka.conftest import needed

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
START_TIMEOUT_S = 90


class Cluster:
    """Three nodes in a directory."""

    def __init__(self, directory: Path) -> None:
        make_certificates(directory, HOSTS)
        client, controller = (choose_port(directory, name, 0, 0) for name in ("clients", "controller"))
        passwords = {BROKER: secrets.token_urlsafe(), OPERATOR: secrets.token_urlsafe()}
        bootstrap = ",".join(f"{host}:{client}" for host in HOSTS)
        self.operator = Access(bootstrap, OPERATOR, passwords[OPERATOR], directory / "ca.pem")
        self.nodes = []
        cluster_id, java_command = new_cluster_id(), [java(), "-Xmx300m", "-cp", f"{kafka_libraries()}/*"]
        for host in HOSTS:
            node = Node(host, host, client, controller, directory, directory / f"data-{host}", hosts=HOSTS)
            settings, arguments = directory / f"{host}.properties", directory / f"{host}.arguments"
            write_private(settings, node.properties(passwords[BROKER]).encode())
            write_private(arguments, format_arguments(settings, passwords, cluster_id, is_alone=False).encode())
            subprocess.run([*java_command, "kafka.tools.StorageTool", f"@{arguments}"], check=True, capture_output=True)
            process = Process(directory, f"broker-{host}", str(settings))
            logging = f"-Dlog4j2.configurationFile={COMPOSE / 'log4j2.properties'}"
            process.start([java_command[0], logging, *java_command[1:], "kafka.Kafka", str(settings)])
            self.nodes.append(process)
        for process in self.nodes:
            process.await_answer(lambda: self._nodes() == len(HOSTS), START_TIMEOUT_S)

    def _nodes(self) -> int:
        try:
            return asyncio.run(health(self.operator)).nodes
        except (KafkaError, OSError):
            return 0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if sys.platform != "linux":
        pytest.skip("only Linux has all of 127.0.0.0/8 for loopback")
    with needed():
        running = Cluster(tmp_path)
    try:
        yield running
    finally:
        for node in running.nodes:
            node.end(signal.SIGKILL)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_three_nodes_keep_three_copies_and_acknowledge_while_one_is_gone(cluster: Cluster) -> None:
    await create_topics(cluster.operator, 3, replicas=replicas(3), replicas_in_sync_min=in_sync_min(3))
    admin = AIOKafkaAdminClient(**cluster.operator.aiokafka())
    producer = AIOKafkaProducer(**cluster.operator.aiokafka(), transactional_id="operator.trial")
    try:
        await admin.start()
        await producer.start()
        described = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "governance")])
        settings = {entry[0]: entry[1] for entry in described[0].resources[0][4]}
        partitions = (await admin.describe_topics(["governance"]))[0]["partitions"]
        assert settings["min.insync.replicas"] == "2"
        assert {len(each["replicas"]) for each in partitions} == {3}
        cluster.nodes[1].end(signal.SIGKILL)
        for partition in range(3):
            async with producer.transaction():
                await producer.send_and_wait("governance", b"value", key=b"site", partition=partition)
    finally:
        await producer.stop()
        await admin.close()
