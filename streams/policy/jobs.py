"""The phases of a job as policy sees it: declared, waiting for a person, admitted; and the keys of who speak for it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Discriminator

from schemas.envelope import Cause
from schemas.events import ApprovalStatement, PriceListPublished
from streams.policy.budgets import NOTHING, Promise
from streams.policy.wish import Wish
from streams.usage import UNUSED, Usage


@dataclass(frozen=True, slots=True)
class Key:
    """A key, as governance enrolled it; what people sign is checked by `streams.persons`."""

    public_key_hex: str
    source: str
    role: str
    assurance: str
    is_revoked: bool = False
    duties: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declared:
    """An intent before its verdict."""

    intent_digest: str
    cause: Cause
    wish: Wish
    held_microusd: int = 0
    promise: Promise = NOTHING
    phase: Literal["declared"] = "declared"


@dataclass(frozen=True, slots=True)
class Grant:
    """A person's yes that counts, what they answer for, and the key that signed it."""

    approver: str
    duties: tuple[str, ...]
    key_id: str


@dataclass(frozen=True)
class Waiting:
    """An intent that waits for people, its money held, and who has said yes to this very statement."""

    intent_digest: str
    cause: Cause
    wish: Wish
    held_microusd: int
    statement: ApprovalStatement
    devices: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()
    promise: Promise = NOTHING
    phase: Literal["waiting"] = "waiting"


@dataclass(frozen=True)
class Admitted:
    """A job that may run, its money held, the prices it was admitted at, and what it has used."""

    intent_digest: str
    held_microusd: int
    prices: PriceListPublished | None
    work_digest: str
    data_class: str
    mandate_id: str = ""
    agent: str = ""
    action_class: str = ""
    outcome: str = ""
    promise: Promise = NOTHING
    on_devices: Promise = NOTHING
    device: str = ""
    snapshot_digest: str = ""
    usage: Usage = UNUSED
    phase: Literal["admitted"] = "admitted"


Job = Annotated[Declared | Waiting | Admitted, Discriminator("phase")]
