"""A job in one file for a stranger: `audit bundle`."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.artifacts import ArtifactStore
from qpubus import show
from qpubus.audited import at_its_site, audited
from qpubus.commands.options import DEFAULT_DATA, Data, JobId, Json, SiteRoots, trusted_roots
from qpubus.keyfile import read_key
from qpubus.new_file import check_new, new_file
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.reading import unknown_job
from replay import standalone
from replay.bundle import bundle as bundle_of
from replay.gathering import JobUnknown

_AUDITOR = "auditor"

Output = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The file; it must not be there yet.")]
Redact = Annotated[
    bool,
    typer.Option(
        "--redact",
        help="Withhold what the events say (purpose, circuits, prices, counts, results, reasons) and all documents. "
        "Shown are who said what kind of thing when and because of what, keys, and who granted the job.",
    ),
]
AuditorKey = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="An auditor's private key (PEM); DIR/keys/auditor.pem if none."),
]


def bundle(
    job_id: JobId,
    *,
    output: Output,
    redact: Redact = False,
    key: AuditorKey = None,
    data: Data = DEFAULT_DATA,
    root: SiteRoots = None,
    json: Json = False,
) -> None:
    """Write a job and all that proves it into one file, which `qpubus-verify FILE` checks without qpubus.

    The file is checked so as soon as it is written; its exit codes are those of `audit verify`.
    """
    check_new(output)
    place = Place(data)
    auditor = auditor_key(key, data)
    # An artefact store makes its directory; here nothing is made.
    artifacts = ArtifactStore(place.artifacts) if place.artifacts.is_dir() and not redact else None
    try:
        with audited(data, trusted_roots(root)) as (log, roots):
            (_, root_public_key), content = at_its_site(
                log,
                roots,
                lambda home, others: bundle_of(log, home, job_id, auditor, artifacts, others=others, redacts=redact),
            )
    except JobUnknown:
        raise unknown_job(job_id, data) from None
    report = standalone.verify(content, root_public_key)
    if any((each.place, each.reason) == ("the provenance", "key_unknown") for each in report.findings):
        raise no_auditor(key, data)
    with new_file(output) as file:
        file.write(content)
    if json:
        show.json({"file": str(output), "bytes": len(content)} | report.document())
    else:
        show.facts(
            [
                ("written", str(output)),
                ("bytes", f"{len(content):,}"),
                ("verdict", standalone.VERDICTS[report.verdict]),
                ("records", f"{report.records:,}, of which {report.proven:,} are in the sealed trees"),
            ]
        )
        for finding in report.findings[: standalone.FINDINGS_SHOWN]:
            show.say(f"found: {finding}")
        show.say(f"\nAnybody can check it: qpubus-verify {output} --root root.pub")
    raise typer.Exit(report.verdict)


def no_auditor(key: Path | None, data: Path) -> Problem:
    """What is said where the key that should sign is not an auditor's."""
    return Problem(
        f"the key in {key or Place(data).key(_AUDITOR)} is no auditor's on this log, so nothing was written",
        "Name an auditor's key with --key FILE; `qpubus keys list` shows which are enrolled.",
        code="key_unknown",
    )


def auditor_key(file: Path | None, data: Path) -> Ed25519PrivateKey:
    """The auditor's private key, from a file or from the data directory."""
    return read_key(file or Place(data).key(_AUDITOR))
