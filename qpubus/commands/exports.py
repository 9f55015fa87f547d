"""What others read of a log: `audit export`, `audit report`; both are subcommands of `audit`."""

import asyncio
import csv
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qpubus import show
from qpubus.audited import at_its_site, audited
from qpubus.commands.bundle import AuditorKey, auditor_key, no_auditor
from qpubus.commands.options import DEFAULT_DATA, Data, Json, Roots, SiteRoots, trusted_roots
from qpubus.new_file import new_file
from qpubus.reading import unknown_job
from replay.bundle import NotAuditor, provenance
from replay.explain import chain_of
from replay.gathering import JobUnknown
from replay.judged import judged
from replay.ocsf import ocsf_events
from replay.prov import prov_document
from replay.report import COLUMNS, Row, report_rows
from streams.log.reading import EmbeddedReader

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMULA = (
    *("=", "+", "-", "@"),
    *("\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}"),
    *("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}"),
)
"""What a spreadsheet may take for the beginning of a formula; some take the full-width signs for the plain ones."""


class ExportFormat(StrEnum):
    """Who is to read it: a SIEM, a provenance tool, or a verifier of supply chains."""

    OCSF = "ocsf"
    PROV = "prov"
    INTOTO = "intoto"


Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a new file instead.")]
From = Annotated[str, typer.Option("--from", metavar="T", help="UTC: 2026-01-18, or 2026-01-18T09:00:00.")]
To = Annotated[str, typer.Option("--to", metavar="T", help="Up to here, this time itself left out.")]


def export(
    *,
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="ocsf: the log, a line an event. prov, intoto: a job.")
    ],
    job: Annotated[str, typer.Option("--job", metavar="ID", help="The job, for prov and intoto.")] = "",
    output: Output = None,
    key: AuditorKey = None,
    data: Data = DEFAULT_DATA,
    root: SiteRoots = None,
) -> None:
    """Write the log as OCSF 1.9 for a SIEM, or a job as W3C PROV (PROV-JSON) or as in-toto statement (SLSA, DSSE).

    The in-toto statement is signed with the auditor's key.
    """
    if (format_ is ExportFormat.OCSF) == bool(job):
        raise typer.BadParameter("prov and intoto are of one job, and ocsf of the whole log", param_hint="--job")
    auditor = auditor_key(key, data) if format_ is ExportFormat.INTOTO else None
    with audited(data, trusted_roots(root)) as (log, roots), _out(output) as out:
        if format_ is ExportFormat.OCSF:
            for event in ocsf_events(log.log_id, judged(log, roots), version("qpubus")):
                out.write(orjson.dumps(event) + b"\n")
        elif auditor is None:
            out.write(_document(asyncio.run(_prov(log, roots, data, job))))
        else:
            out.write(_document(_intoto(log, roots, (job, data), (auditor, key))))


async def _prov(log: EmbeddedReader, roots: Roots, data: Path, job_id: str) -> Any:
    chain = await chain_of(log, roots, job_id)
    if chain is None:
        raise unknown_job(job_id, data)
    return prov_document(chain)


def _intoto(
    log: EmbeddedReader, roots: Roots, asked: tuple[str, Path], signer: tuple[Ed25519PrivateKey, Path | None]
) -> Any:
    (job_id, data), (auditor, file) = asked, signer
    try:
        return at_its_site(log, roots, lambda home, others: provenance(log, home, job_id, auditor, others))[1]
    except JobUnknown:
        raise unknown_job(job_id, data) from None
    except NotAuditor:
        raise no_auditor(file, data) from None


def _document(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def report(
    *, from_: From, to: To, output: Output = None, data: Data = DEFAULT_DATA, root: SiteRoots = None, json: Json = False
) -> None:
    """List for a period, as CSV, what somebody must answer for, by the signed times.

    These are runs without a human, grants, denials, refusals, overruns, mandates, steps of autonomy, halts, revoked
    keys, erasures, rejected events and records that nobody should believe. Times without a zone are UTC.
    """
    begin, end = (_time_us(text, name) for text, name in ((from_, "--from"), (to, "--to")))
    if begin >= end:
        raise typer.BadParameter("it must be later than --from", param_hint="--to")
    with audited(data, trusted_roots(root)) as (log, roots):
        rows = report_rows(judged(log, roots), begin, end)
    with _out(output) as out:
        out.write(orjson.dumps([each._asdict() for each in rows]) + b"\n" if json else csv_of(rows))


def csv_of(rows: list[Row]) -> bytes:
    """Rows as comma-separated values (RFC 4180), with no cell that a spreadsheet would run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_harmless(str(cell)) for cell in row])
    return text.getvalue().encode()


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: strangers choose reasons and job ids."""
    cell = show.printable(cell)
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _time_us(text: str, option: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("give a time as 2026-01-18 or 2026-01-18T09:00:00", param_hint=option) from None
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


@contextmanager
def _out(path: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a new file that is there whole or not at all."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with new_file(path) as file:
        yield file
