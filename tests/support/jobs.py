"""A founded site in a small world, its people with their keys, and jobs they declare."""

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.digests import sha256_hex
from schemas.events import (
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    BudgetSet,
    DevicePrice,
    HaltLifted,
    HaltOrdered,
    HumanProof,
    IntentDeclared,
    IntentWithdrawn,
    KeyEnrolled,
    PolicyPublished,
    PriceListPublished,
    SiteFounded,
)
from schemas.keys import key_id, raw_public_key
from schemas.manifest import Manifest, signed_payload
from schemas.people import signed_words
from schemas.proofs import TYPE_INTENT, approval_payload, sign_jws
from schemas.topics import Role
from schemas.words import Event
from streams.stage import Heard
from tests.support.world import SITE, START_US, World

AGENT, APPROVER = "agent:tester", "approver:tester"
DEVICES = ("chip", "noisy", "trap")
CIRCUIT = b64encode(b"OPENQASM 3; input float theta; qubit[2] q; rx(theta) q[0];").decode()
USD = 1_000_000
SECOND_US = 1_000_000
E = TypeVar("E", bound=Event)


def key_of(name: str) -> Ed25519PrivateKey:
    """A key that follows from a name."""
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(sha256_hex(name.encode())))


def id_of(name: str) -> str:
    """The id of that key."""
    return key_id(raw_public_key(key_of(name)))


def policy(**changes: Any) -> PolicyPublished:
    """A policy that lets most jobs pass."""
    fields: dict[str, Any] = {
        "policy_id": "policy-1",
        "shots_max": 100_000,
        "cost_max_microusd": 100 * USD,
        "approval_above_microusd": 50 * USD,
        "approval_timeout_us": 3_600 * SECOND_US,
        "offer_timeout_us": 30 * SECOND_US,
        "devices": DEVICES,
        "min_fidelity": 0.9,
        "max_snapshot_age_us": 86_400 * SECOND_US,
        "iterations_max": 50,
        "static_devices": ("trap",),
    }
    return PolicyPublished(**fields | changes)


def prices(*devices: str) -> PriceListPublished:
    """A price list: 1 cent a task, 100 microUSD a shot of 1 ms, 36 USD an hour."""
    listed = tuple(
        DevicePrice(
            device=device,
            task_microusd=10_000,
            shot_microusd=100,
            hour_microusd=36 * USD,
            shot_duration_us=1_000,
            shots_max=5_000,
        )
        for device in devices or DEVICES
    )
    return PriceListPublished(devices=listed, classical_second_microusd=1_000)


def manifest(job_id: str = "job-1", **changes: Any) -> Manifest:
    """A plain job: one circuit, 1,000 shots, 10 USD at most."""
    fields: dict[str, Any] = {
        "job_id": job_id,
        "initiator": AGENT,
        "purpose": "test",
        "site": SITE,
        "quantum": {"circuit": CIRCUIT, "parameters": {"theta": {"low": 0.0, "high": 3.0}}, "shots": 1_000},
        "budget": {"cost_microusd": 10 * USD, "shots": 10_000},
    }
    return Manifest.model_validate(fields | changes)


def hybrid(job_id: str = "job-1", **changes: Any) -> Manifest:
    """A job with a program before, a loop, and a program after."""
    names = ("prep.py", "step.py", "fit.py")
    fields: dict[str, Any] = {
        "classical": {"preprocessing": "python:prep.py", "post": "python:fit.py"},
        "loop": {"step": "python:step.py", "iterations_max": 5},
        "artifacts": {name: sha256_hex(name.encode()) for name in names},
    }
    return manifest(job_id, **fields | changes)


def declared(wanted: Manifest, signer: str = AGENT) -> IntentDeclared:
    """The intent that a gateway makes of a manifest: signed by the agent, completed with a seed."""
    proof = sign_jws(signed_payload(wanted), key_of(signer), id_of(signer), TYPE_INTENT)
    completed = wanted if wanted.seed is not None else wanted.model_copy(update={"seed": 7})
    return IntentDeclared(job_id=wanted.job_id, agent_key_id=id_of(signer), agent_proof=proof, manifest=completed)


