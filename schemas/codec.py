"""Events to Avro bodies and back, with the Confluent framing: 00, schema id as 4 bytes, body."""

import io
import re
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

import fastavro
import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.avro_text import avro_text
from schemas.words import NAMESPACE, Event, Words

FRAME_BYTES = 5
_MARK_BYTES = 8
_SCHEMAS_KEPT = 1_024
_STEPPED_OVER = frozenset({"string", "long"})
_LONG_BYTES_MAX = 10
_LONG_FORM = rb"[\x80-\xff]{0,%d}[\x00-\x7f]" % (_LONG_BYTES_MAX - 1)
_Form = Callable[[bytes], object]


class Undecodable(ValueError):
    """Bytes that are no event of the schema they claim."""


class Schema(NamedTuple):
    """A published schema: its number on this log, the event type it describes, its text, the text's SHA-256 in hex."""

    schema_id: int
    event_type: str
    text: str
    digest: str


@lru_cache(_SCHEMAS_KEPT)
def published(schema_id: int, text: str) -> Schema:
    """A schema from its text as it stands on the log; `Undecodable` if it is no record schema of ours."""
    try:
        parsed = orjson.loads(text)
        name = f"{parsed['namespace']}.{parsed['name']}"
        fastavro.parse_schema(parsed)
    except (orjson.JSONDecodeError, KeyError, TypeError, fastavro.schema.SchemaParseException) as error:
        raise Undecodable(f"not an Avro record schema: {error}") from None
    return Schema(schema_id, name, text, sha256(text.encode()).hexdigest())


def own_schemas() -> Iterator[Schema]:
    """The schemas of this release, numbered from 1 in the order of their names; SchemaPublished is number 1."""
    first = f"{NAMESPACE}.SchemaPublished"
    names = [first, *sorted(name for name in Event.types if name != first)]
    for number, name in enumerate(names, 1):
        yield published(number, avro_text(Event.types[name]))


def frame(schema_id: int, body: bytes) -> bytes:
    """A Kafka value: 00 ‖ schema id ‖ body."""
    return struct.pack(">bI", 0, schema_id) + body


def unframe(value: bytes) -> tuple[int, bytes]:
    """Schema id and body of a value; `Undecodable` if the frame is cut or of another kind."""
    if len(value) < FRAME_BYTES or value[0] != 0:
        raise Undecodable("the value does not begin with 00 and a schema id")
    return int.from_bytes(value[1:FRAME_BYTES], "big"), value[FRAME_BYTES:]


def encode(event: Event) -> bytes:
    """The Avro body of an event by this release's schema of its type."""
    return _encoder(type(event))(event)


def encode_by(event: Event, schema: Schema) -> bytes:
    """The Avro body of an event by another release's schema of its type; `ValueError` if it cannot be said by that."""
    body = io.BytesIO()
    try:
        fastavro.schemaless_writer(body, _parsed(schema), event.model_dump())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"schema {schema.schema_id} of {schema.event_type} has other fields: {error}") from None
    return body.getvalue()


def decode(body: bytes, schema: Schema) -> Event:
    """The event in an Avro body written by `schema`; every byte must be used. `Undecodable` says what is wrong."""
    return _decoder(schema)(body)


def decode_all(bodies: Sequence[bytes], schema: Schema) -> list[Event] | None:
    """The events in many bodies written by `schema`, in one go; None where `decode` is needed to tell what is wrong."""
    return _decoder_of_many(schema)(bodies)


def devices_of(bodies: Iterable[bytes], schema: Schema) -> set[str]:
    """The devices that bodies name, each read no further than that; empty for a body whose event names none.

    Neighbours mostly say the same in texts as long. So a body is first held against the form of the last one read.
    """
    read = _device_reader(schema)
    is_alike: _Form = _none_is
    named: set[str] = set()
    try:
        for body in bodies:
            if not is_alike(body):
                device, is_alike = read(body)
                named.add(device)
    except (IndexError, UnicodeDecodeError):
        raise Undecodable(f"{schema.event_type}: not an Avro body") from None
    return named


@cache
def _parsed(schema: Schema) -> Any:
    return fastavro.parse_schema(orjson.loads(schema.text))


@cache
def _encoder(event_type: type[Event]) -> Callable[[Event], bytes]:
    schema = fastavro.parse_schema(orjson.loads(avro_text(event_type)))
    write = fastavro.schemaless_writer
    flat = not any(_holds_words(info.annotation) for info in event_type.model_fields.values())

    def encode_flat(event: Event) -> bytes:
        body = io.BytesIO()
        write(body, schema, event.__dict__)
        return body.getvalue()

    def encode_nested(event: Event) -> bytes:
        body = io.BytesIO()
        write(body, schema, event.model_dump())
        return body.getvalue()

    return encode_flat if flat else encode_nested


