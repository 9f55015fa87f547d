"""A hundred requests made to cost much: each is refused, within 50 ms of processor time and 50 MB.

What a bomb costs is what this process, in which the server runs, spends on it; the client's own part is in it.
"""

import asyncio
import resource
import sys
import time
import tracemalloc
from dataclasses import dataclass
from typing import Any
from zlib import compress

import httpx
import orjson
import pytest

from tests.support.bell import bell_document, encoded
from tests.support.web_house import House

CPU_S = 0.050
CLOSED = 413
BYTES = 50 << 20
HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[{n}] q;\nbit[{n}] c;\n'
TAIL = "c = measure q;\n"


@dataclass
class Bomb:
    """A request by an agent: path, body, headers."""

    name: str
    body: bytes
    path: str = "/v1/jobs"
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)


def manifest_bomb(name: str, **changes: Any) -> list[Bomb]:
    """A manifest that is declared, and looked at."""
    document = bell_document(**changes)
    return [
        Bomb(f"{name}, quoted", orjson.dumps({"manifest": document}), "/v1/quotes"),
        Bomb(f"{name}, declared", orjson.dumps({"manifest": document, "agent_proof": "e30.e30.AA"})),
    ]


def circuit_bombs(name: str, source: str) -> list[Bomb]:
    """A circuit alone, and in every template that a manifest can have."""
    further = [{"name": f"c-{at}", "circuit": encoded(source)} for at in range(32)]
    return [
        *manifest_bomb(name, quantum__circuit=encoded(source), quantum__parameters={}),
        *manifest_bomb(f"{name}, 33 times", quantum__circuit=encoded(source), quantum__further_circuits=further),
    ]


def bombs() -> list[Bomb]:
    """All of them."""
    made = [
        Bomb(f"{depth} deep {name}", (opened * depth + closed * depth), path)
        for depth in (20, 1_000, 100_000, 400_000)
        for name, opened, closed in (("arrays", b"[", b"]"), ("objects", b'{"a":', b"}"))
        for path in ("/v1/jobs", "/v1/quotes")
        if len(opened) * depth < 1 << 20
    ]
    for depth in (17, 100, 240):
        nested: Any = 1
        for _ in range(depth):
            nested = {"a": nested}
        made += manifest_bomb(f"a member {depth} deep", parameters=nested)
    for shots in (0, -1, 10**9, 2**53, 2**63, 10**30):
        text = orjson.dumps({"manifest": bell_document()}).replace(b'"shots":1000', f'"shots":{shots}'.encode())
        made += [Bomb(f"{shots} shots", text, "/v1/quotes"), Bomb(f"{shots} shots declared", text)]
    registers = HEAD.format(n=64)
    sources = {
        "a million gates": HEAD.format(n=2) + "x q[0];" * 1_000_000 + TAIL,
        "as many gates as fit": HEAD.format(n=2) + "x q;" * 16_000 + TAIL,
        "broadcast gates": registers + "h q;\n" * 12_000 + TAIL,
        "broadcast pairs": registers + "cx q, q;\n" * 7_000 + TAIL,
        "nothing but signs": "OPENQASM 3.0;" + ";" * 65_000,
        "a long sum": HEAD.format(n=1) + f"rx({'1+' * 30_000}1) q[0];" + TAIL,
        "deep brackets": HEAD.format(n=1) + f"rx({'(' * 30_000}1{')' * 30_000}) q[0];" + TAIL,
        "many minuses": HEAD.format(n=1) + f"rx({'-' * 60_000}1) q[0];" + TAIL,
        "a comment without an end": "OPENQASM 3.0;" + "/*" * 32_000,
        "many comments without an end": "OPENQASM 3.0;" + "/* /" * 16_000,
        "a huge number": HEAD.format(n=1) + f"rx({'9' * 60_000}) q[0];" + TAIL,
        "a huge exponent": HEAD.format(n=1) + "rx(1e999999999) q[0];" + TAIL,
        "a huge register": "OPENQASM 3.0;qubit[999999999] q;" + TAIL,
        "many registers": "OPENQASM 3.0;" + "".join(f"qubit q{at};" for at in range(5_000)),
        "many parameters": "OPENQASM 3.0;" + "".join(f"input float p{at};" for at in range(3_500)),
        "barriers": HEAD.format(n=2) + "barrier q;" * 6_000,
        "a path to include": 'OPENQASM 3.0;include "/etc/passwd";',
        "a way up to include": 'OPENQASM 3.0;include "../../keys/root.pem";',
        "a device to include": 'OPENQASM 3.0;include "/dev/zero";',
        "a loop": "OPENQASM 3.0;for int i in [0:1000000000] { x q; }",
        "a gate of its own": "OPENQASM 3.0;" + "gate a q { a q; }" * 3_000,
    }
    for name, source in sources.items():
        made += circuit_bombs(name, source)[: 2 if len(source) > 300_000 else 4]
    made += manifest_bomb("many unknown members", **{f"m{at}": at for at in range(20_000)})
    made += manifest_bomb("many wrong parameters", parameters={f"p{at}": "x" for at in range(15_000)})
    made += manifest_bomb("many artefacts", artifacts={f"a{at}": "0" * 64 for at in range(3_000)})
    made += manifest_bomb("many devices", allowed_devices=[f"d{at}" for at in range(40_000)])
    made += manifest_bomb("a long purpose", purpose="x" * 250_000)
    zeros = compress(bytes(50 << 20))
    made += [
        Bomb(f"{coding} body", zeros, path, (("content-type", "application/json"), ("content-encoding", coding)))
        for coding in ("gzip", "deflate", "br", "zstd")
        for path in ("/v1/jobs", "/v1/artifacts")
    ]
    made.append(Bomb("a proof without end", orjson.dumps({"manifest": bell_document(), "agent_proof": "a." * 300_000})))
    made.append(Bomb("a number of many digits", b'{"manifest":' + b"9" * 500_000 + b"}"))
    made.append(Bomb("a body of blanks", b" " * 900_000))
    made.append(Bomb("escapes", b'{"manifest":{"a":"' + b"\\u0000" * 100_000 + b'"}}'))
    made.append(Bomb("the same member many times", b'{"manifest":{' + b'"a":1,' * 100_000 + b'"a":1}}'))
    return made


