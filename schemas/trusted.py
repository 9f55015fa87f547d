"""Bodies that were verified before, back to events: many of one schema at once, and nothing is checked again.

Avro writes an array as its length, its items and a zero. So bodies of one schema laid end to end, with a length before
and a zero behind, are an array of records, and one call of the Avro library reads them all.
"""

import io
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Union

import fastavro
import orjson

from schemas.avro_text import avro_text
from schemas.codec import Schema, Undecodable, decode
from schemas.words import Event, Words

_Build = Callable[[Any], Any]
_Decode = Callable[[Sequence[bytes]], list[Event]]


def decode_trusted(bodies: Sequence[bytes], schema: Schema) -> list[Event]:
    """The events in verified bodies written by `schema`; those of an older schema are decoded with all checks."""
    return _decoder(schema)(bodies) if bodies else []


@cache
def _decoder(schema: Schema) -> _Decode:
    event_type = Event.types.get(schema.event_type)
    if event_type is None or schema.text != avro_text(event_type):
        return lambda bodies: [decode(body, schema) for body in bodies]
    writer = fastavro.parse_schema({"type": "array", "items": orjson.loads(schema.text)})
    build = _words(event_type)

    def decode_bodies(bodies: Sequence[bytes]) -> list[Event]:
        array = b"".join((_long(len(bodies)), *bodies, b"\x00"))
        source = io.BytesIO(array)
        items: Any = fastavro.schemaless_reader(source, writer, None)
        if len(items) != len(bodies) or source.tell() != len(array):
            raise Undecodable(f"{schema.event_type}: these bodies were never verified")
        return [build(item) for item in items]

    return decode_bodies


def _long(number: int) -> bytes:
    """A number that is not negative as Avro writes it: doubled, then seven bits a byte, lowest first."""
    left, written = number * 2, bytearray()
    while left > 0x7F:
        written.append(left & 0x7F | 0x80)
        left >>= 7
    written.append(left)
    return bytes(written)


def _words(words: type[Words]) -> _Build:
    """Make an instance out of the dictionary that Avro gives, which it takes over."""
    nested = [(name, build) for name, info in words.model_fields.items() if (build := _value(info.annotation))]
    new, put, names = words.__new__, object.__setattr__, set(words.model_fields)

    def build_words(fields: dict[str, Any]) -> Words:
        for name, build in nested:
            fields[name] = build(fields[name])
        made = new(words)
        put(made, "__dict__", fields)
        put(made, "__pydantic_fields_set__", names)
        put(made, "__pydantic_extra__", None)
        put(made, "__pydantic_private__", None)
        return made

    return build_words


def _value(annotation: Any) -> _Build | None:
    """What makes a value of this type out of what Avro gives; None if that is the value already."""
    if isinstance(annotation, type) and issubclass(annotation, Words):
        return _words(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _value(arguments[0])
    if origin in (Union, types.UnionType):
        return _optional(_value(next(each for each in arguments if each is not types.NoneType)))
    if origin is tuple:
        return _tuple(_value(arguments[0]))
    if origin is Mapping:
        return _mapping(_value(arguments[1]))
    return None


def _optional(build: _Build | None) -> _Build | None:
    return build and (lambda value: None if value is None else build(value))


def _tuple(build: _Build | None) -> _Build:
    return tuple if build is None else lambda items: tuple([build(item) for item in items])


def _mapping(build: _Build | None) -> _Build | None:
    return build and (lambda table: {key: build(value) for key, value in table.items()})
