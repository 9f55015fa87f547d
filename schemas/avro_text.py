"""From an event class to its Avro schema text: the class is the one definition, the text is what is signed and kept."""

import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Union

import orjson
from pydantic.fields import FieldInfo

from schemas.words import NAMESPACE, Event, Words

_PRIMITIVES: dict[Any, str] = {str: "string", int: "long", float: "double", bool: "boolean", bytes: "bytes"}


def avro_schema(event_type: type[Event]) -> dict[str, Any]:
    """The Avro record schema of an event type; a nested record is spelt out where it first occurs."""
    return _record(event_type, set())


@cache
def avro_text(event_type: type[Event]) -> str:
    """The schema as it is published, signed and kept in `schemas/avro`: JSON indented by two, newline at the end."""
    return orjson.dumps(avro_schema(event_type), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _record(words: type[Words], seen: set[str]) -> dict[str, Any]:
    seen.add(words.__name__)
    return {
        "type": "record",
        "name": words.__name__,
        "namespace": NAMESPACE,
        "doc": (words.__doc__ or "").strip(),
        "fields": [_field(name, info, seen) for name, info in words.model_fields.items()],
    }


def _field(name: str, info: FieldInfo, seen: set[str]) -> dict[str, Any]:
    field: dict[str, Any] = {"name": name, "type": _type(info.annotation, seen)}
    if info.description:
        field["doc"] = info.description
    if not info.is_required():
        default = info.get_default(call_default_factory=True)
        field["default"] = _default(default)
    return field


def _default(value: Any) -> Any:
    """A default as Avro writes it: bytes as a text of the code points 0 to 255."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value.model_dump(mode="json") if isinstance(value, Words) else value


def _type(annotation: Any, seen: set[str]) -> Any:
    if annotation in _PRIMITIVES:
        return _PRIMITIVES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Words):
        name = annotation.__name__
        return f"{NAMESPACE}.{name}" if name in seen else _record(annotation, seen)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0], seen)
    if origin is typing.Literal and all(isinstance(choice, str) for choice in arguments):
        return "string"
    if origin in (Union, types.UnionType) and len(arguments) == 2 and arguments[1] is types.NoneType:
        return ["null", _type(arguments[0], seen)]
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _type(arguments[0], seen)}
    if origin is Mapping and arguments[0] is str:
        return {"type": "map", "values": _type(arguments[1], seen)}
    raise TypeError(f"no Avro type is fixed for {annotation!r}")
