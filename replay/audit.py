"""`audit verify`: reads a data directory as a stranger, recomputes everything from stored bytes, and says what differs.

For each record, by its bytes: the row chain up to the head and up to what this account remembers, statement, digest,
batch tree, signature, key, role, device, sequence, schema digest. For each event, by the others: its causes, the
journals of the stages, and for each refused record the event by which the stage in charge rejected it for that reason.
Bodies are decoded where something hangs on them here; `audit redecide` reads them all.

Topics are read one after the other, governance first. Whether a key that was revoked still counted for a record is
decided where a stage's journal says how far governance had been read; see `replay.hearing`.
"""

import gc
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import groupby, islice
from pathlib import Path

from replay.checkpoints import Checkpoints
from replay.scan import SiteScan
from replay.settle import refused_in, settle
from replay.verdict import Audit, Finding, Progress, Verdict
from replay.witnessed import Asked
from schemas.admission import Stored
from schemas.envelope import Record
from schemas.keys import key_id
from schemas.seal import PREFIX_BYTES
from streams.log.head import RootMemory
from streams.log.port import LogCorrupt, LogError, LogIncomplete, RootReplaced, partition_of
from streams.log.reading import EmbeddedReader, open_copy

CHUNK = 1_024
_ROOT = "root.pub"
_PLACE = re.compile(r"([a-z]+) partition (\d+) offset (\d+): ")


async def verify(
    directory: Path,
    roots: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
    asked: Asked | None = None,
    root: bytes | None = None,
) -> Audit:
    """Audit the embedded log in `directory` and change nothing there.

    `roots` gives the root public key of each site; without it, `root` is that of the one site of the directory, and
    without either `root.pub` there is believed, unless this account remembers another one.
    `asked` says whose word on checkpoints to hold the log against.
    """
    try:
        with open_copy(directory) as log:
            return await verify_log(log, roots or await roots_of(log, root), progress, asked)
    except RootReplaced as error:
        return Audit(Verdict.TAMPERED, findings=[Finding(0, "", 0, 0, "", "root_replaced", str(error))])
    except LogCorrupt as error:
        finding = _storage_finding(error)
        if not finding.topic:
            return Audit(Verdict.UNREADABLE, notes=[str(error)])
        audit = Audit()
        audit.conclude([finding], ())
        return audit
    except LogError as error:
        return Audit(Verdict.UNREADABLE, notes=[str(error)])


async def verify_log(
    log: EmbeddedReader,
    roots: Mapping[str, bytes],
    progress: Progress | None = None,
    asked: Asked | None = None,
) -> Audit:
    """Audit an open log."""
    audit = Audit(roots={site: key_id(key) for site, key in roots.items()})
    findings = [_storage_finding(error) for error in log.check()]
    tell = _Told(progress, sum(log.tip(topic, number).size for topic in log.topics for number in range(log.partitions)))
    with collector_off():
        for partition in range(log.partitions):
            here = {
                site: key for site, key in roots.items() if partition_of(site.encode(), log.partitions) == partition
            }
            sites = here or roots
            with closing(Checkpoints(partition, sites, asked)) as checkpoints:
                scans = {site: SiteScan(site, key, partition, checkpoints) for site, key in sites.items()}
                findings += _scan(log, partition, scans, tell)
                broken = frozenset(finding.topic for finding in findings)
                refused = [each.refused for scan in scans.values() for each in scan.refused.values()]
                findings += await checkpoints.check(log, refused, broken, audit)
            for scan in scans.values():
                if broken:
                    findings += refused_in(scan, broken)
                else:
                    findings += await settle(scan, log, partition, sites, audit)
    audit.conclude([await _named(finding, log) for finding in findings], log.topics)
    return audit


def _scan(log: EmbeddedReader, partition: int, scans: Mapping[str, SiteScan], tell: "_Told") -> list[Finding]:
    """Take every record of a partition number to the scan of its site; what is wrong with their storage."""
    findings = []
    for topic in log.topics:
        try:
            for chunk in _chunks(log.rows(topic, partition)):
                for scan, neighbours in _by_site(chunk, scans):
                    scan.take(neighbours)
                tell.more(len(chunk))
        except LogCorrupt as error:
            findings.append(_storage_finding(error))
    return findings


def _by_site(chunk: list[Stored], scans: Mapping[str, SiteScan]) -> Iterator[tuple[SiteScan, list[Stored]]]:
    """Neighbours of one site after the other, with that site's scan; a key that is no site's is the first one's."""
    home = scans[min(scans)]
    if len(scans) == 1:
        yield home, chunk
        return
    for key, neighbours in groupby(chunk, key=lambda stored: stored.record.key):
        site = key if isinstance(key, str) else (key or b"").decode("latin-1")
        yield scans.get(site, home), list(neighbours)


class _Told:
    """Counts records for whoever follows the progress."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def more(self, count: int) -> None:
        self._done += count
        if self._progress:
            self._progress(self._done, self._total)


async def roots_of(log: EmbeddedReader, root: bytes | None = None) -> dict[str, bytes]:
    """The trust anchor of a data directory with one site, which is the one that its first record names.

    Without `root`, it is what `root.pub` there says; `RootReplaced` if this account remembers another.
    """
    root = root or _root_beside(log)
    for partition in range(log.partitions):
        for stored in log.rows("governance", partition):
            key = stored.record.key
            return {key if isinstance(key, str) else "": root}
    return {"": root}


def _root_beside(log: EmbeddedReader) -> bytes:
    path = log.directory / _ROOT
    try:
        root = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError):
        raise LogError(f"{path} does not hold the root public key; restore it, everything is verified by it") from None
    if doubt := RootMemory(log.directory).doubt(root):
        raise RootReplaced(doubt)
    return root


def _chunks(rows: Iterator[Stored]) -> Iterator[list[Stored]]:
    """Rows in portions that do not cut a batch, as far as that is possible."""
    chunk = list(islice(rows, CHUNK))
    while chunk:
        prefix = _prefix(chunk[-1])
        following: list[Stored] = []
        for stored in rows:
            if _prefix(stored) != prefix:
                following = [stored]
                break
            chunk.append(stored)
        yield chunk
        chunk = following + list(islice(rows, CHUNK))


def _prefix(stored: Stored) -> bytes:
    return stored.record.seal[:PREFIX_BYTES] if isinstance(stored.record, Record) else b""


@contextmanager
def collector_off() -> Iterator[None]:
    """Nothing that an audit makes points back at itself, so looking for cycles would be for nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _storage_finding(error: LogCorrupt) -> Finding:
    """What the log itself found wrong, by the place that it names."""
    place = _PLACE.search(str(error))
    topic, partition, offset = (place[1], int(place[2]), int(place[3])) if place else ("", 0, 0)
    detail = str(error)[place.end() :] if place else str(error)
    missing = isinstance(error, LogIncomplete)
    return Finding(0, topic, partition, offset, "", "record_missing" if missing else "record_changed", detail, missing)


async def _named(finding: Finding, log: EmbeddedReader) -> Finding:
    """A finding with the id of its event, if that can still be read."""
    if finding.event_id or not finding.topic:
        return finding
    try:
        found = await log.read(finding.topic, finding.partition, finding.offset, 1)
    except LogError:
        return finding
    record = found[0].record if found else None
    return finding._replace(event_id=record.id) if isinstance(record, Record) else finding
