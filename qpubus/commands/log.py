"""A log on its way from one engine, machine or release to another: `log export`, `log import`, `log upgrade`."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from qpubus import show
from qpubus.bars import Counted, counted
from qpubus.commands.options import DEFAULT_DATA, Data, Governor, Json, Root, trusted_root
from qpubus.governing import govern, lacking_schemas, open_register
from qpubus.kafka.moving import bring
from qpubus.kafka.settings import OPERATOR
from qpubus.keyfile import read_key
from qpubus.ledger import Cluster, open_copy
from qpubus.new_file import check_new, new_file
from qpubus.place import Place
from qpubus.problem import Problem
from schemas.admission import Admission, Admitted, Stored
from streams.disk import put
from streams.log.head import RootMemory
from streams.log.lines import Export, export_lines
from streams.log.making import locked, new_log
from streams.log.reading import EmbeddedReader

app = typer.Typer(
    name="log", help="Carry a log elsewhere.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

_TOLD_EVERY = 4_096

ExportFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file of lines; it must not be there yet.")]
ImportFile = Annotated[Path, typer.Argument(metavar="FILE", help="A file that `log export` wrote.")]


Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML; its table [kafka] says how Kafka is reached.")
]


@app.callback()
def log() -> None:
    """Carry a log elsewhere, one line of canonical JSON a record, nothing lost; or on to this release."""


@app.command(name="export")
def export_log(file: ExportFile, *, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Write the whole log as it stands now into a file, checking each record's hash on the way.

    A bus may run meanwhile. Private keys, artefacts and the vault are no part of a log.
    """
    check_new(file)
    with open_copy(data) as log, counted("records", quiet=json) as progress, new_file(file) as out:
        records, size = _write(out, export_lines(log.settings, _records(log, progress)))
    if json:
        show.json({"file": str(file), "log": log.log_id, "records": records, "bytes": size})
    else:
        show.facts([("written", str(file)), ("records", f"{records:,}"), ("bytes", f"{size:,}")])


def _write(out: BinaryIO, lines: Iterator[bytes]) -> tuple[int, int]:
    count = size = 0
    for line in lines:
        out.write(line)
        count, size = count + 1, size + len(line)
    return count - 2, size


def _records(log: EmbeddedReader, progress: Counted | None) -> Iterator[Stored]:
    lines = [(topic, partition) for topic in log.topics for partition in range(log.partitions)]
    told = _telling(progress, sum(log.tip(*line).size for line in lines))
    for line in lines:
        for stored in log.rows(*line):
            told()
            yield stored


@app.command(name="import")
def import_log(
    file: ImportFile, *, root: Root = None, config: Config = None, data: Data = DEFAULT_DATA, json: Json = False
) -> None:
    """Make a log in a directory that has none out of an export: all of its records, append times included, or none.

    The trust anchor does not travel with what it is to prove: name it with --root, or put root.pub there yourself.
    With --config the records go to Kafka instead, into empty topics, by a user that exists for that time only; the site
    of the data directory then has its log there. Append times are Kafka's own then: they were never proven.
    """
    if config is not None:
        _import_to_kafka(file, data, Cluster.configured(config), json=json)
        return
    root_public_key = trusted_root(root)
    with file.open("rb") as lines, counted("records", quiet=json) as progress:
        export = Export(lines)
        told = _telling(progress, None)
        with new_log(data, export.settings) as new:
            RootMemory(data).forget()
            records = 0
            for records, stored in enumerate(export.records(), 1):  # noqa: B007 (the count is shown below)
                new.take(stored)
                told()
    if root_public_key:
        put(Place(data).root_public_key, root_public_key.hex().encode() + b"\n")
        RootMemory(data).write(root_public_key)
    if json:
        show.json({"data": str(data), "log": export.settings.log_id, "records": records})
        return
    show.facts([("log", str(data)), ("records", f"{records:,}"), ("from", str(file))])
    if not root_public_key:
        show.say(f"\nPut the site's root.pub into {data}; then: qpubus audit verify --data {data}")


@app.command()
def upgrade(
    *,
    key: Governor = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Let this release write on a log that another began: publish the schemas of events that the log lacks.

    What is on the log stays as it is, and is read by the schemas that it was written by.
    """
    governor = read_key(key or Place(data).key("root"))
    register = asyncio.run(open_register(data))
    lacking = lacking_schemas(register.admission)
    if lacking:
        asyncio.run(govern(data, register, governor, [(each, ()) for each in lacking]))
    names = [each.event_type for each in lacking]
    if json:
        show.json({"published": names})
    else:
        show.say(f"Published the schemas of {len(names)} kinds of events." if names else "The log lacks no schema.")


def _import_to_kafka(file: Path, data: Path, cluster: Cluster, *, json: bool) -> None:
    place = Place(data)
    root_public_key = place.read_root_public_key()
    lock = locked(data)
    try:
        if place.cluster.exists():
            raise Problem(f"the site in {data} has its log on Kafka already", f"{place.cluster} says where.")
        site = _site_in(file, root_public_key)
        with file.open("rb") as lines, counted("records", quiet=json) as progress:
            records = asyncio.run(bring(Export(lines), cluster.principal(OPERATOR), _telling(progress, None)))
        put(place.cluster, cluster.text(site).encode())
    finally:
        os.close(lock)
    if json:
        show.json({"data": str(data), "records": records})
    else:
        show.facts([("log", cluster.principal(OPERATOR).bootstrap), ("records", f"{records:,}"), ("from", str(file))])


def _site_in(file: Path, root_public_key: bytes) -> str:
    """The site of an export whose first record this root key has signed."""
    with file.open("rb") as lines:
        for stored in Export(lines).records():
            site = stored.record.key
            if not isinstance(site, str) or stored.topic != "governance":
                continue
            if isinstance(next(Admission(root_public_key, site).admit([stored])), Admitted):
                return site
    raise Problem(f"{file} has no site that was founded under the root key of this data directory", "Name its own.")


def _telling(progress: Counted | None, total: int | None) -> Callable[[], None]:
    """What to call for each record; it is passed on now and then."""
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if progress and done % _TOLD_EVERY == 0:
            progress(done, total or 0)

    return tell
