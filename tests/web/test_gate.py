"""The gate: other hosts and origins, slow clients, many connections, too much work, too many requests."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from qpubus.problem import Problem
from qpubus.refusal import CODES, Refusal
from qpubus.web import gate, protocol
from qpubus.web.gate import Gate
from qpubus.web.server import Address, listen
from qpubus.web.settings import Settings, read_settings
from qpubus.web.workload import Rates, Workload
from tests.support.commands import ROOT, qpubus
from tests.support.town import AGENT, STRANGER
from tests.support.web_house import House


async def raw(house: House, text: str, *, until_closed: bool = False) -> bytes:
    """What the door answers to bytes as they are."""
    host, _, port = house.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(text.encode().replace(b"\n", b"\r\n"))
    try:
        async with asyncio.timeout(10):
            return await (reader.read() if until_closed else reader.readuntil(b"\r\n\r\n"))
    finally:
        writer.close()


@pytest.mark.parametrize("host", ["evil.example.org", "127.0.0.1", "localhost", "127.0.0.1:1", ""])
async def test_a_request_for_another_host_is_refused(house: House, host: str) -> None:
    answer = await house.client.get("/healthz", headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "host_refused")


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", "http://127.0.0.1", "http://127.0.0.1:1"])
async def test_a_request_of_another_origin_is_refused(house: House, origin: str) -> None:
    for path in ("/v1/jobs", "/mcp", "/oauth/token"):
        answer = await house.client.post(path, headers={"origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")


async def test_the_doors_own_origin_may_ask_and_no_other_is_let_in_by_headers(house: House) -> None:
    answer = await house.ask("GET", "/v1/jobs", headers={"origin": house.url})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_body_that_is_too_large_is_refused_by_what_it_says_of_itself(house: House) -> None:
    host = house.url.removeprefix("http://")
    answer = await raw(house, f"POST /v1/jobs HTTP/1.1\nhost: {host}\ncontent-length: 99999999999\n\n")
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_with_two_lengths_is_refused_and_nothing_after_it_is_read(house: House) -> None:
    host = house.url.removeprefix("http://")
    lengths = "content-length: 5\ntransfer-encoding: chunked"
    smuggled = f"0\n\nGET /healthz HTTP/1.1\nhost: {host}\n\n"
    answer = await raw(house, f"POST /v1/jobs HTTP/1.1\nhost: {host}\n{lengths}\n\n{smuggled}", until_closed=True)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


async def test_headers_without_end_are_refused(house: House) -> None:
    answer = await raw(house, "GET /healthz HTTP/1.1\nhost: x\n" + "a: b\n" * 20_000, until_closed=True)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("said", ["", "GET /healthz HTTP/1.1\nhost: "])
async def test_a_client_that_does_not_end_its_headers_is_let_go(
    house: House, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADERS_S", 0.2)
    assert await raw(house, said, until_closed=True) == b""


async def test_a_kept_connection_that_begins_a_second_request_slowly_is_let_go(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADERS_S", 0.2)
    host = house.url.removeprefix("http://")
    answer = await raw(house, f"GET /healthz HTTP/1.1\nhost: {host}\n\nGET /hea", until_closed=True)
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_body_that_does_not_come_is_not_awaited(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BODY_S", 0.2)
    host = house.url.removeprefix("http://")
    answer = await raw(house, f"POST /v1/jobs HTTP/1.1\nhost: {host}\ncontent-length: 10\n\nabc", until_closed=True)
    assert answer.startswith(b"HTTP/1.1 408")


def test_one_agents_requests_do_not_use_up_anothers() -> None:
    rates = Rates(1.0, 3, lambda: 100.0)
    for _ in range(3):
        rates.take(AGENT)
    with pytest.raises(Refusal) as refused:
        rates.take(AGENT)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1)
    rates.take(STRANGER)


def test_a_rate_is_an_average_over_time() -> None:
    now_s = [100.0]
    rates = Rates(2.0, 1, lambda: now_s[0])
    taken = 0
    for tick in range(100):
        now_s[0] = 100 + tick / 10
        try:
            rates.take(AGENT)
        except Refusal:
            continue
        taken += 1
    assert taken == 20


async def answered(app: Gate, body: bytes = b"") -> tuple[int, dict[bytes, bytes]]:
    """Status and headers of an answer through the gate."""
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    headers = [(b"host", b"door"), (b"content-length", str(len(body)).encode())]
    await app({"type": "http", "path": "/", "method": "POST", "headers": headers}, receive, send)
    return said[0]["status"], dict(said[0]["headers"])


async def test_what_comes_on_top_of_what_can_be_done_is_told_when_to_come_again() -> None:
    let_go = asyncio.Event()

    async def slow(_: Any, __: Any, send: Any) -> None:
        await let_go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    app = Gate(slow, hosts={"door"}, origins=(), workload=Workload(2))
    busy = [asyncio.create_task(answered(app)) for _ in range(2)]
    await asyncio.sleep(0)
    status, headers = await answered(app)
    assert (status, headers[b"retry-after"]) == (503, b"1")
    let_go.set()
    assert [status for status, _ in await asyncio.gather(*busy)] == [200, 200]
    assert (await answered(app))[0] == 200


async def test_who_only_waits_takes_nobody_elses_place() -> None:
    workload, let_go = Workload(1), asyncio.Event()

    async def waiting(_: Any, __: Any, send: Any) -> None:
        with workload.resting():
            await let_go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    app = Gate(waiting, hosts={"door"}, origins=(), workload=workload)
    resting = [asyncio.create_task(answered(app)) for _ in range(3)]
    await asyncio.sleep(0.01)
    let_go.set()
    assert [status for status, _ in await asyncio.gather(*resting)] == [200, 200, 200]


async def test_every_code_is_explained_where_its_problem_document_says(house: House) -> None:
    for code, meaning in CODES.items():
        shown = (await house.client.get(Refusal(code, "").document()["type"])).json()
        assert shown == {"code": code, "status": meaning.status, "title": meaning.title}


def test_the_documentation_lists_every_code() -> None:
    rows = {f"| {meaning.status} | `{code}` | {meaning.title} |" for code, meaning in CODES.items()}
    assert rows <= set((ROOT / "docs" / "gateway.md").read_text().splitlines())


async def test_what_is_not_there_is_a_problem_document_too(house: House) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("DELETE", "/v1/jobs", 405)):
        answer = await house.client.request(method, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.fixture
async def taken() -> AsyncIterator[int]:
    """A port that somebody listens on."""
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_port_that_is_taken_is_said_with_what_to_do(taken: int) -> None:
    with pytest.raises(Problem) as problem:
        listen(Address("127.0.0.1", taken), "")
    assert "--http" in problem.value.next_step


def test_tokens_do_not_travel_in_the_open() -> None:
    with pytest.raises(Problem, match="in the open"):
        listen(Address("0.0.0.0", 0), "")  # noqa: S104 (what is refused)


@pytest.mark.parametrize("http", ["8080", "127.0.0.1:", "127.0.0.1:99999", ":80"])
def test_an_address_that_is_none_is_refused(http: str, tmp_path: Path) -> None:
    refused = qpubus("up", "--data", tmp_path, "--http", http)
    assert refused.code == 1
    assert "HOST:PORT" in refused.err


def test_settings_are_read_and_faults_in_them_named(tmp_path: Path) -> None:
    path = tmp_path / "qpubus.toml"
    path.write_text('[gateway]\npublic_url = "https://bus.example.org/"\nrate_per_s = 5\n')
    assert read_settings(path) == Settings(public_url="https://bus.example.org", rate_per_s=5)
    path.write_text('[gateway]\npublic_url = "http://bus.example.org"\nburst = 0\ncolour = 1\n')
    with pytest.raises(Problem, match=r"public_url.*burst.*colour"):
        read_settings(path)
