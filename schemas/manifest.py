"""The manifest: what an agent declares. One definition gives its JSON Schema, its Avro record and its checks."""

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from schemas.canonical import canonical
from schemas.words import HexDigest, Identifier, Words

MANIFEST_BYTES_MAX = 256 * 1024
"""In RFC 8785 form. IntentDeclared holds it twice: as Avro, and in the agent's proof in base64. Avro takes less than 12
bytes where JSON takes 7 (a number by a short name), so the value stays below 0.8 MiB, and 1 MiB is allowed."""
CIRCUIT_BYTES_MAX = 64 * 1024
SHOTS_MAX = 100_000_000

Circuit = Annotated[str, StringConstraints(min_length=4, max_length=CIRCUIT_BYTES_MAX * 4 // 3 + 4)]
"""Base64 of an OpenQASM 3 text in UTF-8."""
JsonCount = Annotated[int, Field(ge=0, lt=1 << 53)]
"""A number that RFC 8785 can hold: every reader of JSON has it exactly."""
ProgramName = Annotated[str, StringConstraints(pattern=r"^python:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\.py$")]
"""A classical program, by the name under which `artifacts` gives its digest."""


class BackendRequirements(Words):
    """What a device must offer; by its latest snapshot."""

    min_fidelity: float = Field(default=0.0, ge=0, le=1, description="lowest two-qubit fidelity on the qubits used")
    min_success: float = Field(default=0.0, ge=0, le=1, description="predicted success of the compiled main circuit")
    topology: str = Field(default="", max_length=64, description="ion-trap, superconducting; empty for any")


class ParameterRange(Words):
    """The values a circuit parameter may take, both ends included."""

    low: float
    high: float

    @model_validator(mode="after")
    def _is_range(self) -> "ParameterRange":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class CircuitTemplate(Words):
    """A further circuit of the job, for calibration or noise scaling."""

    name: Identifier
    circuit: Circuit
    parameters: Mapping[str, ParameterRange] = Field(default_factory=dict)


class Quantum(Words):
    """The quantum part: template 0 is `circuit`, templates 1 and on are `further_circuits`."""

    backend_requirements: BackendRequirements = BackendRequirements()
    circuit: Circuit
    parameters: Mapping[str, ParameterRange] = Field(default_factory=dict, description="ranges of the circuit's inputs")
    further_circuits: tuple[CircuitTemplate, ...] = Field(default=(), max_length=32)
    shots: int = Field(ge=1, le=SHOTS_MAX, description="per circuit execution, where no program says otherwise")

    @field_validator("circuit")
    @classmethod
    def _is_base64(cls, circuit: str) -> str:
        circuit_text(circuit)
        return circuit

    @field_validator("further_circuits")
    @classmethod
    def _are_base64(cls, further: tuple[CircuitTemplate, ...]) -> tuple[CircuitTemplate, ...]:
        for template in further:
            circuit_text(template.circuit)
        return further

    def templates(self) -> tuple[CircuitTemplate, ...]:
        """All templates in the order by which a CircuitRun names them."""
        return (CircuitTemplate(name="main", circuit=self.circuit, parameters=self.parameters), *self.further_circuits)


class Classical(Words):
    """Programs around the quantum part, run in the sandbox."""

    preprocessing: ProgramName | None = None
    post: ProgramName | None = None


class Loop(Words):
    """A variational loop: after each quantum step the program sees all counts and asks for the next circuits."""

    step: ProgramName
    iterations_max: int = Field(ge=1, le=1_000)
    convergence: float = Field(default=0.0, ge=0, description="handed to the program, in its own unit")


class JobBudget(Words):
    """The most the job may use, mitigation, calibration and canaries included."""

    cost_microusd: JsonCount
    shots: int = Field(ge=1, le=SHOTS_MAX)


class Manifest(Words):
    """A hybrid quantum-classical job as its agent declares it and the gateway completes and signs it."""

    job_id: Identifier
    initiator: Identifier
    purpose: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    site: Identifier
    quantum: Quantum
    classical: Classical = Classical()
    loop: Loop | None = None
    budget: JobBudget
    objective: Literal["fastest", "cheapest", "most-faithful", "balanced"] = "balanced"
    project: Identifier | None = Field(default=None, description="whose budget it falls under, besides the site's")
    data_class: Literal["public", "internal", "confidential", "restricted"] = "internal"
    deadline_us: JsonCount | None = Field(default=None, description="no result is wanted after this time")
    max_calibration_age_s: JsonCount | None = None
    allowed_devices: tuple[Identifier, ...] = Field(default=(), max_length=64, description="empty for any")
    seed: JsonCount | None = Field(default=None, description="completed by the gateway where absent")
    parameters: Mapping[str, float] = Field(default_factory=dict, description="handed to the programs as they are")
    artifacts: Mapping[str, HexDigest] = Field(default_factory=dict, description="SHA-256 of each program and input")
    decision_trace_digest: HexDigest | None = None
    callback: Annotated[str, StringConstraints(max_length=512, pattern=r"^https://")] | None = None
    idempotency_key: Identifier | None = None
    signature: str | None = Field(default=None, description="compact JWS by the gateway, detached payload: the rest")

    @model_validator(mode="after")
    def _programs_are_given(self) -> "Manifest":
        for program in self.programs().values():
            if program.removeprefix("python:") not in self.artifacts:
                raise ValueError(f"no digest of {program} is given in artifacts")
        return self

    def programs(self) -> dict[str, str]:
        """The program of each kind of classical step that the job has: `preprocess`, `loop`, `post`."""
        named = {
            "preprocess": self.classical.preprocessing,
            "loop": self.loop.step if self.loop else None,
            "post": self.classical.post,
        }
        return {kind: program for kind, program in named.items() if program}

    def program_digest(self, kind: str) -> str:
        """SHA-256 of the program of a kind of classical step; empty where the job has none."""
        program = self.programs().get(kind)
        return self.artifacts[program.removeprefix("python:")] if program else ""


def circuit_text(circuit: str) -> str:
    """The OpenQASM text in a manifest's circuit; `ValueError` says what is wrong with it."""
    try:
        text = base64.b64decode(circuit, validate=True)
    except binascii.Error:
        raise ValueError("the circuit is not base64") from None
    if len(text) > CIRCUIT_BYTES_MAX:
        raise ValueError(f"the circuit has {len(text)} bytes, the limit is {CIRCUIT_BYTES_MAX}")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise ValueError("the circuit is not UTF-8 text") from None


def signed_payload(manifest: Manifest) -> bytes:
    """What the gateway signs: the RFC 8785 form of the manifest without its signature and without absent fields."""
    return canonical(plain(manifest.model_copy(update={"signature": None})))


def plain(words: Words) -> dict[str, Any]:
    """A value as JSON shows it: absent fields left out, arrays as lists."""
    shown: dict[str, Any] = words.model_dump(mode="json", exclude_none=True)
    return shown
