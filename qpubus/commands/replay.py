"""What is kept beside the log, made anew from it: `replay rebuild`."""

import asyncio
from pathlib import Path

import typer

from qpubus import show
from qpubus.bars import Counted, counted
from qpubus.commands.options import DEFAULT_DATA, Data, Json, Root, Roots, roots_text, trusted_root
from qpubus.ledger import open_copy
from qpubus.problem import EXIT_REFUSED, Problem
from qpubus.tables import table
from replay.audit import roots_of
from replay.rebuild import NotSound, Rebuilt
from replay.rebuild import rebuild as make_anew

app = typer.Typer(
    name="replay", help="Rebuild from the log.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@app.callback()
def replay() -> None:
    """Rebuild from the log what is kept beside it."""


@app.command()
def rebuild(*, data: Data = DEFAULT_DATA, root: Root = None, json: Json = False) -> None:
    """Audit the log, make every state and view anew from it alone and compare them, byte by byte, with what is saved.

    Nothing is written. Exit 1 if a saved one differs, 2 or 3 if the log is tampered or incomplete.
    """
    with counted("records", quiet=json) as progress:
        rebuilt, roots = asyncio.run(_rebuild(data, trusted_root(root), progress))
    if json:
        show.json([each._asdict() for each in rebuilt])
    else:
        rows = [(each.name, each.site, each.outcome, f"{each.size_bytes:,}", each.detail) for each in rebuilt]
        table(("what", "site", "compared with what is saved", "bytes", "detail"), rows, right=("bytes",))
        show.say(f"\nmade from a log that was audited by {roots_text(roots)}")
        if _differs(rebuilt):
            show.say(f"\nStop the bus, remove {data}/states and {data}/views, and start it: they are made anew.")
    if _differs(rebuilt):
        raise typer.Exit(EXIT_REFUSED)


def _differs(rebuilt: list[Rebuilt]) -> bool:
    return any(each.outcome == "differs" for each in rebuilt)


async def _rebuild(data: Path, root: bytes | None, progress: Counted | None) -> tuple[list[Rebuilt], Roots]:
    with open_copy(data) as log:
        roots = await roots_of(log, root)
        try:
            return await make_anew(log, data, roots, progress), roots
        except NotSound as error:
            next_step = f"See all of it: qpubus audit verify --data {data}"
            raise Problem(str(error), next_step, exit_code=int(error.audit.verdict)) from None
