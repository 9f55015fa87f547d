"""A bounded load on an HTTP door: declarations of many agents over connections that are kept, paced or as they come.

It runs in a process of its own, so that what it costs is not taken from what it measures.
"""

import asyncio
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.client import RequestingAgent
from qpubus.web.issuer import ASSERTION_TYPE, GRANT_TYPE, TOKEN_PATH, client_assertion
from schemas.manifest import JobBudget, Manifest, Quantum, plain

_CIRCUIT = b64encode(
    b'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nh q[0];\ncx q[0], q[1];\nc = measure q;\n'
).decode()
_ANSWER_S = 30.0


@dataclass
class Seen:
    """What came of a load: answers by status, latencies of the accepted by when they were asked, ids accepted."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    without_retry_after: int = 0
    took_s: float = 0.0

    def p99_ms(self) -> float:
        """The 99th percentile of the latencies of accepted declarations."""
        ordered = sorted(latency for _, latency in self.latencies)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e3 if ordered else float("nan")


class Load:
    """Agents that declare jobs at one door."""

    def __init__(self, url: str, site: str, agents: dict[str, Ed25519PrivateKey]) -> None:
        self._url = url
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._site = site
        self._agents = [RequestingAgent(source, key) for source, key in agents.items()]
        self._tokens: dict[str, str] = {}
        self._count = 0

    async def sign_in(self) -> None:
        """Get every agent its access token."""
        client = _Connection(self._host, self._port)
        for agent in self._agents:
            claim = client_assertion(agent.key, agent.source, self._url, time.time())
            form = f"grant_type={GRANT_TYPE}&client_assertion_type={ASSERTION_TYPE}&client_assertion={claim}"
            answer = await client.post(TOKEN_PATH, form.encode(), "content-type: application/x-www-form-urlencoded\r\n")
            self._tokens[agent.source] = orjson.loads(answer.body)["access_token"]
        client.close()

    async def closed(self, connections: int, for_s: float) -> Seen:
        """Each connection asks again as soon as it has its answer."""
        seen, until = Seen(), time.monotonic() + for_s

        async def ask_on(at: int) -> None:
            client = _Connection(self._host, self._port)
            while time.monotonic() < until:
                await self._declare(client, at, time.monotonic(), seen)
            client.close()

        return await self._timed(seen, [ask_on(at) for at in range(connections)])

    async def paced(self, connections: int, rate_per_s: float, for_s: float) -> Seen:
        """So many a second in all, whatever is answered; a latency counts from when the request was due."""
        seen, begun = Seen(), time.monotonic()

        async def ask_on(at: int) -> None:
            client, due = _Connection(self._host, self._port), begun + at / rate_per_s
            while due < begun + for_s:
                await asyncio.sleep(due - time.monotonic())
                await self._declare(client, at, due, seen)
                due += connections / rate_per_s
                if time.monotonic() > begun + for_s:
                    break
            client.close()

        return await self._timed(seen, [ask_on(at) for at in range(connections)])

    @staticmethod
    async def _timed(seen: Seen, asking: Sequence[Coroutine[Any, Any, None]]) -> Seen:
        begun = time.monotonic()
        await asyncio.gather(*asking)
        seen.took_s = time.monotonic() - begun
        return seen

    async def _declare(self, client: "_Connection", at: int, due: float, seen: Seen) -> None:
        agent = self._agents[at % len(self._agents)]
        self._count += 1
        job_id = f"load-{self._count}"
        manifest = Manifest(
            job_id=job_id,
            initiator=agent.source,
            purpose="bench",
            site=self._site,
            quantum=Quantum(circuit=_CIRCUIT, shots=100),
            budget=JobBudget(cost_microusd=1_000_000, shots=100),
        )
        body = orjson.dumps({"manifest": plain(manifest), "agent_proof": agent.sign(manifest)})
        headers = f"content-type: application/json\r\nauthorization: Bearer {self._tokens[agent.source]}\r\n"
        try:
            answer = await client.post("/v1/jobs", body, headers)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            seen.statuses[0] += 1
            client.close()
            return
        seen.statuses[answer.status] += 1
        if answer.status == 201:
            seen.accepted.append(job_id)
            seen.latencies.append((due, time.monotonic() - due))
        elif answer.status in {429, 503}:
            seen.without_retry_after += b"retry-after:" not in answer.head.lower()


@dataclass(frozen=True)
class _Answer:
    status: int
    head: bytes
    body: bytes


class _Connection:
    """One kept connection, opened anew where the other side has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, headers: str) -> _Answer:
        """The answer to a request; whatever the connection suffers is raised."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n{headers}content-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        async with asyncio.timeout(_ANSWER_S):
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            content = await reader.readexactly(length)
        if b"connection: close" in answer.lower():
            self.close()
        return _Answer(int(answer[9:12]), answer, content)

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
