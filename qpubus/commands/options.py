"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA = Path("qpubus-data")

Data = Annotated[
    Path, typer.Option("--data", metavar="DIR", envvar="QPUBUS_DATA", help="The data directory.", show_default=True)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
Key = Annotated[
    Path,
    typer.Option("--key", metavar="FILE", help="Your private key (PEM, mode 0600). It is read here and sent nowhere."),
]
