"""An event in one line for a person: its plain fields with their units, without what stands elsewhere in the line."""

from collections.abc import Iterator, Mapping
from typing import Any

from qpubus.show import duration, usd, utc
from schemas.words import Event

_CELL = 60
_ELSEWHERE = {"job_id", "agent_proof", "proof", "text", "nonce"}
_LONG_AGO_US = 10**15
"""Times since 1970 are above it, lengths of time below."""


def summary(event: Event) -> str:
    """The fields of an event that fit into a line: no digests, nothing empty, collections by their size."""
    return "  ".join(_fields(event))


def job_of(event: Event) -> str:
    """The job that an event is about; empty where it is about none."""
    return str(getattr(event, "job_id", ""))


def _fields(event: Event) -> Iterator[str]:
    for name in type(event).model_fields:
        value = getattr(event, name)
        if (
            name not in _ELSEWHERE
            and not name.endswith(("digest", "digests", "_key"))
            and (shown := _value(name, value))
        ):
            yield shown


def _value(name: str, value: Any) -> str:
    match value:
        case bool():
            return name if value else f"not {name}"
        case int() if name.endswith("_microusd"):
            return f"{name.removesuffix('_microusd')}={usd(value)}"
        case int() if name.endswith("_us"):
            return f"{name.removesuffix('_us')}={utc(value) if value > _LONG_AGO_US else duration(value)}"
        case int():
            return f"{name}={value:,}"
        case float():
            return f"{name}={value:.6g}"
        case str():
            return f"{name}={value if len(value) <= _CELL else value[: _CELL - 1] + '…'}" if value else ""
        case tuple() if value and all(isinstance(each, str) for each in value):
            return f"{name}={','.join(value)}"
        case tuple() | Mapping() if value:
            return f"{len(value)} {name}"
        case _:
            return ""
