"""Doubting the log: `audit verify`, `audit explain`, `audit redecide`."""

import asyncio
from collections.abc import Iterable
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.vault import Vault
from qpubus import explain_page, show
from qpubus.audited import audited
from qpubus.bars import Counted, counted
from qpubus.commands.bundle import bundle
from qpubus.commands.exports import export, report
from qpubus.commands.options import (
    DEFAULT_DATA,
    Data,
    JobId,
    Json,
    Kafka,
    Root,
    Roots,
    SiteRoots,
    roots_text,
    trusted_root,
    trusted_roots,
)
from qpubus.commands.publication import WitnessFiles, asked_for, logs, tiles
from qpubus.commands.reproduce import reproduce
from qpubus.ledger import Cluster, open_copy
from qpubus.place import Place
from qpubus.problem import EXIT_REFUSED, Problem
from qpubus.reading import unknown_job
from replay.audit import roots_of, verify
from replay.explain import Explanation, Line, chain_of, explanation_of
from replay.proofs import Proof
from replay.redecide import Redecision
from replay.redecide import redecide as decide_again
from replay.remembered import memory_of
from replay.verdict import Audit, Finding, Verdict
from schemas.events import ShotsMeasured
from schemas.keys import key_id
from schemas.manifest import plain
from schemas.words import wire_name

