"""A bus as a process with its HTTP door open, and official MCP clients that talk to it as an enrolled agent."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
import orjson
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from agents.client import RequestingAgent, h2_manifest
from qpubus.client.tokens import Tokens
from qpubus.door_client import ask
from qpubus.keyfile import read_key
from qpubus.mcp.reading_matter import h2_arguments
from schemas.manifest import plain
from tests.support.commands import QPUBUS, environment, qpubus, running_bus

Era = Literal["auto", "legacy"]
"""The current revision as the server offers it, or the newest that begins with `initialize`."""
TOOLS = {
    *("device_list", "device_snapshot", "calibration_request", "quote", "job_submit", "job_get", "job_list"),
    *("job_withdraw", "budget_left", "kpis", "explain"),
}


@dataclass(frozen=True)
class Bus:
    """A running bus: its data directory, where it is reached, and its first agent."""

    directory: Path
    url: str
    site: str
    agent: RequestingAgent

    @property
    def auth(self) -> Tokens:
        """Access tokens for the agent."""
        return Tokens(self.url, self.agent.source, self.agent.key)

    def token(self) -> str:
        """An access token for the agent, for clients that are given one."""
        with httpx2.Client(auth=self.auth) as http:
            sent = http.get(f"{self.url}/v1/site").request
        return str(sent.headers["authorization"]).removeprefix("Bearer ")

    @asynccontextmanager
    async def over_http(self, era: Era = "auto") -> AsyncIterator[Client]:
        """The official client at /mcp."""
        async with (
            httpx2.AsyncClient(auth=self.auth, timeout=120) as http,
            Client(streamable_http_client(f"{self.url}/mcp", http_client=http), mode=era) as client,
        ):
            yield client

    @asynccontextmanager
    async def over_stdio(self, era: Era = "auto") -> AsyncIterator[Client]:
        """The official client, with `qpubus mcp` as the server that it starts."""
        command = ["-c", "from qpubus.cli import main; main()", "mcp", "--data", str(self.directory)]
        server = StdioServerParameters(command=sys.executable, args=command, env=environment())
        async with Client(server, mode=era) as client:
            yield client

    async def approve(self, job_id: str) -> None:
        """Say yes, as the person who holds the approver's key does, in a terminal of their own."""
        await run(self, "approve", job_id, "--key", self.directory / "keys" / "approver.pem", typed="y\n")


async def run(bus: Bus, *arguments: str | Path, typed: str = "") -> None:
    """A command in a terminal of its own."""
    command = [*QPUBUS, *map(str, arguments), "--data", str(bus.directory)]
    process = await asyncio.create_subprocess_exec(*command, env=environment(), stdin=PIPE, stdout=PIPE, stderr=PIPE)
    _, errors = await process.communicate(typed.encode())
    assert process.returncode == 0, errors.decode()


async def enrolled(bus: Bus, source: str) -> RequestingAgent:
    """A further agent of the site, with a key of its own."""
    key = bus.directory / "keys" / f"{source.replace(':', '-')}.pem"
    await run(bus, "keys", "enrol", source, "agent", "--new", key)
    return RequestingAgent(source, read_key(key))


@contextmanager
def running_site(directory: Path) -> Iterator[Bus]:
    """A site of its own, running."""
    assert qpubus("init", "--data", directory).code == 0
    with running_bus(directory, "127.0.0.1:0"):
        yield bus_in(directory)


def bus_in(directory: Path) -> Bus:
    """The bus that runs on a directory."""
    status = ask(directory, "status")
    source = orjson.loads((directory / "examples" / "h2-vqe.json").read_bytes())["initiator"]
    agent = RequestingAgent(source, read_key(directory / "keys" / "agent.pem"))
    return Bus(directory, status["http"], status["site"], agent)


def signed_h2(bus: Bus, job_id: str) -> dict[str, Any]:
    """Arguments of `job_submit` for the H2 job, signed by an agent that holds its own key."""
    manifest = h2_manifest(job_id, bus.agent.source, bus.site, seed=1)
    documents = h2_arguments(job_id)["documents"]
    return {"manifest": plain(manifest), "documents": documents, "agent_proof": bus.agent.sign(manifest)}


def told(result: Any) -> dict[str, Any]:
    """The structured content of a tool's answer that is no error."""
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def refused(result: Any) -> str:
    """The code of an answer that is an error."""
    assert result.is_error
    return str(orjson.loads(result.content[0].text)["code"])


async def finished(client: Client, bus: Bus, job_id: str) -> dict[str, Any]:
    """Follow a job as an agent does, by handle; a person approves when the answer says that one must."""
    is_approved, job = False, {"state": "unknown"}
    for _ in range(20):
        job = told(await client.call_tool("job_get", {"job_id": job_id, "wait_s": 0 if not is_approved else 30}))
        if job["is_over"]:
            return job
        if job["state"] == "awaiting_approval" and not is_approved:
            assert f"qpubus approve {job_id}" in job["next"]
            await bus.approve(job_id)
            is_approved = True
    raise AssertionError(f"{job_id} is {job['state']}")


async def raw(bus: Bus, method: str, params: dict[str, Any], *extensions: str) -> dict[str, Any]:
    """A request of revision 2026-07-28 by hand, by a client that declares these extensions; its result."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {name: {} for name in extensions}},
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": method,
        **({"mcp-name": params["name"]} if "name" in params else {"mcp-name": params["taskId"]}),
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params | {"_meta": meta}}
    async with httpx2.AsyncClient(auth=bus.auth, timeout=60) as http:
        answer = await http.post(f"{bus.url}/mcp", json=body, headers=headers)
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        text = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")][-1]
    document = orjson.loads(text)
    assert "result" in document, document
    found: dict[str, Any] = document["result"]
    return found
