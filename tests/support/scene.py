"""A small real site for tests: founded on any log, with every key at hand."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qpubus.founding import default_policy, found_site, members
from schemas.admission import ROOT_SOURCE
from schemas.codec import own_schemas
from schemas.envelope import Cause
from schemas.events import DevicePrice
from schemas.keys import raw_public_key
from streams.author import Draft, Scribe, seal_all
from streams.log.port import Log

SITE = "site-a"
DEVICES = ("trap", "chip")
EPOCH_US = 1_800_000_000_000_000


@dataclass
class Scene:
    """A founded site. `say` lets any member speak, by sequences of its own."""

    log: Log
    site: str = SITE
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)
    scribes: dict[str, Scribe] = field(default_factory=dict)

    @property
    def root(self) -> bytes:
        """The root public key."""
        return raw_public_key(self.keys[ROOT_SOURCE])

    async def found(self) -> None:
        """Append the first events."""
        people = members(DEVICES, "agent:tester", "approver:tester")
        self.keys = {each.source: Ed25519PrivateKey.generate() for each in people}
        self.keys[ROOT_SOURCE] = Ed25519PrivateKey.generate()
        prices = [
            DevicePrice(
                device=device,
                task_microusd=300_000,
                shot_microusd=1_000,
                hour_microusd=0,
                shot_duration_us=100,
                shots_max=10_000,
            )
            for device in DEVICES
        ]
        await found_site(
            self.log,
            self.site,
            keys=self.keys,
            people=people,
            prices=prices,
            policy=default_policy(DEVICES),
            budget_microusd=1_000_000_000,
            clock="virtual",
            now_us=EPOCH_US,
            seed=1,
        )

    async def say(self, source: str, *drafts: Draft) -> list[Cause]:
        """Let a member append events in one go; each is named as a cause."""
        schemas = {schema.event_type: schema for schema in own_schemas()}
        scribe = self.scribes.setdefault(source, Scribe(source, self.site, schemas))
        written = [scribe.write(draft) for draft in drafts]
        await self.log.append(seal_all(written, self.keys[source]))
        return [each.cause for each in written]
