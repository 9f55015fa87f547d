"""Long jobs as tasks: the extension `io.modelcontextprotocol/tasks` of revision 2026-07-28, backed by the log.

A task is a job: its id is the job's, whoever may see the job may ask for it, and it outlives every connection and this
process. A client that declared the extension gets a task from `job_submit`; any other gets the job as it stands and
asks `job_get`. That a request breaks off ends nothing: only `tasks/cancel` and `job_withdraw` take a job back.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, RequestParams, TextContent
from pydantic import ConfigDict, Field

from qpubus.mcp.answers import Job
from qpubus.mcp.counter import Counter
from qpubus.mcp.tools import job_answer
from qpubus.refusal import Refusal

IDENTIFIER = "io.modelcontextprotocol/tasks"
REVISIONS = frozenset({"2026-07-28"})
POLL_MS = 2_000
SUBMIT = "job_submit"
WITHDRAWAL_REASON = "the agent's client cancelled the task"
SIGN_IT = "you hold your own key: sign the withdrawal and call job_withdraw with it as agent_proof"
RequestContext = ServerRequestContext[Any, Any]


class TaskParams(RequestParams):
    """Which task."""

    task_id: str = Field(alias="taskId", max_length=128)


class TaskUpdate(TaskParams):
    """Answers to what a task asked of its client. Ours ask nothing: a person signs elsewhere."""

    model_config = ConfigDict(extra="allow")


class Tasks(Extension):
    """Jobs as tasks."""

    identifier = IDENTIFIER

    def __init__(self, counters: Callable[[RequestContext], Awaitable[Counter]]) -> None:
        self._counters = counters

    def methods(self) -> list[MethodBinding]:
        """The three methods of the extension."""
        return [
            MethodBinding("tasks/get", TaskParams, self._get, REVISIONS),
            MethodBinding("tasks/update", TaskUpdate, self._update, REVISIONS),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, REVISIONS),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: RequestContext, call_next: CallNext
    ) -> HandlerResult:
        """A job that was declared and goes on becomes a task, for a client that knows tasks."""
        result = await call_next(ctx)
        if (
            params.name != SUBMIT
            or not isinstance(result, CallToolResult)
            or result.is_error
            or not result.structured_content
            or ctx.protocol_version not in REVISIONS
            or not _knows_tasks(ctx)
        ):
            return result
        job = Job.model_validate(result.structured_content)
        return result if job.is_over else {"resultType": "task", **_task(job, result.structured_content)}

    async def _get(self, ctx: RequestContext, params: TaskParams) -> HandlerResult:
        counter, document = await self._job(ctx, params)
        job = job_answer(counter, document)
        shown = _task(job, document)
        if shown["status"] == "completed":
            shown["result"] = _result(job).model_dump(mode="json", by_alias=True, exclude_none=True)
        return shown

    async def _update(self, ctx: RequestContext, params: TaskUpdate) -> HandlerResult:
        await self._job(ctx, params)
        return {}

    async def _cancel(self, ctx: RequestContext, params: TaskParams) -> HandlerResult:
        """Take the job back; one that is over stays as it is."""
        counter, document = await self._job(ctx, params)
        if not job_answer(counter, document).is_over:
            try:
                await counter.withdraw(params.task_id, WITHDRAWAL_REASON, "")
            except Refusal as refusal:
                if refusal.code == "proof_missing":  # the method has no place for one
                    raise _error(Refusal(refusal.code, SIGN_IT)) from None
                if refusal.code != "job_ended":
                    raise _error(refusal) from None
        return {}

    async def _job(self, ctx: RequestContext, params: TaskParams) -> tuple[Counter, dict[str, Any]]:
        require_client_extension(ctx, IDENTIFIER)
        try:
            counter = await self._counters(ctx)
            return counter, await counter.job_get(params.task_id, 0)
        except Refusal as refusal:
            raise _error(refusal) from None


def _knows_tasks(ctx: RequestContext) -> bool:
    capabilities = ctx.session.client_capabilities
    return capabilities is not None and IDENTIFIER in (capabilities.extensions or {})


def _error(refusal: Refusal) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=refusal.message, data={"code": refusal.code})


def _task(job: Job, document: dict[str, Any]) -> dict[str, Any]:
    """A job in the words of a task. One that failed has completed as a call, with an error for its result."""
    status = "cancelled" if job.state == "cancelled" else "completed" if job.is_over else "working"
    declared_us = document.get("declared_us") or 0
    return {
        "taskId": job.job_id,
        "status": status,
        "statusMessage": f"{job.state}: {job.message or job.next}",
        "createdAt": _utc(declared_us),
        "lastUpdatedAt": _utc(document.get("ended_us") or declared_us),
        "ttlMs": None,
        "pollIntervalMs": POLL_MS,
    }


def _result(job: Job) -> CallToolResult:
    """What `job_submit` would have answered, had its caller waited."""
    content = [TextContent(text=job.model_dump_json())]
    return CallToolResult(
        content=content, structured_content=job.model_dump(mode="json"), is_error=job.state != "completed"
    )


def _utc(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
