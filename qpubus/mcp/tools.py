"""The tools of the MCP door. Their descriptions are read by models: units, limits, and what costs money.

Every tool asks the counter and answers with a document of the front desk. Whatever is not done is an answer too, with
`isError`: a stable code, what is wrong, where, and what to do next. No tool approves: where a person must, the answer
tells how they do.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import cleandoc
from logging import getLogger
from typing import Annotated, Any, ParamSpec, TypeVar

import orjson
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field

from qpubus.mcp import answers
from qpubus.mcp.counter import Counter, Told
from qpubus.mcp.drafting import DOCUMENTS_MAX, InlineDocument, completed
from qpubus.problem import problem_of
from qpubus.refusal import Refusal
from qpubus.web.answers import BudgetAnswer, DevicesAnswer, JobListAnswer, QuoteAnswer
from schemas.proofs import PROOF_BYTES_MAX, TYPE_CALIBRATION, TYPE_INTENT, TYPE_WITHDRAWAL
from schemas.words import Identifier

WAIT_S_MAX = 60.0
_log = getLogger("qpubus.mcp")
Counters = Callable[[Context[Any, Any]], Awaitable[Counter]]
Given = ParamSpec("Given")
Answer = TypeVar("Answer")

_READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
_ASKS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
_SPENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)
"""Nothing is deleted, yet money that was spent and a job that was taken back do not return: hosts should ask first."""

JobId = Annotated[Identifier, Field(description="the job's id, as it was declared")]
Device = Annotated[Identifier, Field(description="a device's id, from device_list")]
Reason = Annotated[str, Field(min_length=1, max_length=1_000, description="why, in a sentence; it can be erased later")]
WaitS = Annotated[float, Field(ge=0, le=WAIT_S_MAX, description="wait so many seconds for the end; 0 answers at once")]
AgentProof = Annotated[str, Field(max_length=PROOF_BYTES_MAX)]
_IF_OWN_KEY = "if you hold your own key, else empty: compact JWS over RFC 8785 of what follows its typ"
ManifestObject = Annotated[
    dict[str, Any],
    Field(
        description=(
            "the manifest; its JSON Schema is the resource qpubus://schemas/manifest, whole examples are "
            "qpubus://examples/bell and qpubus://examples/h2-vqe. Needed: job_id (yours, new for each job), purpose, "
            "quantum {circuit: OpenQASM 3 as text or base64, shots: per circuit execution}, budget {cost_microusd: the "
            "most it may cost in micro-dollars, shots: the most in all}. site and initiator are filled in"
        )
    ),
]
Documents = Annotated[
    list[InlineDocument],
    Field(max_length=DOCUMENTS_MAX, description="programs and inputs that the manifest names; digests are filled in"),
]


def told(tool: Callable[Given, Awaitable[Answer]]) -> Callable[Given, Awaitable[Answer | CallToolResult]]:
    """A tool whose refusals are answers."""

    @wraps(tool)
    async def answered(*given: Given.args, **named: Given.kwargs) -> Answer | CallToolResult:
        try:
            return await tool(*given, **named)
        except Refusal as refusal:
            return refused(refusal)
        except Exception as error:  # noqa: BLE001 - whatever a call ran into, the model is told
            _log.exception("a tool failed")
            problem = problem_of(error)
            return refused(Refusal("defect", f"this is a defect of the bus, {problem.what}: tell whoever runs it"))

    answered.__doc__ = cleandoc(tool.__doc__ or "")
    return answered


async def coded(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware: arguments that are not in their form are refused with a code, like everything else."""
    result = await call_next(ctx)
    if ctx.method != "tools/call" or not isinstance(result, dict) or not result.get("isError"):
        return result
    message = " ".join(each.get("text", "") for each in result.get("content", ()))
    if message.startswith('{"code":'):
        return result
    told_instead = refused(Refusal("arguments_invalid", message)).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    return {**result, "content": told_instead["content"]}


def refused(refusal: Refusal) -> CallToolResult:
    """A refusal as a tool answers it: JSON as text. Structured content would have to be in the tool's output schema."""
    document: Told = {"code": refusal.code, "message": refusal.message}
    if refusal.problems:
        document["problems"] = [each._asdict() for each in refusal.problems]
    if refusal.retry_after_s:
        document["retry_after_s"] = refusal.retry_after_s
    return CallToolResult(content=[TextContent(text=orjson.dumps(document).decode())], is_error=True)


