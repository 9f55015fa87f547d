"""An export of 10,000 events and some strays, the same in every run, and the states in which its lines are read."""

from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice
from random import Random

from schemas.admission import Stored
from schemas.envelope import Stray
from schemas.events import AlarmRang, IntentWithdrawn
from schemas.topics import TOPICS
from streams.log.database import Settings
from streams.log.lines import Lines, export_lines
from tests.support.signed import NOW_US, SITE, Signers

EVENTS = 10_000
SETTINGS = Settings("5c7b6f0e9d3a41f2b8c4a7d1e0f39b62", 1, TOPICS)
_SIZES = (1, 3, 100, 8, 1, 57)
_STRAYS = (
    Stray("alarms", SITE.encode(), None, ()),
    Stray("alarms", b"\xff\x00", b"no event", (("x", b"1"), ("x", b"2"))),
    Stray("alarms", None, b"", (("caf\udce9", b"\xff"),)),
)


@cache
def export() -> tuple[bytes, ...]:
    """All lines, in batches of several sizes."""
    signers, sizes, rng = Signers(), cycle(_SIZES), Random(1)  # noqa: S311 (seeded on purpose)
    records: list[Stored] = []
    while len(records) < EVENTS:
        size = min(next(sizes), EVENTS - len(records))
        if rng.random() < 0.5:
            said = [_withdrawn(rng) for _ in range(size)]
            records += signers.stored(*signers.batch("gateway:main", *said, topic="intents"))
        else:
            rang = [AlarmRang(alarm_id=f"alarm-{rng.random()}", rings_us=rng.randrange(1 << 40)) for _ in range(size)]
            records += signers.stored(*signers.batch("clock:main", *rang, topic="alarms"))
    records += signers.stored(*_STRAYS)
    ordered = sorted(records, key=lambda stored: (TOPICS.index(stored.topic), stored.offset))
    return tuple(export_lines(SETTINGS, (each._replace(append_time_us=NOW_US + each.offset) for each in ordered)))


def _withdrawn(rng: Random) -> IntentWithdrawn:
    job_id = f"job-{rng.randrange(100)}"
    return IntentWithdrawn(job_id=job_id, agent_key_id="k", agent_proof="p" * rng.randrange(200), reason="r")


def states() -> Iterator[Lines | None]:
    """Before each line, what is known by then; None before the first. Each may be used until the next is asked for."""
    lines = export()
    yield None
    reading = Lines(lines[0])
    yield reading
    for line in islice(lines, 1, len(lines) - 1):
        reading = reading.copy()
        reading.take(line)
        yield reading
