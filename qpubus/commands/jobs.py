"""Jobs as they stand: `jobs`, `job`, `result`."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from projections.job import Job, Result
from projections.jobs import JOBS, JobsView
from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, JobId, Json
from qpubus.documents import ended_us, job_brief, job_full, reason_of, result_document, runs_ahead
from qpubus.problem import Problem
from qpubus.reading import open_desk
from qpubus.tables import table


class ResultFormat(StrEnum):
    """How a result is written for programs."""

    JSON = "json"
    CSV = "csv"


def jobs(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """List all jobs, the latest first."""
    asyncio.run(_jobs(data, json))


async def _jobs(data: Path, json: bool) -> None:

    async with open_desk(data) as desk:
        view = (await desk.views())[JOBS]
    found = sorted(view.jobs.values(), key=lambda job: (-_declared_us(job), job.job_id))
    if json:
        show.json([job_brief(job) for job in found])
        return
    if not found:
        show.say(f"No job has been declared yet. Try: qpubus submit {data}/examples/h2-vqe.json --wait --data {data}")
        return
    rows = [
        (
            job.job_id,
            job.state,
            job.device,
            f"{job.result.shots:,}" if job.result else "",
            show.usd(job.cost_microusd),
            show.utc(_declared_us(job)),
            job.declaration.initiator if job.declaration else "",
            reason_of(job)[0] or (job.declaration.purpose if job.declaration else ""),
        )
        for job in found
    ]
    columns = ("job", "state", "device", "shots", "cost", "declared", "by", "purpose, or reason")
    table(columns, rows, right=("shots", "cost"))


def _declared_us(job: Job) -> int:
    return job.declaration.time_us if job.declaration else 0


def job(job_id: JobId, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Show where a job stands, what was decided about it and why. Exit 1 if it was refused, failed or was cancelled."""
    asyncio.run(_job(job_id, data, json))


async def _job(job_id: str, data: Path, json: bool) -> None:

    async with open_desk(data) as desk:
        views, found = await desk.job(job_id)
    view = views[JOBS]
    if json:
        show.json(job_full(view, found))
    else:
        show_job(view, found)
    if found.state in {"refused", "failed", "cancelled"}:
        raise typer.Exit(1)


def show_job(view: JobsView, job: Job) -> None:
    """Write all a person wants to know of a job."""
    declared, admission, reservation, ended = job.declaration, job.admission, job.reservation, ended_us(job)
    code, message = reason_of(job)
    show.facts(
        [
            ("job", job.job_id),
            ("state", job.state.replace("_", " ")),
            ("why", f"{code}: {message}" if code else ""),
            ("purpose", declared.purpose if declared else ""),
            ("declared", f"{show.utc(declared.time_us)} by {declared.initiator}" if declared else ""),
            ("bounds", f"{declared.budget_shots:,} shots, {show.usd(declared.budget_microusd)}" if declared else ""),
            ("approval", _approval_text(view, job)),
            ("admitted", f"{show.utc(admission.time_us)} by rule {admission.rule}" if admission else ""),
            ("placement", job.placement.why if job.placement else ""),
            (
                "slot",
                f"{reservation.device} at {show.utc(reservation.starts_us)}, no. {reservation.queue_position} in line"
                if reservation
                else "",
            ),
            ("progress", f"{job.steps_completed} of {job.steps_planned} planned steps" if job.steps_planned else ""),
            ("trouble", f"step {job.problem.step}: {job.problem.reason}: {job.problem.message}" if job.problem else ""),
            ("spent", f"{show.usd(job.cost_microusd)} of {show.usd(job.held_microusd)} held"),
            ("ended", show.utc(ended) if ended else ""),
            ("", "The device time is emulated and was not waited out." if runs_ahead(job) else ""),
        ]
    )
    if job.placement and job.placement.candidates:
        print()
        table(
            ("device", "verdict", "predicted success", "price", "wait"),
            [
                (
                    each.device,
                    each.verdict,
                    f"{each.predicted_success:.4f}" if each.predicted_success else "",
                    show.usd(each.price_microusd) if each.price_microusd else "",
                    show.duration(each.queue_wait_us) if each.predicted_success else "",
                )
                for each in job.placement.candidates
            ],
            right=("price",),
        )
    if job.result:
        print()
        show_result(job.result)


def _approval_text(view: JobsView, job: Job) -> str:
    approval = job.approval
    if approval is None:
        return ""
    if approval.answer:
        answer = approval.answer
        because = f": {answer.reason}" if answer.reason else ""
        return f"{answer.answer} by {answer.approver} ({answer.proof_type}, assurance {view.assurance(job)}){because}"
    return f"{'expired' if approval.expired else 'awaited'}: {approval.message} (rule {approval.rule})"


def show_result(result: Result) -> None:
    """Write what a job found."""
    table(
        ("observable", "value ± standard error"),
        [(each.name, show.number(each.value, each.standard_error)) for each in result.observables],
    )
    converged = "converged" if result.converged else "not converged"
    show.say(
        f"{converged} after {result.iterations} iterations, {result.shots:,} shots on {result.device}, "
        f"{show.duration(result.device_time_us)} of device time"
    )


def result(
    job_id: JobId,
    output: Annotated[
        ResultFormat | None, typer.Option("-o", "--output", help="Write for programs: csv has one observable a line.")
    ] = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Show what a job found. Exit 1 if it has no result."""
    asyncio.run(_result(job_id, ResultFormat.JSON if json else output, data))


async def _result(job_id: str, output: ResultFormat | None, data: Path) -> None:

    async with open_desk(data) as desk:
        _, found = await desk.job(job_id)
    if found.result is None:
        code, message = reason_of(found)
        because = f" ({code}: {message})" if code else ""
        later = "" if found.is_over else f"Wait for it: qpubus events --follow --job {job_id} --data {data}"
        raise Problem(f"the job {job_id} has no result: it is {found.state}{because}", later, code="no_result")
    if output is ResultFormat.JSON:
        show.json({"job_id": job_id, "state": found.state} | result_document(found.result))
    elif output is ResultFormat.CSV:
        print("observable,value,standard_error")
        for each in found.result.observables:
            print(f"{each.name},{each.value!r},{each.standard_error!r}")
    else:
        show_result(found.result)
