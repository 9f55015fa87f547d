"""Making and running a bus: `init`, `up`."""

import asyncio
import contextlib
import secrets
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.clock import WallClock
from qpubus import show
from qpubus.bus import run_wall
from qpubus.calls import gateway_calls
from qpubus.commands.options import DEFAULT_DATA, Data
from qpubus.door import open_door
from qpubus.examples import H2_JOB, write_examples
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.show import printable
from qpubus.wiring import Founding, found, open_machine

DOLLAR_MICROUSD = 1_000_000
BUDGET_USD = 10_000


def init(
    *,
    data: Data = DEFAULT_DATA,
    site: Annotated[str, typer.Option("--site", metavar="NAME", help="The name of your organisation.")] = "site-a",
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="The first agent.")] = "agent:cowork:user-42",
    approver: Annotated[str, typer.Option("--approver", metavar="NAME", help="The first approver.")] = "approver:alice",
    budget_usd: Annotated[int, typer.Option("--budget", metavar="USD", min=0, help="What may be spent.")] = BUDGET_USD,
) -> None:
    """Found a site: keys, policy, prices, budget, a first agent and a first approver, and an example job.

    The data directory must not hold a site yet.
    """
    founding = Founding(
        site=site,
        agent=agent,
        approver=approver,
        clock="wall",
        epoch_us=WallClock().now_us(),
        seed=secrets.randbits(48),
        budget_microusd=budget_usd * DOLLAR_MICROUSD,
    )
    place = Place(data)
    asyncio.run(found(place, founding))
    example = write_examples(data / "examples", founding.site, founding.agent)
    show.facts(
        [
            ("site", site),
            ("data", str(data)),
            ("agent", f"{agent}, key {place.key('agent')}"),
            ("approver", f"{approver}, key {place.key('approver')}"),
            ("budget", show.usd(founding.budget_microusd)),
        ]
    )
    option = "" if data == DEFAULT_DATA else f" --data {data}"
    show.say(
        f"""
Next, in one terminal:
  qpubus up{option}
and in another:
  qpubus submit {example} --wait{option}
It will wait for a person. In a third one, be that person:
  qpubus approvals{option}
  qpubus approve {H2_JOB} --key {place.key("approver")}{option}"""
    )


def up(*, data: Data = DEFAULT_DATA) -> None:
    """Run the bus until interrupted: stages, emulated devices, sandbox, clock, gateway, and the local door."""
    asyncio.run(_up(data))


async def _up(data: Path) -> None:
    async with open_machine(Place(data)) as machine:
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
