"""Topic `governance`: who may speak, by which rules, at which prices."""

from typing import Literal

from pydantic import Field

from schemas.events.approvals import HumanProof
from schemas.words import Count, Event, HexDigest, Identifier, MicroUsd, TimeUs, Words

RULES_CHARS_MAX = 65_536
"""The longest text of rules: a stage parses it once for each policy in force."""


class SiteFounded(Event):
    """A site began: its clock (a virtual one starts at `epoch_us`) and the seed of all its emulation."""

    clock: Literal["wall", "virtual"]
    epoch_us: TimeUs
    seed: Count


class SchemaPublished(Event):
    """A schema text was given its number on this log. Number 1 is the schema of this very event, for ever."""

    schema_id: int = Field(ge=1, lt=1 << 31)
    event_type: str
    text: str


class KeyEnrolled(Event):
    """A key may be used from here on, by one source, in one role."""

    key_id: str
    public_key: bytes
    source: Identifier
    role: str
    devices: tuple[Identifier, ...] = Field(default=(), description="devices it may speak for; only for role device")
    duties: tuple[Identifier, ...] = Field(
        default=(), description="what a person answers for, which gates ask by; the projects of an agent"
    )
    assurance: Literal["demo", "file", "hardware", "gateway-held"] = "file"
    reads: Literal["own", "site"] = Field(default="own", description="an agent reads its own jobs, or all of its site")
    proof_type: Literal["ed25519", "sshsig", "webauthn"] = Field(
        default="ed25519", description="how a person signs with it; other keys are plain"
    )
    algorithm: Literal["Ed25519", "ES256"] = Field(default="Ed25519", description="ES256 only for people")
    relying_party: str = Field(default="", description="a passkey's RP id, or the application of an SSH hardware key")
    origin: str = Field(default="", description="where a passkey is used")
    credential_id: str = Field(default="", description="a passkey's name at its authenticator, base64url")


class KeyRevoked(Event):
    """A key counts no longer from here on."""

    key_id: str
    reason: str


class GapAccepted(Event):
    """A gap in an author's sequence was looked into: the author goes on with `next_sequence`."""

    topic: str
    source: Identifier
    next_sequence: int = Field(ge=1)
    reason: str


class DeviceFacts(Words):
    """What an organisation says of a device, for its rules to go by; a device says nothing of this itself."""

    device: Identifier
    is_cloud: bool = Field(description="whether data leaves the organisation's own premises")
    region: str = Field(default="", max_length=64, description="where data goes, as residency rules name it: eu, us")
    emulates: str = Field(default="", description="the device whose snapshots it runs; empty for a real device")


class RateLimits(Words):
    """The most that one agent may ask for in any hour; 0 is no limit."""

    intents_per_hour: Count = 0
    shots_per_hour: Count = 0
    cost_per_hour_microusd: MicroUsd = 0


class AutonomyStep(Words):
    """A step of the ladder: up to which price no person is asked, and what evidence it takes."""

    price_limit_microusd: MicroUsd
    jobs_min: Count = Field(description="so many jobs of the class must have ended")
    spent_microusd_min: MicroUsd = Field(description="so much money they must have spent, capped a day")
    accuracy_low_min: float = Field(ge=0, le=1, description="lower bound of the share of money that ended well")


class AutonomyLadder(Words):
    """How agents earn autonomy, step by step; without steps every job is asked for as the rules say."""

    steps: tuple[AutonomyStep, ...] = ()
    day_cap_microusd: MicroUsd = Field(default=0, description="a day's jobs of a class count no more money than this")
    valid_us: Count = Field(default=0, description="a person may ratify a step for so long at most")
    floor_microusd: MicroUsd = Field(default=0, description="no step lets a higher price pass without a person")


class PolicyPublished(Event):
    """What admits, refuses or sends to a human, in force from here on: limits, and rules where there are any.

    Rules are Cedar text. Where there are some, the limits are ceilings that no rule lifts, and only rules ask people.
    """

    policy_id: Identifier
    shots_max: Count = Field(description="most shots of one job, everything included")
    cost_max_microusd: MicroUsd = Field(description="highest price ceiling of one job")
    approval_above_microusd: MicroUsd = Field(description="a price ceiling above this needs a human's grant")
    approval_timeout_us: Count = Field(description="a request for a grant expires after this time")
    offer_timeout_us: Count = Field(description="offers of devices are awaited at most this long")
    devices: tuple[Identifier, ...] = Field(description="devices on which jobs of this site may run")
    min_fidelity: float = Field(ge=0, le=1, description="lowest two-qubit fidelity that is ever acceptable")
    max_snapshot_age_us: Count = Field(description="an older calibration is no basis for a placement")
    iterations_max: Count = Field(description="most loop iterations of one job")
    static_devices: tuple[Identifier, ...] = Field(description="the site's static order of choice, for comparison")
    rules: str = Field(default="", max_length=RULES_CHARS_MAX, description="Cedar policies; empty for limits alone")
    rules_schema: str = Field(default="", max_length=RULES_CHARS_MAX, description="the Cedar schema they were held to")
    device_facts: tuple[DeviceFacts, ...] = ()
    rates: RateLimits = RateLimits()
    autonomy: AutonomyLadder = AutonomyLadder()


