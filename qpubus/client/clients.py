"""The two clients: one blocks, one is awaited. Both sign with the agent's own key, which never leaves the process."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from opentelemetry.propagate import inject

from agents.client import Document, RequestingAgent
from qpubus.client.calls import Answered, Ask, Call, Calls, Pause, Told
from qpubus.client.tokens import Tokens
from qpubus.client.told import Job, Quote, Receipt, Result
from qpubus.keyfile import read_key
from schemas.manifest import Manifest
from schemas.traces import DecisionTrace

Why = tuple[DecisionTrace, str]


def _agent(source: str, key: Ed25519PrivateKey | Path | str) -> RequestingAgent:
    return RequestingAgent(source, key if isinstance(key, Ed25519PrivateKey) else read_key(Path(key)))


def _request(client: httpx2.Client | httpx2.AsyncClient, ask: Ask) -> httpx2.Request:
    """A request within the caller's trace, if there is one."""
    headers = dict(ask.headers)
    inject(headers)
    timeout = httpx2.Timeout(ask.patience_s, connect=10.0)
    return client.build_request(
        ask.method, ask.path, content=ask.body, headers=headers, params=dict(ask.query), timeout=timeout
    )


def _answered(response: httpx2.Response) -> Answered:
    return Answered(response.status_code, dict(response.headers), response.content)


def _unanswered(error: httpx2.TransportError) -> Answered:
    return Answered(0, {}, (str(error) or type(error).__name__).encode())


