"""What the processes of a bus on Kafka serve: stages and views, each for the sites that its partition number has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.callbacks import CallbackSender
from agents.clock import WallClock
from agents.courier import Courier
from agents.party import Membership
from projections.runner import Runner
from qpubus.kafka.access import Access
from qpubus.keyfile import read_key
from qpubus.place import Place
from qpubus.problem import Problem
from replay.sites import founded
from replay.stages import STAGES
from schemas.topics import TOPICS
from streams.app.crew import Post
from streams.app.desk import Opened
from streams.log.kafka.log import KafkaLog
from streams.log.kafka.reading import KafkaReader
from streams.log.port import ReadableLog
from streams.stage import AnyStage
from streams.tally import Tally
from streams.worker import Site, Worker

VIEWS, CALLBACKS = "views", "callbacks"
NAMES = (*(stage.role.value for stage in STAGES), VIEWS, CALLBACKS)


@dataclass(frozen=True, slots=True)
class Home:
    """A site that is served: where its keys lie, its trust anchor, its name and the partition number it is on."""

    place: Place
    root_public_key: bytes
    site: str
    partition: int


class StagePart(Worker):
    """The worker of a stage on a partition number. With its state it keeps how far the log's records were counted."""

    def __init__(self, stage: AnyStage, log: KafkaLog, partition: int, sites: Mapping[str, Site], states: Path) -> None:
        super().__init__(stage, log, partition, sites, states)
        self._counted = log.reader

    async def save(self) -> None:
        """Save the state, and the index of the log."""
        await super().save()
        self._counted.keep_index()


class ViewsPart:
    """The views of a partition number."""

    def __init__(self, runner: Runner, reader: KafkaReader) -> None:
        self.name = runner.name
        self._runner = runner
        self._counted = reader

    @property
    def tally(self) -> Tally:
        """What the views have taken in."""
        return Tally(read=self._runner.read, refused=self._runner.refused)

    @property
    def offsets(self) -> Mapping[str, int]:
        """The next place of each topic."""
        return self._runner.offsets

    async def step(self) -> bool:
        """Fold what is new."""
        return await self._runner.step()

    async def save(self) -> None:
        """Save the views, and the index of the log."""
        self._runner.save()
        self._counted.keep_index()


async def homes_of(log: ReadableLog, directories: Sequence[Path]) -> list[Home]:
    """The sites of some data directories, found on the log by their trust anchors. `Problem` if one is not there."""
    places = {Place(each).read_root_public_key(): Place(each) for each in directories}
    homes = []
    for partition in range(log.partitions):
        for key, root_public_key in (await founded(log, partition, places)).items():
            homes.append(Home(places[root_public_key], root_public_key, key, partition))
    for root_public_key in places.keys() - {home.root_public_key for home in homes}:
        raise Problem(
            f"no site was founded on this log under the root key in {places[root_public_key].directory}",
            "Bring it there: qpubus log export, then qpubus log import --kafka",
        )
    return homes


@dataclass(frozen=True, slots=True)
class StageOpening:
    """Opens a stage on a partition number: the log first, which fences whoever wrote it, then the worker."""

    stage: AnyStage
    access: Access
    homes: Sequence[Home]
    directory: Path

    async def __call__(self, partition: int) -> Opened | None:
        """The worker of the sites that are there; none if there are none."""
        here = [home for home in self.homes if home.partition == partition]
        if not here:
            return None
        sites = {home.site: Site(home.root_public_key, self._key(home)) for home in here}
        role = self.stage.role.value
        index = self.directory / f"{role}-{partition}.index"
        log = await KafkaLog.open(self.access.aiokafka(), f"{role}.{partition}", index=index)
        return Opened(StagePart(self.stage, log, partition, sites, self.directory), log)

    def _key(self, home: Home) -> Ed25519PrivateKey:
        return read_key(home.place.key(self.stage.role.value))


@dataclass(frozen=True, slots=True)
class ViewsOpening:
    """Opens the views of a partition number."""

    access: Access
    homes: Sequence[Home]
    directory: Path

    async def __call__(self, partition: int) -> Opened | None:
        """The views of the sites that are there; none if there are none."""
        roots = {home.site: home.root_public_key for home in self.homes if home.partition == partition}
        if not roots:
            return None
        log = await KafkaReader.open(self.access.aiokafka(), index=self.directory / f"{VIEWS}-{partition}.index")
        return Opened(ViewsPart(Runner(log, partition, roots, self.directory / VIEWS), log), log)


class CallbacksPart:
    """The senders of callbacks of a partition number, one for each of its sites."""

    name = CALLBACKS

    def __init__(self, senders: Sequence[CallbackSender]) -> None:
        self.tally = Tally()
        self._senders = senders

    @property
    def offsets(self) -> Mapping[str, int]:
        """The next place of each topic, of the sender that is furthest behind."""
        places = [sender.offsets for sender in self._senders]
        return {topic: min(each[topic] for each in places) for topic in places[0]}

    async def step(self) -> bool:
        """Let each sender hear what is new, and bring what is due."""
        before = sum(self.offsets.values())
        worked = [await sender.step() for sender in self._senders]
        self.tally.read += sum(self.offsets.values()) - before
        return any(worked)

    async def save(self) -> None:
        """Nothing is to be saved: what is owed follows from the log."""


@dataclass(frozen=True, slots=True)
class CallbacksOpening:
    """Opens the senders of callbacks on a partition number."""

    access: Access
    homes: Sequence[Home]
    courier: Courier

    async def __call__(self, partition: int) -> Opened | None:
        """The senders of the sites that are there; none if there are none."""
        here = [home for home in self.homes if home.partition == partition]
        if not here:
            return None
        log = await KafkaLog.open(self.access.aiokafka(), f"{CALLBACKS}.{partition}")
        members = [
            Membership(f"{CALLBACKS}:main", home.site, read_key(home.place.key(CALLBACKS)), home.root_public_key)
            for home in here
        ]
        senders = [CallbackSender(each, log, WallClock(), self.courier) for each in members]
        return Opened(CallbacksPart(senders), log)


def post_of(name: str, access: Access, homes: Sequence[Home], directory: Path) -> Post:
    """A stage, or the views, as a process serves it; it keeps saved states and views in `directory`."""
    if name == VIEWS:
        return Post(name, TOPICS, access.aiokafka(), ViewsOpening(access, homes, directory))
    stage = next(each for each in STAGES if each.role.value == name)
    return Post(name, stage.inputs, access.aiokafka(), StageOpening(stage, access, homes, directory))


def errand_of(access: Access, homes: Sequence[Home], courier: Courier) -> Post:
    """The bringing of notices, as a process serves it: the records on these topics may end a job."""
    return Post(CALLBACKS, CallbackSender.ends, access.aiokafka(), CallbacksOpening(access, homes, courier))
