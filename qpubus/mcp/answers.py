"""What the tools answer beside the documents that all doors share: shorter, and with what to do next, for models."""

from pydantic import Field

from qpubus.web.answers import Answer, CalibrationAnswer, JobAnswer, KpiAnswer, SaidAnswer


class Job(JobAnswer):
    """Where a job stands. Amounts are micro-dollars, times microseconds since 1970 UTC."""

    is_over: bool = Field(description="nothing more will happen to it")
    next: str = Field(description="what to do now, in words")


class Snapshot(Answer):
    """A calibration in short; fidelities are estimates, 0 to 1."""

    device: str
    taken_us: int = Field(description="when it was measured, microseconds since 1970 UTC")
    qubits: int
    topology: str
    two_qubit_fidelity: float = Field(description="mean over the couplings")
    two_qubit_fidelity_error: float = Field(description="standard error of that mean")
    readout_fidelity: float
    shots_max: int = Field(description="most shots of one circuit execution")
    firmware: str
    compiler: str
    snapshot_digest: str = Field(description="SHA-256 of the full document")


class CalibrationReceipt(CalibrationAnswer):
    """The request is on the log."""

    next: str


class Withdrawn(SaidAnswer):
    """The withdrawal is on the log."""

    next: str


class Kpis(Answer):
    """Each with its 95 % interval over n cases; value is null where there is nothing to measure yet."""

    turnaround_s: KpiAnswer
    fidelity_per_shot: KpiAnswer
    cost_per_converged_result_usd: KpiAnswer
    reproducibility_index: KpiAnswer
    agent_decision_accuracy: KpiAnswer


class Line(Answer):
    """One event of a job."""

    time_us: int
    event_type: str
    source: str
    sentence: str


class Explanation(Answer):
    """A job's events, each after its causes."""

    job_id: str
    holds: bool = Field(description="every signature on the way holds")
    signatures: int = Field(description="so many were checked")
    lines: list[Line]
