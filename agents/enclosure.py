"""Runs one program in a process of its own: program and JSON document go in, a JSON object or the reason why not out.

The child has an isolated interpreter, an empty directory that is thrown away, an environment without anything of ours,
limits on time, memory, files and processes, and where the kernel allows that no network and no files but its own.
"""

import asyncio
import os
import re
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired, run
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, NamedTuple

import orjson

from agents import enclosed

_LAUNCHER = str(Path(enclosed.__file__).resolve())
_ENVIRONMENT = {"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_PATH = re.compile(r"(?:/[\w.+@~-]+){2,}/?")
_MESSAGE_LENGTH_MAX = 200
_ERROR_BYTES_MAX = 64 << 10


class ProgramFailed(Exception):
    """A program gave no result. `reason` is a stable code; the message is its own last word, without paths."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Answer(NamedTuple):
    """The JSON object that a program wrote, and how long it took."""

    document: dict[str, Any]
    lasted_us: int


@dataclass(frozen=True)
class Limits:
    """What a program may use."""

    wall_s: float = 120.0
    cpu_s: int = 60
    memory_bytes: int = 2 << 30
    file_bytes: int = 4 << 20
    files: int = 64
    processes: int = 0

    def arguments(self) -> list[str]:
        """The limits as the launcher takes them. Processes come last: nothing may be started after that."""
        return [
            "core=0",
            f"cpu={self.cpu_s}",
            f"as={self.memory_bytes}",
            f"fsize={self.file_bytes}",
            f"nofile={self.files}",
            f"nproc={self.processes}",
        ]


@dataclass(frozen=True)
class Enclosure:
    """Where programs run. What the kernel allows is probed once."""

    limits: Limits = Limits()

    @cached_property
    def given_up(self) -> frozenset[str]:
        """What a program can be kept from on this machine: `network`, and `files` other than its own."""
        probe = [sys.executable, "-I", "-S", _LAUNCHER, "probe"]
        probed = run(probe, env=_ENVIRONMENT, stdin=DEVNULL, capture_output=True, check=False)  # noqa: S603 - our own file
        return frozenset(filter(None, probed.stdout.decode().strip().split(",")))

    @property
    def description(self) -> str:
        """What holds around a program, for the record."""
        network = "no network" if "network" in self.given_up else "network not cut off, the kernel refuses namespaces"
        files = "no other files" if "files" in self.given_up else "files not cut off, the kernel has no Landlock"
        return f"own process, empty directory, limits; {network}; {files}"

    async def run(self, program: bytes, document: bytes) -> Answer:
        """Run a program with `document` on its standard input; `ProgramFailed` says why there is no answer."""
        started_ns = time.perf_counter_ns()
        try:
            with TemporaryDirectory(prefix="enclosure-") as directory:
                path = Path(directory) / "program.py"
                path.write_bytes(program)
                output = await self._run(path, document)
        except OSError as error:
            raise ProgramFailed("sandbox_unavailable", f"no process could be set up: {error.strerror}") from None
        try:
            answer = orjson.loads(output)
        except orjson.JSONDecodeError as error:
            raise ProgramFailed("output_malformed", f"the program's output is not JSON: {error}") from None
        if not isinstance(answer, dict):
            raise ProgramFailed("output_malformed", "the program's output is no JSON object")
        return Answer(answer, (time.perf_counter_ns() - started_ns) // 1_000)

    async def _run(self, path: Path, document: bytes) -> bytes:
        """Run the program beside the event loop; whoever stops waiting for it ends it."""
        children: list[Popen[bytes]] = []
        try:
            return await asyncio.to_thread(self._run_here, path, document, children)
        finally:
            for child in children:
                _end(child)

    def _run_here(self, path: Path, document: bytes, children: list[Popen[bytes]]) -> bytes:
        """Start the program and wait. Its output goes to a file, so the limit on files bounds it."""
        with TemporaryFile() as given, TemporaryFile() as output, TemporaryFile() as errors:
            given.write(document)
            given.seek(0)
            child = Popen(  # noqa: S603 - the launcher is our own file
                self._command(path),
                stdin=given,
                stdout=output,
                stderr=errors,
                cwd=path.parent,
                env=_ENVIRONMENT | {"HOME": str(path.parent), "TMPDIR": str(path.parent)},
                start_new_session=True,
            )
            children.append(child)
            try:
                status = child.wait(self.limits.wall_s)
            except TimeoutExpired:
                raise ProgramFailed("program_timeout", f"it ran longer than {self.limits.wall_s:g} s") from None
            finally:
                _end(child)
            if output.tell() >= self.limits.file_bytes:
                raise ProgramFailed("output_oversized", f"it wrote {self.limits.file_bytes} bytes or more")
            if status:
                errors.seek(max(0, errors.tell() - _ERROR_BYTES_MAX))
                raise _failure(status, errors.read(), self.limits)
            output.seek(0)
            return output.read()

    def _command(self, program: Path) -> list[str]:
        given_up = ",".join(sorted(self.given_up))
        return [sys.executable, "-I", _LAUNCHER, given_up, *self.limits.arguments(), str(program)]


def _end(child: Popen[bytes]) -> None:
    """End a program and all it started in its process group; one that has ended is past minding."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _failure(status: int, errors: bytes, limits: Limits) -> ProgramFailed:
    """The reason behind an exit status, with the last line the program wrote to its standard error."""
    if status == enclosed.CANNOT_ENCLOSE:
        return ProgramFailed("sandbox_unavailable", "the kernel no longer lets a program be kept in as probed")
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return ProgramFailed("program_timeout", f"it used more than {limits.cpu_s} s of processor time")
    lines = errors.decode(errors="replace").strip().splitlines()
    message = _PATH.sub("…", "".join(filter(str.isprintable, lines[-1] if lines else "")))[:_MESSAGE_LENGTH_MAX]
    if message.startswith(("MemoryError", "numpy._core._exceptions._ArrayMemoryError")):
        return ProgramFailed("program_memory", f"it needs more than {limits.memory_bytes} bytes of memory")
    return ProgramFailed("program_failed", message or f"it ended with status {status}")
