"""Alarms of the stages: their names, and times that stay within the calendar."""

from schemas.digests import digest_of_parts
from schemas.events import AlarmSet
from streams.stage import Output

TIME_US_MAX = 253_402_300_800_000_000 - 1
"""The end of the year 9999: the last time an event can name."""


def alarm_id(kind: str, *parts: str | int) -> str:
    """The name of an alarm; it follows from what the alarm is for, so whoever knows that knows the name."""
    return f"{kind}-{digest_of_parts(kind, *parts)[:32]}"


def deadline_alarm_id(job_id: str, intent_digest: str) -> str:
    """The alarm of a job's deadline: the orchestrator sets it, the guard hears it too."""
    return alarm_id("deadline", job_id, intent_digest)


def later_us(time_us: int, wait_us: int) -> int:
    """A time so much later, or the end of all times."""
    return min(time_us + wait_us, TIME_US_MAX)


def set_alarm(name: str, rings_us: int, job_id: str) -> Output:
    """Ask to be told when a time has come."""
    return Output("alarms", AlarmSet(alarm_id=name, rings_us=rings_us), job_id)
