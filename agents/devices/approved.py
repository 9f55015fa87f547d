"""What a device may run of a job: the circuits of a step and the manifest in, compiled circuits or a refusal out."""

from collections.abc import Sequence
from functools import lru_cache

from agents.devices.compiled import CompiledCircuit
from agents.devices.compiler import compile_circuit
from agents.devices.qasm import CircuitInvalid, Template, parse_template
from agents.devices.snapshot import Snapshot
from schemas.events import CircuitRun
from schemas.manifest import CircuitTemplate, Manifest, circuit_text


class StepRefused(Exception):
    """A step that must not run. `reason` is a stable code, the message says what is outside what was approved."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@lru_cache(maxsize=256)
def parsed(circuit: str) -> Template:
    """The template in a manifest's circuit text; `CircuitInvalid` if it is none."""
    return parse_template(circuit_text(circuit))


def check_approved(circuits: Sequence[CircuitRun], manifest: Manifest) -> None:
    """Raise `StepRefused` unless every circuit is a template of the manifest within its parameter ranges."""
    templates = manifest.quantum.templates()
    if not circuits:
        raise StepRefused("circuit_not_approved", "the step asks for no circuit")
    for place, asked in enumerate(circuits):
        if asked.template >= len(templates):
            raise StepRefused(
                "circuit_not_approved", f"circuit {place} is template {asked.template}, the job has {len(templates)}"
            )
        ranges = templates[asked.template].parameters
        if set(asked.parameters) != set(ranges):
            raise StepRefused(
                "circuit_not_approved", f"circuit {place} must give the parameters {sorted(ranges)}, nothing else"
            )
        for name, value in asked.parameters.items():
            if not ranges[name].low <= value <= ranges[name].high:
                raise StepRefused(
                    "circuit_not_approved",
                    f"circuit {place}: {name} = {value} is outside {ranges[name].low} to {ranges[name].high}",
                )
        if asked.shots < 1:
            raise StepRefused("shots_out_of_range", f"circuit {place} asks for {asked.shots} shots")


def compile_approved(circuits: Sequence[CircuitRun], manifest: Manifest, snapshot: Snapshot) -> list[CompiledCircuit]:
    """Check a step's circuits and compile them; equal ones once."""
    check_approved(circuits, manifest)
    templates = manifest.quantum.templates()
    compiled: dict[tuple[int, tuple[tuple[str, float], ...]], CompiledCircuit] = {}
    done = []
    for place, asked in enumerate(circuits):
        bound = (asked.template, tuple(sorted(asked.parameters.items())))
        if bound not in compiled:
            try:
                compiled[bound] = compile_circuit(parsed(templates[asked.template].circuit), asked.parameters, snapshot)
            except CircuitInvalid as error:
                raise StepRefused("circuit_does_not_fit", f"circuit {place}: {error}") from None
        done.append(compiled[bound])
    return done


def middle(template: CircuitTemplate) -> dict[str, float]:
    """Parameter values in the middle of their ranges: how many gates a template gives does not depend on them."""
    return {name: range_.low + (range_.high - range_.low) / 2 for name, range_ in template.parameters.items()}
