"""A log's public face: `audit logs`, `audit tiles`; and how witnesses are named to `audit verify` and `up`."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from qpubus import show
from qpubus.bars import Counted, counted
from qpubus.commands.options import DEFAULT_DATA, Data, Json, Root, trusted_root
from qpubus.ledger import open_copy
from qpubus.problem import Problem
from replay.audit import roots_of
from replay.publishing import Latest, latest_rounds, publish
from replay.shelves import DirectoryShelf, LockedBucket, Shelf, ShelfProblem
from replay.witnessed import Asked, read_asked
from schemas.checkpoints import origin_of
from schemas.note import Kind, NoteInvalid, NoteKey
from schemas.quorum import Policy, PolicyInvalid
from streams.disk import read_small
from streams.log.port import ReadableLog

S3 = "s3://"
LOCK_DAYS = 3_650
_WITNESS_BYTES_MAX = 64 << 20
"""More than the checkpoints of a hundred thousand trees."""

WitnessFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--witness",
        metavar="FILE",
        help="A tlog-policy; with it, as further --witness, files of a witness's own /checkpoints.",
    ),
]
Where = Annotated[str, typer.Option("--out", metavar="DIR", help="A directory, or s3://BUCKET/PREFIX.")]


def asked_for(files: Sequence[Path]) -> Asked:
    """What the files of `--witness` ask for."""
    try:
        return read_asked([read_small(path, _WITNESS_BYTES_MAX) for path in files])
    except (PolicyInvalid, NoteInvalid) as error:
        named = " and ".join(map(str, files))
        raise Problem(f"{named}: {error}", "See https://c2sp.org/tlog-policy for the form.") from None


def logs(*, data: Data = DEFAULT_DATA, root: Root = None) -> None:
    """Show the keys of this log's trees, for whoever witnesses them: `qpubus witness --logs FILE`."""
    with open_copy(data) as log:
        roots = asyncio.run(roots_of(log, trusted_root(root)))
        for latest in asyncio.run(_latest(log, roots)):
            for head in latest.sealed.heads:
                origin = origin_of(latest.root_public_key, head.topic, latest.sealed.partition)
                show.say(f"log {NoteKey(origin, Kind.TEXT, latest.sealer).text}")


def tiles(
    *,
    out: Where,
    segments: Annotated[
        str, typer.Option("--segments", metavar="DIR", help="Also the events, for those who may read them: as --out.")
    ] = "",
    lock_days: Annotated[
        int, typer.Option("--lock-days", metavar="N", min=1, help="On S3: nobody can change an object for so long.")
    ] = LOCK_DAYS,
    witness: Annotated[
        Path | None,
        typer.Option(
            "--witness", metavar="FILE", help="A tlog-policy: publish the last round that enough of its witnesses saw."
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
    root: Root = None,
    json: Json = False,
) -> None:
    """Publish the sealed trees as C2SP tlog-tiles, for any static web server. Goes on from what is there.

    Without --witness it is the last round that any witness has cosigned, or the last of all where none has. What is
    published are digests. The events themselves go where --segments says, or nowhere.
    """
    policy = asked_for([witness]).policy if witness else None
    try:
        shelf, apart = _shelf(out, lock_days), _shelf(segments, lock_days) if segments else None
        with counted("records", quiet=json) as progress, open_copy(data) as log:
            roots = asyncio.run(roots_of(log, trusted_root(root)))
            published = asyncio.run(_publish(log, roots, policy, (shelf, apart), progress))
    except ShelfProblem as error:
        raise Problem(str(error)) from None
    if json:
        show.json({"published": published})
    else:
        show.facts((origin, f"{count:,} new records") for origin, count in published.items())


def _shelf(name: str, lock_days: int) -> Shelf:
    if name.startswith(S3):
        bucket, _, prefix = name.removeprefix(S3).partition("/")
        return LockedBucket(bucket, prefix, lock_days)
    return DirectoryShelf(Path(name))


async def _latest(log: ReadableLog, roots: Mapping[str, bytes]) -> list[Latest]:
    found = [latest for number in range(log.partitions) if (latest := await latest_rounds(log, number, roots))]
    if not found:
        raise Problem("no round of checkpoints is on this log yet", "Let the bus run for a second: qpubus up")
    return found


async def _publish(
    log: ReadableLog,
    roots: Mapping[str, bytes],
    policy: Policy | None,
    shelves: tuple[Shelf, Shelf | None],
    progress: Counted | None,
) -> dict[str, int]:
    published = {}
    found = [(latest, round_) for latest in await _latest(log, roots) if (round_ := latest.due(policy))]
    if not found:
        what = "no round on this log has the cosignatures that the policy of --witness asks for"
        raise Problem(what, "Bring its rounds to the witnesses: qpubus up --witness FILE")
    total, done = sum(head.size for _, round_ in found for head in round_.sealed.heads), 0
    for latest, round_ in found:
        for head in round_.sealed.heads:
            origin = origin_of(latest.root_public_key, head.topic, round_.sealed.partition)
            published[origin] = await publish(latest, round_, head, *shelves)
            done += head.size
            if progress:
                progress(done, total)
    return published
