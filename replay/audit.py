"""`audit verify`: reads a data directory as a stranger, recomputes everything from stored bytes, and says what differs.

For each record, by its bytes: the row chain up to the head and up to what this account remembers, statement, digest,
batch tree, signature, key, role, device, sequence, schema digest. For each event, by the others: its causes, the
journals of the stages, and for each refused record the event by which the stage in charge rejected it for that reason.
For what agents, gateway and people signed inside of events: that it holds, under a key that had not ended. Bodies are
decoded where something hangs on them here; `audit redecide` reads them all.

Topics are read one after the other, governance first. Whether a key that was revoked still counted for a record is
decided where a stage's journal says how far governance had been read; see `replay.hearing` and `replay.endings`.
What grows with the log lies in a temporary index, see `replay.index`.
"""

import gc
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from heapq import merge
from pathlib import Path

from replay.checkpoints import Checkpoints
from replay.crew import ALONE, Crew, Piece
from replay.index import Index
from replay.remembered import Earlier, Keeping, Memory
from replay.scan import SiteScan
from replay.settle import refused_in, settle
from replay.sites import roots_of_sites
from replay.verdict import Audit, Finding, Found, Progress, Verdict
from replay.witnessed import Asked
from schemas.admission import Stored
from schemas.envelope import EnvelopeInvalid, Record
from schemas.keys import key_id
from streams.disk import read_small
from streams.log.head import RootMemory
from streams.log.port import LogCorrupt, LogError, LogIncomplete, RootReplaced, partition_of
from streams.log.reading import EmbeddedReader, RowChanged, changed, missing, open_copy

_TOLD_EVERY = 1_024
_ROOT = "root.pub"
_ROOT_BYTES_MAX = 1 << 10
_PLACE = re.compile(r"([a-z]+) partition (\d+) offset (\d+): ")


async def verify(
    directory: Path,
    roots: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
    asked: Asked | None = None,
    root: bytes | Sequence[bytes] | None = None,
    *,
    opened: Callable[[Path], AbstractContextManager[EmbeddedReader]] = open_copy,
    jobs: int = 1,
    everything: bool = False,
    memory: Memory | None = None,
) -> Audit:
    """Audit the log of `directory`, which is there unless `opened` finds it elsewhere, and change nothing.

    `roots` gives the root public key of each site; without it, `root` is that of the one site of the directory, or
    those of all its sites, and without either `root.pub` there is believed, unless this account remembers another one.
    `asked` says whose word on checkpoints to hold the log against. `jobs` processes share the work of a long log.
    With `everything` a topic is read on behind a place where its storage differs. `memory` is where a sound audit is
    remembered, and tells whether this one goes on from there.
    """
    try:
        with opened(directory) as log:
            roots = roots or await (
                roots_of(log, root) if isinstance(root, bytes | None) else roots_of_sites(log, root)
            )
            audited = partial(verify_log, log, roots, progress, asked, jobs=jobs, everything=everything)
            return await (_remembering(log, roots, memory, audited) if memory else audited())
    except RootReplaced as error:
        return _concluded(Finding(0, "", 0, 0, "", "root_replaced", str(error)))
    except LogCorrupt as error:
        finding = _fault(error)
        if not finding.topic:
            return Audit(Verdict.UNREADABLE, notes=[str(error)])
        return _concluded(finding)
    except LogError as error:
        return Audit(Verdict.UNREADABLE, notes=[str(error)])


