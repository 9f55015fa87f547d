"""How much is being worked on: what comes on top of a bounded number of requests is turned away at once."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import ceil

from qpubus.refusal import Refusal

WORKING_MAX = 128
RESTING_MAX = 1_024
"""Requests that only wait for something to happen; they cost a little memory and no work."""
_AGENTS_MAX = 10_000
_counted: ContextVar[str | None] = ContextVar("counted", default=None)
"""Whose request is worked on here; None where none is."""


class Shares:
    """So much of something, shared fairly: nobody holds more than twice what is left.

    Dynamic thresholds after Choudhury and Hahne (1998): who asks alone gets two thirds, two get two fifths each, and
    whatever anybody holds, somebody else finds room. Who has not authenticated is one asker, the empty name.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self._held_by: dict[str, int] = {}

    def take(self, whose: str, amount: int = 1) -> bool:
        """Take so much; False, and nothing is taken, if it is not there or more than a fair share."""
        own, left = self._held_by.get(whose, 0), self.most - self.held
        if amount > left or own + amount > 2 * (left - amount + 1):
            return False
        self.change(whose, amount)
        return True

    def give(self, whose: str, amount: int = 1) -> None:
        """Give back what was taken."""
        self.change(whose, -amount)

    def change(self, whose: str, amount: int) -> None:
        """Count more or less for somebody, whether or not there is room."""
        self.held += amount
        own = self._held_by.pop(whose, 0) + amount
        if own:
            self._held_by[whose] = own


class Workload:
    """Counts requests that are worked on, and apart from them those that only wait; of both each asker has a share."""

    def __init__(self, working_max: int = WORKING_MAX) -> None:
        self._working = Shares(working_max)
        self._resting = Shares(RESTING_MAX)

    @contextmanager
    def working(self, whose: str = "") -> Iterator[None]:
        """Work on somebody's request; `Refusal` if there is no room for it."""
        if not self._working.take(whose):
            told = f"{self._working.held} requests are being worked on, or as many of yours as is fair"
            raise Refusal("overloaded", told, retry_after_s=1)
        token = _counted.set(whose)
        try:
            yield
        finally:
            _counted.reset(token)
            self._working.give(whose)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Wait inside a request without counting as work. What came in by another way was not counted."""
        whose = _counted.get()
        if whose is None:
            yield
            return
        if not self._resting.take(whose):
            told = f"{self._resting.held} requests are waiting already, or as many of yours as is fair"
            raise Refusal("overloaded", told, retry_after_s=5)
        self._working.give(whose)
        try:
            yield
        finally:
            self._working.change(whose, 1)
            self._resting.give(whose)


class Rates:
    """A token bucket for each agent: so many requests a second on average, so many at once."""

    def __init__(self, rate_per_s: float, burst: int, now_s: Callable[[], float]) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._now_s = now_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, source: str) -> None:
        """Count one request; `Refusal` (`rate_exceeded`) with the time to wait if there were too many."""
        now_s = self._now_s()
        left, then_s = self._buckets.pop(source, (float(self._burst), now_s))
        left = min(float(self._burst), left + (now_s - then_s) * self._rate_per_s)
        is_over = left < 1
        self._buckets[source] = (left if is_over else left - 1, now_s)
        if len(self._buckets) > _AGENTS_MAX:
            self._buckets.popitem(last=False)
        if is_over:
            wait_s = max(1, ceil((1 - left) / self._rate_per_s))
            told = f"{source} may ask {self._rate_per_s:g} times a second, {self._burst} times at once"
            raise Refusal("rate_exceeded", told, retry_after_s=wait_s)
