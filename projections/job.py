"""One job as the view of jobs shows it: where it stands, and what each part of the bus last said of it."""

from dataclasses import dataclass, field
from typing import Literal

from schemas.events import ApprovalStatement, Candidate, Observable
from schemas.manifest import Manifest
from streams.state import Map, Table

JobState = Literal[
    "declared",
    "awaiting_approval",
    "admitted",
    "placed",
    "reserved",
    "running",
    "completed",
    "failed",
    "cancelled",
    "refused",
]
TERMINAL = frozenset({"completed", "failed", "cancelled", "refused"})


@dataclass(frozen=True)
class Declaration:
    """What the agent asked for, in short."""

    initiator: str
    agent_key_id: str
    purpose: str
    objective: str
    data_class: str
    shots: int
    budget_shots: int
    budget_microusd: int
    iterations_max: int
    deadline_us: int | None
    time_us: int
    circuits: tuple[str, ...] = ()
    """SHA-256 of each circuit template with its ranges, as JSON."""
    programs: tuple[str, ...] = ()
    """SHA-256 of each program, by step."""
    devices: tuple[str, ...] = ()
    parameters: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Presented:
    """A person's answer as the gateway handed it in; policy decides whether it counts."""

    answer: Literal["granted", "denied"]
    approver: str
    proof_type: str
    key_id: str
    reason: str
    time_us: int


@dataclass(frozen=True)
class Approval:
    """The human gate of a job: what a person is asked to sign, and the answer that policy took.

    `rejection` says why the latest answer that did not count was turned down.
    """

    rule: str
    message: str
    statement: ApprovalStatement
    requested_us: int
    presented: Table[str, Presented] = field(default_factory=Map)
    rejection: str = ""
    expired: bool = False
    answer: Presented | None = None
    devices: tuple[str, ...] = ()

    @property
    def granted_by(self) -> tuple[str, ...]:
        """Who has said yes so far; policy may yet turn one down."""
        return tuple(name for name, each in sorted(self.presented.items()) if each.answer == "granted")


@dataclass(frozen=True)
class Admission:
    """Policy's yes, with its bounds."""

    intent_digest: str
    price_ceiling_microusd: int
    shots_ceiling: int
    devices: tuple[str, ...]
    policy_digest: str
    rule: str
    approver: str
    time_us: int


@dataclass(frozen=True)
class Refusal:
    """Policy's no: a stable code, and what to change."""

    reason: str
    message: str
    rule: str
    time_us: int


@dataclass(frozen=True)
class Placement:
    """The scheduler's latest choice."""

    device: str
    why: str
    rule: str
    snapshot_digest: str
    candidates: tuple[Candidate, ...]
    time_us: int


@dataclass(frozen=True)
class Reservation:
    """The slot that a device granted last; `ended` says how it was given up."""

    reservation_id: str
    device: str
    queue_position: int
    starts_us: int
    expires_us: int
    time_us: int
    ended: Literal["", "released", "expired"] = ""


@dataclass(frozen=True)
class Problem:
    """What went wrong or was stopped last, in the words of the device, the sandbox or the guard."""

    step: int
    reason: str
    message: str
    time_us: int


@dataclass(frozen=True)
class Result:
    """What a job found and used."""

    device: str
    snapshot_digest: str
    result_digest: str
    converged: bool
    observables: tuple[Observable, ...]
    iterations: int
    shots: int
    quantum_microusd: int
    classical_microusd: int
    device_time_us: int
    classical_time_us: int
    time_us: int


@dataclass(frozen=True)
class End:
    """How a job ended after it was admitted."""

    state: Literal["completed", "failed", "cancelled"]
    reason: str
    message: str
    time_us: int


@dataclass(frozen=True)
class Job:
    """All that is known of one job. Each field is fed from one topic, so the topics may be read in any order."""

    job_id: str
    declaration: Declaration | None = None
    manifest: Manifest | None = None  # only while the job is open: it may be large
    withdrawn_us: int | None = None
    steps_planned: int = 0
    iteration: int = 0
    end: End | None = None
    approval: Approval | None = None
    admission: Admission | None = None
    refusal: Refusal | None = None
    held_microusd: int = 0
    quantum_microusd: int = 0
    classical_microusd: int = 0
    released_microusd: int = 0
    placement: Placement | None = None
    reservation: Reservation | None = None
    started_us: int | None = None
    snapshot_digest: str = ""
    steps_completed: int = 0
    shots_measured: int = 0
    observables: tuple[Observable, ...] = ()
    problem: Problem | None = None
    result: Result | None = None

    @property
    def state(self) -> JobState:
        """The furthest state that the events show."""
        if self.end:
            return self.end.state
        if self.refusal:
            return "refused"
        if self.started_us is not None:
            return "running"
        if self.reservation and not self.reservation.ended:
            return "reserved"
        if self.placement and self.placement.device:
            return "placed"
        if self.admission:
            return "admitted"
        return "awaiting_approval" if self.approval else "declared"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.end is not None or self.refusal is not None

    @property
    def device(self) -> str:
        """The device it ran on, or is meant for; empty before a placement."""
        if self.result:
            return self.result.device
        if self.reservation:
            return self.reservation.device
        return self.placement.device if self.placement else ""

    @property
    def cost_microusd(self) -> int:
        """What was spent on it."""
        return self.quantum_microusd + self.classical_microusd
