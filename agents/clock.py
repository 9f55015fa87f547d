"""Clocks, and the party that tells when an alarm's time has come: AlarmSet goes in, AlarmRang comes out."""

import time
from dataclasses import dataclass

from agents.drafts import draft
from agents.party import Clock, Membership, Party
from schemas.events import AlarmRang, AlarmSet
from streams.log.port import Log
from streams.stage import Heard


class WallClock:
    """The time of this machine."""

    def now_us(self) -> int:
        """UTC microseconds."""
        return time.time_ns() // 1_000


@dataclass
class VirtualClock:
    """A time that stands still until somebody moves it on. It never goes back."""

    time_us: int

    def now_us(self) -> int:
        """UTC microseconds."""
        return self.time_us

    def advance_to(self, time_us: int) -> None:
        """Move on to `time_us`; an earlier time changes nothing."""
        self.time_us = max(self.time_us, time_us)


class AlarmClock(Party):
    """Rings each alarm once, as soon as its time has come; after a restart the log tells which have rung."""

    def __init__(self, membership: Membership, log: Log, clock: Clock) -> None:
        super().__init__(membership, log, clock)
        self._waiting: dict[str, tuple[int, Heard]] = {}
        self._rung: set[str] = set()

    def hear(self, heard: Heard) -> None:
        """Note an alarm, or that it rang."""
        match heard.event:
            case AlarmSet(alarm_id=alarm_id, rings_us=rings_us):
                if alarm_id not in self._rung:
                    self._waiting.setdefault(alarm_id, (rings_us, heard))
            case AlarmRang(alarm_id=alarm_id):
                self._rung.add(alarm_id)
                self._waiting.pop(alarm_id, None)
            case _:
                pass

    async def work(self) -> bool:
        """Ring what is due, the earliest first."""
        now_us = self.clock.now_us()
        due = sorted((rings_us, alarm_id) for alarm_id, (rings_us, _) in self._waiting.items() if rings_us <= now_us)
        if due:
            await self.say(
                *(
                    draft(AlarmRang(alarm_id=alarm_id, rings_us=rings_us), now_us, set_, subject=set_.cause.source)
                    for rings_us, alarm_id in due
                    for set_ in [self._waiting[alarm_id][1]]
                )
            )
        return bool(due)

    def next_due_us(self) -> int | None:
        """When the next alarm rings."""
        return min((rings_us for rings_us, _ in self._waiting.values()), default=None)
