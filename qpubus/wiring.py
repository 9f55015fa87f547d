"""The one place where real things are chosen and put together: a data directory goes in, running parts come out."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import cast

from agents.artifacts import ArtifactStore
from agents.clock import AlarmClock, VirtualClock, WallClock
from agents.devices.agent import DeviceAgent
from agents.devices.fleet import open_fleet
from agents.enclosure import Enclosure
from agents.gateway import Gateway
from agents.party import Membership
from agents.sandbox import Sandbox
from agents.sealer import Sealer
from agents.vault import Vault
from agents.witness.submission import Submission
from projections.runner import Runner
from projections.views import Views
from qpubus.bus import Part
from qpubus.founding import is_founded, members
from qpubus.keyfile import read_key
from qpubus.place import Place
from qpubus.problem import Problem
from schemas.events import SiteFounded
from schemas.quorum import Witness
from schemas.topics import TOPICS
from streams.guard import GUARD
from streams.log.embedded import EmbeddedLog
from streams.log.head import RootMemory
from streams.log.port import LogError, ReadableLog, partition_of
from streams.log.reading import EmbeddedReader
from streams.orchestrator import ORCHESTRATOR
from streams.policy import POLICY
from streams.reader import Reader
from streams.scheduler import SCHEDULER
from streams.stage import AnyStage, Heard
from streams.worker import Site, Worker

STAGES: tuple[AnyStage, ...] = (POLICY, SCHEDULER, ORCHESTRATOR, GUARD)
GATEWAY, SANDBOX, ALARM_CLOCK, VIEWS = "gateway:main", "sandbox:main", "clock:main", "views"
SANDBOX_SETTING, TRUSTING = "QPUBUS_SANDBOX", "trusting"
"""The setting under which programs also run where the kernel cannot keep them from the files of the bus."""
SEALER, SUBMISSION = "sealer:main", "witness:main"
VIRTUAL_STEP_US = 1_000_000
"""On the virtual clock each classical step is told to take this long, so that every run tells the same."""


@dataclass(frozen=True, slots=True)
class Home:
    """The one site of a log: its name, its trust anchor, the event that founded it, the latest signed time."""

    site: str
    root_public_key: bytes
    founded: SiteFounded
    latest_us: int


class Machine:
    """A site whose parts all run on this machine, over a log that is open for writing.

    Each part is made when it is first asked for, and made anew after `forget`.
    """

    def __init__(
        self,
        place: Place,
        log: EmbeddedLog,
        clock: VirtualClock | WallClock,
        home: Home,
        witnesses: Sequence[Witness] = (),
    ) -> None:
        self.place = place
        self.log = log
        self.clock = clock
        self.site = site = home.site
        self.root_public_key = root_public_key = home.root_public_key
        self.artifacts = ArtifactStore(place.artifacts)
        self.fleet = open_fleet(place.devices, home.founded.seed)
        self.partition = partition_of(site.encode(), log.partitions)
        self.is_virtual = isinstance(clock, VirtualClock)
        self.enclosure = Enclosure(trusts_programs=os.environ.get(SANDBOX_SETTING) == TRUSTING)
        self._key_files = {each.source: each.key_file for each in members(tuple(self.fleet), "", "")}
        self._parts: dict[str, Part] = {}
        self._makers: dict[str, Callable[[], Part]] = {
            GATEWAY: lambda: Gateway(self.membership(GATEWAY), log, self.clock, self.artifacts, Vault(place.vault)),
            **{stage.source: partial(self._worker, stage) for stage in STAGES},
            **{f"device:{device}": partial(self._device_agent, device) for device in self.fleet},
            SANDBOX: self._sandbox,
            ALARM_CLOCK: lambda: AlarmClock(self.membership(ALARM_CLOCK), log, self.clock),
            SEALER: lambda: Sealer(self.membership(SEALER), log, self.clock),
            **({SUBMISSION: partial(self._submission, witnesses)} if witnesses else {}),
            VIEWS: lambda: Runner(log, self.partition, {site: root_public_key}, place.views),
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all parts, in the order in which they take turns."""
        return tuple(self._makers)

    def part(self, name: str) -> Part:
        """A part by its name."""
        if name not in self._parts:
            self._parts[name] = self._makers[name]()
        return self._parts[name]

    def forget(self, name: str) -> None:
        """Throw a part away: after an error its state may be ahead of the log."""
        self._parts.pop(name, None)

    @property
    def gateway(self) -> Gateway:
        """The gateway."""
        return cast(Gateway, self.part(GATEWAY))

    @property
    def views(self) -> Views:
        """The views of the site, as far as they have read."""
        return cast(Runner, self.part(VIEWS)).views[self.site]

    def membership(self, source: str) -> Membership:
        """A member whose key lies on this machine."""
        key = read_key(self.place.keys / self._key_files[source])
        return Membership(source, self.site, key, self.root_public_key)

    async def close(self) -> None:
        """Seal what is on the log, save what makes the next start short, and let go of the log."""
        for part in self._parts.values():
            if isinstance(part, Sealer):
                with suppress(LogError):  # a log that failed has said so to whom it failed; its parts are put away
                    await part.finish()
        for part in self._parts.values():
            if isinstance(part, Worker):
                await part.save()
            elif isinstance(part, Runner):
                part.save()
        await self.log.close()

    def _worker(self, stage: AnyStage) -> Worker:
        site = Site(self.root_public_key, self.membership(stage.source).key)
        return Worker(stage, self.log, self.partition, {self.site: site}, self.place.states)

    def _device_agent(self, device: str) -> DeviceAgent:
        membership = self.membership(f"device:{device}")
        return DeviceAgent(
            membership,
            self.log,
            self.clock,
            self.fleet[device],
            self.artifacts,
            waits=isinstance(self.clock, VirtualClock),
        )

    def _submission(self, witnesses: Sequence[Witness]) -> Submission:
        return Submission(self.membership(SUBMISSION), self.log, self.clock, witnesses)

    def _sandbox(self) -> Sandbox:
        step_us = VIRTUAL_STEP_US if self.is_virtual else None
        membership = self.membership(SANDBOX)
        return Sandbox(membership, self.log, self.clock, self.artifacts, self.enclosure, step_us=step_us)


