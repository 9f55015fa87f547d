"""The `qpubus` command: arguments come in, an exit code goes out.

A command's module is imported when the command runs, so that `--help` and the quick reads start quickly.
"""

import logging
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer._click import Command  # typer's base of commands, which it does not export
from typer._click.exceptions import ClickException, UsageError  # likewise
from typer.core import TyperGroup
from typer.main import get_command

EXIT_USAGE = 64
EXIT_INTERRUPTED = 130

_QUIET = {"aiokafka": logging.CRITICAL, "faust": logging.WARNING, "mode": logging.WARNING}
"""What aiokafka has to say is in the errors that it raises; lines of Faust cost a tenth of a worker's throughput."""

UsageError.exit_code = EXIT_USAGE  # typer's own 2 is taken: `audit verify` says "tampered" with it

COMMANDS = {
    "demo": ("demo", "Run the main job, start to end."),
    "init": ("init", "Found a site in a new data directory."),
    "up": ("up", "Run the bus: stages, devices, gateway."),
    "worker": ("worker", "Serve stages on Kafka, in one of several processes."),
    "mcp": ("mcp", "Speak MCP on standard input and output, for agents' hosts."),
    "submit": ("submit", "Declare a job."),
    "quote": ("submit", "Say what a job would cost; nothing is reserved."),
    "withdraw": ("submit", "Take a job back."),
    "jobs": ("jobs", "List jobs."),
    "job": ("jobs", "Show where a job stands, and why."),
    "result": ("jobs", "Show what a job found."),
    "approvals": ("approvals", "List the jobs that wait for a person."),
    "approve": ("approvals", "Sign that a job may run."),
    "deny": ("approvals", "Sign that a job may not run."),
    "halt": ("halts", "Stop a site, an agent or a device at once."),
    "resume": ("halts", "Lift a halt that another person ordered."),
    "halts": ("halts", "List the halts in force."),
    "mandate": ("mandates", "Standing mandates: grant, revoke, list."),
    "autonomy": ("autonomy", "Earned autonomy: list, ratify, revoke."),
    "budget": ("budgets", "Budgets: list, set."),
    "agent": ("agents", "Agents: enrol, list, disable."),
    "events": ("watch", "Show the events on the log."),
    "devices": ("watch", "Show the devices."),
    "kpis": ("watch", "Show the KPIs."),
    "witness": ("witness", "Cosign the checkpoints of logs that only grow."),
    "audit": ("audit", "Doubt the log: verify, explain, decide again."),
    "replay": ("replay", "Rebuild from the log what is kept beside it."),
    "policy": ("policy", "The rules for agents: list, show, check, publish, what-if."),
    "keys": ("keys", "Say who may speak: list, enrol, revoke, rotate."),
    "vault": ("vault", "Keep erasable texts: show, erase."),
    "log": ("log", "Carry a log elsewhere: export, import, upgrade."),
    "schemas": ("schemas", "Write the forms of events and manifests: AsyncAPI, Avro, JSON Schema."),
    "kafka": ("kafka", "Run a Kafka broker for the bus: start, stop, status, acls."),
    "bench": ("bench", "Measure, each figure against its reference."),
}
"""Command → its module in `qpubus.commands`, where it has its own name (a group: `app`), and what it does in a line."""


def _is_not_of_aiokafka(record: logging.LogRecord) -> bool:
    """Whether asyncio tells of something else than a future of aiokafka's own that failed with its transaction."""
    return not (record.exc_info and type(record.exc_info[1]).__module__.startswith("aiokafka."))


class Commands(TyperGroup):
    """Loads a command when it runs, and turns whatever goes wrong in it into words and an exit code."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """The real command behind a name."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in COMMANDS else command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named. No traceback reaches a user, and no talk of libraries that raise errors."""
        for name, level in _QUIET.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger("asyncio").addFilter(_is_not_of_aiokafka)
        try:
            return super().invoke(ctx)
        except (ClickException, typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except Exception as error:  # noqa: BLE001 - whatever it is, the user is told in words
            raise typer.Exit(import_module("qpubus.problem").tell(error, sys.stderr)) from None


def load(name: str) -> Command:
    """A command of the table, ready to run."""
    module = import_module(f"qpubus.commands.{COMMANDS[name][0]}")
    if hasattr(module, "app"):
        return get_command(module.app)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(getattr(module, name))
    return get_command(single)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qpubus {import_module('importlib.metadata').version('qpubus')}")
        raise typer.Exit


@app.callback()
def qpubus(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Let agents decide, but make humans and auditors trace the decisions."""


def _later() -> Callable[[], None]:
    return lambda: None


for _name, (_module, _help) in COMMANDS.items():
    app.command(_name, help=_help)(_later())


def main() -> None:
    """Run the command that the arguments name."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a sign is no reason to stop
    app()