def _holds_words(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, Words):
        return True
    return any(_holds_words(argument) for argument in getattr(annotation, "__args__", ()))


@cache
def _decoder(schema: Schema) -> Callable[[bytes], Event]:
    event_type = Event.types.get(schema.event_type)
    if event_type is None:
        raise Undecodable(f"no event type {schema.event_type} is known to this release")
    writer = fastavro.parse_schema(orjson.loads(schema.text))
    own_text = avro_text(event_type)
    reader = None if schema.text == own_text else fastavro.parse_schema(orjson.loads(own_text))
    validate = event_type.__pydantic_validator__.validate_python
    read = fastavro.schemaless_reader

    def decode_body(body: bytes) -> Event:
        source = io.BytesIO(body)
        try:
            event: Event = validate(read(source, writer, reader))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise Undecodable(f"{schema.event_type}: {place}: {first['msg']}") from None
        except Exception as error:  # noqa: BLE001 - fastavro raises many kinds on hostile bytes, MemoryError among them
            raise Undecodable(f"{schema.event_type}: not an Avro body ({type(error).__name__})") from None
        if source.tell() != len(body):
            raise Undecodable(f"{schema.event_type}: bytes are left over after the record")
        return event

    return decode_body


@cache
def _decoder_of_many(schema: Schema) -> Callable[[Sequence[bytes]], list[Event] | None]:
    """Bodies are read as one Avro array, which takes a third off the time of each.

    A mark that no author can know stands after each body and is read as a last field of its record, so a body that ends
    early or late is noticed.
    """
    event_type = Event.types.get(schema.event_type)
    if event_type is None or schema.text != avro_text(event_type):
        return lambda _: None
    mark = secrets.token_bytes(_MARK_BYTES)
    items = orjson.loads(schema.text)
    items["fields"].append({"name": "_end", "type": {"type": "fixed", "name": "End", "size": _MARK_BYTES}})
    array = fastavro.parse_schema({"type": "array", "items": items})
    validate = TypeAdapter(list[event_type]).validator.validate_python  # type: ignore[valid-type]  # made at run time
    read = fastavro.schemaless_reader

    def decode_bodies(bodies: Sequence[bytes]) -> list[Event] | None:
        source = io.BytesIO(b"".join((_long(len(bodies)), mark.join(bodies), mark, b"\x00")))
        try:
            rows: list[dict[str, Any]] = read(source, array, None)  # type: ignore[assignment]  # its stub knows records only
            if any(row.pop("_end") != mark for row in rows) or source.read(1):
                return None
            events: list[Event] = validate(rows)
        except Exception:  # noqa: BLE001 - as above; `decode` finds the body and the words for it
            return None
        return events

    return decode_bodies


def _long(number: int) -> bytes:
    """A number from 0 on as an Avro long."""
    zigzag, written = number << 1, bytearray()
    while zigzag > 0x7F:
        written.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    written.append(zigzag)
    return bytes(written)


@cache
def _device_reader(schema: Schema) -> Callable[[bytes], tuple[str, _Form]]:
    """Reads the device of a body, and tells by which form another that names the same can be known.

    It steps over the fields before `device`; where one of them is neither text nor whole number, all is decoded.
    """
    kinds: list[Any] = []
    for field in orjson.loads(schema.text)["fields"]:
        if field["name"] == "device":
            break
        kinds.append(field["type"])
    else:
        return lambda _: ("", _each_is)
    if not all(isinstance(kind, str) and kind in _STEPPED_OVER for kind in kinds):
        return lambda body: (getattr(decode(body, schema), "device", ""), _none_is)

    def read_device(body: bytes) -> tuple[str, _Form]:
        at, form = 0, b""
        for kind in kinds:
            began, (number, at) = at, _long_at(body, at)
            if kind == "string":
                form += re.escape(body[began:at]) + b".{%d}" % number
                at = _end_of(body, number, at)
            else:
                form += _LONG_FORM
        number, began = _long_at(body, at)
        end = _end_of(body, number, began)
        return body[began:end].decode(), re.compile(form + re.escape(body[at:end]), re.DOTALL).match

    return read_device


def _none_is(_: bytes) -> bool:
    return False


def _each_is(_: bytes) -> bool:
    return True


def _end_of(body: bytes, size: int, at: int) -> int:
    """The place after a text of this size; `IndexError` where it does not lie in the body."""
    if not 0 <= size <= len(body) - at:
        raise IndexError
    return at + size


def _long_at(body: bytes, at: int) -> tuple[int, int]:
    """The Avro long at a place, and the place after it; `IndexError` where there is none."""
    zigzag, shift = body[at], 7
    if zigzag > 0x7F:
        zigzag &= 0x7F
        for byte in body[at + 1 : at + _LONG_BYTES_MAX]:
            at += 1
            zigzag |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        else:
            raise IndexError
    return (zigzag >> 1) ^ -(zigzag & 1), at + 1
