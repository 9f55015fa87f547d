"""What is known of a topic-partition: its records are counted here, and Kafka's offsets are found by that count.

Kafka gives offsets to the markers of transactions and to what was aborted as well. The log's places count committed
records only, as trees of checkpoints and the other engine do. So a place means the same after a log has moved.
"""

import asyncio
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from operator import attrgetter

from schemas.admission import Stored
from streams.log.kafka.batches import Kept, Line, bare_of, stored_of
from streams.log.port import Bare

MARK_EVERY = 4_096
"""Records between two places whose offsets stay known."""
_PAGES_KEPT = 4
_PAGE_RECORDS_MAX = 2_048


class Page:
    """Records that were read lately, from a place on; `offset` and `following` are Kafka's. They never change."""

    def __init__(self, place: int, offset: int, records: list[Kept], following: int) -> None:
        self.place, self.offset, self.records, self.following = place, offset, records, following
        self._stored: list[Stored] = []

    @property
    def end(self) -> int:
        """The place after its last record."""
        return self.place + len(self.records)

    def stored_from(self, line: Line, place: int, limit: int) -> list[Stored]:
        """At most `limit` records from a place on."""
        at = place - self.place
        known, end = len(self._stored), min(at + limit, len(self.records))
        if known < end:
            self._stored += [
                stored_of(line, number, record)
                for number, record in enumerate(self.records[known:end], self.place + known)
            ]
        return self._stored[at:end]

    def bare_from(self, place: int, limit: int) -> list[Bare]:
        """The same records without what proves them."""
        at = place - self.place
        return [bare_of(number, each) for number, each in enumerate(self.records[at : at + limit], place)]

    def place_of(self, offset: int) -> int:
        """The place of the first record at or after an offset."""
        return self.place + bisect_left(self.records, offset, key=attrgetter("offset"))

    def with_next(self, page: "Page") -> "Page":
        """This page and the one that follows it as one."""
        both = Page(self.place, self.offset, self.records + page.records, page.following)
        both._stored = self._stored
        return both


class Track:
    """A topic-partition as far as it has been counted: up to `place`, the next record's, and Kafka's `offset`."""

    def __init__(self, marks: list[tuple[int, int]] | None = None) -> None:
        """`marks` are places and their offsets, ascending; the last is how far it has been counted."""
        self.marks = marks or [(0, 0)]
        self.place, self.offset = self.marks[-1]
        self.last: Kept | None = None
        self.lock = asyncio.Lock()
        self._veils: dict[int, int | None] = {}
        self._pages: deque[Page] = deque(maxlen=_PAGES_KEPT)

    def page(self, place: int) -> Page | None:
        """The page that has this place, if it is kept."""
        return next((page for page in self._pages if page.place <= place < page.end), None)

    def nearest(self, place: int) -> tuple[int, int]:
        """The last place up to this one whose offset is known, and the offset."""
        known = self.marks[bisect_right(self.marks, place, key=lambda mark: mark[0]) - 1]
        ends = ((page.end, page.following) for page in self._pages if page.end <= place)
        here = ((self.place, self.offset),) if self.place <= place else ()
        best: tuple[int, int] = max([known, *ends, *here])
        return best

    def keep(self, page: Page) -> Page:
        """Count a page that was read, and keep it for others; small neighbours become one, which is given back."""
        if page.offset == self.offset:
            for offset in self._veils:
                if page.offset <= offset < page.following:
                    self._veils[offset] = page.place_of(offset)
            self.place, self.offset = page.end, page.following
            self.last = page.records[-1] if page.records else self.last
            self._mark()
        before = next((each for each in self._pages if each.following == page.offset), None)
        if before and len(before.records) + len(page.records) <= _PAGE_RECORDS_MAX:
            self._pages.remove(before)
            page = before.with_next(page)
        self._pages.append(page)
        return page

    def pass_over(self, written: Sequence[Kept]) -> None:
        """Count records that this process has written, one offset after the other, without having read them.

        Where somebody reads here they are kept as they were written, and what is read next is from memory.
        """
        following = written[-1].offset + 1
        if self._pages:
            self.keep(Page(self.place, self.offset, list(written), following))
            return
        if self.offset in self._veils:
            self._veils[self.offset] = self.place
        self.place, self.offset = self.place + len(written), following
        self._mark()

    def _mark(self) -> None:
        if self.place >= self.marks[-1][0] + MARK_EVERY:
            self.marks.append((self.place, self.offset))

    def page_at(self, offset: int) -> Page | None:
        """The page that has this offset, if it is kept."""
        return next((page for page in self._pages if page.offset <= offset < page.following), None)

    def mark_before(self, offset: int) -> tuple[int, int]:
        """The last place whose offset is marked and not past this one, and its offset."""
        return self.marks[bisect_right(self.marks, offset, key=lambda mark: mark[1]) - 1]

    def veil(self, offset: int) -> None:
        """Show nothing from an offset on, which has not been counted yet."""
        self._veils[offset] = None

    def unveil(self, offset: int) -> None:
        """Show what this offset hid."""
        self._veils.pop(offset, None)

    @property
    def veils(self) -> frozenset[int]:
        """The offsets from which something is hidden."""
        return frozenset(self._veils)

    @property
    def shown(self) -> int:
        """The place up to which records are shown: all that were counted, or those before the first hidden one."""
        return min((place for place in self._veils.values() if place is not None), default=self.place)