async def verify_log(
    log: EmbeddedReader,
    roots: Mapping[str, bytes],
    progress: Progress | None = None,
    asked: Asked | None = None,
    *,
    jobs: int = 1,
    everything: bool = False,
    earlier: Earlier | None = None,
    keeping: Keeping | None = None,
) -> Audit:
    """Audit an open log, from where an `earlier` audit ended if one is given; `keeping` gets what is known then.

    See `verify`.
    """
    audit = Audit(roots={site: key_id(key) for site, key in roots.items()})
    found = Found(log.topics, map(_fault, log.check()))
    tell = _Told(progress, sum(log.tip(topic, number).size for topic in log.topics for number in range(log.partitions)))
    with collector_off():
        for partition in range(log.partitions):
            here = {
                site: key for site, key in roots.items() if partition_of(site.encode(), log.partitions) == partition
            }
            sites = here or roots
            with ExitStack() as stack:
                index = stack.enter_context(closing(Index()))
                checkpoints = stack.enter_context(closing(Checkpoints(partition, sites, asked, index)))
                scans = {site: SiteScan(site, key, partition, checkpoints, index) for site, key in sites.items()}
                for scan in scans.values():
                    stack.callback(scan.close)
                starts = {}
                if earlier:
                    earlier.restore(partition, scans, checkpoints)
                    starts = {topic: at for topic, at in earlier.starts(partition).items() if topic not in ALONE}
                    tell.more(sum(starts.values()))
                crew = stack.enter_context(closing(Crew(log, partition, sites, 1 if found else jobs, starts)))
                found.take(_Pass(log, scans, crew, tell, everything).findings())
                broken = found.topics()
                await found.take_all(checkpoints.check(log, partial(_refused, scans), broken, audit))
                for scan in scans.values():
                    if broken:
                        found.take(refused_in(scan, partition, broken))
                    else:
                        await found.take_all(settle(scan, log, partition, sites, audit))
                if keeping and not found:
                    keeping.add(partition, scans, checkpoints)
    if asked:
        audit.unheld += asked.unheld(roots.values(), log.partitions)
    if not (found or audit.events or audit.refused):
        what = "the log holds no record: not even its founding, with which every log of a site begins"
        found.take([Finding(0, "", 0, 0, "", "founding_absent", what, is_missing=True)])
    if everything:
        await found.name(partial(_named, log))
    audit.conclude(found)
    audit.findings = [await _named(log, each) for each in audit.findings]
    return audit


def _refused(scans: Mapping[str, SiteScan], topic: str) -> Iterator[int]:
    """The offsets of the refused records of a topic, in order."""
    return merge(*(scan.refused.offsets(topic) for scan in scans.values()))


def _concluded(finding: Finding) -> Audit:
    """An audit that ended with one finding."""
    audit = Audit()
    audit.conclude(Found((), [finding]))
    return audit


async def _remembering(
    log: EmbeddedReader, roots: Mapping[str, bytes], memory: Memory, audit_log: Callable[..., Awaitable[Audit]]
) -> Audit:
    """Audit a log, from where an earlier audit ended if that is wanted and may be, and remember a sound one."""
    with ExitStack() as stack:
        keeping = stack.enter_context(closing(Keeping(log, roots)))
        known = Earlier.read(memory.path)
        if known:
            stack.callback(known.close)
        earlier = known if known and known.is_of(log, roots) else None
        behind, why_not = [], "no sound audit of this log is remembered"
        if memory.resumes and earlier:
            behind = earlier.behind(log, log.rehashed)
            why_not = "the log does not begin as it did then" if behind else earlier.hindrance(log)
        elif memory.resumes and known and known.is_of(log, roots, by_another_name=True):
            what = f"another log lies here than the one audited before; to accept it, remove {known.path}"
            behind = [Finding(0, "", 0, 0, "", "log_replaced", what)]
        audit = await audit_log(earlier=earlier if memory.resumes and not why_not else None, keeping=keeping)
        if not audit.findings:
            if earlier and not memory.resumes:
                behind = earlier.behind(log, log.chain_before)
            audit.conclude(Found(log.topics, behind))
        if memory.resumes and why_not:
            audit.notes.insert(0, f"all of the log was audited, as {why_not}")
        elif memory.resumes and earlier:
            audit.notes.insert(
                0, f"{earlier.records:,} records had been audited before, and are the same by their bytes"
            )
        if not audit.findings:
            keeping.keep(memory.path, audit)
        return audit


