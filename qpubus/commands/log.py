"""A log on its way from one engine, or machine, to another: `log export`, `log import`."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from qpubus import show
from qpubus.bars import Counted, counted
from qpubus.commands.options import DEFAULT_DATA, Data, Json, Root, trusted_root
from qpubus.place import Place
from qpubus.problem import Problem
from schemas.admission import Stored
from streams.log.head import RootMemory
from streams.log.lines import Export, export_lines
from streams.log.making import new_log
from streams.log.reading import EmbeddedReader, open_copy

app = typer.Typer(name="log", help="Carry a log elsewhere.", no_args_is_help=True, rich_markup_mode=None)

_TOLD_EVERY = 4_096

ExportFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file of lines; it must not be there yet.")]
ImportFile = Annotated[Path, typer.Argument(metavar="FILE", help="A file that `log export` wrote.")]


@app.callback()
def log() -> None:
    """Carry a log elsewhere: one line of canonical JSON a record, nothing lost, append times included."""


@app.command(name="export")
def export_log(file: ExportFile, *, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Write the whole log as it stands now into a file, checking each record's hash on the way.

    A bus may run meanwhile. Private keys, artefacts and the vault are no part of a log.
    """
    if file.exists():
        raise Problem(f"{file} is there already", "Name a file that is not there yet.")
    aside = file.with_name(f"{file.name}.part")
    with open_copy(data) as log, counted("records", quiet=json) as progress:
        try:
            with aside.open("wb") as out:
                records, size = _write(out, export_lines(log.settings, _records(log, progress)))
                out.flush()
                os.fsync(out.fileno())
            aside.replace(file)
        finally:
            aside.unlink(missing_ok=True)
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
def import_log(file: ImportFile, *, root: Root = None, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Make a log in a directory that has none out of an export: all of its records, append times included, or none.

    The trust anchor does not travel with what it is to prove: name it with --root, or put root.pub there yourself.
    """
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
        Place(data).root_public_key.write_text(root_public_key.hex() + "\n")
        RootMemory(data).write(root_public_key)
    if json:
        show.json({"data": str(data), "log": export.settings.log_id, "records": records})
        return
    show.facts([("log", str(data)), ("records", f"{records:,}"), ("from", str(file))])
    if not root_public_key:
        show.say(f"\nPut the site's root.pub into {data}; then: qpubus audit verify --data {data}")


def _telling(progress: Counted | None, total: int | None) -> Callable[[], None]:
    """What to call for each record; it is passed on now and then."""
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if progress and done % _TOLD_EVERY == 0:
            progress(done, total or 0)

    return tell