@asynccontextmanager
async def open_machine(place: Place, witnesses: Sequence[Witness] = ()) -> AsyncIterator[Machine]:
    """The machine of a founded data directory; a virtual clock goes on from the latest time that is on the log.

    Checkpoints are brought to the `witnesses` that have a URL.
    """
    is_founded(place)  # what its founding left is put away
    root_public_key = place.read_root_public_key()
    reading = EmbeddedReader(place.directory)
    try:
        home = await _home(reading, root_public_key)
    finally:
        await reading.close()
    RootMemory(place.directory).write(root_public_key)
    clock = VirtualClock(home.latest_us) if home.founded.clock == "virtual" else WallClock()
    machine = Machine(place, EmbeddedLog(place.directory, clock.now_us), clock, home, witnesses)
    try:
        yield machine
    finally:
        await machine.close()


async def _home(log: ReadableLog, root_public_key: bytes) -> Home:
    for partition in range(log.partitions):
        first = await log.read("governance", partition, 0, 1)
        if not first:
            continue
        key = first[0].record.key
        site = key if isinstance(key, str) else ""
        reader = Reader(log, partition, TOPICS, {site: root_public_key}, heeds_causes=False)
        founded, latest_us = None, 0
        while items := await reader.read():
            for item in items:
                if isinstance(item, Heard):
                    latest_us = max(latest_us, item.time_us)
                    founded = founded or (item.event if isinstance(item.event, SiteFounded) else None)
        if founded:
            return Home(site, root_public_key, founded, latest_us)
    raise Problem("no site was founded on this log under its root key", "Begin anew in an empty directory: qpubus init")
