"""Topic `alarms`: deadlines as data. A stage sets an alarm, the clock tells that it rang."""

from schemas.words import Event, Identifier, TimeUs


class AlarmSet(Event):
    """A stage wants to be told when `rings_us` has come."""

    alarm_id: Identifier
    rings_us: TimeUs


class AlarmRang(Event):
    """The time of an alarm has come."""

    alarm_id: Identifier
    rings_us: TimeUs
