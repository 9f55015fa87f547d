"""A server of ours as a process: started in a directory, found again by it, ended; its log is DIR/NAME.log."""

import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import orjson

from qpubus.problem import Problem

STOP_TIMEOUT_S = 60
_LOG_LINES_SHOWN = 12
LOOPBACK = "127.0.0.1"


class Process:
    """At most one process for a name and a directory. `mark` stands in its command line and in no other's."""

    def __init__(self, directory: Path, name: str, mark: str) -> None:
        self.log = directory / f"{name}.log"
        self._directory = directory
        self._name = name
        self._mark = mark
        self._pid_file = directory / f"{name}.pid"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str]) -> None:
        """Start it, apart from this terminal; what it says goes to its log."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 (our own words, and paths)
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._directory,
            )
        self._pid_file.write_text(str(self._child.pid))

    def pid(self) -> int | None:
        """Its number, if it runs."""
        if self._child and self._child.poll() is None:
            return self._child.pid
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return None
        return pid if self._mark in _command_line(pid) else None

    def end(self, how: signal.Signals) -> bool:
        """Send the signal and wait until it has ended; False if it did not run."""
        pid = self.pid()
        if not pid:
            return False
        os.kill(pid, how)
        until = time.monotonic() + STOP_TIMEOUT_S
        while self.pid():
            if time.monotonic() > until:
                raise Problem(f"{self._name} (process {pid}) did not end within {STOP_TIMEOUT_S} s", f"See {self.log}.")
            time.sleep(0.05)
        if self._child:
            self._child.wait()
        self._pid_file.unlink(missing_ok=True)
        return True

    def await_answer(self, answers: Callable[[], bool], timeout_s: float) -> None:
        """Wait until it answers; `Problem` with the last lines of its log if it ends instead, or takes too long."""
        until = time.monotonic() + timeout_s
        while not answers():
            runs = self.pid() is not None
            if not runs or time.monotonic() > until:
                self.end(signal.SIGKILL)
                how = f"did not answer within {timeout_s} s" if runs else "ended instead of answering"
                raise Problem(f"{self._name} {how}. It said last:\n{self._last_words()}", f"All of it: {self.log}")
            time.sleep(0.1)

    def _last_words(self) -> str:
        with self.log.open(errors="replace") as log:
            return "".join(deque(log, _LOG_LINES_SHOWN)).rstrip()


def choose_port(directory: Path, name: str, wanted: int | None, default: int) -> int:
    """The port to listen on, remembered in DIR/ports.json: `wanted`, any free one for 0, the one before for None.

    `Problem` if it is taken.
    """
    kept = directory / "ports.json"
    ports = orjson.loads(kept.read_bytes()) if kept.exists() else {}
    port = _free_port() if wanted == 0 else wanted or ports.get(name, default) or _free_port()
    if not _is_free(port):
        raise Problem(f"port {port}, for {name}, is taken", f"Stop what listens there, or choose another in {kept}.")
    kept.write_bytes(orjson.dumps(ports | {name: port}))
    return int(port)


def port_of(directory: Path, name: str) -> int:
    """The port that was chosen; `Problem` if none was yet."""
    try:
        return int(orjson.loads((directory / "ports.json").read_bytes())[name])
    except (OSError, KeyError):
        raise Problem(f"no {name} was ever started in {directory}", "Start it: qpubus kafka start") from None


def listens(port: int) -> bool:
    """Whether anything on this machine listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def _command_line(pid: int) -> str:
    """The words by which a process was started; empty if there is none, or if it has ended."""
    if Path("/proc/self").exists():
        told = Path(f"/proc/{pid}/cmdline")
        return told.read_bytes().replace(b"\0", b" ").decode(errors="replace") if told.exists() else ""
    told_by_ps = subprocess.run(  # noqa: S603 (a number)
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607 (from the path, as every shell does)
        capture_output=True,
        text=True,
        check=False,
    )
    return told_by_ps.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