@dataclass
class Town:
    """A world with a founded site; its members speak through it."""

    world: World = field(default_factory=World)

    def found(
        self,
        rules: PolicyPublished | None = None,
        budget_microusd: int = 1_000 * USD,
        listed: PriceListPublished | None = None,
        clock: str = "virtual",
    ) -> "Town":
        """Say all that governs: keys, policy, prices, budget."""
        self.govern(SiteFounded(clock=clock, epoch_us=START_US, seed=1))
        self.enrol(AGENT, Role.AGENT)
        self.enrol(APPROVER, Role.APPROVER)
        self.govern(rules or policy())
        self.govern(listed or prices())
        self.govern(BudgetSet(limit_microusd=budget_microusd))
        self.world.settle()
        return self

    def govern(self, event: Any) -> Heard:
        """Let the root speak."""
        return self.world.say(Role.ROOT, "root", event)

    def enrol(self, name: str, role: Role, **more: Any) -> Heard:
        """Enrol the key of a name."""
        public = raw_public_key(key_of(name))
        return self.govern(KeyEnrolled(key_id=id_of(name), public_key=public, source=name, role=role.value, **more))

    def declare(self, wanted: Manifest, signer: str = AGENT) -> Heard:
        """Let the gateway hand in a job."""
        return self.world.say(Role.GATEWAY, "gateway:main", declared(wanted, signer))

    def withdraw(self, job_id: str) -> Heard:
        """Let the gateway hand in a withdrawal."""
        event = IntentWithdrawn(job_id=job_id, agent_key_id=id_of(AGENT), agent_proof="proof", reason="not needed")
        return self.world.say(Role.GATEWAY, "gateway:main", event)

    def grant(self, job_id: str, signer: str = APPROVER, **changes: Any) -> Heard:
        """Let a person say yes to the latest request for a job."""
        return self.world.say(Role.GATEWAY, "gateway:main", self.granted(job_id, signer, **changes))

    def granted(self, job_id: str, signer: str = APPROVER, **changes: Any) -> ApprovalGranted:
        """A person's yes to the latest request for a job; `statement` puts another in its place."""
        statement = changes.pop("statement", None) or self.world.said(ApprovalRequested, job_id)[-1].statement
        fields = {
            "job_id": job_id,
            "intent_digest": statement.intent_digest,
            "approver": signer,
            "proof": proof(signer, approval_payload(statement, "grant")),
        }
        return ApprovalGranted(**fields | changes)

    def deny(self, job_id: str, reason: str, signer: str = APPROVER) -> Heard:
        """Let a person say no to the latest request for a job."""
        statement = self.world.said(ApprovalRequested, job_id)[-1].statement
        event = ApprovalDenied(
            job_id=job_id,
            intent_digest=statement.intent_digest,
            approver=signer,
            reason=reason,
            proof=proof(signer, approval_payload(statement, "deny", reason)),
        )
        return self.world.say(Role.GATEWAY, "gateway:main", event)


def signed(event: E, signer: str, site: str = SITE) -> E:
    """An event that is a person's own, with their signature over its words for a site."""
    return event.model_copy(update={"proof": proof(signer, signed_words(event, site))})


def halted(halt_id: str, scope: Literal["site", "agent", "device"], target: str, person: str) -> HaltOrdered:
    """A halt as a person orders it."""
    words = HaltOrdered(
        halt_id=halt_id,
        scope=scope,
        target=target,
        person=person,
        reason="smoke in the cryostat",
        ordered_us=START_US,
        proof=proof(person, b""),
    )
    return signed(words, person)


def lifted(halt_id: str, person: str) -> HaltLifted:
    """The end of a halt as a person declares it."""
    return signed(HaltLifted(halt_id=halt_id, person=person, reason="it was toast", proof=proof(person, b"")), person)


def proof(signer: str, payload: bytes) -> HumanProof:
    """A person's signature."""
    return HumanProof(proof_type="ed25519", key_id=id_of(signer), signature=key_of(signer).sign(payload))
