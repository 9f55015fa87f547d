"""A schema registry on this machine: Apicurio with the Confluent API, in memory, on loopback.

It is a mirror of what is on the log and may forget: it is filled again from there. Nothing on the bus trusts it, so it
asks nobody who they are.
"""

import http.client
import signal
from pathlib import Path

from qpubus.kafka.packages import java, registry_program
from qpubus.kafka.process import LOOPBACK, Process, choose_port, port_of
from qpubus.problem import Problem

DEFAULT_PORT = 8081
HEAP_MB_MAX = 400
START_TIMEOUT_S = 100
ANSWER_TIMEOUT_S = 5
API = "/apis/ccompat/v7"


class Registry:
    """A registry in a directory. Its methods wait and are for threads, not for a running event loop."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._mark = f"-Dqpubus.registry={self.directory}"
        self._process = Process(self.directory, "registry", self._mark)

    @property
    def url(self) -> str:
        """Where its Confluent API is; `Problem` if it was never started."""
        return f"http://{LOOPBACK}:{port_of(self.directory, 'registry')}{API}"

    def start(self, port: int | None = None) -> str:
        """Start it and wait until it answers; its URL. `port` as for the broker; one that runs is left as it is."""
        if self.pid():
            self._process.await_answer(self.answers, START_TIMEOUT_S)
            return self.url
        command, program = java(), registry_program()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        chosen = choose_port(self.directory, "registry", port, DEFAULT_PORT)
        listen = [f"-Dquarkus.http.host={LOOPBACK}", f"-Dquarkus.http.port={chosen}"]
        self._process.start([command, f"-Xmx{HEAP_MB_MAX}m", self._mark, *listen, "-jar", str(program)])
        self._process.await_answer(self.answers, START_TIMEOUT_S)
        return self.url

    def stop(self) -> bool:
        """End it; what it knew is gone. False if it did not run."""
        return self._process.end(signal.SIGTERM)

    def pid(self) -> int | None:
        """Its process, if it runs."""
        return self._process.pid()

    def answers(self) -> bool:
        """Whether it really answers for schemas."""
        try:
            connection = http.client.HTTPConnection(
                LOOPBACK, port_of(self.directory, "registry"), timeout=ANSWER_TIMEOUT_S
            )
            try:
                connection.request("GET", f"{API}/subjects")
                return connection.getresponse().status == http.client.OK
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, Problem):
            return False
