"""What the gateway answers: receipts, and refusals that name every problem with its place."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from schemas.events import ApprovalStatement, HumanProof, PlacementOffered, ResultRecorded
from schemas.manifest import Manifest
from streams.scheduler.choice import Choice

MANIFEST_INVALID = "manifest_invalid"


class Problem(NamedTuple):
    """One thing that is wrong: where in the manifest (`quantum.circuit`; empty for all of it), a code, what to do."""

    path: str
    code: str
    message: str


class Refused(NamedTuple):
    """Nothing was done. The code is stable, the message says what to change; `problems` lists all that was found."""

    code: str
    message: str
    problems: tuple[Problem, ...] = ()


class Receipt(NamedTuple):
    """An intent is on the log: its digest, the manifest as the gateway completed and signed it, when it was said."""

    job_id: str
    intent_digest: str
    manifest: Manifest
    time_us: int


class Said(NamedTuple):
    """Something was said of a job: the digest of the event, and when."""

    job_id: str
    digest: str
    time_us: int


class Stored(NamedTuple):
    """A document is in the artefact store."""

    digest: str
    size_bytes: int


class Answer(NamedTuple):
    """A person's signature over an approval statement, as it comes to the gateway."""

    job_id: str
    intent_digest: str
    proof: HumanProof


class PendingApproval(NamedTuple):
    """A job that waits for a person."""

    job_id: str
    rule: str
    message: str
    statement: ApprovalStatement
    requested_us: int


class Outcome(NamedTuple):
    """How a job ended, with its result where it has one."""

    state: Literal["completed", "failed", "cancelled", "refused"]
    reason: str
    message: str
    result: ResultRecorded | None


class DryRun(NamedTuple):
    """What would become of a manifest if it were declared now. The price is that of the likely device."""

    verdict: Literal["admit", "ask", "refuse"]
    rule: str
    message: str
    price_microusd: int | None
    price_ceiling_microusd: int
    placement: Choice
    offers: tuple[PlacementOffered, ...]
    standard_errors: Mapping[str, float]


def refusal(problems: list[Problem]) -> Refused:
    """All problems in one refusal; its code is theirs where they have one in common."""
    codes = {problem.code for problem in problems}
    told = "; ".join(f"{problem.path}: {problem.message}" if problem.path else problem.message for problem in problems)
    return Refused(codes.pop() if len(codes) == 1 else MANIFEST_INVALID, told, tuple(problems))
