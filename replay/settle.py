"""After the pass: refused records against the rejections on the log, causes, journals; and with them what counts."""

from collections.abc import Collection, Iterator, Mapping

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
) -> list[Finding]:
    """All that is wrong with a site's records apart from their storage; `audit` gets the counts."""
    hearings = await _hearings(scan, log, partition, roots)
    findings = [*_unrejected(scan, hearings, partition), *_unfounded(scan, hearings, partition)]
    findings += scan.cause_findings()
    findings += scan.journals.check(scan.sizes, partition)
    findings += scan.traces.findings(partition)
    findings += scan.inside.findings(scan.admission.keys, scan.site, partition, _digests_rejected(scan))
    refused = sum(bool(_reason(scan, place, hearings)) for place in scan.refused) + len(
        _refused_by_order(scan, hearings)
    )
    audit.refused += refused
    audit.events += scan.sizes.total() - refused
    audit.passed_over.update(Place(topic, partition, offset) for topic, offset in scan.refused)
    audit.signatures += scan.signatures.total()
    audit.jobs += len(scan.jobs)
    if scan.revocations:
        audit.notes.append(
            f"{scan.site}: {scan.revocations} keys were revoked. A record counts if the stage in charge of its topic "
            "had not yet read of that; one that no journal covers counts up to what the revocation names."
        )
    return findings


def refused_in(scan: SiteScan, partition: int, topics: frozenset[str]) -> list[Finding]:
    """Records of these topics that are refused and named in no rejection: where storage differs, they may say why."""
    moved = _moved(scan)
    return [
        _of_refused(refused, partition, refused.reason, moved)
        for place, refused in scan.refused.items()
        if place[0] in topics and place not in scan.rejections
    ]


def _moved(scan: SiteScan) -> set[tuple[str, str]]:
    """Authors, by source and topic, of whose numbers none is missing although they have a gap: they were reordered."""
    numbers: dict[tuple[str, str], set[int]] = {}
    for refused in scan.refused.values():
        if refused.reason == _GAP:
            numbers.setdefault((refused.author, refused.topic), set()).add(refused.sequence)
    known = scan.admission.sequences
    return {author for author, seen in numbers.items() if len(seen) >= max(seen) - known.get(author, 0)}


async def _hearings(scan: SiteScan, log: ReadableLog, partition: int, roots: Mapping[str, bytes]) -> dict[str, Hearing]:
    """The hearings of those stages for which the order of reading may have made a difference."""
    doubtful = {
        rejection.role
        for place, rejection in scan.rejections.items()
        if rejection.reason not in _RULES and not _is_for(scan, place, rejection)
    }
    return {
        stage.role.value: await hearing_of(stage, log, partition, roots, scan.site)
        for stage in STAGES
        if scan.revocations
        or stage.role.value in doubtful
        or not scan.journals.heard_keys_first(stage.source, scan.keys_end)
    }


def _is_for(scan: SiteScan, place: tuple[str, int], rejection: Rejection) -> bool:
    here = scan.refused.get(place)
    return here is not None and _fits(rejection, here, here.reason)


def _fits(rejection: Rejection, refused: RefusedHere, reason: str) -> bool:
    return (
        rejection.reason == reason
        and rejection.digest == refused.digest
        and REJECTS.get(refused.topic) == rejection.role
    )


def _reason(scan: SiteScan, place: tuple[str, int], hearings: Hearings) -> str:
    """Why the stage in charge refused a record that this audit refuses; empty if, by its journal, it did not."""
    refused = scan.refused[place]
    hearing = hearings.get(REJECTS.get(place[0], ""))
    if hearing is None or hearing.broken or refused.before >= hearing.read.get(place[0], 0):
        return refused.reason
    return hearing.refused.get(place, "")


def _unrejected(scan: SiteScan, hearings: Hearings, partition: int) -> Iterator[Finding]:
    """Refused records that the stage in charge did not reject for the same reason."""
    moved = _moved(scan)
    for place, refused in scan.refused.items():
        reason = _reason(scan, place, hearings)
        rejection = scan.rejections.get(place)
        if reason and not (rejection and _fits(rejection, refused, reason)):
            yield _of_refused(refused, partition, reason, moved)


def _unfounded(scan: SiteScan, hearings: Hearings, partition: int) -> Iterator[Finding]:
    """Rejections of records that nothing is wrong with, and records that a journal refuses without a rejection."""
    for place, rejection in scan.rejections.items():
        reason = rejection.reason
        if place in scan.refused or reason in _RULES:
            continue
        heard = hearings.get(rejection.role)
        if heard is None or heard.refused.get(place) != reason:
            what = f"it rejects {place[0]} offset {place[1]} for {reason}, which does not hold"
            where = rejection.topic, partition, rejection.offset, rejection.event_id
            yield Finding(1, *where, "rejection_unfounded", what)
    for place, reason in _refused_by_order(scan, hearings).items():
        if place not in scan.rejections:
            detail = "by its journal the stage in charge refused it, and has not said so"
            yield Finding(1, place[0], partition, place[1], "", reason, detail)
    for hearing in hearings.values():
        if hearing.broken:
            yield Finding(2, "", partition, 0, "", "journal_broken", hearing.broken, is_missing=True)


def _digests_rejected(scan: SiteScan) -> dict[tuple[str, int], str]:
    """By place, the digests of what the stage in charge has rejected."""
    return {
        place: rejection.digest
        for place, rejection in scan.rejections.items()
        if REJECTS.get(place[0]) == rejection.role
    }


def _refused_by_order(scan: SiteScan, hearings: Hearings) -> dict[tuple[str, int], str]:
    """Records that nothing is wrong with, but that the stage in charge refused by what it had read until then."""
    return {
        place: reason
        for role, hearing in hearings.items()
        for place, reason in hearing.refused.items()
        if REJECTS.get(place[0]) == role and place not in scan.refused
    }


def _of_refused(refused: RefusedHere, partition: int, reason: str, moved: Collection[tuple[str, str]]) -> Finding:
    detail = refused.detail if reason == refused.reason else f"{refused.detail} ({refused.reason})"
    is_moved = reason == _GAP and (refused.source, refused.topic) in moved
    detail += ", and no stage has rejected it"
    if is_moved:
        detail += "; no number is missing, so the order was changed"
    where = refused.topic, partition, refused.offset, refused.event_id
    return Finding(0, *where, reason, detail, is_missing=reason in _LOST and not is_moved)
