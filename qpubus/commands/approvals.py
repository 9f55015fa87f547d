"""The human gate: `approvals`, `approve`, `deny`."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.approver import Approver
from agents.artifacts import ArtifactStore
from agents.replies import Answer
from projections.jobs import JOBS
from qpubus import show
from qpubus.approval_text import show_approval
from qpubus.commands.options import DEFAULT_DATA, Data, JobId, Json, Key
from qpubus.documents import approval_document, job_brief
from qpubus.door_client import ask
from qpubus.keyfile import read_key
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.reading import Desk, open_desk
from qpubus.requests import Denial, Grant
from qpubus.tables import table
from schemas.events import ApprovalRejected, ApprovalStatement, IntentAdmitted, IntentRefused
from streams.stage import Heard

VERDICT_S = 10.0
"""Policy answers in milliseconds; a bus that is catching up may need longer."""

ShowPrograms = Annotated[bool, typer.Option("--show-programs", help="Show the programs' texts too.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before signing.")]


def approvals(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """List the jobs that wait for a person, the longest waiting first."""
    asyncio.run(_approvals(data, json))


async def _approvals(data: Path, json: bool) -> None:

    async with open_desk(data) as desk:
        view = (await desk.views())[JOBS]
    waiting = [(job, job.approval) for job in view.awaiting_approval() if job.approval]
    if json:
        show.json([job_brief(job) | {"approval": approval_document(view, job, each)} for job, each in waiting])
        return
    if not waiting:
        show.say("Nothing waits for a person.")
        return
    rows = [
        (
            job.job_id,
            job.declaration.initiator if job.declaration else "",
            each.statement.purpose,
            f"{each.statement.shots:,}",
            show.usd(each.statement.price_ceiling_microusd),
            show.utc(each.statement.expires_us),
            each.message,
        )
        for job, each in waiting
    ]
    columns = ("job", "asked by", "purpose", "shots at most", "price at most", "expires", "why a person")
    table(columns, rows, right=("shots at most", "price at most"))
    show.say(f"\nLook closer and sign: qpubus approve ID --key FILE --data {data}")


def approve(
    job_id: JobId, *, key: Key, data: Data = DEFAULT_DATA, show_programs: ShowPrograms = False, yes: Yes = False
) -> None:
    """Show what would run, its price and why it needs you; then sign that it may. Your key stays here.

    Exit 1 if policy does not count your signature.
    """
    asyncio.run(_answer(job_id, data, key, Decision("grant"), show_programs=show_programs, sure=yes))


def deny(
    job_id: JobId,
    *,
    key: Key,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, which the agent gets to read.")],
    data: Data = DEFAULT_DATA,
    show_programs: ShowPrograms = False,
    yes: Yes = False,
) -> None:
    """Show what was asked, then sign that it may not run. The agent reads the reason."""
    if not why.strip():
        raise typer.BadParameter("say why: the agent reads it and can do better next time", param_hint="--why")
    asyncio.run(_answer(job_id, data, key, Decision("deny", why), show_programs=show_programs, sure=yes))


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided: `grant` or `deny`, and why."""

    word: Literal["grant", "deny"]
    reason: str = ""


async def _answer(
    job_id: str, data: Path, key_file: Path, decision: Decision, *, show_programs: bool, sure: bool
) -> None:
    key = read_key(key_file)
    async with open_desk(data) as desk:
        _, job = await desk.job(job_id)
        approval = show_approval(job, ArtifactStore(Place(data).artifacts), with_programs=show_programs)
        if not sure:
            show.say()
            if not typer.confirm(f"Sign that it may {'run' if decision.word == 'grant' else 'not run'}?"):
                raise Problem("nothing was signed", code="not_signed")
        since_us = hand_in(data, approval.statement, key, decision)
        try:
            async with asyncio.timeout(VERDICT_S):
                verdict = await _verdict(desk, job_id, since_us)
        except TimeoutError:
            raise Problem(
                f"your answer is on the log, but policy has said nothing for {VERDICT_S:g} s",
                f"Look again: qpubus job {job_id} --data {data}",
            ) from None
    _tell(verdict, decision, data)


def hand_in(data: Path, statement: ApprovalStatement, key: Ed25519PrivateKey, decision: Decision) -> int:
    """Sign a statement and give the signature to the running bus; the time at which it went on the log."""
    approver = Approver("", key)
    if decision.word == "grant":
        answer = approver.grant(statement)
        said = ask(data, "grant", Grant(**_in_hex(answer)))
    else:
        answer = approver.deny(statement, decision.reason)
        said = ask(data, "deny", Denial(**_in_hex(answer), reason=decision.reason))
    time_us: int = said["time_us"]
    return time_us


def _in_hex(answer: Answer) -> dict[str, str]:
    return answer._asdict() | {"signature": answer.signature.hex()}


Verdict = IntentAdmitted | IntentRefused | ApprovalRejected


async def _verdict(desk: Desk, job_id: str, since_us: int) -> Verdict:
    """What policy made of an answer that went on the log at `since_us`."""
    async for items in desk.events(("governance", "approvals")):
        for item in items:
            if isinstance(item, Heard):
                match item.event:
                    case IntentAdmitted() | IntentRefused() as verdict if verdict.job_id == job_id:
                        return verdict
                    case ApprovalRejected() as verdict if verdict.job_id == job_id and item.time_us >= since_us:
                        return verdict
                    case _:
                        pass
    raise AssertionError("the events of a log do not end")


def _tell(verdict: Verdict, decision: Decision, data: Path) -> None:
    match verdict:
        case IntentAdmitted():
            show.say(
                f"Signed and counted: {verdict.job_id} may run. Follow it: qpubus job {verdict.job_id} --data {data}"
            )
        case IntentRefused() if decision.word == "deny" and verdict.reason == "denied":
            show.say(f"Signed and counted: {verdict.job_id} will not run.")
        case IntentRefused():
            raise Problem(
                f"your signature counted, but {verdict.job_id} was refused: {verdict.message} ({verdict.reason})",
                code=verdict.reason,
            )
        case ApprovalRejected():
            raise Problem(f"your signature does not count: {verdict.message} ({verdict.reason})", code=verdict.reason)
