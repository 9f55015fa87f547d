"""The local door: who may open it, what it answers, and that no request harms it."""

import asyncio
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from qpubus import door
from qpubus.door import Call, open_door
from qpubus.door_client import ask
from qpubus.problem import Problem
from qpubus.refusal import Refusal


class Word(BaseModel):
    word: str


async def repeat(said: Word) -> Mapping[str, Any]:
    if said.word == "no":
        raise Refusal("word_unwanted", "say another word")
    if said.word == "defect":
        raise ZeroDivisionError("1/0")
    return {"word": said.word}


CALLS = {"repeat": Call(Word, repeat)}


def at_the_door(directory: Path, visit: Callable[[], Any]) -> Any:
    """What a visitor in a thread of its own brings back while the door is open."""

    async def run() -> Any:
        async with open_door(directory, CALLS):
            return await asyncio.to_thread(visit)

    return asyncio.run(run())


def raw(directory: Path, sent: bytes) -> dict[str, Any]:
    """The answer to bytes as they are."""
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(10)
        visitor.connect(str(directory / "socket"))
        visitor.sendall(sent)
        answer: dict[str, Any] = orjson.loads(visitor.makefile("rb").readline())
        return answer


def test_a_call_is_answered(tmp_path: Path) -> None:
    assert at_the_door(tmp_path, lambda: ask(tmp_path, "repeat", Word(word="hello"))) == {"word": "hello"}


def test_one_connection_may_ask_twice(tmp_path: Path) -> None:
    line = orjson.dumps({"call": "repeat", "arguments": {"word": "a"}}) + b"\n"

    def visit() -> list[bytes]:
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(str(tmp_path / "socket"))
            visitor.sendall(line + line)
            answers = visitor.makefile("rb")
            return [answers.readline(), answers.readline()]

    assert at_the_door(tmp_path, visit) == [b'{"ok":true,"value":{"word":"a"}}\n'] * 2


def test_nobody_else_may_open_it(tmp_path: Path) -> None:
    def visit() -> int:
        return stat.S_IMODE((tmp_path / "socket").stat().st_mode)

    assert at_the_door(tmp_path, visit) == 0o600


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"hello\n", "request_malformed"),
        (b"[" * 5000 + b"\n", "request_malformed"),
        (b"[]\n", "request_malformed"),
        (b'{"call": "repeat", "as": "root"}\n', "request_malformed"),
        (b'{"call": "steal"}\n', "call_unknown"),
        (b'{"call": ["repeat"]}\n', "call_unknown"),
        (b'{"call": "repeat", "arguments": {"word": 7}}\n', "arguments_invalid"),
        (b'{"call": "repeat", "arguments": 7}\n', "arguments_invalid"),
        (b'{"call": "repeat", "arguments": {"word": "no"}}\n', "word_unwanted"),
        (b'{"call": "repeat", "arguments": {"word": "defect"}}\n', "defect"),
    ],
    ids=[
        "no-json",
        "deep",
        "no-object",
        "extra",
        "unknown",
        "odd-call",
        "wrong-type",
        "no-arguments",
        "refused",
        "defect",
    ],
)
def test_a_bad_request_gets_a_stable_code(tmp_path: Path, sent: bytes, code: str) -> None:
    answer = at_the_door(tmp_path, lambda: raw(tmp_path, sent))

    assert answer["ok"] is False
    assert answer["error"]["code"] == code
    assert "Traceback" not in answer["error"]["message"]


def test_an_endless_request_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "LINE_BYTES_MAX", 1000)

    answer = at_the_door(tmp_path, lambda: raw(tmp_path, b"x" * 10_000))

    assert answer["error"]["code"] == "request_oversized"


def test_the_door_is_open_to_others_while_one_says_nothing(tmp_path: Path) -> None:
    def visit() -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(tmp_path / "socket"))
            return ask(tmp_path, "repeat", Word(word="b"))

    assert at_the_door(tmp_path, visit) == {"word": "b"}


def test_a_refusal_reaches_the_client_with_its_code(tmp_path: Path) -> None:
    def visit() -> Problem:
        with pytest.raises(Problem) as caught:
            ask(tmp_path, "repeat", Word(word="no"))
        return caught.value

    problem = at_the_door(tmp_path, visit)
    assert (problem.code, problem.what) == ("word_unwanted", "say another word (word_unwanted)")


def test_with_no_bus_running_the_client_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        ask(tmp_path, "status")

    assert caught.value.code == "not_running"
    assert f"qpubus up --data {tmp_path}" in caught.value.next_step


def test_a_socket_left_behind_counts_as_no_bus(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "socket"))

    with pytest.raises(Problem) as caught:
        ask(tmp_path, "status")

    assert caught.value.code == "not_running"


def test_a_socket_left_behind_does_not_keep_the_door_shut(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "socket"))

    assert at_the_door(tmp_path, lambda: ask(tmp_path, "repeat", Word(word="c"))) == {"word": "c"}


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80) / ("e" * 80)
    deep.mkdir(parents=True)

    assert at_the_door(deep, lambda: ask(deep, "repeat", Word(word="d"))) == {"word": "d"}


def test_the_door_is_gone_when_it_closes(tmp_path: Path) -> None:
    at_the_door(tmp_path, lambda: None)

    assert not (tmp_path / "socket").exists()


def test_a_client_hears_that_the_bus_went_away(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "socket"))
        other.listen()
        other.settimeout(10)

        async def run() -> Problem:
            asking = asyncio.create_task(asyncio.to_thread(ask, tmp_path, "status"))
            connection, _ = await asyncio.to_thread(other.accept)
            connection.close()
            with pytest.raises(Problem) as caught:
                await asking
            return caught.value

        assert asyncio.run(run()).code == "no_answer"
