"""The broker in a container: the same node, with files of its own, run by the compose file."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from agents.devices.profiles import PROFILES
from qpubus.kafka.access import Access, write_private
from qpubus.kafka.packages import COMPOSE
from qpubus.kafka.process import STOP_TIMEOUT_S
from qpubus.kafka.settings import BROKER, OPERATOR, Node, format_arguments, new_cluster_id
from qpubus.problem import Problem

INSIDE_HOST, INSIDE_PORT, OUTSIDE_PORT, CONTROLLER_PORT = "kafka", 9092, 9094, 9093
INSIDE = f"{INSIDE_HOST}:{INSIDE_PORT}"
CLUSTER = ("kafka-1", "kafka-2", "kafka-3")
"""The hosts of the nodes in production."""
WORKERS = ("policy", "scheduler", "orchestrator", "guard", "views", "callbacks")
"""The services of `qpubus worker`, each named as its principal."""
PARTIES = ("gateway", *(f"device-{device}" for device in PROFILES), "sandbox", "clock", "sealer", "witness")
"""The services that run one party each, named as its key file; their data directory is in states/, too."""
SERVICES = (*WORKERS, *PARTIES)
CLUSTER_INSIDE = ",".join(f"{host}:{INSIDE_PORT}" for host in CLUSTER)
ANYWHERE = "0.0.0.0"  # noqa: S104 (in a container, whose network only the compose file's services share)
SECRETS = Path("/run/secrets")
DATA = Path("/var/lib/kafka/data")
_LOG_LINES_SHOWN = "12"
_DOCKER_TIMEOUT_S = 600


def has_engine() -> bool:
    """Whether there is a container engine that runs, with its compose command."""
    if not shutil.which("docker"):
        return False
    asked = (["docker", "compose", "version"], ["docker", "info"])
    return all(_run(each).returncode == 0 for each in asked)


class Container:
    """The broker's service of the compose file, for the files in DIR/container."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "container"
        self._environment = directory / "container" / "compose.env"

    def start(self) -> None:
        """Start it; `Problem` with what the engine said if that is impossible."""
        done = self._compose("up", "--detach", "--no-deps", "kafka")
        if done.returncode:
            raise Problem(f"the container engine did not start kafka: {done.stderr.strip()[-400:]}")

    def pid(self) -> int | None:
        """The number of its process as the engine's machine knows it, if it runs."""
        found = self._compose("ps", "--quiet", "--status", "running", "kafka").stdout.strip()
        if not found:
            return None
        shown = _run(["docker", "inspect", "--format", "{{.State.Pid}}", found]).stdout.strip()
        return int(shown) if shown.isdigit() and int(shown) else None

    def end(self, how: signal.Signals) -> bool:
        """Send the signal and wait until it has ended; False if it did not run."""
        if not self.pid():
            return False
        if how is signal.SIGKILL:
            self._compose("kill", "--signal", "SIGKILL", "kafka")
        else:
            self._compose("stop", "--timeout", str(STOP_TIMEOUT_S), "kafka")
        return True

    def await_answer(self, answers: Callable[[], bool], timeout_s: float) -> None:
        """Wait until it answers; `Problem` with the last lines of its log if it ends instead, or takes too long."""
        until = time.monotonic() + timeout_s
        while not answers():
            runs = self.pid() is not None
            if not runs or time.monotonic() > until:
                how = f"did not answer within {timeout_s} s" if runs else "ended instead of answering"
                said = self._compose(
                    "logs", "--no-color", "--no-log-prefix", "--tail", _LOG_LINES_SHOWN, "kafka"
                ).stdout
                raise Problem(f"the broker's container {how}. It said last:\n{said.rstrip()}")
            time.sleep(0.2)

    def _compose(self, *words: str) -> "subprocess.CompletedProcess[str]":
        file = ["--file", str(COMPOSE / "compose.yaml"), "--env-file", str(self._environment)]
        return _run(["docker", "compose", *file, *words])


def write_files(directory: Path, accesses: Mapping[str, Access], port: int) -> None:
    """Write DIR/container: what the compose file mounts, each service's access apart, and the names it asks for.

    `port` is where clients on this machine reach the broker.
    """
    files, access = directory / "container", directory / "access"
    for mounted in ("data", "artifacts", *CLUSTER, *(f"states/{service}" for service in SERVICES)):
        (directory / mounted).mkdir(mode=0o700, parents=True, exist_ok=True)
    first = {principal: accesses[principal].password for principal in (BROKER, OPERATOR)}
    alone = Node(
        ANYWHERE, INSIDE_HOST, INSIDE_PORT, CONTROLLER_PORT, SECRETS, DATA, (f"localhost:{port}", OUTSIDE_PORT)
    )
    cluster = [Node(ANYWHERE, host, INSIDE_PORT, CONTROLLER_PORT, SECRETS, DATA, hosts=CLUSTER) for host in CLUSTER]
    for node in (alone, *cluster):
        write_private(files / f"{node.host}.server.properties", node.properties(first[BROKER]).encode())
    cluster_id = new_cluster_id()
    for name, is_alone in (("format.arguments", True), ("cluster.format.arguments", False)):
        words = format_arguments(SECRETS / "server.properties", first, cluster_id, is_alone=is_alone)
        write_private(files / name, words.encode())
    for name in ("broker.pem", "ca.pem"):
        write_private(files / name, (access / name).read_bytes())
    for principal, each in accesses.items():
        for bootstrap, name in (
            (INSIDE, f"{principal}.properties"),
            (CLUSTER_INSIDE, f"cluster.{principal}.properties"),
        ):
            Access(bootstrap, principal, each.password, Path("ca.pem")).write(files / name)
    names = {"QPUBUS_KAFKA": directory, "QPUBUS_KAFKA_PORT": port, "QPUBUS_USER": f"{os.getuid()}:{os.getgid()}"}
    project = {"COMPOSE_PROJECT_NAME": f"qpubus-{sha256(bytes(directory)).hexdigest()[:8]}"}
    (files / "compose.env").write_text("".join(f"{name}={value}\n" for name, value in (names | project).items()))


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 (our own words, and paths)
        command, capture_output=True, text=True, check=False, timeout=_DOCKER_TIMEOUT_S
    )
