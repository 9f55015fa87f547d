"""A broker of one node on this machine: started from jars, told apart by its directory, stopped in order.

DIR/access/NAME.properties is how a principal reaches it, DIR/data what it stores, DIR/broker.log what it says.
"""

import asyncio
import secrets
import shutil
import signal
import subprocess
from enum import StrEnum
from pathlib import Path

from aiokafka.errors import KafkaError

from qpubus.kafka import acls, cluster
from qpubus.kafka.access import Access, write_private
from qpubus.kafka.container import CLUSTER, INSIDE_HOST, Container, has_engine, write_files
from qpubus.kafka.packages import COMPOSE, java, kafka_libraries
from qpubus.kafka.process import LOOPBACK, Process, choose_port, listens, port_of
from qpubus.kafka.settings import BROKER, OPERATOR, Node, format_arguments, new_cluster_id
from qpubus.kafka.tls import make_certificates
from qpubus.problem import Problem

DEFAULT_PORT = 9092
HEAP_MB_MAX = 700
START_TIMEOUT_S = 100


class Engine(StrEnum):
    """What a broker runs in."""

    CONTAINER = "container"
    JAVA = "java"


class Broker:
    """A broker in a directory. Its methods wait and are for threads, not for a running event loop."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._java = Process(self.directory, "broker", str(self._properties))
        self._container = Container(self.directory)

    def access(self, principal: str) -> Access:
        """How a principal reaches this broker; `Problem` if it has no such principal."""
        path = self.access_file(principal)
        if not path.exists():
            known = ", ".join(sorted(each.stem for each in path.parent.glob("*.properties")))
            raise Problem(
                f"{self.directory} has no principal {principal}", f"It has: {known or 'none; start it first'}."
            )
        return Access.read(path)

    def access_file(self, principal: str) -> Path:
        """Where the access of a principal lies."""
        return self.directory / "access" / f"{principal}.properties"

    @property
    def engine(self) -> Engine | None:
        """What it runs in: a directory stays with what it was first started in."""
        if not (self.directory / "access").exists():
            return None
        return Engine.CONTAINER if (self.directory / "container").exists() else Engine.JAVA

    def start(self, port: int | None = None, engine: Engine | None = None) -> Access:
        """Start it, on existing data if there is any, and wait until it answers; the operator's access.

        `port` None is the one that it had, or 9092; 0 any free one. One that runs already is left as it is. `engine`
        None is the one that it had, or a container where there is an engine for them, or Java.
        """
        if not self.pid():
            chosen = self.engine or engine or (Engine.CONTAINER if has_engine() else Engine.JAVA)
            if engine and engine is not chosen:
                raise Problem(f"{self.directory} is of a broker in {chosen.value}", "Name another directory.")
            if chosen is Engine.JAVA:
                self._start_java(port)
            else:
                self.write_container_files(port)
                self._container.start()
        self._process.await_answer(self._answers, START_TIMEOUT_S)
        return self.access(OPERATOR)

    def stop(self) -> bool:
        """Let it hand over and close its files, then end; False if it did not run."""
        return self._process.end(signal.SIGTERM)

    def kill(self) -> bool:
        """End it at once, as a crash would; False if it did not run."""
        return self._process.end(signal.SIGKILL)

    def pid(self) -> int | None:
        """The process of the broker of this directory, if it runs."""
        return self._process.pid()

    def health(self) -> cluster.Health:
        """What the broker says of itself; `Problem` if it does not answer."""
        access = self.access(OPERATOR)
        try:
            if not listens(port_of(self.directory, "clients")):
                raise ConnectionRefusedError("nothing listens there")
            return asyncio.run(cluster.health(access))
        except (KafkaError, OSError) as error:
            raise Problem(
                f"the broker at {access.bootstrap} does not answer: {error}", f"See {self._process.log}."
            ) from None

    def _answers(self) -> bool:
        try:
            return self.health().nodes > 0
        except Problem:
            return False

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _process(self) -> Process | Container:
        return self._container if self.engine is Engine.CONTAINER else self._java

    def _start_java(self, port: int | None) -> None:
        command, libraries = java(), kafka_libraries()
        clients = self._prepare(port)
        controller = choose_port(self.directory, "controller", None, 0)
        node = Node(LOOPBACK, "localhost", clients, controller, self.directory / "access", self.directory / "data")
        write_private(self._properties, node.properties(self.access(BROKER).password).encode())
        if not (node.data / "meta.properties").exists():
            self._format(command, libraries, node)
        logging = f"-Dlog4j2.configurationFile={COMPOSE / 'log4j2.properties'}"
        heap = ["-Xms128m", f"-Xmx{HEAP_MB_MAX}m"]
        self._java.start([command, *heap, logging, "-cp", f"{libraries}/*", "kafka.Kafka", str(self._properties)])

    def write_container_files(self, port: int | None = None) -> None:
        """Write DIR/container, which the compose files mount: for one node and for the cluster of production."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.directory / "container").mkdir(mode=0o700, exist_ok=True)
        clients = self._prepare(port)
        principals = [path.stem for path in (self.directory / "access").glob("*.properties")]
        write_files(self.directory, {principal: self.access(principal) for principal in principals}, clients)

    def _prepare(self, port: int | None) -> int:
        """Write passwords and certificates that are not there yet; the port for clients."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        access = self.directory / "access"
        access.mkdir(mode=0o700, exist_ok=True)
        if not (access / "ca.pem").exists():
            make_certificates(access, ("localhost", LOOPBACK, INSIDE_HOST, *CLUSTER))
        clients = choose_port(self.directory, "clients", port, DEFAULT_PORT)
        bootstrap = f"localhost:{clients}"
        for principal in (BROKER, OPERATOR, *acls.PRINCIPALS):
            known = self._grant(principal, bootstrap)
            if known.bootstrap != bootstrap:
                Access(bootstrap, principal, known.password, known.ca).write(self.access_file(principal))
        return clients

    def _grant(self, principal: str, bootstrap: str) -> Access:
        """The access of a principal, with a password made up for it if it has none yet. Its user is not made here."""
        path = self.access_file(principal)
        if not path.exists():
            Access(bootstrap, principal, secrets.token_urlsafe(32), path.parent / "ca.pem").write(path)
        return Access.read(path)

    def _format(self, command: str, libraries: Path, node: Node) -> None:
        """Make the storage, with the users that must be there before anyone can ask for more."""
        shutil.rmtree(node.data, ignore_errors=True)  # of a formatting that was broken off
        first = {principal: self.access(principal).password for principal in (BROKER, OPERATOR)}
        arguments = self.directory / "format.arguments"
        write_private(arguments, format_arguments(self._properties, first, new_cluster_id()).encode())
        try:
            done = subprocess.run(  # noqa: S603 (our own words, and paths)
                [command, "-Xmx256m", "-cp", f"{libraries}/*", "kafka.tools.StorageTool", f"@{arguments}"],
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            arguments.unlink()
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise Problem(f"the storage in {node.data} could not be made: {said[-1] if said else 'no word why'}")
