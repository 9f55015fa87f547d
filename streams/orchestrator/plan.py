"""What a job's manifest lets its programs ask for: circuits by template, parameters in their ranges, shots."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.digests import digest_of_parts
from schemas.events import CircuitRun
from schemas.manifest import CircuitTemplate, Manifest
from schemas.reasons import Reason
from streams.proposals import why_oversized


@dataclass(frozen=True, slots=True)
class Range:
    """A parameter and the values it may take, both ends included."""

    name: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What the orchestrator needs of a manifest. `loop_max` is 0 where the job has no loop."""

    templates: tuple[tuple[Range, ...], ...]
    run_shots: int
    seed: int
    preprocess: str
    loop: str
    loop_max: int
    post: str
    deadline_us: int | None
    initiator: str

    @classmethod
    def of(cls, manifest: Manifest, intent_digest: str) -> "Plan":
        """The plan in a manifest; without a seed one is made from the intent's digest."""
        seed = manifest.seed
        if seed is None:
            seed = int(digest_of_parts("seed", intent_digest)[:15], 16)
        return cls(
            templates=tuple(map(_ranges, manifest.quantum.templates())),
            run_shots=manifest.quantum.shots,
            seed=seed,
            preprocess=manifest.program_digest("preprocess"),
            loop=manifest.program_digest("loop"),
            loop_max=manifest.loop.iterations_max if manifest.loop else 0,
            post=manifest.program_digest("post"),
            deadline_us=manifest.deadline_us,
            initiator=manifest.initiator,
        )

    def program(self, kind: str) -> str:
        """The digest of the program of a kind of step; empty where there is none."""
        return {"preprocess": self.preprocess, "loop": self.loop, "post": self.post}.get(kind, "")

    def default_run(self) -> CircuitRun:
        """What is run first where no program says otherwise: the main circuit at the low ends of its ranges."""
        return CircuitRun(
            template=0, parameters={each.name: each.low for each in self.templates[0]}, shots=self.run_shots
        )


def why_not_run(
    plan: Plan, circuits: Sequence[CircuitRun], shots_used: int, shots_ceiling: int, shots_max: int
) -> tuple[Reason, str] | None:
    """Why circuits that are asked for must not run; none if all is within what was declared and admitted."""
    oversized = why_oversized(circuits)
    if oversized:
        return Reason.PROPOSAL_OVERSIZED, oversized
    for place, circuit in enumerate(circuits):
        fault = _fault(plan, circuit)
        if fault:
            return Reason.CIRCUIT_NOT_APPROVED, f"circuit {place} of the proposal: {fault}"
        if circuit.shots > shots_max:
            return Reason.SHOTS_ABOVE_DEVICE, f"circuit {place} asks for {circuit.shots} shots, the most is {shots_max}"
    asked = sum(circuit.shots for circuit in circuits)
    if shots_used + asked > shots_ceiling:
        return Reason.SHOTS_OVER_CEILING, f"{shots_used} shots ran, {asked} more are asked for, {shots_ceiling} in all"
    return None


def _fault(plan: Plan, circuit: CircuitRun) -> str:
    if circuit.template >= len(plan.templates):
        return f"template {circuit.template} was not declared, there are {len(plan.templates)}"
    ranges = {each.name: each for each in plan.templates[circuit.template]}
    if circuit.parameters.keys() != ranges.keys():
        return f"its parameters are {sorted(circuit.parameters)}, declared are {sorted(ranges)}"
    for name, value in sorted(circuit.parameters.items()):
        if not ranges[name].low <= value <= ranges[name].high:
            return f"{name} = {value!r} is outside {ranges[name].low!r} to {ranges[name].high!r}"
    return "" if circuit.shots else "it asks for no shots"


def _ranges(template: CircuitTemplate) -> tuple[Range, ...]:
    return tuple(Range(name, each.low, each.high) for name, each in sorted(template.parameters.items()))
