"""What the calls of the local door take: plain values, each checked before anything is done with it."""

from base64 import b64encode
from typing import Any, Literal, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

from schemas.envelope import Record
from schemas.events import HumanProof
from schemas.petitions import PETITIONS, Petition
from schemas.traces import SealedTrace
from schemas.words import HexDigest, Identifier


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


class Proof(Asked):
    """A person's signature of any kind; its parts in base64."""

    proof_type: Literal["ed25519", "sshsig", "webauthn"]
    key_id: str
    signature: Base64Bytes
    client_data: Base64Bytes = b""
    authenticator_data: Base64Bytes = b""

    @classmethod
    def of(cls, proof: HumanProof) -> Self:
        """A proof as it goes through the door."""
        said = proof.model_dump()
        return cls.model_validate({name: b64encode(x) if isinstance(x, bytes) else x for name, x in said.items()})

    def human(self) -> HumanProof:
        """The proof that came through the door."""
        return HumanProof.model_validate(dict(self))


class Grant(Asked):
    """A person's signed yes."""

    job_id: Identifier
    intent_digest: HexDigest
    proof: Proof


class Denial(Grant):
    """A person's signed no."""

    reason: str


class Reason(Asked):
    """Why somebody is about to say no, to take a job back, to order or end something; they sign with the key.

    `about` is what they will name: a job, a halt, a mandate, an agent.
    """

    about: Identifier
    key_id: str
    text: str


class Showing(Asked):
    """What a job asks was shown to the person of a key."""

    job_id: Identifier
    key_id: str


class Petitioned(Asked):
    """What a person says of their own accord: an event of theirs, its proof apart."""

    type: str
    fields: dict[str, Any] = Field(description="of the event, without its proof")
    proof: Proof

    @classmethod
    def of(cls, petition: Petition) -> Self:
        """A petition as it goes through the door."""
        fields = petition.model_dump(mode="json", exclude={"proof"})
        return cls(type=type(petition).__name__, fields=fields, proof=Proof.of(petition.proof))

    def petition(self) -> Petition:
        """The petition that came through the door; `ValueError` if there is no such event or it is not in its form."""
        kind = PETITIONS.get(self.type)
        if kind is None:
            raise ValueError(f"{self.type[:64]!r} is none of {', '.join(PETITIONS)}")
        return kind.model_validate(self.fields | {"proof": self.proof.human()})


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
