"""The published OCSF schema as a judge of exports: that of 1.8 as packaged, with what 1.9 adds and we use.

`ocsf-json-schema` (MIT) packages the compiled schemas up to 1.8.0. What 1.9.0 (3 August 2026, Apache 2.0,
github.com/ocsf/ocsf-schema) added for `record_integrity` is three short definitions: the profile of that name, which
gives every class an `attestation_list`, and the objects `attestation` and `prev_event`. Their attributes, types and
requirements are told here in our words.
"""

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

PACKAGED, VERSION, PROFILE = "1.8.0", "1.9.0", "record_integrity"

Attributes = dict[str, dict[str, Any]]


def _object(type_: str, requirement: str, *, is_array: bool = False) -> dict[str, Any]:
    shown = {"type": "object_t", "object_type": type_, "requirement": requirement, "caption": type_}
    return shown | ({"is_array": True} if is_array else {})


def _value(type_: str, requirement: str) -> dict[str, Any]:
    return {"type": type_, "requirement": requirement, "caption": type_}


_ATTESTATION: Attributes = {
    "uid": _value("string_t", "optional"),
    "authority_uid": _value("string_t", "recommended"),
    "chain_uid": _value("string_t", "recommended"),
    "fingerprint": _object("fingerprint", "recommended"),
    "prev_event": _object("prev_event", "recommended"),
    "signatures": _object("digital_signature", "recommended", is_array=True),
}
_PREV_EVENT: Attributes = {
    "uid": _value("string_t", "required"),
    "type_uid": _value("long_t", "recommended"),
    "fingerprint": _object("fingerprint", "optional"),
}


@cache
def _schema() -> OcsfJsonSchemaEmbedded:
    schema = get_ocsf_schema(version=PACKAGED)
    schema["version"] = VERSION
    at_least_one = {"at_least_one": ["fingerprint", "signatures"]}
    schema["objects"]["attestation"] = {"caption": "", "attributes": _ATTESTATION, "constraints": at_least_one}
    schema["objects"]["prev_event"] = {"caption": "", "attributes": _PREV_EVENT}
    for each in schema["classes"].values():
        each["attributes"]["attestation_list"] = _object("attestation", "optional", is_array=True) | {
            "profiles": [PROFILE]
        }
    return OcsfJsonSchemaEmbedded(schema)


@cache
def _validator(class_uid: int, profiles: tuple[str, ...]) -> Draft202012Validator:
    name = _schema().lookup_class_name_from_uid(class_uid)
    return Draft202012Validator(_schema().get_class_schema(name, list(profiles)))


def faults(event: dict[str, Any]) -> list[str]:
    """What the schema finds wrong with an event, by the class and the profiles that the event itself names."""
    validator = _validator(event["class_uid"], tuple(event["metadata"].get("profiles", ())))
    return [f"{each.json_path}: {each.message}" for each in validator.iter_errors(event)]
