"""A log with whole jobs of the demo's kind, each event signed by whom it is of, for measuring what reads logs."""

from collections import Counter
from itertools import groupby

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.party import Membership
from qpubus.bench.story import AGENT, APPROVER, DEVICES, Told, job_story
from qpubus.founding import default_policy, found_site, members
from schemas.admission import ROOT_SOURCE
from schemas.codec import own_schemas
from schemas.envelope import Inputs
from schemas.events import DevicePrice
from schemas.keys import raw_public_key
from streams.author import Draft, Scribe, seal_all
from streams.log.port import Log

SITE = "site-a"
EPOCH_US = 1_790_000_000_000_000
JOB_US = 3_600_000_000


class Historian:
    """Founds a site and lets its members tell jobs, one after the other.

    An audit finds such a log sound. Its decisions are made up, so none of them can be taken again.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._people = members(DEVICES, AGENT, APPROVER)
        self._keys = {name: Ed25519PrivateKey.generate() for name in (ROOT_SOURCE, *(p.source for p in self._people))}
        schemas = {schema.event_type: schema for schema in own_schemas()}
        self._scribes = {each.source: Scribe(each.source, SITE, schemas) for each in self._people}
        self._decisions: Counter[str] = Counter()
        self._governed = 0

    @property
    def roots(self) -> dict[str, bytes]:
        """The root public key of the site."""
        return {SITE: raw_public_key(self._keys[ROOT_SOURCE])}

    def member(self, source: str) -> Membership:
        """A member with its key."""
        return Membership(source, SITE, self._keys[source], self.roots[SITE])

    async def found(self) -> None:
        """Append the first events."""
        prices = [
            DevicePrice(
                device=device,
                task_microusd=300_000,
                shot_microusd=900,
                hour_microusd=0,
                shot_duration_us=100,
                shots_max=1_000_000,
            )
            for device in DEVICES
        ]
        await found_site(
            self._log,
            SITE,
            keys=self._keys,
            people=self._people,
            prices=prices,
            policy=default_policy(DEVICES),
            budget_microusd=10**12,
            clock="virtual",
            now_us=EPOCH_US,
            seed=1,
        )
        self._governed = (await self._log.ends(0))["governance"]

    async def tell(self, number: int) -> None:
        """Append one whole job; what an author says in a row shares a batch."""
        story = job_story(number, SITE, EPOCH_US + number * JOB_US)
        heard = set[str]()
        for source, told in groupby(story, key=lambda each: each.source):
            written = [self._scribes[source].write(self._draft(each, heard)) for each in told]
            await self._log.append(seal_all(written, self._keys[source]))

    def _draft(self, told: Told, heard: set[str]) -> Draft:
        inputs = self._inputs(told.source, heard) if told.source.startswith("stage:") else None
        return Draft(told.topic, told.event, getattr(told.event, "job_id", SITE), told.time_us, inputs=inputs)

    def _inputs(self, stage: str, heard: set[str]) -> Inputs:
        """A stage reads the founding, then of each job its intent; what it decides upon that is one output each."""
        self._decisions[stage] += 1
        runs = (("governance", self._governed),) if self._decisions[stage] == 1 else ()
        if stage not in heard:
            heard.add(stage)
            runs = (*runs, ("intents", 1))
        return Inputs(self._decisions[stage], 1, runs)
