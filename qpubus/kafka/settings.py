"""The settings of a broker of ours, as `server.properties`. They hold a password: mode 0600, never an argument."""

import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qpubus.kafka.access import MECHANISM, PROTOCOL, SCRAM_ITERATIONS
from qpubus.kafka.tls import BROKER_NAME
from streams.log.kafka.settings import MESSAGE_BYTES_MAX

BROKER = "broker"
OPERATOR = "operator"
"""The two that are above all ACLs: the broker itself, and who makes topics, users and ACLs."""


@dataclass(frozen=True, slots=True)
class Node:
    """Where a broker listens and keeps its things, as it sees them itself.

    `outside` is where clients outside of its container reach it, and the port on which it then hears them. `hosts` are
    all nodes of a cluster of several, this one among them, in the order of their numbers.
    """

    listen: str
    host: str
    port: int
    controller_port: int
    files: Path
    data: Path
    outside: tuple[str, int] | None = None
    hosts: tuple[str, ...] = ()

    def properties(self, broker_password: str) -> str:
        """One node that is broker and controller; clients by SCRAM over TLS, the controller by its certificate.

        Deny by default: who has no ACL may do nothing.
        """
        clients = {"CLIENTS": (self.port, f"{self.host}:{self.port}")}
        if self.outside:
            clients["OUTSIDE"] = (self.outside[1], self.outside[0])
        listeners = [f"{name}://{self.listen}:{port}" for name, (port, _) in clients.items()]
        login = (
            "org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{BROKER}" password="{broker_password}";'
        )
        settings = {
            "process.roles": "broker,controller",
            **self._quorum(),
            "listeners": ",".join([*listeners, f"CONTROLLER://{self.listen}:{self.controller_port}"]),
            "advertised.listeners": ",".join(f"{name}://{known_as}" for name, (_, known_as) in clients.items()),
            "listener.security.protocol.map": ",".join([*(f"{name}:{PROTOCOL}" for name in clients), "CONTROLLER:SSL"]),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENTS",
            "sasl.enabled.mechanisms": MECHANISM,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            **{f"listener.name.{name.lower()}.{MECHANISM.lower()}.sasl.jaas.config": login for name in clients},
            "listener.name.controller.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.files / "broker.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.files / "ca.pem",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{BROKER};User:{OPERATOR};User:CN={BROKER_NAME}",
            "allow.everyone.if.no.acl.found": "false",
            "auto.create.topics.enable": "false",
            "unclean.leader.election.enable": "false",
            "message.max.bytes": MESSAGE_BYTES_MAX,
            "log.dirs": self.data,
            "offsets.topic.num.partitions": 8,
            "offsets.topic.replication.factor": replicas(len(self.hosts)),
            "transaction.state.log.num.partitions": 8,
            "transaction.state.log.replication.factor": replicas(len(self.hosts)),
            "transaction.state.log.min.isr": in_sync_min(len(self.hosts)),
            "min.insync.replicas": in_sync_min(len(self.hosts)),
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1_000,
            # Until its session ends, a broker that was killed and starts again is taken for a second one.
            "broker.session.timeout.ms": 5_000,
            "broker.heartbeat.interval.ms": 1_000,
        }
        return "".join(f"{key}={value}\n" for key, value in settings.items())

    def _quorum(self) -> dict[str, object]:
        """A node alone begins a quorum of its own; those of several know one another from the start."""
        if not self.hosts:
            return {"node.id": 1, "controller.quorum.bootstrap.servers": f"{self.host}:{self.controller_port}"}
        voters = [f"{number}@{host}:{self.controller_port}" for number, host in enumerate(self.hosts, 1)]
        return {"node.id": self.hosts.index(self.host) + 1, "controller.quorum.voters": ",".join(voters)}


def replicas(nodes: int) -> int:
    """How many copies of each partition a cluster keeps."""
    return min(3, max(1, nodes))


def in_sync_min(nodes: int) -> int:
    """How many copies an acknowledged record has at least: one node may be lost where there are three."""
    return max(1, replicas(nodes) - 1)


def new_cluster_id() -> str:
    """A name for a cluster, which all its nodes share."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def format_arguments(properties: Path, passwords: Mapping[str, str], cluster_id: str, *, is_alone: bool = True) -> str:
    """What the storage tool reads from a file: it makes the storage of a node and its first users, one word a line."""
    words = ["format", f"--cluster-id={cluster_id}", "--config", str(properties)]
    if is_alone:
        words.append("--standalone")
    for principal, password in passwords.items():
        words += ["--add-scram", f"{MECHANISM}=[name={principal},iterations={SCRAM_ITERATIONS},password={password}]"]
    return "".join(f"{word}\n" for word in words)
