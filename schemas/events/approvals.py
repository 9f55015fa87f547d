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
    approver: str = Field(default="", description="who granted it last; empty where no human was needed")
    rules: tuple[str, ...] = Field(default=(), description="ids of the rules that decided")
    messages: tuple[str, ...] = Field(default=(), description="what these rules say, in their order")
    input_digest: str = Field(default="", description="SHA-256 of all that the rules were asked by")
    approvers: tuple[Identifier, ...] = Field(default=(), description="all who granted it, where more than one had to")
    mandate_id: str = Field(default="", description="the standing mandate that it was admitted under")


class IntentRefused(Event):
    """A job will not run. `reason` is a stable code, `message` says what to change."""

    job_id: Identifier
    intent_digest: HexDigest
    reason: str
    message: str
    policy_digest: str = ""
    rule: str = ""
    rules: tuple[str, ...] = Field(default=(), description="ids of the rules that decided")
    messages: tuple[str, ...] = Field(default=(), description="what these rules say, in their order")
    input_digest: str = Field(default="", description="SHA-256 of all that the rules were asked by")


class ApprovalStatement(Words):
    """What a person puts their name to. The RFC 8785 JSON of all that is not at its default is what the proof signs."""

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
    snapshot_class: str = Field(default="", description="digest of devices, firmware and compilers that it may run on")
    quorum: Count = Field(default=1, description="so many persons must grant it")
    roles: tuple[Identifier, ...] = Field(default=(), description="duties that those who grant it must have among them")
    rule: str = Field(default="", description="ids of the rules that ask, separated by blanks")


class ApprovalRequested(Event):
    """A human must say yes before this job runs; `rule` says why."""

    job_id: Identifier
    rule: str
    message: str
    statement: ApprovalStatement
    rules: tuple[str, ...] = Field(default=(), description="ids of the rules that ask for a person")
    messages: tuple[str, ...] = Field(default=(), description="what these rules say, in their order")
    input_digest: str = Field(default="", description="SHA-256 of all that the rules were asked by")
    devices: tuple[Identifier, ...] = Field(default=(), description="devices on which it may run once it is granted")


class HumanProof(Words):
    """A person's signature over what was put to them; `schemas.people` checks it.

    `signature` of an `sshsig` is the whole of it without its armour. A passkey's assertion has two parts more.
    """

    proof_type: Literal["ed25519", "sshsig", "webauthn"]
    key_id: str
    signature: bytes
    client_data: bytes = Field(default=b"", description="clientDataJSON of a passkey's assertion")
    authenticator_data: bytes = Field(default=b"", description="authenticatorData of a passkey's assertion")


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


class ApprovalPresented(Event):
    """A request was shown to a person who may answer it."""

    job_id: Identifier
    intent_digest: HexDigest
    approver: Identifier


class ApprovalCounted(Event):
    """A person's yes counts, and more persons or duties are needed before the job may run."""

    job_id: Identifier
    intent_digest: HexDigest
    approver: Identifier
    duties: tuple[Identifier, ...] = Field(description="what this person answers for")
    persons: Count = Field(description="how many have said yes so far")
    quorum: Count
    missing_duties: tuple[Identifier, ...] = ()
    key_id: str = Field(default="", description="the key that signed it: a yes counts while its key does")


class ApprovalInvalidated(Event):
    """A request, or a grant that was not used yet, counts no longer: what it was bound to has changed."""

    job_id: Identifier
    intent_digest: HexDigest
    reason: str
    message: str


class ApprovalRejected(Event):
    """A grant or a denial did not count, and changed nothing. `reason` is a stable code."""

    job_id: Identifier
    intent_digest: HexDigest
    approver: Identifier
    reason: str
    message: str


class AutonomyProposed(Event):
    """The log's evidence lets an agent stand a step higher for a class of action, if a person ratifies it."""

    agent: Identifier
    action_class: str = Field(max_length=128)
    level: Count
    price_limit_microusd: MicroUsd
    jobs: Count = Field(description="jobs of this class that the evidence counts")
    accuracy_low: float = Field(ge=0, le=1, description="lower bound of the agent's accuracy, weighted by money")
    overruns: Count
    refusals: Count
    evidence_digest: HexDigest


class AutonomySuspended(Event):
    """An agent was put back on the lowest step for a class of action, at once."""

    agent: Identifier
    action_class: str = Field(max_length=128)
    reason: str
    message: str
