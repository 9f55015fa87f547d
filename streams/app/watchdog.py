"""The watchdog: looks at desks go in, and the reason to leave the process comes out when one has stopped for good."""

from dataclasses import dataclass, field
from typing import NamedTuple


class _Seen(NamedTuple):
    read: int
    lag: float
    at_s: float


@dataclass
class Watchdog:
    """Minds that each desk makes progress while records wait for it, and that it is told of desks at all."""

    patience_s: float
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _told_at_s: float | None = None

    def look(self, desk: str, read: int, lag: float, at_s: float) -> None:
        """Take in how many records a desk has read in all, and how many wait."""
        before = self._seen.get(desk)
        if before is None or read != before.read or lag == 0:
            self._seen[desk] = _Seen(read, lag, at_s)
        else:
            self._seen[desk] = before._replace(lag=lag) if lag > before.lag else before

    def told(self, at_s: float) -> None:
        """Everything there is has been looked at."""
        self._told_at_s = at_s

    def forget(self, desks: set[str]) -> None:
        """Mind only these from here on."""
        self._seen = {desk: seen for desk, seen in self._seen.items() if desk in desks}

    def why_leave(self, at_s: float) -> str:
        """Why the process should be left now; empty if all is well."""
        if self._told_at_s is not None and at_s - self._told_at_s > self.patience_s:
            return f"nothing has moved in this process for {at_s - self._told_at_s:.0f} s"
        for desk, seen in self._seen.items():
            if seen.lag and at_s - seen.at_s > self.patience_s:
                return f"{desk} has read nothing for {at_s - seen.at_s:.0f} s while {seen.lag:g} records wait for it"
        return ""
