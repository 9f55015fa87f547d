"""Real worker processes for tests: started, watched by a supervisor that starts them again, killed, paused."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.request import urlopen

PAUSE_S = 0.3
SESSION_S = 2.0
AT_WORK_S = 60.0
SERVES, LEAVES = "serves the partition numbers", "This worker leaves"


class WorkerProcess:
    """A `qpubus worker` under a supervisor: when it leaves with an error, it is started again."""

    def __init__(self, directory: Path, stages: Sequence[str], member: str, options: Sequence[str]) -> None:
        self.stages = tuple(stages)
        self.port = _free_port()
        self.lines = directory / f"{member}.txt"
        self.starts = 0
        self.codes: list[int] = []
        """With what it has exited, each time."""
        web = f"127.0.0.1:{self.port}"
        self._command = [
            *(sys.executable, "-m", "qpubus", "worker", *stages),
            *("--states", str(directory / "states"), "--member", member, "--web", web, *options),
        ]
        self._environment = {**os.environ, "XDG_STATE_HOME": str(directory)}
        self._dismissed = threading.Event()
        self._starting = threading.Lock()
        self._process = self._start()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()

    def kill(self) -> None:
        """End it at once; the supervisor starts another."""
        self._process.kill()

    def kill_at_work(self) -> None:
        """End it at once when it has taken its work up, and not while it is still starting."""
        assert self.has_said("taken over", self.starts * len(self.stages))
        self._process.kill()

    def has_said(self, words: str, times: int) -> bool:
        """Wait until it, with those before it, has said something so often; False if it does not in time."""
        until = time.monotonic() + AT_WORK_S
        while sum(words in line for line in self.said()) < times:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def has_left_saying(self, words: str, since: int) -> bool:
        """Wait until it says, after so many lines, why it leaves; whether it does so with `words`."""
        until = time.monotonic() + AT_WORK_S
        while time.monotonic() < until:
            for line in self.said()[since:]:
                if line.startswith(LEAVES):
                    return words in line
            time.sleep(0.02)
        raise AssertionError(f"it does not leave: {self.said()[since:]}")

    def pause(self) -> None:
        """Stop it as it stands."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on after `pause`."""
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """End it at once and for ever."""
        with self._starting:
            self._dismissed.set()
            self._process.kill()
        self._supervisor.join()

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        with self._starting:
            self._dismissed.set()
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        self._supervisor.join()
        return self.codes[-1]

    def serves(self, stage: str, partition: int) -> bool:
        """Whether it says in its metrics that it is at work on a partition number."""
        return f'stage="{stage}",partition="{partition}"' in self._metrics()

    def numbers(self, stage: str) -> list[int]:
        """The partition numbers that it has said it serves; none if it has left since, or has not said yet."""
        told: list[int] = []
        for line in self.said():
            _, serves, named = line.partition(f"{stage}: {SERVES} ")
            if serves:
                told = [int(number) for number in named.split(", ") if number != "none"]
            elif line.startswith(LEAVES):
                told = []
        return told

    def tells(self, line: str) -> bool:
        """Wait until its metrics have this line; False if they do not in time."""
        until = time.monotonic() + AT_WORK_S
        while f"\n{line}\n" not in self._metrics():
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    def _metrics(self) -> str:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as page:
                told: str = page.read().decode()
                return told
        except OSError:
            return ""

    def said(self) -> list[str]:
        """What it and those before it have written."""
        return self.lines.read_text().splitlines()

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        with self.lines.open("ab") as lines:
            return subprocess.Popen(self._command, stdout=lines, stderr=lines, env=self._environment)

    def _supervise(self) -> None:
        while True:
            self.codes.append(self._process.wait())
            if self.codes[-1] == 0 or self._dismissed.wait(PAUSE_S):
                return
            with self._starting:  # who dismisses it at this moment ends the one of before or the one that starts
                if not self._dismissed.is_set():
                    self._process = self._start()


class Workforce:
    """Worker processes that end with the test."""

    def __init__(self, directory: Path, access: Path, data: Sequence[Path]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._access = access
        self._data = data
        self._ended = ExitStack()

    def hire(
        self, member: str, *stages: str, session_s: float = SESSION_S, options: Sequence[str] = ()
    ) -> WorkerProcess:
        """Start one, with further `options` of the command."""
        sites = [word for each in self._data for word in ("--data", str(each))]
        words = ["--access", str(self._access), *sites, "--session", str(session_s), "--patience", "30", *options]
        process = WorkerProcess(self._directory, stages, member, words)
        self._ended.callback(process.remove)
        return process

    def __enter__(self) -> Self:
        """Nobody works yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """All are ended."""
        self._ended.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
