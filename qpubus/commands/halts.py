"""The emergency brake: `halt`, `resume`, `halts`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agents.clock import WallClock
from agents.vault import Vault
from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, Json, SignKey
from qpubus.petitioning import new_id, petitioner, standing
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.reading import open_desk
from qpubus.tables import table
from schemas.events import HaltLifted, HaltOrdered
from streams.halts import Halt

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; the vault keeps it.")]


def halt(
    *,
    key: SignKey,
    why: Why,
    site: Annotated[bool, typer.Option("--site", help="Halt the whole site.")] = False,
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="Halt one agent.")] = "",
    device: Annotated[str, typer.Option("--device", metavar="ID", help="Halt one device.")] = "",
    halt_id: Annotated[str, typer.Option("--id", metavar="ID", help="A name for the halt; a new one if none.")] = "",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Stop a site, an agent or a device at once: nothing new begins, running shots are cancelled, tokens die.

    One operator or approver is enough. Lifting it takes another person: qpubus resume.
    """
    if sum(map(bool, (site, agent, device))) != 1:
        raise Problem("say what is to stop", "Name one: --site, --agent NAME or --device ID.")
    person = petitioner(data, key)
    scope = "site" if site else "agent" if agent else "device"
    target = agent or device or person.site
    known = {each.enrolled.source for each in person.register.entries.values()}
    if agent and agent not in known:
        raise Problem(f"no key of {agent} was ever enrolled here", "List them: qpubus agent list", code="agent_unknown")
    if device and f"device:{device}" not in known:
        raise Problem(f"there is no device {device} here", "List them: qpubus devices", code="device_unknown")
    said = person.say(
        HaltOrdered,
        halt_id=halt_id or new_id("halt"),
        scope=scope,
        target=target,
        reason=why,
        ordered_us=WallClock().now_us(),
    )
    if json:
        show.json({"halt_id": said["subject"], "scope": scope, "target": target} | said)
        return
    show.say(f"Halted: {scope} {target}, by {person.source}. Halt {said['subject']}.")
    show.say(f"Another person lifts it: qpubus resume {said['subject']} --why TEXT --key FILE --data {data}")


def resume(
    halt_id: Annotated[str, typer.Argument(metavar="HALT", help="The halt's id.")],
    *,
    key: SignKey,
    why: Why,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Lift a halt that another person ordered. What it cancelled stays cancelled."""
    person = petitioner(data, key)
    said = person.say(HaltLifted, halt_id=halt_id, reason=why)
    if json:
        show.json({"halt_id": halt_id} | said)
    else:
        show.say(f"Lifted: {halt_id}, by {person.source}.")


def halts(
    *,
    every: Annotated[bool, typer.Option("--all", help="Those that were lifted too.")] = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """List the halts in force."""
    found, told = asyncio.run(_halts(data)), Vault(Place(data).vault).told
    shown = {name: each for name, each in sorted(found.items()) if every or not each.is_lifted}
    if json:
        show.json(
            [
                {
                    "halt_id": name,
                    "scope": each.scope,
                    "target": each.target,
                    "person": each.person,
                    "reason": told(each.reason),
                    "is_lifted": each.is_lifted,
                }
                for name, each in shown.items()
            ]
        )
    elif not shown:
        show.say("Nothing is halted.")
    else:
        rows = [
            (
                name,
                f"{each.scope} {each.target}",
                each.person,
                "lifted" if each.is_lifted else "in force",
                told(each.reason),
            )
            for name, each in shown.items()
        ]
        table(("halt", "of", "by", "state", "why"), rows)


async def _halts(data: Path) -> dict[str, Halt]:
    async with open_desk(data) as desk:
        return dict((await standing(desk)).halts.ordered.items())
