"""The stdio bridge: `mcp`."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from qpubus.commands.options import DEFAULT_DATA, Data
from qpubus.keyfile import read_key
from qpubus.mcp.counter import Counter
from qpubus.mcp.server import mcp_server
from qpubus.mcp.tasks import RequestContext
from qpubus.place import Place

URL, AGENT, KEY = "QPUBUS_URL", "QPUBUS_AGENT", "QPUBUS_KEY"


def mcp(
    *,
    url: Annotated[
        str | None,
        typer.Option("--url", envvar=URL, metavar="URL", help="The bus; that of --data where none is named."),
    ] = None,
    agent: Annotated[
        str | None, typer.Option("--agent", envvar=AGENT, metavar="NAME", help="Under which name the key is enrolled.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", envvar=KEY, metavar="FILE", help="The agent's private key; DIR/keys/agent.pem if none."),
    ] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Speak MCP on standard input and output, for a host that starts its servers: Claude Code, Qwen Code, others.

    What the host asks goes to the running bus over HTTP, signed here with the agent's key, which stays in this process.
    """
    asyncio.run(_bridge(url, agent, key or Place(data).key("agent"), data))


async def _bridge(url: str | None, agent: str | None, key_file: Path, data: Path) -> None:
    key = read_key(key_file)
    async with AsyncExitStack() as stack:
        connected: list[Counter] = []
        turn = asyncio.Lock()

        async def counter_of(_: RequestContext) -> Counter:
            """Connect with the first call: a host waits for no bus, and one that starts later is found."""
            async with turn:
                if not connected:
                    from qpubus.mcp.bridge import counter_at  # noqa: PLC0415 (hosts do not wait long for a start)

                    connected.append(await stack.enter_async_context(counter_at(url, agent, key, data)))
            return connected[0]

        await mcp_server(counter_of).run_stdio_async()
