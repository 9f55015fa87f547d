"""What every event is made of: frozen models, small shared types, and the registry of event types by wire name."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

NAMESPACE = "qpubus"

HexDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hex."""
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$")]
"""A name that may stand in a header: a job, a device, a party, a key, a site."""
TimeUs = Annotated[int, Field(ge=0, lt=253_402_300_800_000_000)]
"""UTC microseconds since 1970, up to the year 9999."""
MicroUsd = Annotated[int, Field(ge=0, lt=1 << 62)]
"""Micro-dollars."""
Count = Annotated[int, Field(ge=0, lt=1 << 62)]
"""A number of things."""


class Words(BaseModel):
    """A frozen value whose fields are all said: nothing extra is taken, nothing is changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", allow_inf_nan=False)


class Event(Words):
    """A fact, named noun plus participle. Its Avro record is made from its fields (`schemas.avro_text`)."""

    types: ClassVar[dict[str, type["Event"]]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        Event.types[wire_name(cls)] = cls


def wire_name(event_type: type[Event]) -> str:
    """The Avro full name of an event type, which is its name on the wire: `qpubus.IntentDeclared`."""
    return f"{NAMESPACE}.{event_type.__name__}"
