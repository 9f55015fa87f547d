"""The MCP server: one set of tools, resources, prompts and tasks for both transports."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from mcp.server.mcpserver import Context, MCPServer

from qpubus.mcp.completions import add_completions, asking
from qpubus.mcp.counter import Counter
from qpubus.mcp.reading_matter import add_prompts, add_resources
from qpubus.mcp.tasks import RequestContext, Tasks
from qpubus.mcp.tools import add_device_tools, add_job_tools, add_reading_tools, coded

INSTRUCTIONS = """Runs hybrid quantum-classical jobs on shared devices. Everything is on a signed log that people audit.
Look with device_list and budget_left, ask quote (free), then job_submit (costs money, up to the budget you state).
Amounts are micro-dollars: 1,000,000 is 1 USD. Times are microseconds since 1970 UTC where a name ends in _us.
Dear jobs wait for a person, who signs with a key that you have not; no tool here approves. Jobs go on without you."""


def mcp_server(counter_of: Callable[[RequestContext], Awaitable[Counter]]) -> MCPServer[Any]:
    """The server; `counter_of` says at which counter the author of a request stands."""

    async def counters(ctx: Context[Any, Any]) -> Counter:
        return await counter_of(ctx.request_context)

    server: MCPServer[Any] = MCPServer(
        "qpubus",
        title="qpubus",
        instructions=INSTRUCTIONS,
        version=version("qpubus"),
        extensions=[Tasks(counter_of)],
        middleware=[coded, asking],
        log_level="WARNING",
        subscriptions=False,
    )
    add_device_tools(server, counters)
    add_job_tools(server, counters)
    add_reading_tools(server, counters)
    add_resources(server, counters)
    add_prompts(server)
    add_completions(server, counter_of)
    return server
