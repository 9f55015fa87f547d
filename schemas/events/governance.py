"""Topic `governance`: who may speak, by which rules, at which prices."""

from typing import Literal

from pydantic import Field

from schemas.words import Count, Event, HexDigest, Identifier, MicroUsd, TimeUs, Words


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
    assurance: Literal["demo", "file", "hardware"] = "file"


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


class PolicyPublished(Event):
    """The limits that admit, refuse or send to a human, in force from here on."""

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


class DevicePrice(Words):
    """What a device costs. A term that does not apply is 0; a device not listed has no price and is refused."""

    device: Identifier
    task_microusd: MicroUsd = Field(description="per circuit execution")
    shot_microusd: MicroUsd
    hour_microusd: MicroUsd = Field(description="per reserved hour, charged for time really used")
    shot_duration_us: Count = Field(description="time of one shot that the hourly price is reckoned with")
    shots_max: Count = Field(description="most shots of one circuit execution")


class PriceListPublished(Event):
    """The prices in force from here on."""

    devices: tuple[DevicePrice, ...]
    classical_second_microusd: MicroUsd


class BudgetSet(Event):
    """The site may spend this much in all, what is already spent or held included."""

    limit_microusd: MicroUsd
    reason: str = ""


class SubjectErased(Event):
    """The texts kept under a pseudonym were erased, and with them their key. Their digests on the log stay as they are.

    It is said before the erasing begins: what is named here is to be found in no vault any more.
    """

    subject: Identifier
    text_digests: tuple[HexDigest, ...] = Field(description="the texts that were there")
    reason: str = ""
