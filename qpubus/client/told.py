"""What a client is told: jobs, receipts and refusals as plain values. Members that are not named here are kept too."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from agents.replies import Problem
from projections.job import JobState
from schemas.events import Observable


class Told(BaseModel):
    """A document of the bus. Amounts are micro-dollars, times microseconds since 1970 UTC."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Receipt(Told):
    """A job is on the log."""

    job_id: str
    intent_digest: str


class Result(Told):
    """What a job found and used."""

    converged: bool
    observables: tuple[Observable, ...]
    device: str
    shots: int
    iterations: int
    quantum_microusd: int
    classical_microusd: int
    result_digest: str

    def value(self, name: str) -> float:
        """An observable by its name; `KeyError` if there is none."""
        return {each.name: each.value for each in self.observables}[name]


class Job(Told):
    """Where a job stands."""

    job_id: str
    state: JobState
    device: str | None = None
    cost_microusd: int = 0
    price_ceiling_microusd: int | None = None
    reason: str | None = None
    message: str | None = None
    result: Result | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in {"completed", "failed", "cancelled", "refused"}


class Quote(Told):
    """What would become of a manifest."""

    verdict: str
    message: str
    price_microusd: int | None
    price_ceiling_microusd: int
    device: str | None


class Failed(Exception):
    """The bus did not do it, or could not be reached. The code is stable, the message says what to change."""

    def __init__(self, code: str, message: str, status: int = 0, problems: Sequence[Problem] = ()) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.status = status
        self.problems = tuple(problems)

    @classmethod
    def of(cls, status: int, document: Any) -> "Failed":
        """From a problem document (RFC 9457), or from whatever else stood there."""
        if not isinstance(document, dict) or "code" not in document:
            return cls("answer_unreadable", f"HTTP {status}, and no problem document with it", status)
        problems = [
            Problem(str(each.get("path", "")), str(each.get("code", "")), str(each.get("message", "")))
            for each in document.get("problems", ())
            if isinstance(each, dict)
        ]
        told = document.get("detail") or document.get("title") or ""
        return cls(str(document["code"]), str(told), status, problems)
