"""What is kept beside the log, made anew from it: `replay rebuild`."""

import asyncio
from pathlib import Path

import typer

from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, Json
from qpubus.problem import EXIT_REFUSED
from qpubus.tables import table
from replay.audit import roots_of
from replay.rebuild import Rebuilt
from replay.rebuild import rebuild as make_anew
from streams.log.reading import open_copy

app = typer.Typer(name="replay", help="Rebuild from the log.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def replay() -> None:
    """Rebuild from the log what is kept beside it."""


@app.command()
def rebuild(*, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Make every state and view anew from the log alone and compare it, byte by byte, with what is saved.

    Nothing is written. Exit 1 if a saved one differs.
    """
    rebuilt = asyncio.run(_rebuild(data))
    if json:
        show.json([each._asdict() for each in rebuilt])
    else:
        rows = [(each.name, each.site, each.outcome, f"{each.size_bytes:,}", each.detail) for each in rebuilt]
        table(("what", "site", "compared with what is saved", "bytes", "detail"), rows, right=("bytes",))
        if _differs(rebuilt):
            show.say(f"\nStop the bus, remove {data}/states and {data}/views, and start it: they are made anew.")
    if _differs(rebuilt):
        raise typer.Exit(EXIT_REFUSED)


def _differs(rebuilt: list[Rebuilt]) -> bool:
    return any(each.outcome == "differs" for each in rebuilt)


async def _rebuild(data: Path) -> list[Rebuilt]:
    with open_copy(data) as log:
        return await make_anew(log, data, await roots_of(log))
