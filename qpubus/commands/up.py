"""Running the bus: `up`."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from qpubus.bus import run_wall
from qpubus.calls import gateway_calls
from qpubus.commands.options import DEFAULT_DATA, Data
from qpubus.commands.publication import asked_for
from qpubus.door import open_door
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.show import printable
from qpubus.wiring import open_machine
from schemas.quorum import Witness


def up(
    *,
    data: Data = DEFAULT_DATA,
    witness: Annotated[
        Path | None,
        typer.Option("--witness", metavar="FILE", help="A tlog-policy; its witnesses with a URL see each checkpoint."),
    ] = None,
) -> None:
    """Run the bus until interrupted: stages, emulated devices, sandbox, clock, gateway, and the local door."""
    witnesses = asked_for([witness]).policy.witnesses.values() if witness else ()
    asyncio.run(_up(data, [each for each in witnesses if each.url]))


async def _up(data: Path, witnesses: Sequence[Witness]) -> None:
    async with open_machine(Place(data), witnesses) as machine:
        if machine.is_virtual:
            raise Problem(
                f"{data} was made by the demo: its time is virtual and stands still",
                "Found a site of your own: qpubus init --data DIR",
            )
        async with open_door(data, gateway_calls(machine)):
            print(
                f"The bus runs on {data}: site {machine.site}, {len(machine.fleet)} emulated devices. Ctrl-C ends it."
            )
            sys.stdout.flush()
            await _until_stopped(run_wall(machine, _report))
    print("The bus has stopped. All that was said is on the log.")


async def _until_stopped(running: Coroutine[Any, Any, None]) -> None:
    """Run until it ends by itself, or the process is asked to stop."""
    task = asyncio.create_task(running)
    loop = asyncio.get_running_loop()
    for asked in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(asked, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _report(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)
