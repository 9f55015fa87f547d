"""On a log that shows an append topic by topic, a cause that is on its way is waited for and not called absent."""

from schemas.admission import Refused, Stored
from schemas.events import AlarmRang, IntentWithdrawn, KeyEnrolled, SchemaPublished
from schemas.keys import raw_public_key
from schemas.words import Event
from streams.author import Draft, Scribe, seal_all
from streams.reader import Reader
from streams.stage import Heard
from tests.support.memory_log import MemoryLog
from tests.support.signed import MEMBERS, NOW_US, SCHEMAS, SITE, enrolment, private_key

TOPICS = ("governance", "alarms", "intents")
RANG = AlarmRang(alarm_id="a", rings_us=NOW_US)
WITHDRAWN = IntentWithdrawn(job_id="job-1", agent_key_id="", agent_proof="", reason="the alarm rang")


class Lagging(MemoryLog):
    """A log one of whose topics shows nothing until somebody waits for what is under way."""

    def __init__(self, lagging: str) -> None:
        super().__init__(lambda: NOW_US)
        self._lagging = lagging

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        return [] if topic == self._lagging else await super().read(topic, partition, offset, limit)

    async def settle(self, partition: int) -> None:  # noqa: ARG002 (a log has one partition here)
        self._lagging = ""


async def items_of(log: MemoryLog, *, with_cause: bool) -> list[Heard | Refused]:
    """What a reader makes of an alarm that rang, and of the withdrawal that names it as its cause."""
    published: list[Event] = [
        SchemaPublished(schema_id=each.schema_id, event_type=each.event_type, text=each.text)
        for each in SCHEMAS.values()
    ]
    enrolled: list[KeyEnrolled] = [enrolment(source, role, devices) for source, (role, devices) in MEMBERS.items()]
    root, clock, gateway = (Scribe(source, SITE, SCHEMAS) for source in ("root", "clock:main", "gateway:main"))
    founding = [root.write(Draft("governance", each, SITE, NOW_US)) for each in [*published, *enrolled]]
    rang = clock.write(Draft("alarms", RANG, "a", NOW_US))
    withdrawn = gateway.write(Draft("intents", WITHDRAWN, "job-1", NOW_US, (rang.cause,)))
    await log.append(seal_all(founding, private_key("root")))
    if with_cause:
        await log.append(seal_all([rang], private_key("clock:main")))
    await log.append(seal_all([withdrawn], private_key("gateway:main")))
    reader = Reader(log, 0, TOPICS, {SITE: raw_public_key(private_key("root"))})
    items = []
    while read := await reader.read():
        items += read
    return [each for each in items if not isinstance(each, Heard) or each.cause.topic != "governance"]


async def test_a_cause_that_can_be_read_a_moment_later_comes_first() -> None:
    items = await items_of(Lagging("alarms"), with_cause=True)
    assert [each.event for each in items if isinstance(each, Heard)] == [RANG, WITHDRAWN]


async def test_a_cause_that_never_came_is_absent() -> None:
    (refused,) = await items_of(Lagging("alarms"), with_cause=False)
    assert isinstance(refused, Refused)
    assert refused.reason == "cause_absent"
