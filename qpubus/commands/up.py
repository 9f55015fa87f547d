"""Running the bus: `up`."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from logging import getLogger
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.notifier import Notifier, notifiers_reader
from qpubus.bus import run_wall
from qpubus.calls import gateway_calls
from qpubus.commands.options import DEFAULT_DATA, Data, EngineName
from qpubus.commands.publication import asked_for
from qpubus.door import open_door
from qpubus.governing import check_vocabulary
from qpubus.notify_file import Notifying, read_notify_file
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.telemetry.exporting import exporting_traces
from qpubus.telemetry.logs import logging_to
from qpubus.web.desk import FrontDesk
from qpubus.web.opening import open_http
from qpubus.web.server import Address
from qpubus.web.settings import Settings, read_settings
from qpubus.wiring import GATEWAY, PARTIES, SUBMISSION, Machine, open_machine

_log = getLogger("qpubus.bus")
DEFAULT_HTTP, OFF = "127.0.0.1:8080", "off"


def up(
    *,
    data: Data = DEFAULT_DATA,
    witness: Annotated[
        Path | None,
        typer.Option("--witness", metavar="FILE", help="A tlog-policy; its witnesses with a URL see each checkpoint."),
    ] = None,
    http: Annotated[
        str, typer.Option("--http", metavar="HOST:PORT", help="Where REST and MCP listen; port 0 takes any; or off.")
    ] = DEFAULT_HTTP,
    notify: Annotated[
        Path | None,
        typer.Option("--notify", metavar="FILE", help="TOML that says how people are told; see docs/people.md."),
    ] = None,
    engine: Annotated[
        EngineName | None,
        typer.Option("--engine", help="Begin only if the log is there. [default: where it was founded]"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="TOML; its table [gateway] sets the HTTP door.")
    ] = None,
    access: Annotated[
        Path | None,
        typer.Option("--access", metavar="DIR", help="With the log on Kafka: where PRINCIPAL.properties lie."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            "--part", metavar="NAME", help="With the log on Kafka, run this party alone: device:ID. Repeatable."
        ),
    ] = None,
) -> None:
    """Run the bus until interrupted: stages, emulated devices, sandbox, clock, gateway, HTTP door and local door.

    With --part only that runs in this process: the gateway with both doors, the sandbox, the clock, the sealer, the
    bringer of checkpoints to witnesses, or devices. Stages run by `qpubus worker`.
    """
    witnesses = [each for each in asked_for([witness]).policy.witnesses.values() if each.url] if witness else []
    parts = _parties(part or [], is_on_kafka=Place(data).cluster.exists(), has_witness=bool(witnesses))
    settings = read_settings(config)
    notifying = read_notify_file(notify) if notify else None
    if notify and parts and GATEWAY not in parts:
        raise typer.BadParameter(f"people are told by the process of {GATEWAY}", param_hint="--notify")
    address = None if http == OFF else Address.read(http)
    founded_on = EngineName.KAFKA if Place(data).cluster.exists() else EngineName.EMBEDDED
    if engine not in {None, founded_on}:
        raise Problem(
            f"the site in {data} has its log on the {founded_on} engine",
            "Move it with `qpubus log export` and `import`, or leave --engine away.",
        )
    with logging_to(sys.stderr), exporting_traces(version("qpubus")):
        machine = open_machine(Place(data), witnesses, parts, access)
        asyncio.run(_up(data, machine, address, settings, notifying))


def _parties(names: Sequence[str], *, is_on_kafka: bool, has_witness: bool) -> tuple[str, ...]:
    """The parties that run here alone; none named: all, and the stages with them."""
    if unknown := [name for name in names if name not in PARTIES]:
        raise typer.BadParameter(f"there is no {unknown[0]!r}; there are: {', '.join(PARTIES)}", param_hint="--part")
    if len({name.partition(":")[0] for name in names}) > 1:
        raise typer.BadParameter("each kind of party has a principal, and a process, of its own", param_hint="--part")
    if names and not is_on_kafka:
        raise Problem("one process writes the embedded log, and runs all parts", "Leave --part away.")
    if SUBMISSION in names and not has_witness:
        raise typer.BadParameter(f"{SUBMISSION} needs a witness with a URL", param_hint="--witness")
    return tuple(dict.fromkeys(names))


async def _up(
    data: Path,
    opening: AbstractAsyncContextManager[Machine],
    address: Address | None,
    settings: Settings,
    notifying: Notifying | None,
) -> None:
    async with opening as machine, _telling(machine, notifying):
        if machine.is_virtual:
            raise Problem(
                f"{data} was made by the demo: its time is virtual and stands still",
                "Found a site of your own: qpubus init --data DIR",
            )
        await check_vocabulary(machine.log, machine.site, machine.root_public_key, data)
        if GATEWAY not in machine.names:
            print(f"{', '.join(machine.names)} of {machine.site} runs here alone. Ctrl-C ends it.", flush=True)
            await _until_stopped(run_wall(machine, _report))
            return
        front = open_http(machine, address, settings) if address else contextlib.nullcontext(FrontDesk(machine))
        async with front as desk, open_door(data, gateway_calls(desk)):
            what = f"{len(machine.fleet)} emulated devices" if machine.fleet else "the gateway alone"
            print(f"The bus runs on {data}: site {machine.site}, {what}. Ctrl-C ends it.")
            if desk.public_url:
                print(f"The gateway listens on {desk.public_url}: REST under /v1, MCP at /mcp.")
            sys.stdout.flush()
            await _until_stopped(run_wall(machine, _report))
    print("The bus has stopped. All that was said is on the log.")


@contextlib.asynccontextmanager
async def _telling(machine: Machine, notifying: Notifying | None) -> AsyncIterator[None]:
    """People are told while this is open, if it is said how."""
    if notifying is None:
        yield
        return
    channels, plan, file = notifying.channels(), notifying.plan, machine.place.told

    def notifier() -> Notifier:
        reader = notifiers_reader(machine.log, machine.partition, machine.site, machine.root_public_key)
        return Notifier(reader, machine.clock, plan, channels, file=file, said=_report, reasons=machine.vault.told)

    machine.join(Notifier.name, notifier)
    try:
        yield
    finally:
        if channels.courier:
            await channels.courier.close()


async def _until_stopped(running: Coroutine[Any, Any, None]) -> None:
    """Run until it ends by itself, or the process is asked to stop."""
    task = asyncio.create_task(running)
    loop = asyncio.get_running_loop()
    for asked in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(asked, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _report(line: str) -> None:
    _log.warning(line)
