"""The local door: a unix socket in the data directory through which commands reach the running bus.

A request is one line of JSON, an answer too:

    {"call": "withdraw", "arguments": {"agent_proof": "eyJhbGciOi..."}}
    {"ok": true, "value": {...}}
    {"ok": false, "error": {"code": "job_unknown", "message": "there is no job poctest-7 here"}}

A connection may ask several times, one after the other. The socket has mode 0600: who may open it may ask. Rights
beyond that come from the proofs inside a request, each signed by a key that never passes through here.
"""

import asyncio
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from qpubus.problem import Problem, problem_of, validation_text
from qpubus.refusal import Refusal

LINE_BYTES_MAX = 24 << 20
"""Room for the largest artefact in base64."""
CONNECTIONS_MAX = 16
IDLE_S = 60.0
SOCKET_NAME = "socket"
_PATH_BYTES_MAX = 100
"""What every system we run on takes as the path of a unix socket."""


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that can be asked: what it takes, and who answers it."""

    takes: type[BaseModel]
    answer: Callable[[Any], Awaitable[Mapping[str, Any]]]


@asynccontextmanager
async def open_door(directory: Path, calls: Mapping[str, Call]) -> AsyncIterator[None]:
    """Answer calls at DIR/socket for as long as the context lasts. Who opens it must hold the directory's lock."""
    free = asyncio.Semaphore(CONNECTIONS_MAX)
    talking: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with free:
                await _converse(reader, writer, calls)
        except (ConnectionError, TimeoutError):
            pass  # the visitor has gone, or says nothing: nobody is left to tell
        finally:
            writer.close()

    def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(converse(reader, writer))
        talking.add(task)
        task.add_done_callback(talking.discard)

    server = await asyncio.start_unix_server(receive, sock=_bind(directory), limit=LINE_BYTES_MAX)
    try:
        yield
    finally:
        server.close()
        (directory / SOCKET_NAME).unlink(missing_ok=True)
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the loop's next turn


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, calls: Mapping[str, Call]) -> None:
    while True:
        try:
            line = await asyncio.wait_for(reader.readuntil(b"\n"), IDLE_S)
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            told = f"a request may have {LINE_BYTES_MAX} bytes, in one line"
            await _write(writer, _error("request_oversized", told))
            return
        await _write(writer, await answer_line(line, calls))


async def answer_line(line: bytes, calls: Mapping[str, Call]) -> dict[str, Any]:
    """The answer to one request, whatever it is: an error never leaves as an exception."""
    try:
        call, arguments = _read(line, calls)
        return {"ok": True, "value": await call.answer(arguments)}
    except Refusal as refused:
        return _error(refused.code, str(refused))
    except Exception as error:  # noqa: BLE001 - the bus goes on, whatever one request ran into
        problem = problem_of(error)
        return _error(problem.code, problem.what)


def _read(line: bytes, calls: Mapping[str, Call]) -> tuple[Call, BaseModel]:
    try:
        request = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Refusal("request_malformed", f"a request is one JSON object in one line: {error}") from None
    if not isinstance(request, dict) or set(request) - {"call", "arguments"}:
        raise Refusal("request_malformed", "a request has a call and its arguments, nothing else")
    call = calls.get(request["call"]) if isinstance(request.get("call"), str) else None
    if call is None:
        raise Refusal("call_unknown", f"a call is one of: {', '.join(sorted(calls))}")
    try:
        return call, call.takes.model_validate_json(orjson.dumps(request.get("arguments", {})))
    except ValidationError as error:
        raise Refusal("arguments_invalid", validation_text(error)) from None


def _error(code: str, message: str) -> dict[str, Any]:
    return {"ok": False, "error": {"code": code, "message": message}}


async def _write(writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
    writer.write(orjson.dumps(answer, default=str) + b"\n")
    await asyncio.wait_for(writer.drain(), IDLE_S)


def _bind(directory: Path) -> socket.socket:
    path = directory / SOCKET_NAME
    if path.is_socket():
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with short_path(directory) as short:
            bound.bind(short)
    except OSError as error:
        bound.close()
        raise Problem(f"the socket {path} could not be made: {error.strerror}") from None
    finally:
        os.umask(before)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        bound.close()
        raise Problem(
            f"{path} can be opened by others", "Keep the data directory on a file system that has permissions."
        )
    return bound


@contextmanager
def short_path(directory: Path) -> Iterator[str]:
    """A path of DIR/socket short enough for a socket address: its own, or through a link in a temporary directory."""
    path = directory.absolute() / SOCKET_NAME
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="qpubus-") as aside:
        link = Path(aside) / "d"
        link.symlink_to(path.parent, target_is_directory=True)
        if len(os.fsencode(link / SOCKET_NAME)) > _PATH_BYTES_MAX:
            raise Problem(f"the path {path} is too long for a socket, and so is {aside}", "Choose a shorter --data.")
        yield str(link / SOCKET_NAME)
