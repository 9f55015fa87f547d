"""Agents: `agent enrol`, `agent list`, `agent disable`."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.vault import Vault
from qpubus import show
from qpubus.commands import keys
from qpubus.commands.options import DEFAULT_DATA, Data, Governor, Json
from qpubus.governing import Entry, Register, govern, kept_reason, open_register
from qpubus.keyfile import read_key
from qpubus.petitioning import standing
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.reading import open_desk
from qpubus.tables import table
from schemas.topics import Role
from streams.halts import Halts

app = typer.Typer(name="agent", help="Agents.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(metavar="AGENT", help="Its name: agent:cowork:user-42.")]


@app.callback()
def agent() -> None:
    """Who may declare jobs."""


@app.command()
def enrol(
    name: Name,
    *,
    public: keys.Public = "",
    new: keys.New = None,
    held: Annotated[
        bool, typer.Option("--held", help="Make a key that the gateway holds and uses for an agent that can hold none.")
    ] = False,
    project: Annotated[
        list[str] | None, typer.Option("--project", metavar="NAME", help="Whose budget it may use; may repeat.")
    ] = None,
    reads_site: Annotated[
        bool, typer.Option("--reads-site", help="It may read the jobs of others at its site.")
    ] = False,
    key: Governor = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Let an agent declare jobs from here on, by its own key (--public), a new one (--new), or one held here."""
    keys.enrol(
        name,
        Role.AGENT,
        public=public,
        new=new,
        held=held,
        duty=project,
        reads_site=reads_site,
        key=key,
        data=data,
        json=json,
    )


@app.command(name="list")
def list_agents(*, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """List the agents with their keys, and whether they are halted."""
    register, halts = asyncio.run(_known(data))
    agents = _agents(register)
    if json:
        show.json([_document(name, entries, halts) for name, entries in agents.items()])
        return
    told = Vault(Place(data).vault).told
    rows = [(name, told(_state(name, entries, halts)), ", ".join(_living(entries))) for name, entries in agents.items()]
    table(("agent", "state", "keys in force"), rows)


@app.command()
def disable(
    name: Name,
    *,
    why: keys.Why,
    key: Governor = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Revoke every key of an agent: it declares nothing any more. Its running jobs go on; `qpubus halt` stops them."""
    governor = read_key(key or Place(data).key("root"))
    register = asyncio.run(open_register(data))
    entries = [each for each in _agents(register).get(name, []) if each.revoked is None]
    if not entries:
        raise Problem(f"{name} has no key in force", "List them: qpubus agent list", code="agent_unknown")
    reason = kept_reason(data, register, governor, why, name)
    events = [each for entry in entries for each in register.revocation(entry, reason)]
    asyncio.run(govern(data, register, governor, events))
    revoked = [entry.enrolled.key_id for entry in entries]
    if json:
        show.json({"agent": name, "revoked": revoked})
    else:
        show.say(f"Disabled: {name}, by revoking {', '.join(revoked)}.")


async def _known(data: Path) -> tuple[Register, Halts]:
    register = await open_register(data)
    async with open_desk(data) as desk:
        return register, (await standing(desk)).halts


def _agents(register: Register) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in register.entries.values():
        if entry.enrolled.role == Role.AGENT:
            found.setdefault(entry.enrolled.source, []).append(entry)
    return dict(sorted(found.items()))


def _living(entries: list[Entry]) -> list[str]:
    return [each.enrolled.key_id for each in entries if each.revoked is None]


def _state(name: str, entries: list[Entry], halts: Halts) -> str:
    if not _living(entries):
        return "disabled"
    halt = halts.covering(name)
    return f"halted: {halt.reason}" if halt else "may declare jobs"


def _document(name: str, entries: list[Entry], halts: Halts) -> dict[str, Any]:
    return {
        "agent": name,
        "state": "disabled" if not _living(entries) else "halted" if halts.covering(name) else "enabled",
        "keys": _living(entries),
        "projects": sorted({duty for each in entries if each.revoked is None for duty in each.enrolled.duties}),
    }
