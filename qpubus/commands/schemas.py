"""What stands on the topics, for programs: `schemas asyncapi`, `schemas avro`, `schemas manifest`, `schemas mirror`."""

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, Json
from qpubus.mirror import Mirror
from qpubus.problem import Problem
from qpubus.reading import open_desk
from qpubus.tables import table
from schemas.asyncapi import asyncapi_document
from schemas.avro_text import avro_text
from schemas.manifest import Manifest
from schemas.words import NAMESPACE, Event

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def schemas() -> None:
    """Write the forms of events and manifests, for the tools of others."""


@app.command()
def asyncapi() -> None:
    """Write the AsyncAPI 3 document: every topic, its events with their Avro schemas, and who may write them."""
    show.json(asyncapi_document(version("qpubus")))


@app.command()
def avro(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="An event, as in IntentDeclared.")],
) -> None:
    """Write the Avro schema of an event, byte for byte as its digest is signed."""
    event_type = Event.types.get(f"{NAMESPACE}.{event.removeprefix(f'{NAMESPACE}.')}")
    if event_type is None:
        known = ", ".join(sorted(each.__name__ for each in Event.types.values()))
        raise Problem(f"there is no event {event}", f"Events are: {known}", code="event_unknown")
    print(avro_text(event_type), end="")


@app.command()
def mirror(
    url: Annotated[str, typer.Argument(metavar="URL", help="A registry's Confluent API.")],
    *,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Bring every schema on the log to a schema registry, and tell under which numbers it has them.

    Values name their schemas by the log's numbers, which an empty registry takes over.
    """
    mirror = asyncio.run(_mirror(data, url))
    if json:
        show.json(
            {"registered": mirror.registered, "ids": {str(number): there for number, there in mirror.ids.items()}}
        )
        return
    show.say(f"{mirror.registered} schemas were not there yet. They are now.")
    if mirror.differing:
        show.say(
            "\nStock readers go by the numbers in values, and would read these wrong: docs/kafka.md, The registry.\n"
        )
        rows = [(str(number), str(there)) for number, there in mirror.differing.items()]
        table(("number on the log", "in the registry"), rows, right=("number on the log", "in the registry"))


async def _mirror(data: Path, url: str) -> Mirror:
    async with open_desk(data) as desk:
        mirror = Mirror(desk.log, desk.partition, {desk.site: desk.root_public_key}, url)
        while await mirror.step():
            pass
    return mirror


@app.command()
def manifest() -> None:
    """Write the JSON Schema (2020-12) of the manifest that an agent declares."""
    show.json({"$schema": "https://json-schema.org/draft/2020-12/schema"} | Manifest.model_json_schema())
