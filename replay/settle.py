"""After the pass: refused records against the rejections on the log, causes, journals; and with them what counts."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from functools import partial
from itertools import chain

from replay.endings import Endings
from replay.hearing import Hearing, hearing_of
from replay.scan import RefusedHere, Rejection, SiteScan
from replay.stages import STAGES
from replay.verdict import Audit, Finding
from schemas.reasons import Reason
from schemas.topics import REJECTS
from streams.log.port import Place, ReadableLog

_GAP = "sequence_gap"
_LOST = frozenset({_GAP, "cause_absent"})
"""Reasons that tell of records that are gone."""
_RULES = frozenset(reason.value for reason in Reason)
"""A stage may also reject an event that it believes, by its rules. `audit redecide` decides that again."""

Hearings = Mapping[str, Hearing]
"""By role."""


async def settle(
    scan: SiteScan, log: ReadableLog, partition: int, roots: Mapping[str, bytes], audit: Audit
) -> AsyncIterator[Finding]:
    """All that is wrong with a site's records apart from their storage; `audit` gets the counts."""
    hearings = await _hearings(scan, log, partition, roots)
    endings = Endings(scan)
    for finding in chain(
        _unrejected(scan, hearings, partition),
        _unfounded(scan, hearings, partition),
        scan.cause_findings(),
        scan.journals.check(scan.sizes, partition),
        scan.traces.findings(partition),
        scan.inside.findings(scan.admission, partition, partial(_digest_rejected, scan), endings.is_over),
    ):
        yield finding
    refused = sum(bool(_reason(each, hearings)) for each in scan.refused)
    refused += sum(1 for _ in _refused_by_order(scan, hearings))
    audit.refused += refused
    audit.events += scan.sizes.total() - refused
    audit.passed_over.update(Place(each.topic, partition, each.offset) for each in scan.refused)
    audit.signatures += scan.signatures.total()
    audit.jobs += len(scan.traces.declared)
    if scan.revoked:
        audit.notes.append(
            f"{scan.site}: {len(scan.revoked)} keys were revoked. A record counts if the stage in charge of its topic "
            "had not yet read of that; one that no journal covers counts up to what the revocation names."
        )


def refused_in(scan: SiteScan, partition: int, topics: frozenset[str]) -> Iterator[Finding]:
    """Records of these topics that are refused and named in no rejection: where storage differs, they may say why."""
    moved = _moved(scan)
    for refused in scan.refused:
        if refused.topic in topics and not scan.rejections.get(refused.topic, refused.offset):
            yield _of_refused(refused, partition, refused.reason, moved)


def _moved(scan: SiteScan) -> set[tuple[str, str]]:
    """Authors, by source and topic, of whose numbers none is missing although they have a gap: they were reordered."""
    known = scan.admission.sequences
    gaps = scan.numbers_refused(_GAP)
    return {author for author, count, last in gaps if count >= last - known.get(author, 0)}


async def _hearings(scan: SiteScan, log: ReadableLog, partition: int, roots: Mapping[str, bytes]) -> dict[str, Hearing]:
    """The hearings of those stages for which the order of reading may have made a difference."""
    doubtful = {
        rejection.role
        for topic, offset, rejection in scan.rejections.items()
        if rejection.reason not in _RULES and not _is_for(scan, (topic, offset), rejection)
    }
    return {
        stage.role.value: await hearing_of(stage, log, partition, roots, (scan.site, scan.journals, scan.index))
        for stage in STAGES
        if scan.revoked
        or stage.role.value in doubtful
        or not scan.journals.heard_keys_first(stage.source, scan.keys_end)
    }


def _is_for(scan: SiteScan, place: tuple[str, int], rejection: Rejection) -> bool:
    here = scan.refused.get(*place)
    return here is not None and _fits(rejection, here, here.reason)


def _fits(rejection: Rejection, refused: RefusedHere, reason: str) -> bool:
    return (
        rejection.reason == reason
        and rejection.digest == refused.digest
        and REJECTS.get(refused.topic) == rejection.role
    )


def _reason(refused: RefusedHere, hearings: Hearings) -> str:
    """Why the stage in charge refused a record that this audit refuses; empty if, by its journal, it did not."""
    hearing = hearings.get(REJECTS.get(refused.topic, ""))
    if hearing is None or hearing.broken or refused.before >= hearing.read.get(refused.topic, 0):
        return refused.reason
    return hearing.refused.get(refused.topic, refused.offset) or ""


def _unrejected(scan: SiteScan, hearings: Hearings, partition: int) -> Iterator[Finding]:
    """Refused records that the stage in charge did not reject for the same reason."""
    moved = _moved(scan)
    for refused in scan.refused:
        reason = _reason(refused, hearings)
        rejection = scan.rejections.get(refused.topic, refused.offset)
        if reason and not (rejection and _fits(rejection, refused, reason)):
            yield _of_refused(refused, partition, reason, moved)


def _unfounded(scan: SiteScan, hearings: Hearings, partition: int) -> Iterator[Finding]:
    """Rejections of records that nothing is wrong with, and records that a journal refuses without a rejection."""
    for topic, offset, rejection in scan.rejections.items():
        reason = rejection.reason
        if reason in _RULES or scan.refused.get(topic, offset):
            continue
        heard = hearings.get(rejection.role)
        if heard is None or heard.refused.get(topic, offset) != reason:
            what = f"it rejects {topic} offset {offset} for {reason}, which does not hold"
            where = rejection.topic, partition, rejection.offset, rejection.event_id
            yield Finding(1, *where, "rejection_unfounded", what)
    for topic, offset, reason in _refused_by_order(scan, hearings):
        if not scan.rejections.get(topic, offset):
            detail = "by its journal the stage in charge refused it, and has not said so"
            yield Finding(1, topic, partition, offset, "", reason, detail)
    for hearing in hearings.values():
        if hearing.broken:
            yield Finding(2, "", partition, 0, "", "journal_broken", hearing.broken, is_missing=True)


def _digest_rejected(scan: SiteScan, topic: str, offset: int) -> str:
    """The digest of the record at a place, if the stage in charge has rejected it."""
    rejection = scan.rejections.get(topic, offset)
    return rejection.digest if rejection and REJECTS.get(topic) == rejection.role else ""


def _refused_by_order(scan: SiteScan, hearings: Hearings) -> Iterator[tuple[str, int, str]]:
    """Topic, offset and reason of records that nothing is wrong with, but that the stage in charge refused.

    It did so by what it had read until then.
    """
    for role, hearing in hearings.items():
        for topic, offset, reason in hearing.refused.items():
            if REJECTS.get(topic) == role and not scan.refused.get(topic, offset):
                yield topic, offset, reason


def _of_refused(refused: RefusedHere, partition: int, reason: str, moved: Collection[tuple[str, str]]) -> Finding:
    detail = refused.detail if reason == refused.reason else f"{refused.detail} ({refused.reason})"
    is_moved = reason == _GAP and (refused.source, refused.topic) in moved
    detail += ", and no stage has rejected it"
    if is_moved:
        detail += "; no number is missing, so the order was changed"
    where = refused.topic, partition, refused.offset, refused.event_id
    return Finding(0, *where, reason, detail, is_missing=reason in _LOST and not is_moved)
