"""The other side of the local door: a command asks the running bus and gets its answer or its refusal."""

import socket
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from qpubus.door import LINE_BYTES_MAX, SOCKET_NAME, short_path
from qpubus.problem import Problem

TIMEOUT_S = 120.0
"""A dry run compiles for every device, on a busy machine."""
NOT_RUNNING = "not_running"


def ask(directory: Path, call: str, arguments: BaseModel | None = None) -> dict[str, Any]:
    """What the running bus answers; `Problem` with its code if it refuses, or if none is running."""
    said = {} if arguments is None else arguments.model_dump(mode="json")
    line = orjson.dumps({"call": call, "arguments": said}) + b"\n"
    if len(line) > LINE_BYTES_MAX:
        raise Problem(f"the request has {len(line):,} bytes, the limit is {LINE_BYTES_MAX:,}", code="request_oversized")
    answer = _exchange(directory, line)
    if answer.get("ok") is True and isinstance(answer.get("value"), dict):
        value: dict[str, Any] = answer["value"]
        return value
    error = answer.get("error")
    if not isinstance(error, dict):
        raise Problem(f"what answered at {directory / SOCKET_NAME} is no qpubus")
    raise Problem(f"{error.get('message')} ({error.get('code')})", code=str(error.get("code")))


def is_running(directory: Path) -> bool:
    """Whether somebody answers at the door."""
    try:
        ask(directory, "status")
    except Problem as problem:
        if problem.code == NOT_RUNNING:
            return False
        raise
    return True


def _exchange(directory: Path, line: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
        connected.settimeout(TIMEOUT_S)
        try:
            with short_path(directory) as path:
                connected.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            raise Problem(
                f"no bus is running on {directory}", f"Start one: qpubus up --data {directory}", code=NOT_RUNNING
            ) from None
        except OSError as error:
            raise Problem(f"the bus on {directory} cannot be reached: {error.strerror or error}") from None
        try:
            connected.sendall(line)
            answered = _line(connected)
            answer = orjson.loads(answered)
        except TimeoutError:
            raise Problem(
                f"the bus on {directory} did not answer within {TIMEOUT_S:g} s; it may yet do what was asked",
                "Look at `qpubus jobs`; asking again with the same job is safe.",
                code="no_answer",
            ) from None
        except (OSError, orjson.JSONDecodeError):
            raise Problem(
                f"the bus on {directory} went away before it answered",
                "Start it again; asking again with the same job is safe.",
                code="no_answer",
            ) from None
    return answer if isinstance(answer, dict) else {}


def _line(connected: socket.socket) -> bytes:
    parts = bytearray()
    while not parts.endswith(b"\n"):
        part = connected.recv(1 << 16)
        if not part:
            raise ConnectionError
        parts += part
        if len(parts) > LINE_BYTES_MAX:
            raise ConnectionError
    return bytes(parts)
