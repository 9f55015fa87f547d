"""`python -m tests.support.golden` writes a golden file for each event whose schema has none yet; see tests/golden."""

import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Union

import orjson

from schemas.avro_text import avro_text
from schemas.codec import Schema, own_schemas, published
from schemas.envelope import Cause, Inputs, Record, headers_of, received, record_digest
from schemas.events import AlarmRang, KeyEnrolled, SchemaPublished
from schemas.keys import raw_public_key
from schemas.manifest import Manifest
from schemas.topics import STAGES, WRITERS, Role
from schemas.words import Event, Words
from streams.author import Draft, Scribe, seal_all
from tests.support.signed import NOW_US, SITE, enrolment, private_key

FOLDER = Path(__file__).parents[1] / "golden"
_MADE = {
    int: 17,
    float: 0.25,
    bool: True,
    bytes: b"0123456789abcdef0123456789abcdef",
    str: "a text",
}
_NAMED: dict[str, Any] = {"circuit": "T1BFTlFBU00gMzs=", "callback": "https://example.com/x"}


class Golden(NamedTuple):
    """A version of an event as it is kept."""

    path: Path
    schema: Schema
    public_key: bytes
    role: str
    record: Record
    digest: str
    event: dict[str, Any]


def goldens() -> Iterator[Golden]:
    """All that are kept."""
    for path in sorted(FOLDER.glob("*.json")):
        kept = orjson.loads(path.read_bytes())
        headers = [(name, text.encode()) for name, text in kept["headers"]]
        headers.append(("qb_seal", bytes.fromhex(kept["seal"])))
        record = received(kept["topic"], kept["key"].encode(), bytes.fromhex(kept["value"]), headers)
        assert isinstance(record, Record), path
        schema = published(kept["schema_id"], kept["schema"])
        public_key = bytes.fromhex(kept["public_key"])
        yield Golden(path, schema, public_key, kept["role"], record, kept["digest"], kept["event"])


def shown(event: Event) -> Any:
    """An event as JSON, bytes in hex."""
    return orjson.loads(orjson.dumps(event.model_dump(), default=bytes.hex))


def sample(words: type[Words]) -> Any:
    """An instance with every field filled."""
    if words is Manifest:
        return _manifest()
    if words is SchemaPublished:
        return SchemaPublished(schema_id=17, event_type="qpubus.AlarmRang", text=avro_text(AlarmRang))
    if words is KeyEnrolled:
        return enrolment("device:golden", "device", ("golden",))
    return words(**{name: _value(name, info.annotation, info.metadata) for name, info in words.model_fields.items()})


def _manifest() -> Manifest:
    filled = {
        name: _value(name, info.annotation, info.metadata)
        for name, info in Manifest.model_fields.items()
        if name not in {"artifacts", "classical", "loop", "signature"}
    }
    return Manifest(
        **filled,
        artifacts={"prep.py": "ab" * 32, "step.py": "cd" * 32},
        classical={"preprocessing": "python:prep.py"},
        loop={"step": "python:step.py", "iterations_max": 3, "convergence": 0.5},
    )


def _value(name: str, annotation: Any, metadata: list[Any]) -> Any:
    if name in _NAMED and annotation is not int:
        return _NAMED[name]
    for limit in metadata:
        if digits := re.fullmatch(r"\^\[0-9a-f\]\{(\d+)\}\$", getattr(limit, "pattern", None) or ""):
            return "ab" * (int(digits[1]) // 2)
        if getattr(limit, "pattern", None):
            return "a-name"
        if annotation is bytes and hasattr(limit, "min_length"):
            return bytes(limit.min_length)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _value(name, arguments[0], list(getattr(arguments[1], "metadata", arguments[1:])))
    if origin is typing.Literal:
        return arguments[-1]
    if origin in (Union, types.UnionType):
        return _value(name, arguments[0], [])
    if origin is tuple:
        return (_value("", arguments[0], []),)
    if origin is Mapping:
        return {"a": _value("", arguments[1], [])}
    if isinstance(annotation, type) and issubclass(annotation, Words):
        return sample(annotation)
    return _MADE[annotation]


def _kept(schema: Schema) -> dict[str, Any]:
    event = sample(Event.types[schema.event_type])
    topic, role = _writer(type(event))
    source, key = f"{role.value}:golden", private_key(f"golden {role.value}")
    scribe = Scribe(source, SITE, {schema.event_type: schema})
    causes = (Cause("intents", "gateway:main", 17, "9f" * 32),)
    inputs = Inputs(12, 1, (("governance", 3), ("intents", 1))) if role in STAGES else None
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    draft = Draft(topic, event, "a-job", NOW_US, causes, trace, inputs)
    record = seal_all([scribe.write(draft) for _ in range(3)], key)[1]
    return {
        "schema": schema.text,
        "schema_id": schema.schema_id,
        "public_key": raw_public_key(key).hex(),
        "role": role.value,
        "topic": topic,
        "key": record.key,
        "value": record.value.hex(),
        "headers": [(name, text.decode()) for name, text in headers_of(record)[:-1]],
        "seal": record.seal.hex(),
        "digest": record_digest(record, schema.digest).hex(),
        "event": shown(event),
    }


def _writer(event_type: type[Event]) -> tuple[str, Role]:
    for topic, written in WRITERS.items():
        if event_type in written:
            return topic, min(written[event_type], key=lambda role: role.value)
    raise LookupError(event_type.__name__)


def write_missing() -> list[Path]:
    """Write a file for each event whose present schema has none."""
    known = {(golden.schema.event_type, golden.schema.text) for golden in goldens()}
    written = []
    for schema in own_schemas():
        if (schema.event_type, schema.text) in known:
            continue
        name = schema.event_type.split(".")[1]
        path = FOLDER / f"{name}.{len(list(FOLDER.glob(f'{name}.*.json'))) + 1}.json"
        path.write_bytes(orjson.dumps(_kept(schema), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        written.append(path)
    return written


if __name__ == "__main__":
    write_missing()
