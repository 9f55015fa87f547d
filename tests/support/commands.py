"""Running commands as a user would: in this process where that is enough, as a process of its own where it matters."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from typer.testing import CliRunner

from qpubus.cli import app
from qpubus.door_client import is_running

ROOT = Path(__file__).parents[2]
QPUBUS = (sys.executable, "-c", "from qpubus.cli import main; main()")
START_S = 60.0


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return orjson.loads(self.out)


def qpubus(*arguments: str | Path, answer: str = "") -> Done:
    """Run a command in this process. An exception that no handler turned into words is raised."""
    result = CliRunner().invoke(app, [str(each) for each in arguments], input=answer)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def environment() -> dict[str, str]:
    """The environment in which a command finds this tree."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@contextmanager
def running_bus(directory: Path, http: str = "off", *more: str) -> Iterator[subprocess.Popen[str]]:
    """`qpubus up` on a directory, as a process; it is asked to stop at the end."""
    command = [*QPUBUS, "up", "--data", str(directory), "--http", http, *more]
    with subprocess.Popen(command, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as bus:
        try:
            until = time.monotonic() + START_S
            while not is_running(directory):
                if bus.poll() is not None or time.monotonic() > until:
                    bus.kill()
                    raise AssertionError(f"the bus did not start: {bus.communicate()}")
                time.sleep(0.05)
            yield bus
        finally:
            if bus.poll() is None:
                bus.send_signal(signal.SIGINT)