class DevicePrice(Words):
    """What a device costs. A term that does not apply is 0; a device not listed has no price and is refused."""

    device: Identifier
    task_microusd: MicroUsd = Field(description="per circuit execution")
    shot_microusd: MicroUsd
    hour_microusd: MicroUsd = Field(description="per reserved hour, charged for time really used")
    shot_duration_us: Count = Field(description="time of one shot that the hourly price is reckoned with")
    shots_max: Count = Field(description="most shots of one circuit execution")
    second_microusd: MicroUsd = Field(default=0, description="per second of device time really used")
    slot_hour_microusd: MicroUsd = Field(
        default=0, description="per hour of the slot that was granted, used or not, once a step is planned on it"
    )


class PriceListPublished(Event):
    """The prices in force from here on."""

    devices: tuple[DevicePrice, ...]
    classical_second_microusd: MicroUsd


class BudgetSet(Event):
    """This much may be spent in all or a day, what is already spent or held included: by a site, or a part of it.

    Each budget that a job falls under must hold its price ceiling. `name` is that of the project, agent or device.
    """

    limit_microusd: MicroUsd
    reason: str = ""
    scope: Literal["site", "project", "agent", "device"] = "site"
    name: str = Field(default="", max_length=128, description="empty for the site")
    period: Literal["total", "day"] = "total"


class MandateStatement(Words):
    """What a person lets one agent's key do without being asked for each job, until it expires or is revoked.

    A list that is empty allows none. Costs and jobs are counted over all jobs that were admitted under the mandate.
    """

    site: Identifier
    mandate_id: Identifier
    agent: Identifier
    agent_key_id: str
    purposes: tuple[str, ...] = Field(description="what the purpose of a job must begin with; any of them")
    devices: tuple[Identifier, ...]
    data_classes: tuple[str, ...]
    cost_per_job_microusd: MicroUsd
    cost_total_microusd: MicroUsd
    jobs_per_period: Count
    period_us: Count
    starts_us: TimeUs
    expires_us: TimeUs
    nonce: HexDigest


class MandateGranted(Event):
    """A person signed a standing mandate. The proof signs the statement."""

    statement: MandateStatement
    person: Identifier
    proof: HumanProof


class MandateRevoked(Event):
    """A person ended a mandate; no job is admitted under it from here on."""

    mandate_id: Identifier
    person: Identifier
    reason: str
    proof: HumanProof


class AutonomyStatement(Words):
    """The step of the ladder that a person lets an agent stand on for a class of action, up to a price."""

    site: Identifier
    agent: Identifier
    action_class: str = Field(max_length=128)
    level: Count = Field(description="0 asks for every job; each step asks for less")
    price_limit_microusd: MicroUsd
    evidence_digest: HexDigest = Field(description="of the AutonomyProposed that this ratifies")
    expires_us: TimeUs
    nonce: HexDigest


class AutonomyGranted(Event):
    """A person ratified what the log's evidence proposed. The proof signs the statement."""

    statement: AutonomyStatement
    person: Identifier
    proof: HumanProof


class AutonomyRevoked(Event):
    """A person put an agent back on the lowest step for a class of action."""

    agent: Identifier
    action_class: str = Field(max_length=128)
    person: Identifier
    reason: str
    proof: HumanProof


class HaltOrdered(Event):
    """A person stopped a site, an agent or a device: nothing new is admitted or placed, nothing more runs."""

    halt_id: Identifier
    scope: Literal["site", "agent", "device"]
    target: Identifier
    person: Identifier
    reason: str
    ordered_us: TimeUs
    proof: HumanProof


class HaltLifted(Event):
    """A person, another than the one who ordered it, ended a halt."""

    halt_id: Identifier
    person: Identifier
    reason: str
    proof: HumanProof


class SubjectErased(Event):
    """The texts kept under a pseudonym were erased, and with them their key. Their digests on the log stay as they are.

    It is said before the erasing begins: what is named here is to be found in no vault any more.
    """

    subject: Identifier
    text_digests: tuple[HexDigest, ...] = Field(description="the texts that were there")
    reason: str = ""