app = typer.Typer(
    name="audit", help="Doubt the log.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
app.command()(bundle)
app.command()(reproduce)
app.command()(export)
app.command()(report)
app.command()(logs)
app.command()(tiles)

_FINDINGS_SHOWN = 20
_CHUNK = wire_name(ShotsMeasured)


@app.command(name="verify")
def verify_log(
    *,
    data: Data = DEFAULT_DATA,
    kafka: Kafka = None,
    root: SiteRoots = None,
    witness: WitnessFiles = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Share the work of a long log among so many processes.")
    ] = 1,
    everything: Annotated[
        bool, typer.Option("--all", help="Go on behind the first difference of a topic, and list every one.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Judge what came after the last sound audit that this account remembers; of what it covered, hash "
            "every byte again and no more.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Recompute every digest, seal, key, role, cause, sequence and checkpoint from the stored bytes.

    All hangs on the root key. Without --root it is the one in DIR/root.pub, which whoever replaced DIR replaced too.
    Exit 0: sound. 2: tampered. 3: incomplete. 4: unreadable. 5: sound, but some records are in no checkpoint that
    enough witnesses of the policy have cosigned, or a checkpoint given as a witness's does not hold.
    """
    asked = asked_for(witness) if witness else None
    named = trusted_roots(root)
    is_copied = kafka is not None or Cluster.of(data) is not None
    if resume and is_copied:
        what = "--resume goes on in a data directory; a log on Kafka, where no hash is kept, is copied whole each time"
        raise Problem(what, "Leave --resume out.")
    with counted("records", quiet=json) as progress:
        audit = asyncio.run(
            verify(
                data,
                progress=progress,
                asked=asked,
                root=named if len(named) > 1 else next(iter(named), None),
                opened=partial(open_copy, access=kafka, all_sites=len(named) > 1),
                jobs=jobs,
                everything=everything,
                memory=None if is_copied else memory_of(data, resumes=resume),
            )
        )
    if json:
        shown = audit.listed if everything else audit.findings
        show.json_with(_audit_document(audit), "findings", map(_finding_document, shown))
    else:
        _show_audit(audit, kafka or data, audit.listed if everything else audit.findings[:_FINDINGS_SHOWN])
    raise typer.Exit(int(audit.verdict))


def _audit_document(audit: Audit) -> dict[str, Any]:
    return {
        "verdict": audit.verdict.word,
        "roots": audit.roots,
        "events": audit.events,
        "signatures": audit.signatures,
        "jobs": audit.jobs,
        "refused": audit.refused,
        "rounds": audit.rounds,
        "uncovered": audit.uncovered,
        "unheld": audit.unheld,
        "found": audit.found,
        "notes": audit.notes,
    }


def _finding_document(finding: Finding) -> dict[str, Any]:
    return {name: value for name, value in finding._asdict().items() if name != "rank"}


def _show_audit(audit: Audit, data: Path, shown: Iterable[Finding]) -> None:
    show.facts(
        [
            ("verdict", audit.verdict.word),
            ("root key", ", ".join(f"{key} of {site}" for site, key in sorted(audit.roots.items()))),
            ("log", str(data)),
            ("events", f"{audit.events:,}"),
            ("signatures", f"{audit.signatures:,}"),
            ("jobs", f"{audit.jobs:,}"),
            ("refused", _refused_text(audit)),
            ("checkpoints", f"{audit.rounds:,} rounds" if audit.rounds else ""),
        ]
    )
    for note in audit.notes:
        show.say(f"note: {show.printable(note)}")
    for place in audit.uncovered:
        show.say(f"not covered by enough witnesses: {show.printable(place)}")
    for checkpoint in audit.unheld:
        show.say(f"given as a witness's, and does not hold: {show.printable(checkpoint)}")
    told = 0
    for told, finding in enumerate(shown, 1):  # noqa: B007 (how many were told is said below)
        show.say(f"found: {show.printable(str(finding))}")
    if audit.found > told:
        show.say(f"and {audit.found - told:,} more places; all of them with --all")
    if audit.verdict in {Verdict.TAMPERED, Verdict.INCOMPLETE}:
        show.say(
            "Keep a copy as it is, and compare it with another copy of the log. The first place found comes first."
        )


def _refused_text(audit: Audit) -> str:
    if not audit.refused:
        return ""
    return f"{audit.refused:,} records" + ("" if audit.findings else ", rejected on the log for the same reason")


@app.command()
def explain(
    job_id: JobId,
    *,
    html: Annotated[bool, typer.Option("--html", help="Print one HTML page that needs nothing else.")] = False,
    data: Data = DEFAULT_DATA,
    root: SiteRoots = None,
    json: Json = False,
) -> None:
    """Show the chain of causes of a job from its intent to its end, each signature checked.

    Exit 2 if a signature does not hold.
    """
    if html and json:
        raise typer.BadParameter("it prints a page and --json a document: ask for one of them", param_hint="--html")
    with audited(data, trusted_roots(root)) as (log, roots):
        chain = asyncio.run(chain_of(log, roots, job_id))
    if chain is None:
        raise unknown_job(job_id, data)
    explained = explanation_of(chain, job_id)
    if html:
        typer.echo(explain_page.page(explained, [each.event for each in chain.events], roots).encode(), nl=False)
    elif json:
        judged = {"holds": explained.holds, "signatures": explained.signatures, "roots": _key_ids(roots)}
        show.json(plain(explained) | judged)
    else:
        _show_explanation(explained, Vault(Place(data).vault))
        show.say(f"checked by {roots_text(roots)}")
    if not explained.holds:
        raise typer.Exit(int(Verdict.TAMPERED))


def _key_ids(roots: Roots) -> dict[str, str]:
    return {site: key_id(root) for site, root in roots.items()}


def _show_explanation(explained: Explanation, vault: Vault) -> None:
    for is_chunks, lines in groupby(explained.lines, key=lambda line: line.event_type == _CHUNK):
        if is_chunks:
            _show_chunks(list(lines))
        else:
            for line in lines:
                _show_line(line, vault)
    for place in explained.passed_over:
        show.say(f"passed over by the stage in charge: {show.printable(place)}")
    holds = "all hold" if explained.holds else "NOT ALL HOLD"
    show.say(f"\n{len(explained.lines)} events, {explained.signatures} signatures checked: {holds}")


def _show_line(line: Line, vault: Vault) -> None:
    show.say(f"{show.utc(line.time_us)}  {show.printable(vault.told(line.sentence))}")
    for name, text in line.details:
        show.say(f"    {show.printable(name)}:{_indented(text)}")
    place = f"{line.topic} partition {line.partition} offset {line.offset}"
    show.say(f"    {line.event_type.removeprefix('qpubus.')} at {place}; {_proofs_text(line.proofs)}")


def _indented(text: str) -> str:
    """A text of several lines, such as a clause of a policy, below what names it."""
    printed = show.printable(text, lines=True)
    return f" {printed}" if "\n" not in printed else "".join(f"\n        {line}" for line in printed.splitlines())


def _show_chunks(lines: list[Line]) -> None:
    """Chunks of shots follow each other by the hundred: the first, the last, and whether all their signatures hold."""
    first, last = lines[0], lines[-1]
    show.say(f"{show.utc(first.time_us)}  {len(lines)} chunks: {show.printable(first.sentence)}")
    if len(lines) > 1:
        show.say(f"{show.utc(last.time_us)}    up to: {show.printable(last.sentence)}")
    places = f"{first.topic} partition {first.partition} offsets {first.offset} to {last.offset}"
    broken = [proof for line in lines for proof in line.proofs if not proof.holds]
    proofs = _proofs_text(tuple(broken) if broken else first.proofs)
    show.say(f"    {_CHUNK.removeprefix('qpubus.')} at {places}; {proofs}")


def _proofs_text(proofs: tuple[Proof, ...]) -> str:
    """Whose signatures hold, and of one that does not, why."""
    held = ", ".join(
        f"{proof.kind} of {proof.by}{' (key revoked since)' if proof.is_revoked else ''}"
        for proof in proofs
        if proof.holds
    )
    broken = [
        f"{proof.kind} by {proof.by or 'nobody enrolled'}, key {proof.key_id}, DOES NOT HOLD: {proof.detail}"
        for proof in proofs
        if not proof.holds
    ]
    return show.printable("; ".join([f"holds: {held}", *broken] if held else broken))


@app.command()
def redecide(*, data: Data = DEFAULT_DATA, root: Root = None, json: Json = False) -> None:
    """Take every decision on the log again and compare its statement byte by byte. Exit 1 if one differs."""
    with counted("decisions", quiet=json) as progress:
        again, roots = asyncio.run(_redecide(data, trusted_root(root), progress))
    if json:
        show.json(
            {
                "same": again.is_same,
                "roots": _key_ids(roots),
                "decisions": again.decisions,
                "differences": [str(each) for each in again.differences],
            }
        )
    else:
        show.facts((stage, f"{count:,} decisions the same") for stage, count in sorted(again.decisions.items()))
        for each in again.differences:
            show.say(f"otherwise: {show.printable(str(each))}")
        show.say(f"read by {roots_text(roots)}")
    if not again.is_same:
        raise typer.Exit(EXIT_REFUSED)


async def _redecide(data: Path, root: bytes | None, progress: Counted | None) -> tuple[Redecision, Roots]:
    with open_copy(data) as log:
        roots = await roots_of(log, root)
        return await decide_again(log, roots, progress), roots
