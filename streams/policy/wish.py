"""What is wished for, and what may be said to it: of a manifest all that admission depends on, and the verdicts."""

from dataclasses import dataclass
from functools import lru_cache

from schemas.digests import digest_of_parts, sha256_hex
from schemas.manifest import Manifest, circuit_text
from schemas.reasons import Reason

_WORKS_KEPT = 256
"""Agents declare the same circuits again and again."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What admission depends on, of all that a manifest says.

    `inputs` are the digests of the documents that go in. `work_digest` names what would be computed, whatever the
    shots, the price and the agent: two jobs of one work are rehearsal and performance.
    """

    initiator: str
    purpose: str
    run_shots: int
    shots: int
    price_ceiling_microusd: int
    iterations: int
    devices: tuple[str, ...]
    deadline_us: int | None
    template_digests: tuple[str, ...]
    program_digests: tuple[str, ...]
    project: str
    objective: str
    data_class: str
    inputs: tuple[str, ...]
    assurance: str
    agent_key_id: str

    @classmethod
    def of(cls, manifest: Manifest, assurance: str = "file", agent_key_id: str = "") -> "Wish":
        """The wish in a manifest, by an agent whose key has this id and assurance."""
        quantum = manifest.quantum
        circuits = (quantum.circuit, *(template.circuit for template in quantum.further_circuits))
        return cls(
            initiator=manifest.initiator,
            purpose=manifest.purpose,
            run_shots=quantum.shots,
            shots=manifest.budget.shots,
            price_ceiling_microusd=manifest.budget.cost_microusd,
            iterations=manifest.loop.iterations_max if manifest.loop else 1,
            devices=manifest.allowed_devices,
            deadline_us=manifest.deadline_us,
            template_digests=tuple(map(_template_digest, circuits)),
            program_digests=tuple(manifest.program_digest(kind) for kind in manifest.programs()),
            project=manifest.project or "",
            objective=manifest.objective,
            data_class=manifest.data_class,
            inputs=tuple(sorted(set(manifest.artifacts.values()))),
            assurance=assurance,
            agent_key_id=agent_key_id,
        )

    @property
    def work_digest(self) -> str:
        """The name of what would be computed: circuits and programs."""
        return _work_digest(self.template_digests, self.program_digests)


@lru_cache(_WORKS_KEPT)
def _template_digest(circuit: str) -> str:
    return sha256_hex(circuit_text(circuit).encode())


@lru_cache(_WORKS_KEPT)
def _work_digest(template_digests: tuple[str, ...], program_digests: tuple[str, ...]) -> str:
    return digest_of_parts("work", *template_digests, "programs", *program_digests)


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a verdict rests on: ids of the rules that decided, what they say, and the digest of what they were asked.

    All are empty where limits alone decided.
    """

    rules: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    input_digest: str = ""


BY_LIMITS = Grounds()


@dataclass(frozen=True, slots=True)
class Admit:
    """The job may run on these devices."""

    devices: tuple[str, ...]
    rule: str
    grounds: Grounds = BY_LIMITS


@dataclass(frozen=True, slots=True)
class Ask:
    """The job may run on these devices once so many persons, with these duties among them, have granted it."""

    devices: tuple[str, ...]
    rule: str
    message: str
    grounds: Grounds = BY_LIMITS
    quorum: int = 1
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """The job may not run; the message says what to change."""

    reason: Reason
    message: str
    rule: str
    grounds: Grounds = BY_LIMITS


Verdict = Admit | Ask | Refuse


def dollars(microusd: int) -> str:
    """Micro-dollars as people read them: `12.34 USD`, with more digits only where there are more."""
    whole, micro = divmod(microusd, 1_000_000)
    digits = f"{micro:06d}"
    return f"{whole}.{digits[:2]}{digits[2:].rstrip('0')} USD"
