"""What the conformance runner wants to find on a server: a tool, resource or prompt for each kind of content.

They are added to the server of our own MCP door, so the runner judges its transport, gate and middleware.
"""

import asyncio
import contextlib
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    ClientCapabilities,
    EmbeddedResource,
    ImageContent,
    MissingRequiredClientCapabilityErrorData,
    SamplingCapability,
    TextContent,
    TextResourceContents,
)

from qpubus.bus import run_wall
from qpubus.mcp.door import McpDoor
from qpubus.place import Place
from qpubus.web.caller import SCOPES_OF_ROLE, Caller
from qpubus.web.desk import FrontDesk
from qpubus.web.gate import Gate
from qpubus.web.opening import hosts_of, origins_of
from qpubus.web.server import Address, listen, serving
from qpubus.web.workload import Workload
from qpubus.wiring import open_machine

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
WAV = b64encode(
    b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00"
    b"\x01\x00\x08\x00data\x00\x00\x00\x00"
).decode()
VISITOR = "agent:visitor"
Content = TextContent | ImageContent | AudioContent | EmbeddedResource


class Doorman:
    """Lets everybody in as one agent; who may come in is tested elsewhere."""

    def __init__(self, site: str) -> None:
        scopes = frozenset(map(str, SCOPES_OF_ROLE["agent"]))
        self._caller = Caller(site, VISITOR, "agent", scopes, assurance="gateway-held")

    async def caller(self, _: str | None) -> Caller:
        return self._caller


def embedded(uri: str, text: str, mime_type: str = "text/plain") -> EmbeddedResource:
    return EmbeddedResource(resource=TextResourceContents(uri=uri, text=text, mime_type=mime_type))


def add_everything(server: MCPServer[Any]) -> None:
    """The fixtures by the runner's names."""
    contents: dict[str, list[Content]] = {
        "test_simple_text": [TextContent(text="This is a simple text response for testing.")],
        "test_image_content": [ImageContent(data=PNG, mime_type="image/png")],
        "test_audio_content": [AudioContent(data=WAV, mime_type="audio/wav")],
        "test_embedded_resource": [embedded("test://embedded-resource", "This is an embedded resource content.")],
        "test_multiple_content_types": [
            TextContent(text="Multiple content types test:"),
            ImageContent(data=PNG, mime_type="image/png"),
            embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
        ],
    }
    for name, content in contents.items():
        server.add_tool(lambda content=content: content, name=name, description=name, structured_output=False)

    @server.tool(structured_output=False, description="reports progress")
    async def test_tool_with_progress(ctx: Context[Any, Any]) -> str:
        for progress in (0, 50, 100):
            await ctx.report_progress(progress, 100)
            await asyncio.sleep(0.05)
        return "done"

    @server.tool(structured_output=False, description="fails")
    async def test_error_handling() -> str:
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool(structured_output=False, description="needs what clients need not have")
    async def test_missing_capability() -> str:
        needed = MissingRequiredClientCapabilityErrorData(
            required_capabilities=ClientCapabilities(sampling=SamplingCapability())
        )
        data = needed.model_dump(by_alias=True, mode="json", exclude_none=True)
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "it needs sampling", data)

    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        return b64decode(PNG)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:  # noqa: A002 (the runner's name)
        return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'

    @server.prompt(description="a fixture")
    def test_simple_prompt() -> str:
        return "This is a simple prompt for testing."

    @server.prompt(description="a fixture")
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt(description="a fixture")
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:  # noqa: N803 (likewise)
        resource = embedded(resourceUri, "Embedded resource content for testing.")
        return [resource, TextContent(text="Please process the embedded resource above.")]

    @server.prompt(description="a fixture")
    def test_prompt_with_image() -> list[Any]:
        return [ImageContent(data=PNG, mime_type="image/png"), TextContent(text="Please analyze the image above.")]


@contextmanager
def everything_at_mcp(directory: Path) -> Iterator[str]:
    """Our MCP door with the fixtures, behind our gate, in a thread of its own; where it is reached."""
    bound, real = listen(Address("127.0.0.1", 0), "")
    url, is_open, ends = f"http://{real.text}", threading.Event(), threading.Event()

    async def serve() -> None:
        async with open_machine(Place(directory)) as machine:
            door = McpDoor(FrontDesk(machine, url), Doorman(machine.site))  # type: ignore[arg-type]  # of Identity only this is asked
            add_everything(door.server)
            gate = Gate(door, hosts=hosts_of(real, url), origins=origins_of(real, url), workload=Workload(64))
            async with door.open(), serving(without_lifespan(gate), bound, 256):
                running = asyncio.create_task(run_wall(machine, print))
                is_open.set()
                await asyncio.to_thread(ends.wait)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert is_open.wait(60)
        yield f"{url}/mcp"
    finally:
        ends.set()
        thread.join(30)
        bound.close()


def without_lifespan(gate: Gate) -> Any:
    """The gate on its own knows nothing of an application's start and end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await gate(scope, receive, send)
            return
        for word in ("startup", "shutdown"):
            with contextlib.suppress(asyncio.CancelledError):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})

    return app
