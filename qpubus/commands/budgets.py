"""Budgets: `budget list`, `budget set`."""

import asyncio
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from agents.clock import WallClock
from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, Governor, Json
from qpubus.governing import govern, kept_reason, open_register
from qpubus.keyfile import read_key
from qpubus.petitioning import microusd, standing
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.reading import open_desk
from qpubus.tables import table
from schemas.events import BudgetSet
from streams.policy.budgets import DAY_US, Promised
from streams.policy.state import PolicyState

app = typer.Typer(name="budget", help="Budgets.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


class Scope(StrEnum):
    """Whose budget it is."""

    SITE = "site"
    PROJECT = "project"
    AGENT = "agent"
    DEVICE = "device"


class Period(StrEnum):
    """For how long."""

    TOTAL = "total"
    DAY = "day"


class Row(NamedTuple):
    """A budget, and what of it is promised: held or spent."""

    scope: str
    name: str
    period: str
    limit_microusd: int
    promised_microusd: int


@app.callback()
def budget() -> None:
    """How much may be spent, by the site and its parts. A job must fit into each budget that it falls under."""


@app.command(name="list")
def list_budgets(*, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """List the budgets, and how much of each is held or spent. A day is one of UTC."""
    rows = list(_rows(asyncio.run(_state(data)), WallClock().now_us()))
    if json:
        show.json([each._asdict() | {"free_microusd": _free(each)} for each in rows])
        return
    cells = [
        (
            each.scope,
            each.name,
            "today" if each.period == Period.DAY else "in all",
            show.usd(each.limit_microusd),
            show.usd(each.promised_microusd),
            show.usd(_free(each)),
        )
        for each in rows
    ]
    columns = ("budget of", "name", "period", "limit", "held or spent", "free")
    table(columns, cells, right=("limit", "held or spent", "free"))


def _free(row: Row) -> int:
    return max(0, row.limit_microusd - row.promised_microusd)


async def _state(data: Path) -> PolicyState:
    async with open_desk(data) as desk:
        return await standing(desk)


def _rows(state: PolicyState, now_us: int) -> Iterator[Row]:
    money = state.money
    yield Row("site", "", "total", money.limit_microusd, money.held_microusd + money.spent_microusd)
    for part, limit in sorted(state.budgets.limits.items()):
        scope, _, rest = part.partition("/")
        name, _, period = rest.rpartition("/")
        promised = state.budgets.promised.get(f"{scope}/{name}", Promised())
        used = promised.on(now_us // DAY_US) if period == Period.DAY else promised.total_microusd
        yield Row(scope, name, period, limit, used)


@app.command(name="set")
def set_budget(
    limit: Annotated[str, typer.Argument(metavar="USD", help="How much: 250, or 0.25.")],
    *,
    scope: Annotated[Scope, typer.Option("--scope", help="Whose budget.")] = Scope.SITE,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the project, agent or device.")] = "",
    period: Annotated[Period, typer.Option("--period", help="In all, or each day (UTC).")] = Period.TOTAL,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; the vault keeps it.")] = "",
    key: Governor = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Set how much may be spent, what is already held or spent included. It counts from the next decision on."""
    if (scope is Scope.SITE) == bool(name):
        raise Problem("a site has one budget, its parts are named", "Use --name with project, agent or device.")
    limit_microusd = microusd(limit, "the budget")
    governor, register = read_key(key or Place(data).key("root")), asyncio.run(open_register(data))
    said = BudgetSet(
        limit_microusd=limit_microusd,
        reason=kept_reason(data, register, governor, why, f"budget:{scope.value}:{name}"),
        scope=scope.value,
        name=name,
        period=period.value,
    )
    asyncio.run(govern(data, register, governor, [(said, ())]))
    if json:
        show.json(said.model_dump())
    else:
        whose = f"{scope.value} {name}".strip()
        each = "a day" if period is Period.DAY else "in all"
        show.say(f"Set: {whose} may spend {show.usd(said.limit_microusd)} {each}.")
