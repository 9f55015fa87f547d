"""Measuring: `bench`."""

from typing import Annotated, Any

import typer

from qpubus import show
from qpubus.bench import MODULES, BenchUnknown, run
from qpubus.commands.options import Json
from qpubus.problem import Problem
from qpubus.tables import table


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which figures; all of them if none is named.")
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Measure figures of speed, each against its reference in the same run and each the median of several.

    A ratio is our rate over the reference's: higher is better.
    """
    figures = _measured(tuple(names or ()))
    if json:
        show.json(figures)
    else:
        columns = ("figure", "value", "unit", "reference", "its value", "ratio")
        table(columns, [_row(each) for each in figures], right=("value", "its value", "ratio"))


def _measured(names: tuple[str, ...]) -> list[dict[str, Any]]:
    try:
        return run(names)
    except BenchUnknown as error:
        raise typer.BadParameter(str(error), param_hint="NAME") from None
    except ModuleNotFoundError as error:
        raise Problem(
            f"the reference package {error.name} is not installed",
            f"Install it beside qpubus, or name other figures: {', '.join(MODULES)}",
        ) from None


def _row(figure: dict[str, Any]) -> tuple[str, ...]:
    value, reference, ratio = figure["value"], figure["reference_value"], figure["ratio"]
    return (
        figure["name"],
        f"{value:,.6g}",
        figure["unit"],
        figure["reference"] or "",
        "" if reference is None else f"{reference:,.6g}",
        "" if ratio is None else f"{ratio:.2f}",
    )
