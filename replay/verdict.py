"""What an audit says: a verdict, what was counted, and the first place where the log is not what it should be."""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

from replay.index import Index, Row, storable
from schemas.admission import Stored
from schemas.envelope import Record
from streams.log.port import Place

Progress = Callable[[int, int], None]
"""Is told how much has been done, and of how much."""
FINDINGS_KEPT = 1_000
"""So many findings an audit holds at hand; the others are counted, and wait in its temporary index."""
_AT_ONCE = 256


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


class Found:
    """What an audit has found, one finding a place; they may be many.

    They come in an order that tells first what others may follow from, and then goes by topic, partition and offset.
    """

    def __init__(self, order: Sequence[str] = (), findings: Iterable[Finding] = ()) -> None:
        """`order` are the topics of the log. `findings` are taken in at once."""
        self._index = Index()
        self._order = {topic: number for number, topic in enumerate(order)}
        fields = ("rank", "topic", "partition", "place", "event_id", "reason", "detail", "is_missing", "standing")
        self._table = self._index.table(fields, ("topic", "partition", "place"))
        self.take(findings)

    def take(self, findings: Iterable[Finding]) -> None:
        """Take findings in. Of two at one place the one with the lower rank counts, or the one that came first."""
        waiting = iter(findings)
        while some := list(islice(waiting, _AT_ONCE)):
            told = (each._replace(event_id=storable(each.event_id), detail=storable(each.detail)) for each in some)
            rows = ((*each, self._order.get(each.topic, -1)) for each in told)
            self._index.put(self._table, len(Finding._fields) + 1, rows, then=_LOWER_RANK_COUNTS)

    async def take_all(self, findings: AsyncIterable[Finding]) -> None:
        """Take in findings that are waited for."""
        some: list[Finding] = []
        async for each in findings:
            some.append(each)
            if len(some) == _AT_ONCE:
                self.take(some)
                some.clear()
        self.take(some)

    async def name(self, named: Callable[[Finding], Awaitable[Finding]]) -> None:
        """Put in the place of each finding without an event id what `named` makes of it."""
        at: Row = ("", -1, -1)
        behind = "WHERE (topic, partition, place) > (?, ?, ?) AND event_id = '' ORDER BY topic, partition, place"
        while some := list(islice(self._rows(behind, at), _AT_ONCE)):
            at = some[-1][1:4]
            for each in [await named(each) for each in some]:
                sql = f"UPDATE {self._table} SET event_id = ? WHERE (topic, partition, place) = (?, ?, ?)"  # noqa: S608 (names are our own)
                self._index.execute(sql, (each.event_id, *each[1:4]))

    def topics(self) -> frozenset[str]:
        """The topics in which something was found; an empty one stands for the log as a whole."""
        return frozenset(topic for (topic,) in self._index.execute(f"SELECT DISTINCT topic FROM {self._table}"))  # noqa: S608 (names are our own)

    def all_lost(self) -> bool:
        """Whether nothing worse was found than records that are gone, looking at what others may follow from."""
        first = f"SELECT min(rank) FROM {self._table}"  # noqa: S608 (names are our own)
        return all(each.is_missing for each in self._rows(f"WHERE rank = ({first})"))

    def __iter__(self) -> Iterator[Finding]:
        return self._rows("ORDER BY rank, standing, partition, place")

    def __len__(self) -> int:
        [(count,)] = self._index.execute(f"SELECT count(*) FROM {self._table}")  # noqa: S608 (names are our own)
        return int(count)

    def __bool__(self) -> bool:
        return any(self._rows("LIMIT 1"))

    def _rows(self, which: str, values: Row = ()) -> Iterator[Finding]:
        found = self._index.execute(f"SELECT * FROM {self._table} {which}", values)  # noqa: S608 (names are our own)
        return (Finding._make((*row[:7], bool(row[7]))) for row in found)


_LOWER_RANK_COUNTS = (
    "ON CONFLICT DO UPDATE SET rank = excluded.rank, event_id = excluded.event_id, reason = excluded.reason, "
    "detail = excluded.detail, is_missing = excluded.is_missing WHERE excluded.rank < rank"
)


class PassedOver(AbstractSet[Place]):
    """The places of records that are refused; whoever folds the log after its audit leaves them out."""

    def __init__(self) -> None:
        self._index = Index()
        self._table = self._index.table(Place._fields, Place._fields)

    def update(self, places: Iterable[Place]) -> None:
        """Take places in."""
        self._index.put(self._table, len(Place._fields), places, "OR IGNORE")

    def __contains__(self, place: object) -> bool:
        sql = f"SELECT 1 FROM {self._table} WHERE (topic, partition, offset) = (?, ?, ?)"  # noqa: S608 (names are our own)
        return isinstance(place, Place) and any(self._index.execute(sql, place))

    def __iter__(self) -> Iterator[Place]:
        return (Place(*row) for row in self._index.execute(f"SELECT * FROM {self._table}"))  # noqa: S608 (names are our own)

    def __len__(self) -> int:
        [(count,)] = self._index.execute(f"SELECT count(*) FROM {self._table}")  # noqa: S608 (names are our own)
        return int(count)


@dataclass
class Audit:
    """The result of an audit.

    `findings` are the first, `found` is how many there are, and `listed` has them all. `unheld` are checkpoints that
    were given as a witness's and do not hold. `roots` has for each site the id of the root key by which all was
    verified.
    """

    verdict: Verdict = Verdict.SOUND
    events: int = 0
    signatures: int = 0
    jobs: int = 0
    refused: int = 0
    rounds: int = 0
    uncovered: list[str] = field(default_factory=list)
    unheld: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    found: int = 0
    listed: Iterable[Finding] = field(default=(), compare=False)
    notes: list[str] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)
    roots: dict[str, str] = field(default_factory=dict)

    @property
    def first_divergence(self) -> Finding | None:
        """Where to look first."""
        return self.findings[0] if self.findings else None

    def conclude(self, found: Found) -> None:
        """Let the verdict follow from what was found."""
        self.findings, self.found, self.listed = list(islice(found, FINDINGS_KEPT)), len(found), found
        if self.findings:
            self.verdict = Verdict.INCOMPLETE if found.all_lost() else Verdict.TAMPERED
        elif self.uncovered or self.unheld:
            self.verdict = Verdict.UNCOVERED
