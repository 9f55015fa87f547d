"""Erasable texts: `vault show`, `vault erase`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from agents.vault import Vault, VaultError
from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, JobId, Json
from qpubus.governing import govern, kept_reason, open_register
from qpubus.keyfile import read_key
from qpubus.place import VAULT, Place
from qpubus.problem import Problem
from qpubus.reading import open_desk
from schemas.events import SubjectErased, TraceSealed
from schemas.manifest import plain
from streams.stage import Heard

app = typer.Typer(
    name="vault", help="Keep erasable texts.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

Directory = Annotated[
    Path | None,
    typer.Option("--vault", metavar="DIR", envvar=VAULT, help="The vault; DIR/vault of the data directory if none."),
]


@app.callback()
def vault() -> None:
    """Keep what must be erasable: decision traces and reasons. The log has their salted digests alone."""


@app.command(name="show")
def show_trace(job_id: JobId, *, vault: Directory = None, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Show why an agent declared a job: what stays on the log, and the full text unless it was erased."""
    sealed, is_erased = asyncio.run(_sealed(data, job_id))
    try:
        kept = Vault(vault or Place(data).vault).open(sealed.subject, sealed.text_digest)
    except VaultError as error:
        raise Problem(str(error)) from None
    trace = kept.trace if kept else None
    if json:
        document = plain(sealed) | {"trace": plain(trace) if trace else None, "erased": is_erased}
        show.json(document)
        return
    show.facts(
        [
            ("job", job_id),
            ("kept under", sealed.subject),
            ("chosen", f"{sealed.summary.choice} out of {', '.join(sealed.summary.options)}"),
            ("said", sealed.summary.said),
            ("goal", trace.goal if trace else ""),
            ("reason", trace.reason if trace else ""),
            *((f"option {each.name}", each.text) for each in (trace.options if trace else ())),
            ("full text", "" if trace else "erased" if is_erased else "not in this vault"),
        ]
    )


@app.command()
def erase(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The pseudonym that the texts are kept under.")],
    *,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; the vault keeps it as yours.")] = "",
    vault: Directory = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="The root's or an admin's key; DIR/keys/root.pem if none."),
    ] = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Destroy the key and all texts of a subject. The log says that it was done; every proof on it stays valid.

    Erase copies and backups of the vault too. Those of the log need not be touched.
    """
    kept = Vault(vault or Place(data).vault)
    if not kept.digests(subject):
        raise Problem(
            f"nothing is kept under {subject or 'no name'}",
            "Reasons are kept under who gave them (approver:ada), a job's trace as `qpubus vault show JOB` says.",
            code="no_text",
        )
    governor = read_key(key or Place(data).key("root"))
    register = asyncio.run(open_register(data))
    reason = kept_reason(data, register, governor, why, subject)
    digests = kept.digests(subject)
    erased = SubjectErased(subject=subject, text_digests=digests, reason=reason)
    asyncio.run(govern(data, register, governor, [(erased, ())], subject=subject))
    try:
        kept.erase(subject)
    except VaultError as error:
        raise Problem(str(error)) from None
    if json:
        show.json(plain(erased))
    else:
        show.say(f"Erased: {len(digests)} texts of {subject}, and their key. The log names them by their digests.")


async def _sealed(data: Path, job_id: str) -> tuple[TraceSealed, bool]:
    """What is on the log of a job's trace, and whether its text was erased since."""
    found, erased = None, set[str]()
    async for event in _events(data):
        if isinstance(event, TraceSealed) and event.job_id == job_id:
            found = event
        elif isinstance(event, SubjectErased):
            erased.update(event.text_digests)
    if found is None:
        raise Problem(f"no decision trace of {job_id} is on the log", f"List the jobs: qpubus jobs --data {data}")
    return found, found.text_digest in erased


async def _events(data: Path) -> AsyncIterator[object]:
    async with open_desk(data) as desk:
        async for items in desk.events(("governance", "intents")):
            if not items:
                return
            for item in items:
                if isinstance(item, Heard):
                    yield item.event
