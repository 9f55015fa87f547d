"""The AsyncAPI 3.1 document of all topics, made from the one table: channels, messages, headers, who may send what.

A payload is the event's Avro schema as it is signed and kept in `schemas/avro`.
"""

from importlib import import_module
from typing import Any

import orjson

from schemas.avro_text import avro_text
from schemas.envelope import CAUSES_MAX, CONTENT_TYPE, HEADERS, INPUT_RUNS_MAX, SPECVERSION, VALUE_BYTES_MAX
from schemas.topics import STAGES, WRITERS, Role
from schemas.words import NAMESPACE, Event, wire_name

VERSION = "3.1.0"
AVRO_FORMAT = "application/vnd.apache.avro;version=1.9.0"
KAFKA_BINDING = "0.5.0"
_TIME = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z$"
_CAUSE = "[a-z]+/[^/ ]+/[1-9][0-9]{0,17}/[0-9a-f]{64}"
_TEXTS: dict[str, dict[str, Any]] = {
    "ce_specversion": {"const": SPECVERSION.decode(), "description": "CloudEvents version"},
    "content-type": {"const": CONTENT_TYPE.decode()},
    "ce_id": {"description": "The id of the event: of a stage made from its input, of a party topic.site.sequence"},
    "ce_type": {"description": "The wire name of the event", "pattern": f"^{NAMESPACE}[.][A-Za-z]+$"},
    "ce_source": {"description": "The author; no two processes share one", "examples": ["stage:policy"]},
    "ce_time": {"description": "When the author says it was said, UTC", "pattern": _TIME},
    "ce_subject": {"description": "What it is about: a job, a device, a site"},
    "traceparent": {
        "description": "W3C Trace Context; may be empty",
        "pattern": "^(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?$",
    },
    "qb_causes": {
        "description": f"At most {CAUSES_MAX} causes, topic/author/sequence/digest, blank between them; may be empty",
        "pattern": f"^({_CAUSE}( {_CAUSE})*)?$",
    },
    "qb_sequence": {"description": "The author's count of its events on this topic and site, from 1"},
    "qb_inputs": {
        "description": (
            "Of a stage: decision number/version of its rules, and the runs topic:records it read since the output "
            f"before, at most {INPUT_RUNS_MAX}. Of a party: empty"
        )
    },
    "qb_seal": {
        "description": "Binary: key id, Ed25519 signature over the RFC 6962 root of the batch, and the audit path to it"
    },
}


def asyncapi_document(version: str) -> dict[str, Any]:
    """The document, ready to be written as JSON; `version` is that of the program that speaks so."""
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "qpubus",
            "version": version,
            "license": {"name": "Apache-2.0"},
            "description": (
                "Every intent, approval, reservation, device snapshot and result is an Avro event, sealed by its "
                "author. A reader checks seal, key, role and sequence before it decodes a body. An agent writes to "
                "no topic: it hands its signed intent to the gateway."
            ),
        },
        "defaultContentType": CONTENT_TYPE.decode(),
        "servers": {"kafka": _server()},
        "channels": {topic: _channel(topic) for topic in WRITERS},
        "operations": _operations(),
        "components": {
            "messages": {event_type.__name__: _message(event_type) for event_type in _written()},
            "schemas": {"Headers": _headers()},
            "securitySchemes": {"scram": {"type": "scramSha512", "description": "One principal and ACL set a role."}},
        },
    }


def _server() -> dict[str, Any]:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka-secure",
        "description": "The engine for many machines. The embedded engine keeps the same topics in one file.",
        "variables": {"bootstrap": {"default": "localhost:9092", "description": "a bootstrap server"}},
        "security": [{"$ref": "#/components/securitySchemes/scram"}],
    }


def _channel(topic: str) -> dict[str, Any]:
    told = (import_module(f"schemas.events.{topic}").__doc__ or "").partition(": ")[2].strip()
    return {
        "address": topic,
        "title": topic,
        "description": told[:1].upper() + told[1:],
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {
            event_type.__name__: {"$ref": f"#/components/messages/{event_type.__name__}"}
            for event_type in WRITERS[topic]
        },
        "bindings": {
            "kafka": {
                "topic": topic,
                "topicConfiguration": {
                    "cleanup.policy": ["delete"],
                    "retention.ms": -1,
                    "max.message.bytes": 2 * VALUE_BYTES_MAX,
                },
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _operations() -> dict[str, Any]:
    """One operation a topic and role that writes there, and one that reads: anyone who may read reads all of it."""
    operations: dict[str, Any] = {}
    for topic, types in WRITERS.items():
        for role in Role:
            said = [event_type for event_type, roles in types.items() if role in roles]
            if said:
                what = "decides" if role in STAGES else "says"
                operations[f"{topic}.send.{role.value}"] = _operation("send", topic, said, f"What {role.value} {what}")
        operations[f"{topic}.receive"] = _operation("receive", topic, list(types), f"Everything on {topic}")
    return operations


def _operation(action: str, topic: str, types: list[type[Event]], summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{topic}/messages/{event_type.__name__}"} for event_type in types],
    }


def _message(event_type: type[Event]) -> dict[str, Any]:
    name = wire_name(event_type)
    return {
        "name": name,
        "title": event_type.__name__,
        "summary": (event_type.__doc__ or "").strip(),
        "contentType": CONTENT_TYPE.decode(),
        "headers": {
            "allOf": [{"$ref": "#/components/schemas/Headers"}, {"properties": {"ce_type": {"const": name}}}],
        },
        "payload": {"schemaFormat": AVRO_FORMAT, "schema": orjson.loads(avro_text(event_type))},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "the site"},
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _headers() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "CloudEvents in binary mode and ours. Each is there exactly once, in this order, none besides.",
        "required": list(HEADERS),
        "properties": {name: {"type": "string", **_TEXTS[name]} for name in HEADERS},
        "additionalProperties": False,
    }


def _written() -> list[type[Event]]:
    return list(dict.fromkeys(event_type for types in WRITERS.values() for event_type in types))
