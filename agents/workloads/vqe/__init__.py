"""The variational eigensolver job: what an agent declares to find the ground-state energy of H2.

The three programs beside this file are stand-alone: each reads one JSON object and writes one. They share no code
with the rest and see nothing but the Hamiltonian, the job's parameters and the counts so far.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

_HERE = Path(__file__).parent


class TemplateSpec(BaseModel):
    """A circuit template and the range each of its parameters may take, in radians."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    ranges: dict[str, tuple[float, float]]

    @property
    def source(self) -> bytes:
        """The OpenQASM 3 text."""
        return (_HERE / self.file).read_bytes()


class VqePrograms(BaseModel):
    """File names of the classical steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    preprocessing: str
    step: str
    post: str


class VqeParameters(BaseModel):
    """What the programs are told.

    `shots` is the most of one circuit execution, `search_shots` those of one in the search, which has converged if the
    angle moves by less than `angle_tolerance` radians; `seed` is the bootstrap's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    shots: int = Field(gt=0)
    search_shots: int = Field(gt=0)
    angle_tolerance: float = Field(gt=0)
    target_standard_error_hartree: float = Field(gt=0)
    seed: int


class VqeJob(BaseModel):
    """The job as shipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    templates: tuple[TemplateSpec, ...]
    programs: VqePrograms
    inputs: dict[str, str]
    iteration_limit: int = Field(gt=0)
    parameters: VqeParameters

    def program_path(self, name: str) -> Path:
        """Return where a program's file lies."""
        return _HERE / name

    def hamiltonian(self) -> dict[str, object]:
        """Return the Hamiltonian document that goes into every program."""
        document: dict[str, object] = orjson.loads((_HERE / self.inputs["hamiltonian"]).read_bytes())
        return document


@lru_cache(maxsize=1)
def vqe_job() -> VqeJob:
    """Return the shipped job."""
    return VqeJob.model_validate_json((_HERE / "job.json").read_bytes())


def hamiltonian_terms() -> dict[str, float]:
    """Return the Hamiltonian's terms, in hartree, by their Pauli letters."""
    terms: Any = vqe_job().hamiltonian()["terms"]
    return dict(terms)


def exact_energy_hartree() -> float:
    """Return the full-CI energy, for judging a result after it was recorded; it never enters a job."""
    return float(orjson.loads((_HERE / "exact.json").read_bytes())["exact_hartree"])