@dataclass
class _Pass:
    """One pass over all records of a partition number, each taken to the scan of its site.

    A topic is left where its storage differs, unless `everything` is wanted: then it goes on behind that place, and
    authors go on with whatever number stands there.
    """

    log: EmbeddedReader
    scans: Mapping[str, SiteScan]
    crew: Crew
    tell: "_Told"
    everything: bool

    def findings(self) -> Iterator[Finding]:
        """Read all; what is wrong with the storage of records."""
        return (finding for topic in self.log.topics for finding in self._topic(topic))

    def _topic(self, topic: str) -> Iterator[Finding]:
        starts: dict[str, int] | None = None
        for piece, part in self.crew.parts(topic):
            if part and starts is None and self.scans[min(self.scans)].absorb(part):
                self.tell.more(part.size)
                continue
            at: int | None = piece.start
            while at is not None:
                try:
                    self._piece(piece._replace(start=at), starts)
                    break
                except LogCorrupt as error:
                    starts = {} if self.everything else None
                    yield from self._blamed(error, starts) if isinstance(error, RowChanged) else [_fault(error)]
                    at = error.next_offset if self.everything else None
                    if not self.everything:
                        self.crew.skip(piece)
                        return

    def _piece(self, piece: Piece, starts: dict[str, int] | None) -> None:
        for batch in self.log.batches(piece.topic, self.crew.partition, piece.start):
            if piece.end is not None and batch[0].offset >= piece.end:
                return
            scan = self._scan_of(batch)
            if starts is not None:
                with suppress(EnvelopeInvalid):
                    scan.go_on(batch, starts)
            scan.take(batch)
            self.tell.more(len(batch))

    def _scan_of(self, records: Sequence[Stored]) -> SiteScan:
        """The scan of the site of a row, whose records have one key; a key that is no site's is the first one's."""
        home = self.scans[min(self.scans)]
        if len(self.scans) == 1:
            return home
        key = records[0].record.key
        return self.scans.get(key if isinstance(key, str) else (key or b"").decode("latin-1"), home)

    def _blamed(self, error: RowChanged, starts: dict[str, int] | None) -> list[Finding]:
        """Which record of a row is another than was acknowledged, or is gone: their seals tell. All, with `starts`."""
        topic, partition, offset = error.records[0][:3]
        found: list[LogCorrupt] = []
        for stored in error.records:
            scan = self._scan_of([stored])
            scan.take([stored])
            if refused := scan.refused.get(topic, stored.offset):
                is_gone = error.lacks and refused.reason == "sequence_gap"
                found.append((missing if is_gone else changed)(topic, partition, stored.offset))
                if starts is None:
                    break
                scan.pass_over(stored)
        if not found and error.lacks:
            found = [missing(topic, partition, offset + len(error.records))]
        return [_fault(each) for each in found or [changed(topic, partition, offset)]]


class _Told:
    """Counts records for whoever follows the progress."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._told, self._total = progress, 0, 0, total

    def more(self, count: int) -> None:
        self._done += count
        if self._progress and (self._done >= self._told + _TOLD_EVERY or self._done == self._total):
            self._told = self._done
            self._progress(self._done, self._total)


async def roots_of(log: EmbeddedReader, root: bytes | None = None) -> dict[str, bytes]:
    """The trust anchor of a data directory with one site, which is the one that its first record names.

    Without `root`, it is what `root.pub` there says; `RootReplaced` if this account remembers another.
    """
    root = root or _root_beside(log)
    for partition in range(log.partitions):
        try:
            first = next(log.batches("governance", partition, hashed=False), None)
        except RowChanged as error:  # the audit finds out which record it is; whose log this is they all say
            first = error.records
        if first:
            key = first[0].record.key
            return {key if isinstance(key, str) else "": root}
    return {"": root}


def _root_beside(log: EmbeddedReader) -> bytes:
    path = log.directory / _ROOT
    try:
        root = bytes.fromhex(read_small(path, _ROOT_BYTES_MAX, doubted=True).decode().strip())
    except (OSError, ValueError):
        raise LogError(f"{path} does not hold the root public key; restore it, everything is verified by it") from None
    if doubt := RootMemory(log.directory).doubt(root):
        raise RootReplaced(doubt)
    return root


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


def _fault(error: LogCorrupt) -> Finding:
    """What the log itself found wrong, by the place that it names."""
    place = _PLACE.search(str(error))
    topic, partition, offset = (place[1], int(place[2]), int(place[3])) if place else ("", 0, 0)
    detail = str(error)[place.end() :] if place else str(error)
    missing = isinstance(error, LogIncomplete)
    return Finding(0, topic, partition, offset, "", "record_missing" if missing else "record_changed", detail, missing)


async def _named(log: EmbeddedReader, finding: Finding) -> Finding:
    """A finding with the id of its event, if that can still be read."""
    if finding.event_id or not finding.topic:
        return finding
    try:
        found = await log.read(finding.topic, finding.partition, finding.offset, 1)
    except LogError:
        return finding
    record = found[0].record if found else None
    return finding._replace(event_id=record.id) if isinstance(record, Record) else finding
