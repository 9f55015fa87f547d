"""A job in one file for a stranger: `audit bundle`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.artifacts import ArtifactStore
from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, JobId, Json, Root, trusted_root
from qpubus.keyfile import read_key
from qpubus.ledger import open_copy
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.reading import unknown_job
from replay import standalone
from replay.audit import roots_of
from replay.bundle import bundle as bundle_of
from replay.gathering import JobUnknown
from streams.disk import put

_AUDITOR = "auditor"

Output = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The file; it must not be there yet.")]
Redact = Annotated[
    bool,
    typer.Option(
        "--redact",
        help="Leave out stored documents (programs, inputs, results); name their digests. What the events say stays, "
        "as their seals are over it: counts, reported numbers, a circuit in the manifest.",
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
    root: Root = None,
    json: Json = False,
) -> None:
    """Write a job and all that proves it into one file, which `qpubus-verify FILE` checks without qpubus.

    The file is checked so as soon as it is written; its exit codes are those of `audit verify`.
    """
    if output.exists():
        raise Problem(f"{output} is there already", "Name a file that is not there yet.")
    if not output.parent.is_dir():
        raise Problem(f"{output.parent} is no directory", "Make it first, or name a file elsewhere.")
    place = Place(data)
    auditor = auditor_key(key, data)
    # An artefact store makes its directory; here nothing is made.
    artifacts = ArtifactStore(place.artifacts) if place.artifacts.is_dir() and not redact else None
    try:
        content, root_public_key = asyncio.run(_bundle(job_id, data, auditor, artifacts, trusted_root(root)))
    except JobUnknown:
        raise unknown_job(job_id, data) from None
    report = standalone.verify(content, root_public_key)
    if any((each.place, each.reason) == ("the provenance", "key_unknown") for each in report.findings):
        raise Problem(
            f"the key in {key or place.key(_AUDITOR)} is no auditor's on this log, so nothing was written",
            "Name an auditor's key with --key FILE; `qpubus keys list` shows which are enrolled.",
        )
    put(output, content)
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


def auditor_key(file: Path | None, data: Path) -> Ed25519PrivateKey:
    """The auditor's private key, from a file or from the data directory."""
    return read_key(file or Place(data).key(_AUDITOR))


async def _bundle(
    job_id: str, data: Path, key: Ed25519PrivateKey, artifacts: ArtifactStore | None, root: bytes | None
) -> tuple[bytes, bytes]:
    with open_copy(data) as log:
        [home] = (await roots_of(log, root)).items()
        return await bundle_of(log, home, job_id, key, artifacts), home[1]
