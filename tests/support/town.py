"""A founded site with the emulated fleet, for tests of parties: a log in memory, a virtual clock, every key at hand."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.approver import Approver
from agents.artifacts import ArtifactStore
from agents.client import RequestingAgent
from agents.clock import AlarmClock, VirtualClock
from agents.devices.agent import DeviceAgent
from agents.devices.drift import Disturbance
from agents.devices.fleet import EmulatedDevice, open_fleet
from agents.devices.profiles import device_price
from agents.drafts import draft
from agents.enclosure import Enclosure
from agents.gateway import Gateway
from agents.party import Membership, Party
from agents.sandbox import Sandbox
from agents.vault import Vault
from qpubus.founding import default_policy, found_site, members
from schemas.admission import ROOT_SOURCE
from schemas.codec import Schema, own_schemas
from schemas.envelope import Cause, Inputs
from schemas.keys import raw_public_key
from schemas.topics import TOPICS
from schemas.words import Event
from streams.author import Scribe, seal_all
from streams.reader import Reader
from streams.stage import Heard
from tests.support.memory_log import MemoryLog

SITE = "site-a"
EPOCH_US = 1_800_000_000_000_000
TRAP, GARNET = "onprem-iontrap-1", "cloud-garnet-1"
AGENT, STRANGER, APPROVER = "agent:tester", "agent:stranger", "approver:tester"
Some = TypeVar("Some", bound=Event)


@dataclass
class Town:
    """A site and all who live there. `say` lets any of them speak; parties are made by their methods."""

    directory: Path
    clock: VirtualClock
    log: MemoryLog
    fleet: dict[str, EmulatedDevice]
    artifacts: ArtifactStore
    keys: dict[str, Ed25519PrivateKey]
    schemas: dict[str, Schema]
    reader: Reader
    said: list[Heard] = field(default_factory=list)

    def member(self, source: str) -> Membership:
        """A member's name and key."""
        return Membership(source, SITE, self.keys[source], raw_public_key(self.keys[ROOT_SOURCE]))

    def gateway(self) -> Gateway:
        return Gateway(self.member("gateway:main"), self.log, self.clock, self.artifacts, self.vault)

    @property
    def vault(self) -> Vault:
        return Vault(self.directory / "vault")

    def alarm_clock(self) -> AlarmClock:
        return AlarmClock(self.member("clock:main"), self.log, self.clock)

    def device(self, device: str = TRAP, *, waits: bool = True) -> DeviceAgent:
        hardware = self.fleet[device]
        return DeviceAgent(self.member(f"device:{device}"), self.log, self.clock, hardware, self.artifacts, waits=waits)

    def sandbox(self, enclosure: Enclosure | None = None, step_us: int | None = None) -> Sandbox:
        member = self.member("sandbox:main")
        return Sandbox(member, self.log, self.clock, self.artifacts, enclosure or Enclosure(), step_us=step_us)

    @property
    def agent(self) -> RequestingAgent:
        return RequestingAgent(AGENT, self.keys[AGENT])

    @property
    def approver(self) -> Approver:
        return Approver(APPROVER, self.keys[APPROVER])

    async def say(self, source: str, event: Event, *because: Cause) -> Cause:
        """Let a member say something now; its sequence goes on from what the log says."""
        sequences: dict[str, int] = {}
        for each in await self.heard():
            if each.source == source:
                sequences[each.cause.topic] = each.cause.sequence
        scribe = Scribe(source, SITE, self.schemas, sequences)
        told = draft(event, self.clock.now_us(), *because, subject="" if _has_subject(event) else SITE)
        if source.startswith("stage:"):
            told = told._replace(inputs=Inputs(sum(sequences.values()) + 1, 1, ()))
        written = scribe.write(told)
        await self.log.append(seal_all([written], self.keys[source]))
        return written.cause

    async def heard(self) -> list[Heard]:
        """All that the log says, each event after its causes."""
        while items := await self.reader.read():
            for item in items:
                assert isinstance(item, Heard), item
                self.said.append(item)
        return list(self.said)

    async def events(self, kind: type[Some], source: str = "") -> list[Some]:
        """The events of a kind on the log, of one author if named."""
        return [
            heard.event
            for heard in await self.heard()
            if isinstance(heard.event, kind) and source in {"", heard.source}
        ]

    async def run(self, *parties: Party, until_us: int | None = None) -> None:
        """Give parties their turns until none has work; with `until_us`, let time pass up to then."""
        while True:
            worked = [await party.step() for party in parties]
            if any(worked):
                continue
            dues = [due for party in parties if (due := party.next_due_us()) is not None]
            if until_us is None or not dues or min(dues) > until_us:
                return
            self.clock.advance_to(min(dues))


async def new_town(
    directory: Path, seed: int = 1, disturbances: dict[str, tuple[Disturbance, ...]] | None = None
) -> Town:
    """Found a site on an empty log, its fleet under `seed`."""
    schemas = {schema.event_type: schema for schema in own_schemas()}
    clock = VirtualClock(EPOCH_US)
    log = MemoryLog(clock.now_us)
    fleet = open_fleet(directory / "devices", seed, disturbances)
    people = [
        *members(list(fleet), AGENT, APPROVER),
        *(each for each in members([], STRANGER, "approver:stranger") if "stranger" in each.source),
    ]
    keys = {each.source: Ed25519PrivateKey.generate() for each in people}
    keys[ROOT_SOURCE] = Ed25519PrivateKey.generate()
    await found_site(
        log,
        SITE,
        keys=keys,
        people=people,
        prices=[device_price(device.profile) for device in fleet.values()],
        policy=default_policy(list(fleet)),
        budget_microusd=10_000_000_000,
        clock="virtual",
        now_us=EPOCH_US,
        seed=seed,
    )
    reader = Reader(log, 0, TOPICS, {SITE: raw_public_key(keys[ROOT_SOURCE])})
    return Town(directory, clock, log, fleet, ArtifactStore(directory / "artifacts"), keys, schemas, reader)


def _has_subject(event: Event) -> bool:
    return bool(getattr(event, "job_id", "") or getattr(event, "device", ""))
