"""Small jobs by the thousand, declared and signed ahead of time, to be put to the stages as fast as they take them."""

import base64
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qpubus.bench.story import AGENT, APPROVER, DEVICES
from qpubus.founding import default_policy, first_records, members
from qpubus.keyfile import replace_key
from schemas.admission import ROOT_SOURCE
from schemas.codec import own_schemas
from schemas.envelope import Record
from schemas.events import DevicePrice, IntentDeclared, PolicyPublished
from schemas.keys import key_id, raw_public_key
from schemas.manifest import JobBudget, Manifest, Quantum, signed_payload
from schemas.proofs import TYPE_INTENT, sign_jws, sign_manifest
from streams.author import Draft, Scribe, seal_all
from streams.worker import Site

BATCH = 100
COST_MICROUSD = 2_000_000
"""What each job may cost."""
_PLENTY_MICROUSD = 10**15
GATEWAY = "gateway:main"
_QASM = "OPENQASM 3.0;\nqubit[2] q;\nbit[2] c;\nh q[0];\ncx q[0], q[1];\nc = measure q;\n"


class Declarations:
    """A site whose one agent declares small jobs that policy may admit; the gateway has checked and signed them."""

    def __init__(self, site: str, now_us: int, callback: str | None = None) -> None:
        """The agent is told of each job's end at the `callback`, if there is one."""
        self.site = site
        self._callback = callback
        self.now_us = now_us
        self._people = members(DEVICES, AGENT, APPROVER)
        self._keys = {name: Ed25519PrivateKey.generate() for name in (ROOT_SOURCE, *(p.source for p in self._people))}
        schemas = {schema.event_type: schema for schema in own_schemas()}
        self._gateway = Scribe(GATEWAY, site, schemas)
        self._agent_key_id = key_id(raw_public_key(self._keys[AGENT]))
        self._gateway_key_id = key_id(raw_public_key(self._keys[GATEWAY]))
        self._declared = 0

    @property
    def root_public_key(self) -> bytes:
        """The trust anchor."""
        return raw_public_key(self._keys[ROOT_SOURCE])

    def stage(self, role: str) -> Site:
        """What a worker of a stage must know of this site."""
        return Site(self.root_public_key, self._keys[f"stage:{role}"])

    def key(self, source: str) -> Ed25519PrivateKey:
        """The key of a member."""
        return self._keys[source]

    def write_keys(self, directory: Path) -> None:
        """Write the trust anchor and the keys of all members as a data directory has them."""
        (directory / "keys").mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in self._people:
            replace_key(directory / "keys" / each.key_file, self._keys[each.source])
        (directory / "root.pub").write_text(self.root_public_key.hex() + "\n")

    def founding(self, policy: PolicyPublished | None = None, budget_microusd: int = _PLENTY_MICROUSD) -> list[Record]:
        """The first events of the site; without another policy plain limits are in force."""
        prices = [
            DevicePrice(
                device=device, task_microusd=300_000, shot_microusd=900, hour_microusd=0, shot_duration_us=100,
                shots_max=1_000_000,
            )
            for device in DEVICES
        ]  # fmt: skip
        return first_records(
            self.site, keys=self._keys, people=self._people, prices=prices, policy=policy or default_policy(DEVICES),
            budget_microusd=budget_microusd, clock="wall", now_us=self.now_us, seed=1,
        )  # fmt: skip

    def batches(self, jobs: int, size: int = BATCH) -> Iterator[list[Record]]:
        """The declarations of further jobs, `size` to a sealed batch."""
        end = self._declared + jobs
        while self._declared < end:
            count = min(size, end - self._declared)
            drafts = [self._draft(number) for number in range(self._declared, self._declared + count)]
            self._declared += count
            yield seal_all([self._gateway.write(draft) for draft in drafts], self._keys[GATEWAY])

    def _draft(self, number: int) -> Draft:
        job_id = f"job-{number:07}"
        declared = Manifest(
            job_id=job_id, initiator=AGENT, purpose="two qubits, entangled", site=self.site,
            quantum=Quantum(circuit=base64.b64encode(_QASM.encode()).decode(), shots=100),
            budget=JobBudget(cost_microusd=COST_MICROUSD, shots=1_000), callback=self._callback,
        )  # fmt: skip
        proof = sign_jws(signed_payload(declared), self._keys[AGENT], self._agent_key_id, TYPE_INTENT)
        manifest = sign_manifest(
            declared.model_copy(update={"seed": number}), self._keys[GATEWAY], self._gateway_key_id
        )
        event = IntentDeclared(job_id=job_id, agent_key_id=self._agent_key_id, agent_proof=proof, manifest=manifest)
        return Draft("intents", event, job_id, self.now_us)
