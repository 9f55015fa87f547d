"""What the calls of the local door take: plain values, each checked before anything is done with it."""

from base64 import b64encode
from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, StringConstraints

from schemas.envelope import Record
from schemas.traces import SealedTrace
from schemas.words import HexDigest, Identifier

HexSignature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]


class Asked(BaseModel):
    """A call's arguments: nothing extra, nothing changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Nothing(Asked):
    """No arguments."""


class Declaration(Asked):
    """An agent's manifest as it wrote it, and its own signature over it."""

    manifest: str = Field(description="JSON text")
    agent_proof: str
    trace: SealedTrace | None = None


class Trial(Asked):
    """A manifest that is not declared, only looked at."""

    manifest: str


class Grant(Asked):
    """A person's signed yes."""

    job_id: Identifier
    intent_digest: HexDigest
    key_id: str
    signature: HexSignature


class Denial(Grant):
    """A person's signed no."""

    reason: str


class Withdrawal(Asked):
    """An agent's signed wish that its job be dropped: a JWS over the job id and the reason."""

    agent_proof: str


class Document(Asked):
    """A program or an input of a job."""

    content: str = Field(description="base64")
    media_type: str


class SealedRecord(Asked):
    """A record of governance, sealed by who governs; its texts as they stand in the headers."""

    topic: Literal["governance"]
    key: str
    value: Base64Bytes
    id: str
    type: str
    source: str
    time: str
    subject: str
    traceparent: str
    causes: str
    sequence: str
    inputs: str
    seal: Base64Bytes

    @classmethod
    def of(cls, record: Record) -> Self:
        """A record as it goes through the door."""
        named = record._asdict() | {"value": b64encode(record.value), "seal": b64encode(record.seal)}
        return cls.model_validate(named)

    def record(self) -> Record:
        """The record that came through the door."""
        return Record(**dict(self))


class Governance(Asked):
    """What the root or an admin says, in one batch."""

    records: tuple[SealedRecord, ...] = Field(min_length=1, max_length=64)
