"""States saved at any moment, under load, by workers that were overtaken: none of them changes what is decided.

Workers share a log that fences as Kafka does: who opens it last may append, and all before get an error. They save
between any two steps and whatever waits to be read, die, and start from what was saved last, which may be old.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from schemas.envelope import Record, Stray
from schemas.events import AlarmRang, EventRejected, IntentRefused, IntentWithdrawn
from schemas.topics import TOPICS, Role
from streams.author import Draft
from streams.log.port import AppendFenced, Place
from streams.reader import Reader
from streams.stage import AnyStage, Heard, Output, Stage
from streams.worker import Site, Worker
from tests.support.memory_log import MemoryLog
from tests.support.scene import EPOCH_US, SITE, Scene

ACTS = ("declare", "declare", "ring", "stray", "step", "step", "step", "save", "save", "open")
TIMES = 60
LONG = pytest.mark.timeout(900)
STATES = ("one", "two")
"""Two machines, each with states of its own."""


class HeldLog(MemoryLog):
    """One holder's hold on a log in memory: it ends when another takes hold."""

    def __init__(self, held: MemoryLog, holders: list["HeldLog"]) -> None:
        super().__init__(lambda: EPOCH_US)
        self._records = held._records
        self._holders = holders
        holders.append(self)

    async def append(self, records: Sequence[Record | Stray]) -> list[Place]:
        """Append all records, unless somebody else has taken hold."""
        if self._holders[-1] is not self:
            raise AppendFenced("another holder came")
        return await super().append(records)


def _answer(seen: int, heard: Heard) -> Sequence[Output]:
    if not isinstance(heard.event, IntentWithdrawn):
        return []
    event = IntentRefused(job_id=heard.event.job_id, intent_digest=heard.digest, reason="counted", message=str(seen))
    return [Output("approvals", event, heard.event.job_id)]


def answering(*inputs: str) -> AnyStage:
    """A stage that answers each withdrawal with how much it had heard before."""
    return Stage(
        role=Role.POLICY, version=1, inputs=("governance", *inputs), initial=0, state_type=int,
        evolve=lambda seen, _: seen + 1, decide=_answer,
    )  # fmt: skip


class Town:
    """A site whose members say things, and workers that come, save and go."""

    def __init__(self, stage: AnyStage, directory: Path, rng: Random) -> None:
        self.stage, self.rng = stage, rng
        self.log = MemoryLog(lambda: EPOCH_US)
        self.scene = Scene(self.log)
        self.jobs = self.strays = self.alarms = 0
        self._directory = directory
        self._holders: list[HeldLog] = []
        self._workers: list[Worker] = []

    def worker(self, states: Path | None) -> Worker:
        """One that has just taken hold of the log."""
        key = self.scene.keys["stage:policy"]
        return Worker(self.stage, HeldLog(self.log, self._holders), 0, {SITE: Site(self.scene.root, key)}, states)

    async def act(self) -> None:
        """Let anything happen."""
        match self.rng.choice(ACTS):
            case "declare":
                withdrawn = [self._withdrawal() for _ in range(self.rng.randint(1, 4))]
                await self.scene.say("gateway:main", *withdrawn)
            case "ring":
                self.alarms += 1
                rang = AlarmRang(alarm_id=f"alarm-{self.alarms}", rings_us=EPOCH_US)
                await self.scene.say("clock:main", Draft("alarms", rang, "a", EPOCH_US))
            case "stray":
                self.strays += 1
                await self.log.append([Stray("intents", SITE.encode(), b"junk", ())])
            case "open":
                self._workers = [*self._workers[-1:], self.worker(self._directory / self.rng.choice(STATES))]
            case "step":
                for worker in self.rng.sample(self._workers, min(1, len(self._workers))):
                    await self._step(worker)
            case _:  # "save"
                for worker in self.rng.sample(self._workers, min(1, len(self._workers))):
                    await worker.save()

    async def _step(self, worker: Worker) -> None:
        try:
            await worker.step()
        except AppendFenced:
            self._workers.remove(worker)

    def _withdrawal(self) -> Draft:
        self.jobs += 1
        event = IntentWithdrawn(job_id=f"job-{self.jobs}", agent_key_id="k", agent_proof="p", reason="r")
        return Draft("intents", event, event.job_id, EPOCH_US)


async def finished(worker: Worker) -> Worker:
    """A worker that has read all there is."""
    while await worker.step():
        pass
    return worker


@pytest.mark.parametrize("inputs", [("intents", "alarms"), ("intents", "approvals", "alarms")])
@pytest.mark.parametrize(
    "seeds", [pytest.param(25, id="sample"), pytest.param(1_000, id="all", marks=pytest.mark.long)]
)
async def test_whenever_states_are_saved_each_input_is_answered_once(
    inputs: tuple[str, ...], seeds: int, tmp_path: Path
) -> None:
    for seed in range(seeds):
        town = Town(answering(*inputs), tmp_path / str(seed), Random(seed))  # noqa: S311 (moments by their seed)
        await town.scene.found()
        for _ in range(TIMES):
            await town.act()
        last = await finished(town.worker(tmp_path / str(seed) / STATES[seed % 2]))
        clean = await finished(town.worker(None))
        assert last.state(SITE) == clean.state(SITE)
        said = Counter[str]()
        for item in await Reader(town.log, 0, TOPICS, {SITE: town.scene.root}).read(100_000):
            match getattr(item, "event", None):
                case IntentRefused(job_id=job_id):
                    said[job_id] += 1
                case EventRejected(topic=topic, offset=offset):
                    said[f"{topic}/{offset}"] += 1
                case _:
                    pass
        assert len(said) == town.jobs + town.strays
        assert set(said.values()) <= {1}