class Client:
    """An agent's way to a bus: `with Client("http://127.0.0.1:8080", "agent:me", "agent.pem") as bus: ...`."""

    def __init__(
        self,
        url: str,
        agent: str,
        key: Ed25519PrivateKey | Path | str,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """`agent` is the name under which the key is enrolled; `key` the private key, or its PEM file."""
        me = _agent(agent, key)
        self._calls = Calls(me)
        auth = Tokens(url.rstrip("/"), me.source, me.key)
        self._http = httpx2.Client(base_url=url.rstrip("/"), auth=auth, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _run(self, call: Call[Told]) -> Told:
        try:
            step = next(call)
            while True:
                step = call.send(self._do(step))
        except StopIteration as end:
            told: Told = end.value
            return told

    def _do(self, step: Ask | Pause) -> Answered:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return Answered(0, {}, b"")
        try:
            return _answered(self._http.send(_request(self._http, step)))
        except httpx2.TransportError as error:
            return _unanswered(error)

    def site(self) -> str:
        """The site that answers."""
        return self._run(self._calls.site())

    def devices(self) -> list[dict[str, Any]]:
        """All devices as they describe themselves, with their prices."""
        return self._run(self._calls.devices())

    def snapshot(self, device: str) -> dict[str, Any]:
        """The latest calibration of a device, whole."""
        return self._run(self._calls.get(f"/v1/devices/{device}/snapshot"))

    def request_calibration(
        self, device: str, reason: str, max_age_s: int = 3_600, request_id: str = ""
    ) -> dict[str, Any]:
        """Have a device measured anew. It costs device time; one younger than `max_age_s` answers too."""
        return self._run(self._calls.request_calibration(device, reason, max_age_s, request_id))

    def store(self, content: bytes, media_type: str) -> str:
        """Keep a document; its SHA-256."""
        return self._run(self._calls.store(content, media_type))

    def quote(self, manifest: Manifest, documents: Iterable[Document] = ()) -> Quote:
        """What would become of a manifest: verdict, price, likely device. Nothing is held."""
        return self._run(self._calls.quote(manifest, documents))

    def submit(self, manifest: Manifest, documents: Iterable[Document] = (), why: Why | None = None) -> Receipt:
        """Sign a job and declare it: it may cost up to its budget. Said again, the same receipt."""
        return self._run(self._calls.submit(manifest, documents, why))

    def job(self, job_id: str, wait_s: float = 0.0) -> Job:
        """Where a job stands; with `wait_s` (at most 60) at its end, or after that time."""
        return self._run(self._calls.job(job_id, wait_s))

    def jobs(self, state: str = "") -> list[dict[str, Any]]:
        """The agent's jobs in short, the latest first."""
        return self._run(self._calls.jobs(state))

    def page(self, cursor: str = "", limit: int = 50, state: str = "") -> dict[str, Any]:
        """One page of the agent's jobs (`jobs`), and the cursor of the next (`next_cursor`)."""
        return self._run(self._calls.page(cursor, limit, state))

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """The job at its end; `TimeoutError` if it is not over by then, and the job goes on."""
        return self._run(self._calls.wait(job_id, timeout_s))

    def result(self, job_id: str) -> Result:
        """What a job found; `Failed` with the code `result_absent` while it has found nothing."""
        return self._run(self._calls.result(job_id))

    def withdraw(self, job_id: str, reason: str) -> dict[str, Any]:
        """Take a job back: what runs is stopped after this chunk."""
        return self._run(self._calls.withdraw(job_id, reason))

    def explain(self, job_id: str) -> dict[str, Any]:
        """How a job came to be as it is, event by event, each signature checked."""
        return self._run(self._calls.get(f"/v1/jobs/{job_id}/explanation"))

    def budget(self) -> dict[str, Any]:
        """What may still be spent."""
        return self._run(self._calls.get("/v1/budget"))

    def kpis(self) -> dict[str, Any]:
        """The KPIs of the site."""
        return self._run(self._calls.get("/v1/kpis"))


class AsyncClient:
    """The same for `async with` and `await`."""

    def __init__(
        self,
        url: str,
        agent: str,
        key: Ed25519PrivateKey | Path | str,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """`agent` is the name under which the key is enrolled; `key` the private key, or its PEM file."""
        me = _agent(agent, key)
        self._calls = Calls(me)
        auth = Tokens(url.rstrip("/"), me.source, me.key)
        self._http = httpx2.AsyncClient(base_url=url.rstrip("/"), auth=auth, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def _run(self, call: Call[Told]) -> Told:
        try:
            step = next(call)
            while True:
                step = call.send(await self._do(step))
        except StopIteration as end:
            told: Told = end.value
            return told

    async def _do(self, step: Ask | Pause) -> Answered:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return Answered(0, {}, b"")
        try:
            return _answered(await self._http.send(_request(self._http, step)))
        except httpx2.TransportError as error:
            return _unanswered(error)

    async def site(self) -> str:
        """The site that answers."""
        return await self._run(self._calls.site())

    async def devices(self) -> list[dict[str, Any]]:
        """All devices as they describe themselves, with their prices."""
        return await self._run(self._calls.devices())

    async def snapshot(self, device: str) -> dict[str, Any]:
        """The latest calibration of a device, whole."""
        return await self._run(self._calls.get(f"/v1/devices/{device}/snapshot"))

    async def request_calibration(
        self, device: str, reason: str, max_age_s: int = 3_600, request_id: str = ""
    ) -> dict[str, Any]:
        """Have a device measured anew. It costs device time; one younger than `max_age_s` answers too."""
        return await self._run(self._calls.request_calibration(device, reason, max_age_s, request_id))

    async def store(self, content: bytes, media_type: str) -> str:
        """Keep a document; its SHA-256."""
        return await self._run(self._calls.store(content, media_type))

    async def quote(self, manifest: Manifest, documents: Iterable[Document] = ()) -> Quote:
        """What would become of a manifest: verdict, price, likely device. Nothing is held."""
        return await self._run(self._calls.quote(manifest, documents))

    async def submit(self, manifest: Manifest, documents: Iterable[Document] = (), why: Why | None = None) -> Receipt:
        """Sign a job and declare it: it may cost up to its budget. Said again, the same receipt."""
        return await self._run(self._calls.submit(manifest, documents, why))

    async def job(self, job_id: str, wait_s: float = 0.0) -> Job:
        """Where a job stands; with `wait_s` (at most 60) at its end, or after that time."""
        return await self._run(self._calls.job(job_id, wait_s))

    async def jobs(self, state: str = "") -> list[dict[str, Any]]:
        """The agent's jobs in short, the latest first."""
        return await self._run(self._calls.jobs(state))

    async def page(self, cursor: str = "", limit: int = 50, state: str = "") -> dict[str, Any]:
        """One page of the agent's jobs (`jobs`), and the cursor of the next (`next_cursor`)."""
        return await self._run(self._calls.page(cursor, limit, state))

    async def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """The job at its end; `TimeoutError` if it is not over by then, and the job goes on."""
        return await self._run(self._calls.wait(job_id, timeout_s))

    async def result(self, job_id: str) -> Result:
        """What a job found; `Failed` with the code `result_absent` while it has found nothing."""
        return await self._run(self._calls.result(job_id))

    async def withdraw(self, job_id: str, reason: str) -> dict[str, Any]:
        """Take a job back: what runs is stopped after this chunk."""
        return await self._run(self._calls.withdraw(job_id, reason))

    async def explain(self, job_id: str) -> dict[str, Any]:
        """How a job came to be as it is, event by event, each signature checked."""
        return await self._run(self._calls.get(f"/v1/jobs/{job_id}/explanation"))

    async def budget(self) -> dict[str, Any]:
        """What may still be spent."""
        return await self._run(self._calls.get("/v1/budget"))

    async def kpis(self) -> dict[str, Any]:
        """The KPIs of the site."""
        return await self._run(self._calls.get("/v1/kpis"))
