"""What the calls of the local door take: plain values, each checked before anything is done with it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

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
