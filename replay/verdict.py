"""What an audit says: a verdict, what was counted, and the first place where the log is not what it should be."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from schemas.admission import Stored
from schemas.envelope import Record
from streams.log.port import Place

Progress = Callable[[int, int], None]
"""Is told how much has been done, and of how much."""


class Verdict(IntEnum):
    """The outcome of an audit; the number is the exit code of `qpubus audit verify`."""

    SOUND = 0
    TAMPERED = 2
    INCOMPLETE = 3
    UNREADABLE = 4
    UNCOVERED = 5

    @property
    def word(self) -> str:
        """The verdict as it is printed."""
        return self.name.lower()


class Finding(NamedTuple):
    """A place where the log is not what it should be. `reason` is a stable code.

    `is_missing` tells records that are gone from records that are others. A finding that others may follow from
    (a changed byte, a lost record) has `rank` 0; what it may have caused elsewhere has a higher one.
    """

    rank: int
    topic: str
    partition: int
    offset: int
    event_id: str
    reason: str
    detail: str
    is_missing: bool = False

    def __str__(self) -> str:
        event = f" event {self.event_id}" if self.event_id else ""
        place = f"{self.topic} partition {self.partition} offset {self.offset}" if self.topic else "the log"
        return f"{place}{event}: {self.reason}: {self.detail}"


def about(stored: Stored, reason: str, detail: str, rank: int = 0, *, is_missing: bool = False) -> Finding:
    """A finding at the place of a record."""
    event_id = stored.record.id if isinstance(stored.record, Record) else ""
    return Finding(rank, stored.topic, stored.partition, stored.offset, event_id, reason, detail, is_missing)


@dataclass
class Audit:
    """The result of an audit."""

    verdict: Verdict = Verdict.SOUND
    events: int = 0
    signatures: int = 0
    jobs: int = 0
    refused: int = 0
    rounds: int = 0
    uncovered: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    passed_over: set[Place] = field(default_factory=set)
    """The places of records that are refused; whoever folds the log after its audit leaves them out."""
    roots: dict[str, str] = field(default_factory=dict)
    """For each site, the id of the root key by which all was verified."""

    @property
    def first_divergence(self) -> Finding | None:
        """Where to look first."""
        return self.findings[0] if self.findings else None

    def conclude(self, findings: list[Finding], order: tuple[str, ...]) -> None:
        """Sort findings by what follows from what and by place, and let the verdict follow from them."""
        places = {topic: number for number, topic in enumerate(order)}
        by_place: dict[tuple[str, int, int], Finding] = {}
        for each in sorted(findings, key=lambda each: each.rank):
            by_place.setdefault((each.topic, each.partition, each.offset), each)
        self.findings = sorted(
            by_place.values(),
            key=lambda each: (each.rank, places.get(each.topic, -1), each.partition, each.offset),
        )
        if self.findings:
            lost = all(each.is_missing for each in self.findings if each.rank == self.findings[0].rank)
            self.verdict = Verdict.INCOMPLETE if lost else Verdict.TAMPERED
        elif self.uncovered:
            self.verdict = Verdict.UNCOVERED