def job_answer(counter: Counter, document: Told) -> answers.Job:
    """A job's document with what to do next."""
    over = document["state"] in {"completed", "failed", "cancelled", "refused"}
    return answers.Job.model_validate(document | {"is_over": over, "next": _next(counter, document)})


def _next(counter: Counter, document: Told) -> str:
    job_id = document["job_id"]
    match document["state"]:
        case "awaiting_approval":
            return (
                f"A person must approve this job, with a key that you have not. Ask yours to look at "
                f"{counter.approval_link(job_id)} and to answer there, or to run: qpubus approve {job_id} --key FILE "
                f"(or: qpubus deny {job_id} --key FILE --why TEXT). Then ask job_get again."
            )
        case "completed":
            return "It is over; `result` holds the observables. `explain` tells how it came about."
        case "refused" | "failed" | "cancelled":
            return "It is over without a result; `reason` and `message` say why. A new attempt needs a new job_id."
        case _:
            return "It goes on by itself, whether or not you are connected. Ask job_get again with wait_s 30."


def add_device_tools(server: MCPServer[Any], counters: Counters) -> None:
    """Devices, their calibrations, money, KPIs: what there is to decide by."""

    @server.tool(annotations=_READS, title="List devices")
    @told
    async def device_list(ctx: Context[Any, Any]) -> DevicesAnswer:
        """List quantum devices: status, queue, latest calibration, price. Free.

        Fidelities are estimates from the latest calibration, 0 to 1. Prices are in micro-dollars (1,000,000 = 1 USD).
        """
        return DevicesAnswer.model_validate(await (await counters(ctx)).devices())

    @server.tool(annotations=_READS, title="Show a device's calibration")
    @told
    async def device_snapshot(device: Device, ctx: Context[Any, Any]) -> answers.Snapshot:
        """Show the latest calibration of one device, in short. Free.

        The full document, with figures for each qubit and pair, is the resource qpubus://devices/{device}/snapshot.
        """
        document = await (await counters(ctx)).device_snapshot(device)
        return answers.Snapshot.model_validate({name: value for name, value in document.items() if name != "document"})

    @server.tool(annotations=_ASKS, title="Ask for a fresh calibration")
    @told
    async def calibration_request(
        device: Device,
        request_id: Annotated[Identifier, Field(description="yours; the same id again is the same request")],
        reason: Reason,
        ctx: Context[Any, Any],
        *,
        max_age_s: Annotated[int, Field(ge=0, le=2_678_400, description="a younger calibration will do")] = 3_600,
        agent_proof: Annotated[
            AgentProof, Field(description=f"{_IF_OWN_KEY}, {TYPE_CALIBRATION}: all of these, and site")
        ] = "",
    ) -> answers.CalibrationReceipt:
        """Ask that a device be measured anew. Costs no money, but device time: seconds to half an hour.

        While it is measured it runs nothing. If a calibration younger than max_age_s seconds (at least 600) stands
        already, that one answers and nothing is measured. Look at the outcome with device_snapshot.
        """
        counter = await counters(ctx)
        receipt = await counter.request_calibration(device, request_id, max_age_s, reason, agent_proof)
        after = f"Ask device_snapshot for {device} in a while: taken_us tells whether it is the new one."
        return answers.CalibrationReceipt.model_validate(receipt | {"device": device, "next": after})

    @server.tool(annotations=_READS, title="Show the budget")
    @told
    async def budget_left(ctx: Context[Any, Any]) -> BudgetAnswer:
        """Show what the site may still spend, and what your jobs hold and have spent, in micro-dollars. Free."""
        return BudgetAnswer.model_validate(await (await counters(ctx)).budget_left())

    @server.tool(annotations=_READS, title="Show the KPIs")
    @told
    async def kpis(ctx: Context[Any, Any]) -> answers.Kpis:
        """Show turnaround, fidelity per shot, cost per converged result, reproducibility, decision accuracy. Free."""
        return answers.Kpis.model_validate(await (await counters(ctx)).kpis())


