"""Standing mandates: `mandate grant`, `mandate revoke`, `mandate list`."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.clock import WallClock
from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, Json, SignKey
from qpubus.governing import Register
from qpubus.mandate_file import read_mandate
from qpubus.petitioning import petitioner, standing
from qpubus.problem import Problem
from qpubus.reading import open_desk
from qpubus.tables import table
from schemas.events import MandateGranted, MandateRevoked, MandateStatement
from schemas.manifest import plain
from schemas.topics import Role
from streams.policy.mandates import Mandate

app = typer.Typer(
    name="mandate", help="Standing mandates.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
Texts = list[str] | None


@app.callback()
def mandate() -> None:
    """What a person lets one agent do without being asked for each job, within limits, until an end."""


@app.command()
def grant(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A TOML file; options go before what it says.")
    ] = None,
    *,
    key: SignKey,
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="For whom.")] = "",
    agent_key: Annotated[
        str, typer.Option("--agent-key", metavar="ID", help="For which key of theirs, where there are several.")
    ] = "",
    purpose: Annotated[
        Texts, typer.Option("--purpose", metavar="PREFIX", help="What a job's purpose begins with; may repeat.")
    ] = None,
    device: Annotated[Texts, typer.Option("--device", metavar="ID", help="On which devices; may repeat.")] = None,
    data_class: Annotated[
        Texts, typer.Option("--data-class", metavar="CLASS", help="With which data; public and internal if none.")
    ] = None,
    per_job: Annotated[str, typer.Option("--per-job", metavar="USD", help="The most that one job may cost.")] = "",
    total: Annotated[str, typer.Option("--total", metavar="USD", help="The most that all of them may cost.")] = "",
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", help="So many jobs at most, in each --period.")] = 0,
    period: Annotated[str, typer.Option("--period", metavar="TIME", help="As 1d; all of its time if none.")] = "",
    expires: Annotated[str, typer.Option("--expires", metavar="TIME", help="As 30d, or 2027-03-31T18:00Z.")] = "",
    mandate_id: Annotated[str, typer.Option("--id", metavar="ID", help="A name for it; a new one if none.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before signing.")] = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Sign a mandate for one key of one agent. Your key stays here."""
    options = {
        "id": mandate_id,
        "agent": agent,
        "purposes": purpose,
        "devices": device,
        "data_classes": data_class,
        "cost_per_job": per_job,
        "cost_total": total,
        "jobs": jobs,
        "period": period,
        "expires": expires,
    }
    wanted = read_mandate(file, options)
    person = petitioner(data, key)
    name = _key_of(person.register, wanted.agent, agent_key)
    statement = wanted.statement(person.site, name, WallClock().now_us())
    if not json:
        show.facts(_facts(statement))
    if not yes and not typer.confirm("\nSign this mandate?", err=json):
        raise Problem("nothing was signed", code="not_signed")
    said = person.say(MandateGranted, statement=statement)
    if json:
        show.json({"mandate_id": said["subject"], "statement": plain(statement)} | said)
    else:
        show.say(f"\nGranted: {said['subject']}. End it: qpubus mandate revoke {said['subject']} --why TEXT --key FILE")


def _key_of(register: Register, agent: str, named: str) -> str:
    living = [
        each.enrolled.key_id
        for each in register.entries.values()
        if each.enrolled.source == agent and each.enrolled.role == Role.AGENT and each.revoked is None
    ]
    fitting = [each for each in living if each.startswith(named)]
    if len(fitting) != 1:
        raise Problem(
            f"{agent} has {len(fitting)} keys in force{' that begin so' if named else ''}",
            "Name one with --agent-key; list them: qpubus agent list",
            code="agent_unknown",
        )
    return fitting[0]


def _facts(said: MandateStatement) -> list[tuple[str, str]]:
    period = f"every {show.duration(said.period_us)}" if said.period_us else "in all"
    return [
        ("mandate", said.mandate_id),
        ("agent", f"{said.agent}, key {said.agent_key_id}"),
        ("purposes", ", ".join(f"{each}…" for each in said.purposes)),
        ("devices", ", ".join(said.devices)),
        ("data", ", ".join(said.data_classes)),
        ("cost", f"{show.usd(said.cost_per_job_microusd)} a job, {show.usd(said.cost_total_microusd)} in all"),
        ("jobs", f"{said.jobs_per_period:,} {period}" if said.jobs_per_period < 1 << 40 else "any number"),
        ("from", show.utc(said.starts_us)),
        ("until", show.utc(said.expires_us)),
    ]


@app.command()
def revoke(
    mandate_id: Annotated[str, typer.Argument(metavar="MANDATE", help="The mandate's id.")],
    *,
    key: SignKey,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; the vault keeps it.")],
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """End a mandate; no job is admitted under it from here on."""
    said = petitioner(data, key).say(MandateRevoked, mandate_id=mandate_id, reason=why)
    if json:
        show.json({"mandate_id": mandate_id} | said)
    else:
        show.say(f"Revoked: {mandate_id}.")


@app.command(name="list")
def list_mandates(*, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """List all mandates with what is used of them."""
    found, now_us = asyncio.run(_mandates(data)), WallClock().now_us()
    if json:
        show.json([_document(each, now_us) for each in found])
        return
    if not found:
        show.say("No mandate was granted.")
        return
    rows = [
        (
            each.statement.mandate_id,
            each.statement.agent,
            _state(each, now_us),
            f"{show.usd(each.used_microusd)} of {show.usd(each.statement.cost_total_microusd)}",
            str(_jobs(each, now_us)),
            show.utc(each.statement.expires_us),
            each.person,
        )
        for each in found
    ]
    table(("mandate", "agent", "state", "used", "jobs in this period", "until", "granted by"), rows)


async def _mandates(data: Path) -> list[Mandate]:
    async with open_desk(data) as desk:
        return [each for _, each in sorted((await standing(desk)).mandates.granted.items())]


def _state(each: Mandate, now_us: int) -> str:
    if each.is_revoked:
        return "revoked"
    if now_us >= each.statement.expires_us:
        return "expired"
    return "in force" if now_us >= each.statement.starts_us else "to come"


def _jobs(each: Mandate, now_us: int) -> int:
    return each.jobs if each.period == each.period_at(now_us) else 0


def _document(each: Mandate, now_us: int) -> dict[str, Any]:
    return {
        "statement": plain(each.statement),
        "person": each.person,
        "state": _state(each, now_us),
        "used_microusd": each.used_microusd,
        "jobs_in_period": _jobs(each, now_us),
    }
