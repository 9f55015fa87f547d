"""The one place where real things are chosen and put together: a data directory goes in, running parts come out."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from agents.artifacts import ArtifactStore
from agents.clock import AlarmClock, VirtualClock, WallClock
from agents.devices.agent import DeviceAgent
from agents.devices.fleet import open_fleet
from agents.devices.profiles import PROFILES, TWINS
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
from qpubus.ledger import Cluster, open_reading, shared
from qpubus.mirror import Mirror
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.telemetry.exporting import wants_traces
from qpubus.telemetry.story import Story
from replay.sites import sites_of
from schemas.events import SiteFounded
from schemas.quorum import Witness
from schemas.topics import TOPICS
from streams.guard import GUARD
from streams.log.embedded import EmbeddedLog
from streams.log.head import RootMemory
from streams.log.making import locked
from streams.log.port import Log, LogError, ReadableLog, partition_of
from streams.orchestrator import ORCHESTRATOR
from streams.policy import POLICY
from streams.reader import Reader
from streams.scheduler import SCHEDULER
from streams.stage import AnyStage, Heard
from streams.worker import Site, Worker

STAGES: tuple[AnyStage, ...] = (POLICY, SCHEDULER, ORCHESTRATOR, GUARD)
GATEWAY, SANDBOX, ALARM_CLOCK, VIEWS = "gateway:main", "sandbox:main", "clock:main", "views"
TRACES = "traces"
SANDBOX_SETTING, TRUSTING = "QPUBUS_SANDBOX", "trusting"
"""The setting under which programs also run where the kernel cannot keep them from the files of the bus."""
SEALER, SUBMISSION = "sealer:main", "witness:main"
MIRROR, INDEX = "mirror", "kafka-index.json"
PARTIES = (GATEWAY, SANDBOX, ALARM_CLOCK, SEALER, SUBMISSION, *(f"device:{each}" for each in PROFILES))
"""What may run in a process of its own where the log is on Kafka; stages do by `qpubus worker`."""
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

    Each part is made when it is first asked for, and made anew after `forget`. Where some are named, only those run
    here, and their fellows elsewhere.
    """

    def __init__(
        self,
        place: Place,
        log: ReadableLog,
        clock: VirtualClock | WallClock,
        home: Home,
        witnesses: Sequence[Witness] = (),
        *,
        log_of: Callable[[str], Log],
        registry: str = "",
        only: Sequence[str] = (),
    ) -> None:
        """All read `log`; `log_of` gives each source the log that it writes, anew after `forget`.

        The schemas on the log are mirrored to the `registry` at that URL, if there is one.
        """
        self.place = place
        self.log = log
        self.clock = clock
        self.site = site = home.site
        self.root_public_key = root_public_key = home.root_public_key
        self.artifacts = ArtifactStore(place.artifacts)
        self.vault = Vault(place.vault)
        twins = [twin for twin in TWINS if (place.keys / f"device-{twin}.pem").is_file()]
        devices = [device for device in (*PROFILES, *twins) if not only or f"device:{device}" in only]
        self.fleet = open_fleet(place.devices, home.founded.seed, only=devices)
        self.partition = partition_of(site.encode(), log.partitions)
        self.is_virtual = isinstance(clock, VirtualClock)
        self.enclosure = Enclosure(trusts_programs=os.environ.get(SANDBOX_SETTING) == TRUSTING)
        self._key_files = {each.source: each.key_file for each in members(tuple(self.fleet), "", "")}
        self._parts: dict[str, Part] = {}
        self._began_us = clock.now_us()
        self._log_of = log_of
        self._logs: dict[str, Log] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._makers: dict[str, Callable[[], Part]] = {
            GATEWAY: lambda: Gateway(
                self.membership(GATEWAY), self.log_as(GATEWAY), self.clock, self.artifacts, self.vault
            ),
            **{stage.source: partial(self._worker, stage) for stage in STAGES},
            **{f"device:{device}": partial(self._device_agent, device) for device in self.fleet},
            SANDBOX: self._sandbox,
            ALARM_CLOCK: lambda: AlarmClock(self.membership(ALARM_CLOCK), self.log_as(ALARM_CLOCK), self.clock),
            SEALER: lambda: Sealer(
                self.membership(SEALER), self.log_as(SEALER), self.clock, saved=place.states / "trees.json"
            ),
            **({SUBMISSION: partial(self._submission, witnesses)} if witnesses else {}),
            **({MIRROR: partial(self._mirror, registry)} if registry else {}),
            VIEWS: lambda: Runner(log, self.partition, {site: root_public_key}, place.views),
            **({TRACES: self._story} if wants_traces(os.environ) else {}),
        }
        if only:
            here = {*only, VIEWS} if GATEWAY in only else {*only}
            self._makers = {name: make for name, make in self._makers.items() if name in here}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all parts that run here, in the order in which they take turns."""
        return tuple(self._makers)

    def part(self, name: str) -> Part:
        """A part by its name."""
        if name not in self._parts:
            self._parts[name] = self._makers[name]()
        return self._parts[name]

    def join(self, name: str, maker: Callable[[], Part]) -> None:
        """Let one more part take turns."""
        self._makers[name] = maker

    def forget(self, name: str) -> None:
        """Throw a part away: after an error its state may be ahead of the log."""
        self._parts.pop(name, None)
        log = self._logs.pop(name, self.log)
        if log is not self.log:
            closing = asyncio.create_task(log.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

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
            elif isinstance(part, Submission):
                await part.close()
        for part in self._parts.values():
            if isinstance(part, Worker):
                await part.save()
            elif isinstance(part, Runner):
                part.save()
        await asyncio.gather(*self._closing, *(log.close() for log in self._logs.values()))
        await self.log.close()

    def log_as(self, source: str) -> Log:
        """The log as a source writes it."""
        if source not in self._logs:
            self._logs[source] = self._log_of(source)
        return self._logs[source]

    def _worker(self, stage: AnyStage) -> Worker:
        site = Site(self.root_public_key, self.membership(stage.source).key)
        return Worker(stage, self.log_as(stage.source), self.partition, {self.site: site}, self.place.states)

    def _device_agent(self, device: str) -> DeviceAgent:
        membership = self.membership(f"device:{device}")
        return DeviceAgent(
            membership,
            self.log_as(membership.source),
            self.clock,
            self.fleet[device],
            self.artifacts,
            waits=isinstance(self.clock, VirtualClock),
        )

    def _story(self) -> Story:
        return Story(self.log, self.partition, {self.site: self.root_public_key}, self._began_us)

    def _submission(self, witnesses: Sequence[Witness]) -> Submission:
        return Submission(self.membership(SUBMISSION), self.log_as(SUBMISSION), self.clock, witnesses)

    def _mirror(self, registry: str) -> Mirror:
        return Mirror(self.log, self.partition, {self.site: self.root_public_key}, registry)

    def _sandbox(self) -> Sandbox:
        step_us = VIRTUAL_STEP_US if self.is_virtual else None
        membership = self.membership(SANDBOX)
        return Sandbox(membership, self.log_as(SANDBOX), self.clock, self.artifacts, self.enclosure, step_us=step_us)


@asynccontextmanager
async def open_machine(
    place: Place, witnesses: Sequence[Witness] = (), only: Sequence[str] = (), access: Path | None = None
) -> AsyncIterator[Machine]:
    """The machine of a founded data directory; a virtual clock goes on from the latest time that is on the log.

    Checkpoints are brought to the `witnesses` that have a URL. With the log on Kafka, `only` some of `PARTIES` may run,
    and `access` may name another folder than the data directory does.
    """
    is_founded(place)  # what its founding left is put away
    root_public_key = place.read_root_public_key()
    cluster = Cluster.of(place.directory)
    if cluster and access:
        cluster = replace(cluster, access=access)
    with ExitStack() as stack:
        if cluster:
            for directory in (*(() if only else (place.directory,)), *_held(place, only or PARTIES)):
                stack.callback(os.close, locked(directory))
            machine = await _machine_on_kafka(place, cluster, root_public_key, witnesses, only)
        else:
            async with open_reading(place.directory) as reading:
                home = await _home(reading, root_public_key)
            clock = _clock(home)
            log = EmbeddedLog(place.directory, clock.now_us)
            machine = Machine(place, log, clock, home, witnesses, log_of=lambda _: log)
        RootMemory(place.directory).write(root_public_key)
        try:
            yield machine
        finally:
            await machine.close()


def _held(place: Place, parties: Sequence[str]) -> Iterator[Path]:
    """Directories whose lock says that a party of this data directory runs; made if missing."""
    for name in parties:
        directory = place.states / "parties" / name
        directory.mkdir(parents=True, exist_ok=True)
        yield directory


async def _machine_on_kafka(
    place: Place, cluster: Cluster, root_public_key: bytes, witnesses: Sequence[Witness], only: Sequence[str]
) -> Machine:
    """A machine whose parts share one reader of the log, and each write under an id and as a principal of their own.

    A party that runs alone reads as its principal too; the gateway's views read what it may not.
    """
    place.states.mkdir(exist_ok=True)
    alone = only[0] if only and GATEWAY not in only else ""
    index = place.states / (f"{alone}-{INDEX}" if alone else INDEX)
    async with AsyncExitStack() as otherwise:
        reading = await cluster.open_reader(alone.partition(":")[0] or VIEWS, index=index)
        otherwise.push_async_callback(reading.close)
        home = await _home(reading, root_public_key, cluster.site)
        names = await sites_of(reading, partition_of(home.site.encode(), reading.partitions))
        if len(names) > 1:
            raise shared(names, "Serve them together on their partition number: qpubus worker, with each one's --data.")
        otherwise.pop_all()
    log_of = partial(cluster.late_log, reader=reading)
    clock = _clock(home)
    return Machine(
        place, reading, clock, home, witnesses=witnesses, log_of=log_of, registry=cluster.registry, only=only
    )


def _clock(home: Home) -> VirtualClock | WallClock:
    return VirtualClock(home.latest_us) if home.founded.clock == "virtual" else WallClock()


async def _home(log: ReadableLog, root_public_key: bytes, site: str = "") -> Home:
    """The site of a log; on one that has several, the one that is named."""
    for partition in [partition_of(site.encode(), log.partitions)] if site else range(log.partitions):
        first = await log.read("governance", partition, 0, 1)
        if not first:
            continue
        key = site or first[0].record.key
        here = key if isinstance(key, str) else ""
        reader = Reader(log, partition, TOPICS, {here: root_public_key}, heeds_causes=False)
        founded, latest_us = None, 0
        while items := await reader.read():
            for item in items:
                if isinstance(item, Heard):
                    latest_us = max(latest_us, item.time_us)
                    founded = founded or (item.event if isinstance(item.event, SiteFounded) else None)
        if founded:
            return Home(here, root_public_key, founded, latest_us)
    raise Problem("no site was founded on this log under its root key", "Begin anew in an empty directory: qpubus init")
