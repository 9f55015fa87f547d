"""Runs one program in a process of its own: program and JSON document go in, a JSON object or the reason why not out.

The child has an isolated interpreter, an empty directory that is thrown away, an environment without anything of ours,
limits on time, memory, files and processes, and where the kernel allows that no network, no processes and no files but
its own. On a machine that cannot keep a program from our files none is run, unless the operator says that all programs
there are trusted.
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
from tempfile import TemporaryDirectory, TemporaryFile, gettempdir
from threading import Event
from typing import Any, NamedTuple

import orjson

from agents import enclosed
from agents.enclosed import SPACE_BYTES, SPACE_FILES

_LAUNCHER = str(Path(enclosed.__file__).resolve())
_ENVIRONMENT = {"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NOT_ENCLOSED = (
    "this machine cannot keep programs from the files of whoever runs the bus: it takes Linux 5.13 or later with "
    "Landlock. To run programs here all the same, because all of them are trusted, start with QPUBUS_SANDBOX=trusting"
)
_PATH = re.compile(r"(?:/[\w.+@~-]+){2,}/?")
_MESSAGE_LENGTH_MAX = 200
_ERROR_BYTES_MAX = 64 << 10
_ENDED_FOR_TIME = frozenset(
    ended for kind in (signal.SIGXCPU, signal.SIGKILL) for ended in (-kind, enclosed.SIGNALLED + kind)
)
_LOOK_S = 0.1
"""Where a directory has no bounds of its own, what is in it is counted this often."""
_SAID = {
    "network": ("no network", "network not cut off, the kernel refuses namespaces"),
    "processes": ("no other processes", "processes not cut off, the kernel refuses namespaces"),
    "signals": ("no signals to others", "signals not cut off, the kernel has neither namespaces nor a scope for them"),
    "space": ("bounded space", "space counted now and then, the kernel refuses mounts"),
    "files": ("no other files", "files not cut off, the kernel has no Landlock"),
}
"""What holds around a program and what does not, for the record."""


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
    open_files: int = 64
    processes: int = 0

    def arguments(self) -> list[str]:
        """The limits as the launcher takes them. Processes come last: nothing may be started after that."""
        return [
            "core=0",
            f"cpu={self.cpu_s}",
            f"as={self.memory_bytes}",
            f"fsize={self.file_bytes}",
            f"nofile={self.open_files}",
            f"nproc={self.processes}",
        ]


@dataclass(frozen=True)
class Enclosure:
    """Where programs run. What the kernel allows is probed once.

    With `trusts_programs` they are also run where the kernel cannot keep them from the files of whoever runs the bus,
    the keys among them.
    """

    limits: Limits = Limits()
    trusts_programs: bool = False

    @cached_property
    def given_up(self) -> frozenset[str]:
        """What a program can be kept from on this machine; the words are those of `enclosed.WAYS`."""
        probe = [sys.executable, "-I", "-S", _LAUNCHER, "probe"]
        probed = run(  # noqa: S603 - our own file
            probe, env=_ENVIRONMENT, cwd=gettempdir(), stdin=DEVNULL, capture_output=True, check=False
        )
        return frozenset(filter(None, probed.stdout.decode().strip().split(",")))

    @property
    def description(self) -> str:
        """What holds around a program, for the record."""
        said = (_SAID[way][way not in self.given_up] for way in sorted(_SAID))
        return "; ".join(("own process, empty directory, limits", *said))

    async def run(self, program: bytes, document: bytes) -> Answer:
        """Run a program with `document` on its standard input; `ProgramFailed` says why there is no answer."""
        if "files" not in self.given_up and not self.trusts_programs:
            raise ProgramFailed("sandbox_unavailable", NOT_ENCLOSED)
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
        is_abandoned = Event()
        try:
            return await asyncio.to_thread(self._run_here, path, document, children, is_abandoned)
        finally:
            is_abandoned.set()
            for child in children:
                _end(child)

    def _run_here(self, path: Path, document: bytes, children: list[Popen[bytes]], is_abandoned: Event) -> bytes:
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
            if is_abandoned.is_set():
                _end(child)
            try:
                status = self._wait(child, path.parent)
            finally:
                _end(child)
            if output.tell() >= self.limits.file_bytes:
                raise ProgramFailed("output_oversized", f"it wrote {self.limits.file_bytes} bytes or more")
            if status:
                errors.seek(max(0, errors.tell() - _ERROR_BYTES_MAX))
                raise _failure(status, errors.read(), self.limits)
            output.seek(0)
            return output.read()

    def _wait(self, child: Popen[bytes], directory: Path) -> int:
        """The exit status of a program that ends in time and, where nothing else bounds its directory, fills it not."""
        ends_s = time.monotonic() + self.limits.wall_s
        is_bounded = "space" in self.given_up
        while True:
            left_s = ends_s - time.monotonic()
            try:
                return child.wait(max(0.0, left_s if is_bounded else min(left_s, _LOOK_S)))
            except TimeoutExpired:
                if time.monotonic() >= ends_s:
                    raise ProgramFailed("program_timeout", f"it ran longer than {self.limits.wall_s:g} s") from None
            if _overflows(directory):
                raise ProgramFailed("program_space", f"it has over {SPACE_FILES} files or {SPACE_BYTES} bytes")

    def _command(self, program: Path) -> list[str]:
        given_up = ",".join(sorted(self.given_up))
        return [sys.executable, "-I", _LAUNCHER, given_up, *self.limits.arguments(), str(program)]


def _overflows(directory: Path) -> bool:
    """Whether there is more in a directory than a program may have."""
    files = size = 0
    for here, directories, names in os.walk(directory):
        files += len(directories) + len(names)
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(here, name)).st_size  # noqa: PTH118 - as `os.walk` has it
        if files > SPACE_FILES or size > SPACE_BYTES:
            return True
    return False


def _end(child: Popen[bytes]) -> None:
    """End a program's process group, and with the first of its own processes all others; the ended is past minding."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _failure(status: int, errors: bytes, limits: Limits) -> ProgramFailed:
    """The reason behind an exit status, with the last line the program wrote to its standard error."""
    if status == enclosed.CANNOT_ENCLOSE:
        return ProgramFailed("sandbox_unavailable", "the kernel no longer lets a program be kept in as probed")
    if status in _ENDED_FOR_TIME:
        return ProgramFailed("program_timeout", f"it used more than {limits.cpu_s} s of processor time")
    lines = errors.decode(errors="replace").strip().splitlines()
    message = _PATH.sub("…", "".join(filter(str.isprintable, lines[-1] if lines else "")))[:_MESSAGE_LENGTH_MAX]
    if message.startswith(("MemoryError", "numpy._core._exceptions._ArrayMemoryError")):
        return ProgramFailed("program_memory", f"it needs more than {limits.memory_bytes} bytes of memory")
    return ProgramFailed("program_failed", message or f"it ended with status {status}")
