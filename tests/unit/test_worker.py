"""A worker over the embedded log: what it reads, what it says, and what it says again after a crash."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.admission import Refused, Stored
from schemas.envelope import Cause, Inputs, Record, Stray
from schemas.events import AlarmRang, EventRejected, InputsNoted, IntentRefused, IntentWithdrawn
from schemas.topics import TOPICS, Role
from streams.author import Draft
from streams.course import Course
from streams.journal import outputs_of, walk
from streams.log.embedded import EmbeddedLog, create
from streams.log.port import LogError, Place, partition_of
from streams.reader import FETCH, Reader
from streams.stage import Heard, Output, Stage
from streams.worker import Site, Worker, new_course
from tests.support.memory_log import MemoryLog
from tests.support.scene import EPOCH_US, SITE, Scene


@pytest.fixture(autouse=True)
def _memory_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def _refuse(seen: int, heard: Heard) -> Sequence[Output]:
    if not isinstance(heard.event, IntentWithdrawn):
        return []
    event = IntentRefused(job_id=heard.event.job_id, intent_digest=heard.digest, reason="counted", message=str(seen))
    return [Output("approvals", event, heard.event.job_id)]


COUNTING = Stage(
    role=Role.POLICY,
    version=1,
    inputs=("governance", "intents", "alarms"),
    initial=0,
    evolve=lambda seen, _: seen + 1,
    decide=_refuse,
    state_type=int,
)
"""A stage that answers each withdrawal with how much it had heard before, its own answers included."""


@asynccontextmanager
async def scene_at(directory: Path, partitions: int = 1) -> AsyncIterator[Scene]:
    create(directory, partitions)
    log = EmbeddedLog(directory, lambda: EPOCH_US)
    scene = Scene(log)
    try:
        await scene.found()
        yield scene
    finally:
        await log.close()


def withdrawal(job: str, *causes: Cause) -> Draft:
    event = IntentWithdrawn(job_id=job, agent_key_id="k", agent_proof="p", reason="r")
    return Draft("intents", event, job, EPOCH_US, causes)


def worker_of(scene: Scene, states: Path | None = None) -> Worker:
    partition = partition_of(SITE.encode(), scene.log.partitions)
    return Worker(COUNTING, scene.log, partition, {SITE: Site(scene.root, scene.keys["stage:policy"])}, states)


async def heard_on(scene: Scene, *topics: str) -> list[Heard | Refused]:
    partition = partition_of(SITE.encode(), scene.log.partitions)
    return await Reader(scene.log, partition, topics, {SITE: scene.root}).read(10_000)


async def answers(scene: Scene) -> list[str]:
    heard = await heard_on(scene, *TOPICS)
    return [item.event.message for item in heard if isinstance(item, Heard) and isinstance(item.event, IntentRefused)]


async def test_an_input_is_answered_once(tmp_path: Path) -> None:
    async with scene_at(tmp_path / "log", 3) as scene:
        await scene.say("gateway:main", withdrawal("job-1"))
        worker = worker_of(scene)
        while await worker.step():
            pass
        assert len(await answers(scene)) == 1


class SlowLog(MemoryLog):
    """Takes its time over appends of what a stage says; tells when one begins, and when something is read meanwhile."""

    def __init__(self) -> None:
        super().__init__(lambda: EPOCH_US)
        self.happened: list[str] = []
        self.has_begun = asyncio.Event()

    async def append(self, records: Sequence[Record | Stray]) -> list[Place]:
        """Append all records or none, a while later."""
        if records[0].topic != "approvals":
            return await super().append(records)
        self.happened.append("begun")
        self.has_begun.set()
        for _ in range(10):
            await asyncio.sleep(0)
        places = await super().append(records)
        self.happened.append("done")
        return places

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Stored]:
        """Records from `offset` on."""
        records = await super().read(topic, partition, offset, limit)
        if topic == "intents" and records and self.happened:
            self.happened.append("read")
        return records


async def test_the_next_page_is_read_while_what_follows_from_one_is_appended_and_appended_behind_it() -> None:
    scene = Scene(log := SlowLog())
    await scene.found()
    worker = worker_of(scene)
    await worker.step()
    await scene.say("gateway:main", *(withdrawal(f"job-{number}") for number in range(FETCH + 100)))
    log.happened.clear()
    while await worker.step():
        pass
    assert log.happened[:5] == ["begun", "read", "done", "begun", "done"]
    heard = [item for item in await heard_on(scene, "governance", "approvals") if isinstance(item, Heard)]
    decisions = [item.inputs.decision for item in heard if item.inputs]
    assert decisions == list(range(1, FETCH + 101))


async def test_a_step_that_was_broken_off_leaves_no_saved_state_that_is_ahead_of_the_log(tmp_path: Path) -> None:
    scene = Scene(log := SlowLog())
    await scene.found()
    await scene.say("gateway:main", *(withdrawal(f"job-{number}") for number in range(200)))
    worker = worker_of(scene, tmp_path)
    step = asyncio.create_task(worker.step())
    await log.has_begun.wait()
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    await worker.save()
    worker = worker_of(scene, tmp_path)
    while await worker.step():
        pass
    assert len(await answers(scene)) == 200


async def test_nothing_is_appended_behind_an_append_that_failed() -> None:
    scene = Scene(log := SlowLog())
    await scene.found()
    await scene.say("gateway:main", *(withdrawal(f"job-{number}") for number in range(FETCH + 100)))
    log.failure = LogError("the disk is full")
    with pytest.raises(LogError, match="full"):
        await worker_of(scene).step()
    for _ in range(100):
        await asyncio.sleep(0)
    assert await answers(scene) == []


async def test_a_worker_started_anew_answers_nothing_twice_and_has_the_same_state(tmp_path: Path) -> None:
    async with scene_at(tmp_path / "log") as scene:
        first = worker_of(scene)
        for number in range(5):
            await scene.say("gateway:main", withdrawal(f"job-{number}"))
            await first.step()
        second = worker_of(scene)
        await second.step()
        assert len(await answers(scene)) == 5
        assert second.state(SITE) == first.state(SITE)


async def test_a_worker_started_anew_goes_on_counting_its_decisions(tmp_path: Path) -> None:
    async with scene_at(tmp_path / "log") as scene:
        for number in range(3):
            await scene.say("gateway:main", withdrawal(f"job-{number}"))
            await worker_of(scene).step()
        said = await outputs_of(COUNTING, scene.log, 0, {SITE: scene.root})
        assert [output.inputs.decision for output in said[SITE] if output.inputs] == [1, 2, 3]


async def test_every_decision_follows_again_from_the_journal(tmp_path: Path) -> None:
    async with scene_at(tmp_path / "log") as scene:
        worker = worker_of(scene)
        for number in range(4):
            await scene.say("gateway:main", withdrawal(f"job-{number}"), withdrawal(f"other-{number}"))
            alarm = AlarmRang(alarm_id=f"alarm-{number}", rings_us=EPOCH_US)
            await scene.say("clock:main", Draft("alarms", alarm, "a", EPOCH_US))
            await worker.step()
        said = (await outputs_of(COUNTING, scene.log, 0, {SITE: scene.root}))[SITE]
        reader = Reader(scene.log, 0, COUNTING.inputs, {SITE: scene.root})
        course: Course[int] = new_course(COUNTING, SITE, reader)
        again = [written.cause async for step in walk(said, reader, SITE) for written in course.take(step.item)]
        assert again == [output.cause for output in said]


async def test_an_event_is_read_after_its_cause_in_another_topic(tmp_path: Path) -> None:
    async with scene_at(tmp_path / "log") as scene:
        [cause] = await scene.say("clock:main", Draft("alarms", AlarmRang(alarm_id="a", rings_us=1), "a", EPOCH_US))
        await scene.say("gateway:main", withdrawal("job-1", cause))
        heard = await heard_on(scene, "governance", "intents", "alarms")
        kinds = [type(item.event) for item in heard if isinstance(item, Heard)]
        assert kinds.index(AlarmRang) < kinds.index(IntentWithdrawn)


async def test_an_event_whose_cause_is_nowhere_is_refused(tmp_path: Path) -> None:
    async with scene_at(tmp_path / "log") as scene:
        await scene.say("gateway:main", withdrawal("job-1", Cause("alarms", "clock:main", 9, "00" * 32)))
        refused = [item for item in await heard_on(scene, *TOPICS) if isinstance(item, Refused)]
        assert [each.reason for each in refused] == ["cause_absent"]


async def test_a_record_without_envelope_is_put_down_as_rejected_and_the_stage_goes_on(tmp_path: Path) -> None:
    async with scene_at(tmp_path / "log") as scene:
        await scene.log.append([Stray("intents", SITE.encode(), b"\x00junk", (("who", b"me"),))])
        await scene.say("gateway:main", withdrawal("job-1"))
        await worker_of(scene).step()
        rejected = [
            item.event
            for item in await heard_on(scene, "governance", "deadletters")
            if isinstance(item, Heard) and isinstance(item.event, EventRejected)
        ]
        assert [(each.topic, each.offset, each.reason) for each in rejected] == [("intents", 0, "header_missing")]
        assert len(await answers(scene)) == 1


async def test_a_stage_that_only_reads_notes_its_inputs_after_256_runs(tmp_path: Path) -> None:
    async with scene_at(tmp_path / "log") as scene:
        cause: tuple[Cause, ...] = ()
        for number in range(1, 131):
            alarm = AlarmRang(alarm_id=f"a-{number}", rings_us=1)
            cause = tuple(await scene.say("clock:main", Draft("alarms", alarm, "a", EPOCH_US, cause)))
            read = Inputs(number, 1, (("alarms", 1),))
            noted = Draft("intents", InputsNoted(runs=1), SITE, EPOCH_US, cause, inputs=read)
            cause = tuple(await scene.say("stage:orchestrator", noted))
        worker = worker_of(scene)
        while await worker.step():
            pass
        said = (await outputs_of(COUNTING, scene.log, 0, {SITE: scene.root}))[SITE]
        assert [(output.event, len(output.inputs.runs)) for output in said if output.inputs] == [
            (InputsNoted(runs=256), 256)
        ]


async def test_a_start_from_a_saved_state_ends_where_a_start_from_nothing_does(tmp_path: Path) -> None:
    async with scene_at(tmp_path / "log") as scene:
        saving = worker_of(scene, tmp_path / "states")
        for number in range(4):
            await scene.say("gateway:main", withdrawal(f"job-{number}"))
            while await saving.step():
                pass
            if number == 1:
                await saving.save()
        await scene.say("gateway:main", withdrawal("job-last"))
        resumed, rebuilt = worker_of(scene, tmp_path / "states"), worker_of(scene)
        while await resumed.step():
            pass
        while await rebuilt.step():
            pass
        assert resumed.state(SITE) == rebuilt.state(SITE)
        assert len(await answers(scene)) == 5


async def test_a_saved_state_of_another_log_is_passed_over(tmp_path: Path) -> None:
    async with scene_at(tmp_path / "long") as long:
        await long.say("gateway:main", *(withdrawal(f"job-{number}") for number in range(4)))
        worker = worker_of(long, tmp_path / "states")
        while await worker.step():
            pass
        await worker.save()
    async with scene_at(tmp_path / "short") as short:
        await short.say("gateway:main", withdrawal("job-1"))
        await worker_of(short, tmp_path / "states").step()
        assert len(await answers(short)) == 1


async def test_a_worker_that_hears_its_stage_say_what_it_never_said_saves_nothing(tmp_path: Path) -> None:
    async with scene_at(tmp_path / "log") as scene:
        hearing = replace(COUNTING, inputs=("governance", "approvals"))
        sites = {SITE: Site(scene.root, scene.keys["stage:policy"])}
        overtaken = Worker(hearing, scene.log, 0, sites, tmp_path / "states")
        await overtaken.step()
        await overtaken.save()
        [saved] = (tmp_path / "states").iterdir()
        before = saved.read_bytes()
        another_says = IntentRefused(job_id="job-1", intent_digest="00" * 32, reason="counted", message="1")
        read = Inputs(1, 1, (("intents", 1),))
        await scene.say("stage:policy", Draft("approvals", another_says, "job-1", EPOCH_US, inputs=read))
        await overtaken.step()
        await overtaken.save()
        assert saved.read_bytes() == before