def add_job_tools(server: MCPServer[Any], counters: Counters) -> None:
    """What becomes a job, and takes it back."""

    @server.tool(annotations=_ASKS, title="Quote a job")
    @told
    async def quote(
        manifest: ManifestObject, ctx: Context[Any, Any], documents: Documents | None = None
    ) -> QuoteAnswer:
        """Say what a job would cost, whether a person must approve it, and where it would run. Free, nothing is held.

        Documents that come with it are kept for job_submit. Do this first: all problems of the manifest come in
        one answer, each with its path.
        """
        counter = await counters(ctx)
        return QuoteAnswer.model_validate(await counter.quote(await _handed_in(counter, manifest, documents)))

    @server.tool(annotations=_SPENDS, title="Declare a job")
    @told
    async def job_submit(
        manifest: ManifestObject,
        ctx: Context[Any, Any],
        documents: Documents | None = None,
        agent_proof: Annotated[
            AgentProof, Field(description=f"{_IF_OWN_KEY}, {TYPE_INTENT}: the manifest as it stands")
        ] = "",
        wait_s: WaitS = 0,
    ) -> answers.Job:
        """Declare a job: THIS COSTS MONEY, up to budget.cost_microusd (micro-dollars), which is held at once.

        What is not spent is free again at the end. Safe to repeat: the same job_id with the same manifest is the same
        job. It runs on by itself if you disconnect. It may need a person's approval first: `next` tells how.
        """
        counter = await counters(ctx)
        if agent_proof:
            whole = orjson.dumps(manifest)
            await _store(counter, documents)
        else:
            whole = await _handed_in(counter, manifest, documents)
        receipt = await counter.declare(whole, agent_proof)
        return job_answer(counter, await counter.job_get(receipt["job_id"], wait_s))

    @server.tool(annotations=_SPENDS, title="Take a job back")
    @told
    async def job_withdraw(
        job_id: JobId,
        reason: Reason,
        ctx: Context[Any, Any],
        agent_proof: Annotated[AgentProof, Field(description=f"{_IF_OWN_KEY}, {TYPE_WITHDRAWAL}: job_id, reason")] = "",
    ) -> answers.Withdrawn:
        """Take a job back: if it waits it will not run, if it runs it stops after this chunk. Cannot be undone.

        Shots that have run are paid; the rest of what was held is free again.
        """
        said = await (await counters(ctx)).withdraw(job_id, reason, agent_proof)
        return answers.Withdrawn.model_validate(said | {"next": "Ask job_get until is_over to see what it cost."})


def add_reading_tools(server: MCPServer[Any], counters: Counters) -> None:
    """Jobs that were declared: where they stand, and how they came to be so."""

    @server.tool(annotations=_READS, title="Show a job")
    @told
    async def job_get(job_id: JobId, ctx: Context[Any, Any], wait_s: WaitS = 0) -> answers.Job:
        """Show where a job stands, what it cost so far and what it found. Free. With wait_s it waits for the end."""
        counter = await counters(ctx)
        return job_answer(counter, await counter.job_get(job_id, wait_s))

    @server.tool(annotations=_READS, title="List your jobs")
    @told
    async def job_list(
        ctx: Context[Any, Any],
        state: Annotated[str, Field(description="only jobs in this state; empty for all")] = "",
        cursor: Annotated[str, Field(description="next_cursor of the page before")] = "",
        limit: Annotated[int, Field(ge=1, le=200)] = 20,
    ) -> JobListAnswer:
        """List your jobs, the latest first. Free."""
        return JobListAnswer.model_validate(await (await counters(ctx)).job_list(cursor, limit, state))

    @server.tool(annotations=_READS, title="Explain a job")
    @told
    async def explain(job_id: JobId, ctx: Context[Any, Any]) -> answers.Explanation:
        """Tell how a job came to be as it is: each event in order, in a sentence, every signature checked. Free."""
        document = await (await counters(ctx)).explain(job_id)
        lines = [{name: line[name] for name in answers.Line.model_fields} for line in document["lines"]]
        return answers.Explanation.model_validate(
            {"job_id": job_id, "holds": document["holds"], "signatures": document["signatures"], "lines": lines}
        )


async def _handed_in(counter: Counter, manifest: Told, documents: list[InlineDocument] | None) -> bytes:
    """Store a job's documents and complete its manifest."""
    kept = [each.document() for each in documents or ()]
    whole = completed(manifest, kept, counter.site, counter.source)
    await _store(counter, documents)
    return whole


async def _store(counter: Counter, documents: list[InlineDocument] | None) -> None:
    for each in documents or ():
        document = each.document()
        await counter.artifact_put(document.content, document.media_type)
