"""Topic `approvals`: what policy decided, what people granted, what is held and spent."""

from typing import Literal

from pydantic import Field

from schemas.words import Count, Event, HexDigest, Identifier, MicroUsd, TimeUs, Words


class BudgetHeld(Event):
    """Money was set aside for a job, up to its price ceiling."""

    job_id: Identifier
    amount_microusd: MicroUsd


class BudgetCaptured(Event):
    """Money held for a job was spent, by shots really run and seconds really used."""

    job_id: Identifier
    amount_microusd: MicroUsd
    quantum_microusd: MicroUsd
    classical_microusd: MicroUsd
    shots: Count


class BudgetReleased(Event):
    """What was held for a job and not spent is free again."""

    job_id: Identifier
    amount_microusd: MicroUsd


class IntentAdmitted(Event):
    """A job may be placed and run, up to its price ceiling and shots."""

    job_id: Identifier
    intent_digest: HexDigest
    price_ceiling_microusd: MicroUsd
    shots_ceiling: Count
    devices: tuple[Identifier, ...] = Field(description="devices on which policy lets it run")
    policy_digest: HexDigest = Field(description="digest of the PolicyPublished in force")
    rule: str = Field(description="the rule that let it pass, with its version")
    approver: str = Field(default="", description="who granted it; empty where no human was needed")


class IntentRefused(Event):
    """A job will not run. `reason` is a stable code, `message` says what to change."""

    job_id: Identifier
    intent_digest: HexDigest
    reason: str
    message: str
    policy_digest: str = ""
    rule: str = ""


class ApprovalStatement(Words):
    """What a person puts their name to. Its RFC 8785 JSON is what the proof signs."""

    site: Identifier
    job_id: Identifier
    purpose: str
    intent_digest: HexDigest
    template_digests: tuple[HexDigest, ...] = Field(description="SHA-256 of each circuit template, in order")
    program_digests: tuple[HexDigest, ...] = Field(description="SHA-256 of each classical program, by step")
    shots: Count = Field(description="most shots of the whole job")
    price_ceiling_microusd: MicroUsd
    policy_digest: HexDigest
    expires_us: TimeUs
    nonce: HexDigest = Field(description="made from the intent's digest and the decision number: never used twice")


class ApprovalRequested(Event):
    """A human must say yes before this job runs; `rule` says why."""

    job_id: Identifier
    rule: str
    message: str
    statement: ApprovalStatement


class HumanProof(Words):
    """A person's signature over an approval statement."""

    proof_type: Literal["ed25519"]
    key_id: str
    signature: bytes


class ApprovalGranted(Event):
    """A person said yes, by their own key."""

    job_id: Identifier
    intent_digest: HexDigest
    approver: Identifier
    proof: HumanProof


class ApprovalDenied(Event):
    """A person said no. The proof signs the statement with the decision `deny` and the reason."""

    job_id: Identifier
    intent_digest: HexDigest
    approver: Identifier
    reason: str
    proof: HumanProof


class ApprovalExpired(Event):
    """Nobody said yes in time."""

    job_id: Identifier
    intent_digest: HexDigest


class ApprovalRejected(Event):
    """A grant or a denial did not count, and changed nothing. `reason` is a stable code."""

    job_id: Identifier
    intent_digest: HexDigest
    approver: Identifier
    reason: str
    message: str