BOMBS = bombs()


async def costs(house: House, bomb: Bomb) -> tuple[int, float]:
    """Status and processor time of a bomb."""
    before = time.process_time()
    try:
        answer = await house.ask("POST", bomb.path, content=bomb.body, headers=dict(bomb.headers))
        status = answer.status_code
    except (httpx.ReadError, httpx.WriteError):
        status = CLOSED  # the door read no further than the size, and the client did not stop sending
    return status, time.process_time() - before


async def test_every_bomb_is_refused_without_much_work(house: House) -> None:
    assert len(BOMBS) >= 100
    await house.ask("GET", "/v1/jobs")
    taken, dear = {}, {}
    for bomb in BOMBS:
        status, cpu_s = await costs(house, bomb)
        if not 400 <= status < 500:
            taken[bomb.name] = status
        if cpu_s > CPU_S:
            dear[bomb.name] = min(cpu_s, *[(await costs(house, bomb))[1] for _ in range(3)])
    assert taken == {}
    assert {name: cpu_s for name, cpu_s in dear.items() if cpu_s > CPU_S} == {}


@pytest.mark.long
async def test_no_bomb_takes_much_memory(house: House) -> None:
    await house.ask("GET", "/v1/jobs")
    large = {}
    for bomb in BOMBS:
        tracemalloc.start()
        await costs(house, bomb)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if peak > BYTES:
            large[bomb.name] = peak
    assert large == {}


async def test_all_bombs_together_leave_the_process_as_large_as_it_was(house: House) -> None:
    await house.ask("GET", "/v1/jobs")
    unit = 1 if sys.platform == "darwin" else 1_024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    await asyncio.gather(*(costs(house, bomb) for bomb in BOMBS[:60]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before < 60 * BYTES
