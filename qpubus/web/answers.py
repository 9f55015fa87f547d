"""What the doors answer, as models: they make the OpenAPI document and the output schemas of tools.

Money is integer micro-dollars (`_microusd`), times are UTC microseconds since 1970 (`_us`).
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """A document that a door gives."""

    model_config = ConfigDict(extra="forbid")


class Fault(Answer):
    """One thing that is wrong."""

    path: str = Field(description="where: `quantum.circuit`; empty for all of it")
    code: str
    message: str


class ProblemAnswer(Answer):
    """Why something was not done (RFC 9457)."""

    type: str = Field(description="where the code is explained")
    title: str
    status: int
    detail: str = Field(description="what to change")
    code: str = Field(description="stable; programs go by it")
    problems: list[Fault] = Field(default=[], description="all that was found wrong, not only the first")


class CodeAnswer(Answer):
    """What a code stands for."""

    code: str
    status: int
    title: str


class ReceiptAnswer(Answer):
    """An intent is durably on the log."""

    job_id: str
    intent_digest: str = Field(description="SHA-256 that names the event; approvals are given for it")
    manifest: dict[str, Any] = Field(description="as the gateway completed and signed it")
    time_us: int


class SaidAnswer(Answer):
    """Something was said of a job, and is durably on the log."""

    job_id: str
    digest: str
    time_us: int


class QuoteAnswer(Answer):
    """What would become of a manifest if it were declared now; nothing was reserved."""

    verdict: Literal["admit", "ask", "refuse"]
    rule: str
    message: str
    price_microusd: int | None = Field(description="on the likely device; null where no device may run it")
    price_ceiling_microusd: int = Field(description="the most the job can ever cost: its own budget")
    device: str | None
    why: str
    candidates: list[dict[str, Any]] = Field(description="every device, with what speaks for or against it")
    offers: list[dict[str, Any]]
    standard_errors: dict[str, float]


class JobBrief(Answer):
    """A job in a list."""

    job_id: str
    state: str
    initiator: str | None
    purpose: str | None
    device: str | None
    snapshot: str | None = Field(description="digest of the calibration it ran on")
    shots_total: int | None
    iterations: int
    cost_usd: float
    cost_microusd: int
    declared_us: int | None


class JobListAnswer(Answer):
    """A page of jobs, the latest first."""

    jobs: list[JobBrief]
    next_cursor: str | None = Field(description="null at the end")


class ResultBody(Answer):
    """What a job found and what it used."""

    converged: bool
    observables: list[dict[str, Any]]
    device: str
    snapshot: str
    result_digest: str
    iterations: int
    shots: int
    quantum_microusd: int
    classical_microusd: int
    device_time_us: int
    classical_time_us: int
    recorded_us: int


class ResultAnswer(ResultBody):
    """The result of a job."""

    job_id: str


class JobAnswer(JobBrief):
    """All that is known of a job."""

    reason: str | None = Field(description="stable code of a refusal, failure or cancellation")
    message: str | None
    objective: str | None
    shots_ceiling: int | None
    price_ceiling_microusd: int | None
    approval: dict[str, Any] | None
    admission: dict[str, Any] | None
    placement: dict[str, Any] | None
    reservation: dict[str, Any] | None
    steps_planned: int
    steps_completed: int
    problem: dict[str, Any] | None
    result: ResultBody | None
    ended_us: int | None
    device_time_waited_out: bool


class ExplainAnswer(Answer):
    """The chain of causes of a job, each line after its causes."""

    job_id: str
    site: str
    lines: list[dict[str, Any]]
    passed_over: list[str]
    holds: bool = Field(description="whether every signature holds")
    signatures: int


class DeviceAnswer(Answer):
    """A device as it describes itself."""

    device: str
    status: str
    status_reason: str | None
    queue_jobs: int
    queue_wait_us: int
    snapshots: int
    snapshot: dict[str, Any] | None
    price: dict[str, Any] | None = Field(description="null: it has no price, and nothing may run there")


class DevicesAnswer(Answer):
    """All devices of the site."""

    devices: list[DeviceAnswer]


class SnapshotAnswer(Answer):
    """The latest calibration of a device: figures are estimates with standard errors."""

    device: str
    snapshot_digest: str
    taken_us: int
    topology: str
    qubits: int
    two_qubit_fidelity: float
    two_qubit_fidelity_error: float
    readout_fidelity: float
    shots_max: int
    firmware: str
    compiler: str
    document: dict[str, Any]


class CalibrationAnswer(Answer):
    """A request for a calibration is durably on the log; the device answers with a fresh snapshot."""

    request_id: str
    device: str
    digest: str
    time_us: int


class SiteAnswer(Answer):
    """Whose bus this is."""

    site: str
    you: str = Field(description="under which name events will tell of the caller")


class OwnBudget(Answer):
    """What the caller's own jobs have held and spent."""

    jobs: int
    held_microusd: int
    spent_microusd: int


class BudgetAnswer(Answer):
    """What the site may still spend."""

    limit_microusd: int
    held_microusd: int
    spent_microusd: int
    free_microusd: int
    free_usd: float
    yours: OwnBudget


class KpiAnswer(BaseModel):
    """A figure with its 95 % interval over n cases."""

    value: float | None
    n: int
    low: float | None
    high: float | None


class StoredAnswer(Answer):
    """A document is stored."""

    digest: str
    size_bytes: int


class UploadAnswer(Answer):
    """An upload in parts: the next part begins at `offset`. When it is complete the document is stored."""

    upload_id: str
    offset: int
    size_bytes: int
    digest: str
    is_complete: bool


class ApprovalAnswer(Answer):
    """What a person is asked."""

    job_id: str
    rule: str
    message: str
    statement: dict[str, Any]
    requested_us: int
    link: str


class ApprovalToSignAnswer(ApprovalAnswer):
    """What a person is asked, and what they sign to answer."""

    payload: str = Field(description="the very text to be signed (RFC 8785)")
    reason: str = Field(description="what is signed for the reason, a pointer to the vault; hand it in as it is")


class ApprovalsAnswer(Answer):
    """The jobs that wait for a person."""

    approvals: list[ApprovalAnswer]


class TokenAnswer(Answer):
    """An access token (RFC 6749)."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str


class OAuthErrorAnswer(Answer):
    """Why no access token was given (RFC 6749, 5.2)."""

    error: str
    error_description: str


class HealthAnswer(Answer):
    """Whether the door works."""

    status: Literal["ok", "not ready"]
    detail: str = ""
