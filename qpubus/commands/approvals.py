"""The human gate: `approvals`, `approve`, `deny`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agents.approver import Signer
from agents.artifacts import ArtifactStore
from projections.job import Approval
from projections.jobs import JOBS
from qpubus import show
from qpubus.answering import Decision, hand_in, kept, present, tell, verdict_on
from qpubus.approval_text import show_approval
from qpubus.commands.options import DEFAULT_DATA, Data, JobId, Json
from qpubus.documents import approval_document, job_brief
from qpubus.governing import open_register
from qpubus.new_file import check_new, new_file
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.reading import open_desk
from qpubus.signing import key_id_in, signature_in, signer_of
from qpubus.tables import table
from schemas.events import HumanProof

ShowPrograms = Annotated[bool, typer.Option("--show-programs", help="Show the programs' texts too.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before signing.")]
PersonKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="What you sign with: your private key (PEM or OpenSSH), or the .pub of one that an agent or a security "
        "key holds. Beside --signature: your public key.",
    ),
]
Signature = Annotated[
    Path | None,
    typer.Option("--signature", metavar="FILE", help="A signature over what --statement wrote, made elsewhere."),
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, which the agent gets to read.")]


def approvals(
    job_id: Annotated[str, typer.Argument(metavar="[ID]", help="One job, to be signed elsewhere.")] = "",
    *,
    statement: Annotated[
        Path | None, typer.Option("--statement", metavar="FILE", help="Write the very bytes to sign to this file.")
    ] = None,
    denying: Annotated[bool, typer.Option("--deny", help="With --statement: to say no, with --why.")] = False,
    why: Why = "",
    key: PersonKeyFile = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """List the jobs that wait for a person, the longest waiting first; or write what one of them asks, to be signed.

    What stands in the file is shown too. Sign it where your key is, as `ssh-keygen -Y sign -n qpubus -f KEY FILE`,
    and hand the signature in: qpubus approve ID --signature FILE.sig --key KEY.pub
    """
    if statement:
        if not job_id:
            raise typer.BadParameter("name the job too: qpubus approvals ID --statement FILE", param_hint="--statement")
        decision = _denial(why) if denying else Decision("grant")
        asyncio.run(_write_statement(job_id, data, statement, key, decision))
    else:
        asyncio.run(_approvals(job_id, data, json))


async def _approvals(job_id: str, data: Path, json: bool) -> None:
    async with open_desk(data) as desk:
        view = (await desk.views())[JOBS]
    waiting = [(job, job.approval) for job in view.awaiting_approval() if job.approval and job_id in {"", job.job_id}]
    if json:
        show.json([job_brief(job) | {"approval": approval_document(view, job, each)} for job, each in waiting])
        return
    if not waiting:
        show.say(f"{job_id or 'Nothing'} waits for no person." if job_id else "Nothing waits for a person.")
        return
    rows = [
        (
            job.job_id,
            job.declaration.initiator if job.declaration else "",
            each.statement.purpose,
            f"{each.statement.shots:,}",
            show.usd(each.statement.price_ceiling_microusd),
            f"{len(each.granted_by)} of {each.statement.quorum}",
            show.utc(each.statement.expires_us),
            each.message,
        )
        for job, each in waiting
    ]
    columns = ("job", "asked by", "purpose", "shots at most", "price at most", "yes", "expires", "why a person")
    table(columns, rows, right=("shots at most", "price at most"))
    show.say(f"\nLook closer and sign: qpubus approve ID --key FILE --data {data}")


async def _write_statement(job_id: str, data: Path, file: Path, key: Path | None, decision: Decision) -> None:
    if decision.reason and not key:
        raise typer.BadParameter("name your key too: the reason is kept under your name", param_hint="--key")
    check_new(file)
    approval = await _shown(job_id, data, with_programs=False)
    signed = decision
    if key:
        present(data, job_id, key_id_in(key))
        signed = kept(data, job_id, key_id_in(key), decision)
    with new_file(file) as statement:
        statement.write(signed.payload(approval.statement))
    word = "approve" if decision.word == "grant" else "deny"
    why = f" --why '{decision.reason}'" if decision.reason else ""
    show.say(
        f"""
{file} holds the very bytes to sign, which say {decision.word}. With an SSH key:
  ssh-keygen -Y sign -n qpubus -f KEY {file}
and hand the signature in:
  qpubus {word} {job_id}{why} --signature {file}.sig --key KEY.pub --data {data}"""
    )


def approve(
    job_id: JobId,
    *,
    key: PersonKeyFile = None,
    signature: Signature = None,
    data: Data = DEFAULT_DATA,
    show_programs: ShowPrograms = False,
    yes: Yes = False,
) -> None:
    """Show what would run, its price and why it needs you; then sign that it may. Your key stays here.

    Exit 1 if policy does not count your signature.
    """
    _answer(job_id, data, (key, signature), Decision("grant"), show_programs=show_programs, sure=yes)


def deny(
    job_id: JobId,
    *,
    why: Why,
    key: PersonKeyFile = None,
    signature: Signature = None,
    data: Data = DEFAULT_DATA,
    show_programs: ShowPrograms = False,
    yes: Yes = False,
) -> None:
    """Show what was asked, then sign that it may not run. The agent reads the reason."""
    _answer(job_id, data, (key, signature), _denial(why), show_programs=show_programs, sure=yes)


def _denial(why: str) -> Decision:
    if not why.strip():
        raise typer.BadParameter("say why: the agent reads it and can do better next time", param_hint="--why")
    return Decision("deny", why)


def _answer(
    job_id: str,
    data: Path,
    files: tuple[Path | None, Path | None],
    decision: Decision,
    *,
    show_programs: bool,
    sure: bool,
) -> None:
    key, signature = files
    proof, signer = None, None
    if signature:
        entries = asyncio.run(open_register(data)).entries.values()
        proof = signature_in(signature, key, [entry.enrolled for entry in entries])
    elif key:
        signer = signer_of(key)
    else:
        raise typer.BadParameter("name what you sign with", param_hint="--key")
    asyncio.run(_answered(job_id, data, proof or signer, decision, show_programs=show_programs, sure=sure))


async def _answered(
    job_id: str, data: Path, by: HumanProof | Signer | None, decision: Decision, *, show_programs: bool, sure: bool
) -> None:
    approval = await _shown(job_id, data, with_programs=show_programs)
    assert by is not None  # noqa: S101 (one of both was read)
    if isinstance(by, HumanProof):
        decision, proof = kept(data, job_id, by.key_id, decision), by
    else:
        present(data, job_id, by.key_id)
        if not sure:
            show.say()
            if not typer.confirm(f"Sign that it may {'run' if decision.word == 'grant' else 'not run'}?"):
                raise Problem("nothing was signed", code="not_signed")
        decision = kept(data, job_id, by.key_id, decision)
        proof = by.sign(decision.payload(approval.statement))
    since_us = hand_in(data, approval.statement, proof, decision)
    async with open_desk(data) as desk:
        verdict = await verdict_on(desk, job_id, since_us)
    tell(verdict, decision, data)


async def _shown(job_id: str, data: Path, *, with_programs: bool) -> Approval:
    """Show what a job asks of people, with what is different from the one that its agent had declared before."""
    async with open_desk(data) as desk:
        views, job = await desk.job(job_id)
    last = views[JOBS].before(job)
    return show_approval(job, ArtifactStore(Place(data).artifacts), last, with_programs=with_programs)
