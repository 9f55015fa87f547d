"""Topic `reservations`: offers of devices, the scheduler's choice, and slots that really hold something."""

from pydantic import Field

from schemas.words import Count, Event, HexDigest, Identifier, MicroUsd, TimeUs, Words


class PlacementOffered(Event):
    """A device agent compiled a job's circuits against its snapshot and says what running them would be like."""

    job_id: Identifier
    intent_digest: HexDigest
    device: Identifier
    fits: bool
    reason: str = Field(default="", description="why the job does not fit")
    snapshot_digest: HexDigest
    snapshot_taken_us: TimeUs
    topology: str
    two_qubit_fidelity: float = Field(ge=0, le=1, description="lowest on the qubits used, by the snapshot")
    predicted_success: float = Field(ge=0, le=1, description="of the compiled main circuit")
    queue_jobs: Count
    queue_wait_us: Count
    run_duration_us: Count = Field(description="device time of all shots of the job")
    price_microusd: MicroUsd = Field(description="of all shots of the job, by the price list in force")
    compiled_digest: HexDigest = Field(description="of the compiled main circuit")


class Candidate(Words):
    """A device the scheduler looked at, and what it made of it."""

    device: Identifier
    verdict: str = Field(description="chosen, outscored, or the code of what ruled it out")
    score: float
    predicted_success: float
    price_microusd: MicroUsd
    queue_wait_us: Count


class PlacementDecided(Event):
    """The scheduler chose a device for a job, or found none; `why` is a sentence."""

    job_id: Identifier
    device: str = Field(description="empty where no device may run the job")
    objective: str
    rule: str
    why: str
    candidates: tuple[Candidate, ...]
    snapshot_digest: str = ""


class ReservationRequested(Event):
    """The scheduler asks a device for a slot."""

    job_id: Identifier
    reservation_id: Identifier
    device: Identifier
    intent_digest: HexDigest
    shots: Count
    duration_us: Count
    price_ceiling_microusd: MicroUsd


class ReservationGranted(Event):
    """A device holds a slot. The token itself stays with the device's agent; here is its digest."""

    job_id: Identifier
    reservation_id: Identifier
    device: Identifier
    token_digest: HexDigest
    queue_position: Count
    starts_us: TimeUs
    expires_us: TimeUs


class ReservationRefused(Event):
    """A device cannot hold the slot that was asked for."""

    job_id: Identifier
    reservation_id: Identifier
    device: Identifier
    reason: str


class ReservationExpired(Event):
    """A slot was not used in time and is free again."""

    job_id: Identifier
    reservation_id: Identifier
    device: Identifier


class ReservationReleased(Event):
    """The scheduler gives a slot back."""

    job_id: Identifier
    reservation_id: Identifier
    device: Identifier
    reason: str
