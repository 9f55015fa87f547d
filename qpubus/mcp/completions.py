"""Completions: what has been typed of a device's or a job's name goes in, the names that begin so come out."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from mcp.server.context import CallNext, HandlerResult
from mcp.server.mcpserver import MCPServer
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from qpubus.mcp.counter import Counter
from qpubus.mcp.tasks import RequestContext
from qpubus.refusal import Refusal

SHOWN_MAX = 100
_asking: ContextVar[RequestContext] = ContextVar("asking")


async def asking(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    """Middleware: the completion handler is told of no request, so it finds the one it answers here."""
    _asking.set(ctx)
    return await call_next(ctx)


def add_completions(server: MCPServer[Any], counter_of: Callable[[RequestContext], Awaitable[Counter]]) -> None:
    """Complete `device` and `job_id`, wherever a prompt or a resource asks for them."""

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]  # mcp has not annotated it
    async def complete(
        _ref: PromptReference | ResourceTemplateReference, argument: CompletionArgument, _: CompletionContext | None
    ) -> Completion:
        if argument.name not in {"device", "job_id"}:
            return Completion(values=[], total=0, has_more=False)
        try:
            counter = await counter_of(_asking.get())
            names = await (_devices(counter) if argument.name == "device" else _jobs(counter))
        except Refusal:
            names = []
        found = [name for name in names if name.startswith(argument.value)]
        return Completion(values=found[:SHOWN_MAX], total=len(found), has_more=len(found) > SHOWN_MAX)


async def _devices(counter: Counter) -> list[str]:
    return [each["device"] for each in (await counter.devices())["devices"]]


async def _jobs(counter: Counter) -> list[str]:
    return [each["job_id"] for each in (await counter.job_list("", SHOWN_MAX, ""))["jobs"]]
