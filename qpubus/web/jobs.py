"""REST: jobs, quotes, budgets left, KPIs."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Path, Query, Request, Response

from projections.job import JobState
from qpubus.web.answers import (
    BudgetAnswer,
    ExplainAnswer,
    JobAnswer,
    JobListAnswer,
    KpiAnswer,
    QuoteAnswer,
    ReceiptAnswer,
    ResultAnswer,
    SaidAnswer,
)
from qpubus.web.asked import (
    DeclarationAsked,
    JobReader,
    JobWriter,
    QuoteAsked,
    SiteReader,
    StrictRoute,
    WithdrawalAsked,
    door_of,
)
from qpubus.web.desk import PAGE_MAX, WAIT_S_MAX
from qpubus.web.replies import NOT_MODIFIED, PROBLEMS, as_json, tagged

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["jobs"])
JobId = Annotated[str, Path(max_length=128, description="the id that the agent chose")]
IdempotencyKey = Annotated[
    str,
    Header(
        max_length=130,
        pattern=r'^("?)[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}("?)$|^$',
        description="the same key with the same body gives the same answer, for ever; with another body 409",
    ),
]


@router.post(
    "/jobs",
    status_code=201,
    summary="Declare a job. It may cost money, up to its own budget.",
    responses={201: {"model": ReceiptAnswer}, **PROBLEMS},
)
async def declare(
    request: Request, asked: DeclarationAsked, caller: JobWriter, idempotency_key: IdempotencyKey = ""
) -> Response:
    """The answer comes when the intent is durably on the log; policy decides next. Repeat it after a lost answer."""
    manifest = orjson.dumps(asked.manifest)
    desk = door_of(request).desk
    receipt = await desk.declare(caller, manifest, asked.agent_proof, asked.trace, idempotency_key.strip('"'))
    return as_json(receipt, 201, {"location": f"/v1/jobs/{receipt['job_id']}"})


@router.get("/jobs", summary="List jobs, the latest first.", responses={200: {"model": JobListAnswer}, **PROBLEMS})
async def job_list(
    request: Request,
    caller: JobReader,
    cursor: Annotated[str, Query(max_length=256, description="`next_cursor` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    state: JobState | None = None,
) -> Response:
    """An agent sees its own jobs."""
    return as_json(await door_of(request).desk.job_list(caller, cursor, limit, state or ""))


@router.get(
    "/jobs/{job_id}",
    summary="Where a job stands, and why.",
    responses={200: {"model": JobAnswer}, **NOT_MODIFIED, **PROBLEMS},
)
async def job_get(
    request: Request,
    job_id: JobId,
    caller: JobReader,
    wait_s: Annotated[float, Query(ge=0, le=WAIT_S_MAX, allow_inf_nan=False)] = 0,
) -> Response:
    """With `wait_s` the answer waits until the job is over, or, beside If-None-Match, until anything has changed."""
    unlike = request.headers.get("if-none-match", "").strip()
    return tagged(request, await door_of(request).desk.job_get(caller, job_id, wait_s, unlike))


@router.post(
    "/jobs/{job_id}/withdrawal", summary="Take a job back.", responses={200: {"model": SaidAnswer}, **PROBLEMS}
)
async def withdraw(request: Request, job_id: JobId, asked: WithdrawalAsked, caller: JobWriter) -> Response:
    """What runs is stopped; what was not spent is free again."""
    return as_json(await door_of(request).desk.withdraw(caller, job_id, asked.agent_proof, asked.reason))


@router.get(
    "/jobs/{job_id}/result",
    summary="What a job found.",
    responses={200: {"model": ResultAnswer}, **NOT_MODIFIED, **PROBLEMS},
)
async def result(request: Request, job_id: JobId, caller: JobReader) -> Response:
    """404 with the code `result_absent` while it has found nothing."""
    return tagged(request, await door_of(request).desk.result(caller, job_id))


@router.get(
    "/jobs/{job_id}/explanation",
    summary="The chain of causes of a job, each signature checked.",
    responses={200: {"model": ExplainAnswer}, **PROBLEMS},
)
async def explain(request: Request, job_id: JobId, caller: JobReader) -> Response:
    """The log is read from its start for this: a second for each 10,000 records or so."""
    desk = door_of(request).desk
    return as_json(await desk.explain(caller, job_id))


@router.post(
    "/quotes",
    summary="What a job would cost; nothing is reserved.",
    responses={200: {"model": QuoteAnswer}, **PROBLEMS},
)
async def quote(request: Request, asked: QuoteAsked, caller: JobWriter) -> Response:
    """Policy's verdict, likely device and price, by the code that later decides and holds the budget."""
    return as_json(await door_of(request).desk.quote(caller, orjson.dumps(asked.manifest)))


@router.get(
    "/budget",
    tags=["site"],
    summary="What may still be spent.",
    responses={200: {"model": BudgetAnswer}, **NOT_MODIFIED, **PROBLEMS},
)
async def budget_left(request: Request, caller: SiteReader) -> Response:
    """Of the site, and what the caller's own jobs have held and spent."""
    return tagged(request, await door_of(request).desk.budget_left(caller))


@router.get(
    "/kpis",
    tags=["site"],
    summary="The five KPIs, each with its 95 % interval.",
    responses={200: {"model": dict[str, KpiAnswer]}, **NOT_MODIFIED, **PROBLEMS},
)
async def kpis(request: Request, caller: SiteReader) -> Response:
    """With n = 0 a value is null."""
    return tagged(request, await door_of(request).desk.kpis(caller))
