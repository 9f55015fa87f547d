"""`qpubus-verify BUNDLE`: verifies a bundle with nothing but the standard library and `cryptography`.

This file shares no code with the rest of qpubus and may be carried away alone: `python standalone.py BUNDLE` does
the same. It believes nothing that is not signed under the root key; whether that is the right one, only you can say.

A bundle is one RFC 8785 JSON object:

    artifacts     SHA-256 → base64 of the document, or null where it was left out
    checkpoints   topic → signed note of its tree (C2SP tlog-checkpoint, with cosignatures if there are any)
    dsse          in-toto statement with SLSA provenance in a DSSE envelope, signed by an auditor's key
    format, kind  1, "qpubus bundle"
    job, site, partition
    records       the log's records, each with its place and an inclusion proof. The text of the proof, an empty line
                  and the topic's checkpoint are together a C2SP tlog-proof of the record's digest. What is no event of
                  the site is there as the pre-image of its digest: another site's statement, or a record in no form.
                  Where words are withheld, `value` is the frame alone and `body` the SHA-256 of what stood behind it;
                  of a record that is no event of any site there is its `digest`
    root          the site's root public key, in hex

What is checked: root → keys → roles → seals → statements → causes → inclusion proofs → the signatures of agent, gateway
and person inside events → artefacts → the auditor's statement over all of it.

Where words are withheld, all of this is checked but what these words alone could show; the report says what that is.

Exit 0: sound. 2: tampered. 3: incomplete. 4: unreadable. 5: sound, but not covered by the witnesses asked for. 1: the
report could not be written.
"""

import argparse
import base64
import binascii
import hashlib
import heapq
import json  # noqa: TID251 (this file may import nothing that is not in the standard library)
import os
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

SOUND, UNTOLD, TAMPERED, INCOMPLETE, UNREADABLE, UNCOVERED, USAGE = 0, 1, 2, 3, 4, 5, 64
VERDICTS = {0: "sound", 2: "tampered", 3: "incomplete", 4: "unreadable", 5: "uncovered"}

BUNDLE_BYTES_MAX = 64 << 20
VALUE_BYTES_MAX = 1 << 20
HEADER_BYTES_MAX = 16_384
BATCH_MAX = 4_096
CAUSES_MAX = 64
RUNS_MAX = 256
DEPTH_MAX = 32
SKEW_US_MAX = 5 * 60 * 1_000_000
INTEGER_MAX = 2**53 - 1
COMPLETED_MAX = 1 << 20
ASKED_MAX = 64
FAILURES_MAX = 10_000
FINDINGS_SHOWN = 20

TEXTS = ("causes", "id", "inputs", "key", "sequence", "source", "subject", "time", "traceparent", "type")
HEADERS = ("id", "type", "source", "time", "subject", "traceparent", "causes", "sequence", "inputs")
HEADER_NAMES = (
    *("ce_specversion", "content-type", "ce_id", "ce_type", "ce_source", "ce_time", "ce_subject", "traceparent"),
    *("qb_causes", "qb_sequence", "qb_inputs", "qb_seal"),
)
SPECVERSION, CONTENT_TYPE = b"1.0", b"application/vnd.confluent.avro"

_STAGES = frozenset({"orchestrator", "policy", "scheduler", "guard"})
_ROLES = _STAGES | {
    *("admin", "gateway", "agent", "approver", "operator", "device", "sandbox", "clock", "auditor", "sealer"),
    *("witness", "callbacks"),
}
_GOVERNORS = "root admin"
WRITERS: Mapping[str, Mapping[str, str]] = {
    "governance": {
        **dict.fromkeys(
            ("SiteFounded", "SchemaPublished", "KeyEnrolled", "KeyRevoked", "GapAccepted", "PolicyPublished",
             "PriceListPublished", "BudgetSet", "SubjectErased"), _GOVERNORS),
        **dict.fromkeys(
            ("MandateGranted", "MandateRevoked", "AutonomyGranted", "AutonomyRevoked", "HaltOrdered", "HaltLifted"),
            f"{_GOVERNORS} gateway"),
    },
    "intents": {
        **dict.fromkeys(("IntentDeclared", "IntentWithdrawn", "TraceSealed", "CalibrationRequested"), "gateway"),
        **dict.fromkeys(("StepPlanned", "JobCompleted", "JobFailed", "JobCancelled", "InputsNoted"), "orchestrator"),
    },
    "approvals": {
        **dict.fromkeys(
            ("BudgetHeld", "BudgetCaptured", "BudgetReleased", "IntentAdmitted", "IntentRefused", "ApprovalRequested",
             "ApprovalExpired", "ApprovalRejected", "ApprovalCounted", "ApprovalInvalidated", "AutonomyProposed",
             "AutonomySuspended", "InputsNoted"), "policy"),
        **dict.fromkeys(("ApprovalGranted", "ApprovalDenied", "ApprovalPresented"), "gateway"),
    },
    "reservations": {
        **dict.fromkeys(
            ("PlacementOffered", "ReservationGranted", "ReservationRefused", "ReservationExpired"), "device"),
        **dict.fromkeys(
            ("PlacementDecided", "ReservationRequested", "ReservationReleased", "InputsNoted"), "scheduler"),
    },
    "snapshots": dict.fromkeys(
        ("DeviceSnapshotTaken", "DeviceStatusChanged", "CalibrationFinished"), "device"),
    "results": {
        **dict.fromkeys(("StepStarted", "StepCompleted", "StepFailed", "StepOutcomeUnknown"), "device sandbox"),
        **dict.fromkeys(("ShotsMeasured", "RunCancelled"), "device"),
        **dict.fromkeys(("RunCancelDecided", "InputsNoted"), "guard"),
        "ArtifactStored": "device sandbox gateway",
        "ResultRecorded": "orchestrator",
        "ReproductionMeasured": "auditor",
        "CallbackDelivered": "callbacks",
    },
    "alarms": {"AlarmSet": "orchestrator policy scheduler guard", "AlarmRang": "clock"},
    "checkpoints": {"CheckpointSealed": "sealer", "CheckpointWitnessed": "witness"},
    "deadletters": {"EventRejected": "orchestrator policy scheduler guard"},
}  # fmt: skip
"""Topic → event type → the roles that may write it there."""
REJECTS = {
    "governance": "policy",
    "intents": "policy",
    "approvals": "orchestrator",
    "reservations": "scheduler",
    "snapshots": "scheduler",
    "results": "orchestrator",
    "alarms": "orchestrator",
}
"""Topic → the role that rejects its records on `deadletters`."""


_OF_BYTES = frozenset(
    (
        "seal_broken", "seal_malformed", "key_unknown", "sequence_repeated", "sequence_malformed", "role_forbidden",
        "source_forbidden", "site_foreign", "schema_unknown", "type_mismatch", "time_ahead", "time_malformed",
        "causes_malformed", "inputs_malformed", "device_forbidden", "body_undecodable", "frame_malformed",
        "value_oversized", "header_oversized",
    )
)  # fmt: skip
"""Reasons for which no record can be rejected that holds."""
_OF_WORDS = frozenset({"body_undecodable", "device_forbidden", "value_oversized"})
"""Those of them that cannot be seen of a record whose words are withheld."""
_EXCUSES: Mapping[str, str] = {
    "IntentDeclared": "IntentRefused",
    "ApprovalGranted": "ApprovalRejected",
    "ApprovalDenied": "ApprovalRejected",
}
"""What policy says of an event whose signatures inside do not hold; it names that event as its cause."""
_SHOWN = frozenset({"SchemaPublished", "KeyEnrolled", "KeyRevoked", "EventRejected"})
"""What may not be withheld: without it nothing else could be believed, or a revocation could be hidden."""
_UNCHECKED: Mapping[str, tuple[str, ...]] = {
    "that the agent signed the manifest, and the gateway what it completed": ("IntentDeclared",),
    "that the agent signed its withdrawal": ("IntentWithdrawn",),
    "that what the approver signed is what was asked": ("ApprovalRequested", "ApprovalDenied"),
    "that people signed what they are said to have ordered": (
        "MandateGranted", "MandateRevoked", "AutonomyGranted", "AutonomyRevoked", "HaltOrdered", "HaltLifted",
    ),
    "that calibrations were asked for by agents": ("CalibrationRequested",),
    "that the decision trace is the one that the manifest names": ("TraceSealed",),
    "that policy admitted this intent, under which rules": ("IntentAdmitted",),
    "that no step and no shot is missing": ("StepPlanned", "ShotsMeasured", "StepCompleted"),
    "which result was recorded": ("ResultRecorded",),
}  # fmt: skip
"""What cannot be checked where events of these types are there without their words."""


class Unreadable(Exception):
    """The file is no bundle; the message says where."""


class Wrong(Exception):
    """Something that is signed for does not hold. `reason` is a stable code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


# -- JSON as RFC 8785 has it ------------------------------------------------------------------------------------------


def read_json(data: bytes) -> Any:
    """The value in a JSON text; `ValueError` for a repeated member, an unsafe number, or what is no JSON."""
    try:
        return json.loads(
            data.decode(),
            object_pairs_hook=_members,
            parse_int=_safe_integer,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has a member twice")
    return members


def _safe_integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > INTEGER_MAX:
        raise ValueError("an integer is beyond ±(2⁵³ − 1)")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError("a number is not finite")
    return number


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def canonical(value: Any) -> bytes:
    """The RFC 8785 form of a value; `ValueError` if it has none."""
    try:
        return _canonical(value).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _canonical(value: Any) -> str:
    match value:
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case int():
            if abs(value) > INTEGER_MAX:
                raise ValueError("an integer is beyond ±(2⁵³ − 1)")
            return str(value)
        case float():
            return number_text(value)
        case list():
            return f"[{','.join(map(_canonical, value))}]"
        case dict():
            names = sorted(value, key=lambda name: name.encode("utf-16-be"))
            return f"{{{','.join(f'{_canonical(name)}:{_canonical(value[name])}' for name in names)}}}"
        case _:
            raise ValueError(f"{type(value).__name__} is no JSON")


def number_text(number: float) -> str:
    """A number as ECMAScript writes it."""
    if number - number != 0:
        raise ValueError("a number is not finite")
    if number == 0:
        return "0"
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, part = mantissa.partition(".")
    part = "" if part == "0" else part
    digits = (whole + part).lstrip("0")
    point = len(digits) - len(part) + int(exponent or 0)
    digits = digits.rstrip("0")
    sign = "-" if number < 0 else ""
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{'+' if point > 0 else ''}{point - 1}"


def plain(value: Any) -> Any:
    """A value without absent fields."""
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items() if member is not None}
    return list(map(plain, value)) if isinstance(value, list) else value


def unbase64(text: Any, what: str) -> bytes:
    """Bytes from base64 in its one canonical form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Unreadable(f"{what} is not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Unreadable(f"{what} is not base64 in its canonical form")
    return data


# -- Hashes, trees, signatures ----------------------------------------------------------------------------------------


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962: hash of a leaf."""
    return sha256(b"\x00" + entry)


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a leaf and its audit path lead to (RFC 9162 §2.1.3.2); None for a path of another length."""
    if not 0 <= index < size:
        return None
    at, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            root = sha256(b"\x01" + sibling + root)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            root = sha256(b"\x01" + root + sibling)
        at, last = at >> 1, last >> 1
    return root if last == 0 else None


def hashes_of(joined: bytes) -> list[bytes]:
    """Hashes that stand one behind the other."""
    return [joined[at : at + 32] for at in range(0, len(joined), 32)]


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type.encode()), payload_type.encode(), len(payload), payload)


@lru_cache(1_024)
def public_key(raw: bytes) -> Ed25519PublicKey | None:
    """The key behind 32 bytes; None if it is not canonical, no point of the curve, or of low order."""
    p = 2**255 - 19
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if len(raw) != 32 or y >= p:
        return None
    d = -121665 * pow(121666, -1, p) % p
    x_squared = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    if x_squared and pow(x_squared, (p - 1) // 2, p) != 1:
        return None
    if _has_low_order(y, x_squared, p, d):
        return None
    try:
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        return None


def _has_low_order(y: int, x_squared: int, p: int, d: int) -> bool:
    """Whether eight times the point is the neutral element. Only x² is needed, as doubling keeps that closed."""
    for _ in range(3):
        t = d * x_squared * y * y % p
        x_of_double = pow(1 + t, -2, p) * 4 * x_squared * y * y % p
        y = (y * y + x_squared) * pow(1 - t, -1, p) % p
        x_squared = x_of_double
    return x_squared == 0 and y == 1


def holds(raw_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether an Ed25519 signature holds under a key that anyone should trust."""
    key = public_key(raw_key)
    if key is None:
        return False
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def key_id_of(raw_key: bytes) -> str:
    """The name of a key."""
    return sha256(raw_key).hex()[:32]


# -- Avro, as far as the schemas of a log use it ----------------------------------------------------------------------

Read = Callable[["Body", int], Any]


class Body:
    """Avro bytes that are read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self.at

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if not 0 <= count <= self.left:
            raise Wrong("body_undecodable", "the body ends early")
        self.at += count
        return self._data[self.at - count : self.at]

    def long(self) -> int:
        """A zig-zag number."""
        number = shift = 0
        while shift < 64:
            [byte] = self.take(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                number &= 2**64 - 1
                return (number >> 1) ^ -(number & 1)
            shift += 7
        raise Wrong("body_undecodable", "a number has over ten bytes")


class Schema:
    """An Avro record schema of a log: reads bodies, and completes JSON objects by its defaults."""

    def __init__(self, text: str) -> None:
        self.digest = sha256(text.encode()).hex()
        try:
            parsed = read_json(text.encode())
        except (ValueError, UnicodeEncodeError) as error:
            raise Wrong("body_undecodable", f"a schema is not JSON: {error}") from None
        self._records: dict[str, dict[str, Any]] = {}
        self._readers: dict[str, list[tuple[str, Read]]] = {}
        self._completed = 0
        self._read = self._reader(parsed, 0)
        if not isinstance(parsed, dict) or parsed.get("type") != "record":
            raise Wrong("body_undecodable", "a schema is of no record")
        self.name = self._full_name(parsed)

    def read(self, data: bytes) -> dict[str, Any]:
        """The fields of a record in a body; every byte must be used."""
        body = Body(data)
        try:
            fields: dict[str, Any] = self._read(body, 0)
        except RecursionError:
            raise Wrong("body_undecodable", "a body is nested too deeply") from None
        if body.left:
            raise Wrong("body_undecodable", "bytes are left over after the record")
        return fields

    def completed(self, name: str, value: Any) -> Any:
        """A JSON object as the fields of a record that occurs in this schema, with defaults where it says nothing."""
        if name not in self._records:
            raise Wrong("proof_invalid", f"the schema has no {name}")
        self._completed = 0
        try:
            return self._complete(self._records[name], value)
        except RecursionError:
            raise Wrong("proof_invalid", "the manifest is nested too deeply") from None

    def _full_name(self, record: Mapping[str, Any]) -> str:
        name, space = record.get("name"), record.get("namespace")
        if not isinstance(name, str) or not isinstance(space, str):
            raise Wrong("body_undecodable", "a record of a schema has no name")
        return f"{space}.{name}"

    def _reader(self, type_: Any, depth: int) -> Read:
        if depth > DEPTH_MAX:
            raise Wrong("body_undecodable", "a schema is nested too deeply")
        match type_:
            case "string":
                return _read_string
            case "bytes":
                return lambda body, _: body.take(body.long())
            case "long":
                return lambda body, _: body.long()
            case "double":
                return _read_double
            case "boolean":
                return _read_boolean
            case ["null", other]:
                return _optional(self._reader(other, depth + 1))
            case {"type": "array", "items": items}:
                return _array(self._reader(items, depth + 1))
            case {"type": "map", "values": values}:
                return _map(self._reader(values, depth + 1))
            case {"type": "record", "fields": list(fields)} if fields:
                return self._record(type_, fields, depth)
            case str() if type_ in self._readers:
                return self._by_name(type_)
        raise Wrong("body_undecodable", f"a schema has a type that no log has: {str(type_)[:80]!r}")

    def _record(self, type_: dict[str, Any], fields: list[Any], depth: int) -> Read:
        name = self._full_name(type_)
        if name in self._readers:
            raise Wrong("body_undecodable", f"a schema says twice what {name} is")
        readers = self._readers[name] = []
        self._records[name] = type_
        for each in fields:
            if not isinstance(each, dict) or not isinstance(each.get("name"), str):
                raise Wrong("body_undecodable", f"a field of {name} has no name")
            readers.append((each["name"], self._reader(each.get("type"), depth + 1)))
        return self._by_name(name)

    def _by_name(self, name: str) -> Read:
        readers = self._readers[name]

        def read(body: Body, depth: int) -> dict[str, Any]:
            if depth > DEPTH_MAX:
                raise Wrong("body_undecodable", "a body is nested too deeply")
            return {field: read(body, depth + 1) for field, read in readers}

        return read

    def _complete(self, type_: Any, value: Any) -> Any:
        self._completed += 1
        if self._completed > COMPLETED_MAX:
            raise Wrong("proof_invalid", "the defaults of the schema have no end")
        match type_:
            case "double" if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
            case "long" if isinstance(value, int) and not isinstance(value, bool):
                return value
            case "string" if isinstance(value, str):
                return value
            case "boolean" if isinstance(value, bool):
                return value
            case ["null", other]:
                return None if value is None else self._complete(other, value)
            case {"type": "array", "items": items} if isinstance(value, list):
                return [self._complete(items, each) for each in value]
            case {"type": "map", "values": values} if isinstance(value, dict):
                return {name: self._complete(values, each) for name, each in value.items()}
            case {"type": "record", "fields": fields} if isinstance(value, dict):
                return self._complete_record(fields, value)
            case str() if type_ in self._records:
                return self._complete(self._records[type_], value)
        raise Wrong("proof_invalid", f"a value is not of the type {str(type_)[:80]!r}")

    def _complete_record(self, fields: list[dict[str, Any]], value: dict[str, Any]) -> dict[str, Any]:
        unknown = value.keys() - {each["name"] for each in fields}
        lacking = [each["name"] for each in fields if each["name"] not in value and "default" not in each]
        if unknown or lacking:
            raise Wrong("proof_invalid", f"fields are unknown or missing: {[*sorted(unknown), *lacking][:4]}")
        return {
            each["name"]: self._complete(each["type"], value.get(each["name"], each.get("default"))) for each in fields
        }


def _read_string(body: Body, _: int) -> str:
    try:
        return body.take(body.long()).decode()
    except UnicodeDecodeError:
        raise Wrong("body_undecodable", "a text is not UTF-8") from None


def _read_double(body: Body, _: int) -> float:
    number: float = struct.unpack("<d", body.take(8))[0]
    if number - number != 0:
        raise Wrong("body_undecodable", "a number is not finite")
    return number


def _read_boolean(body: Body, _: int) -> bool:
    byte = body.take(1)
    if byte > b"\x01":
        raise Wrong("body_undecodable", "a truth value is neither 0 nor 1")
    return byte == b"\x01"


def _optional(read: Read) -> Read:
    def read_optional(body: Body, depth: int) -> Any:
        branch = body.long()
        if branch not in (0, 1):
            raise Wrong("body_undecodable", "a union has two branches")
        return read(body, depth + 1) if branch else None

    return read_optional


def _blocks(body: Body) -> Iterator[int]:
    """The number of items in each block; each item has a byte at least."""
    while count := body.long():
        if count < 0:
            count = -count
            body.long()
        if count > body.left:
            raise Wrong("body_undecodable", "a list claims more items than there are bytes")
        yield count


def _array(read: Read) -> Read:
    return lambda body, depth: [read(body, depth + 1) for count in _blocks(body) for _ in range(count)]


def _map(read: Read) -> Read:
    return lambda body, depth: {
        _read_string(body, depth): read(body, depth + 1) for count in _blocks(body) for _ in range(count)
    }


# -- Records, statements, seals ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """A record of the log as the bundle has it.

    `withheld` is the SHA-256 of a body that is not there, where `value` is the frame alone; it is empty elsewhere.
    """

    topic: str
    offset: int
    append_time_us: int
    texts: Mapping[str, str]
    value: bytes
    seal: bytes
    proof: str
    withheld: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """Where it stands."""
        return self.topic, self.offset

    def statement(self, schema_digest: str) -> bytes:
        """What is signed: RFC 8785 JSON of all that gives the event its meaning."""
        said = {name: self.texts[name] for name in TEXTS}
        body = self.withheld or sha256(self.value[5:]).hex()
        return canonical({**said, "topic": self.topic, "schema": schema_digest, "body": body, "version": "1"})

    def raw_digest(self) -> bytes:
        """The name of a record that has no statement."""
        texts = [SPECVERSION, CONTENT_TYPE, *(self.texts[name].encode() for name in HEADERS), self.seal]
        parts = [self.topic.encode(), self.texts["key"].encode(), self.value]
        parts += [part for name, text in zip(HEADER_NAMES, texts, strict=True) for part in (name.encode(), text)]
        return sha256(b"\x01" + b"".join(len(part).to_bytes(8, "big") + part for part in parts))


@dataclass(frozen=True)
class Other:
    """A record that is no event of the site, as the bundle has it: the bytes of which its digest is made.

    Where these are `withheld` there is their digest, and `preimage` is empty.
    """

    topic: str
    offset: int
    proof: str
    preimage: bytes
    withheld: bytes = b""

    @property
    def digest(self) -> bytes:
        """The record's name."""
        return self.withheld or sha256(self.preimage)

    @property
    def place(self) -> tuple[str, int]:
        """Where it stands."""
        return self.topic, self.offset

    def judge(self, site: str) -> None:
        """Pass over what is another site's; `Wrong` for what is not, with the reason that the log's readers give."""
        if self.withheld:
            raise Wrong("record_withheld", "of the record there is the digest alone, and no stage has rejected it")
        try:
            if self.preimage[:1] == b"\0":
                said = read_json(self.preimage[1:])
                is_other = isinstance(said, dict) and said.get("topic") == self.topic and said.get("key") != site
                reason = "" if is_other else "record_withheld"
            else:
                topic, key, value, *headers = _parts(self.preimage)
                is_other = key not in {None, b"", site.encode()} and _is_text(key)
                reason = "" if is_other else _why_stray(key, value, headers)
                reason = reason if topic == self.topic.encode() else "record_withheld"
        except ValueError:
            raise Wrong(
                "record_withheld", "of the record there is neither the whole nor what its digest is made of"
            ) from None
        if reason:
            raise Wrong(reason, "the record is not in the form of an event")


def _parts(preimage: bytes) -> list[bytes | None]:
    """The parts of a record as received: topic, key, value, name and text of each header; `ValueError` if none."""
    parts: list[bytes | None] = []
    at = 1
    while at < len(preimage):
        length, at = preimage[at : at + 8], at + 8
        size = 0 if length == b"\xff" * 8 else int.from_bytes(length, "big")
        if len(length) < 8 or size > len(preimage) - at:
            raise ValueError("it ends early")
        parts.append(None if length == b"\xff" * 8 else preimage[at : at + size])
        at += size
    if preimage[:1] != b"\1" or len(parts) < 3 or len(parts) % 2 == 0:
        raise ValueError("it is no pre-image")
    return parts


def _is_text(data: bytes | None) -> bool:
    return data is not None and _TEXT.match(data.decode("latin-1")) is not None


def _why_stray(key: bytes | None, value: bytes | None, headers: Sequence[bytes | None]) -> str:
    """The reason for which a record of the site that is not in the form of an event is refused."""
    names, texts = [name or b"" for name in headers[::2]], [text or b"" for text in headers[1::2]]
    known = [name.encode() for name in HEADER_NAMES]
    if value is None:
        return "tombstone"
    if not key or not _is_text(key):
        return "key_malformed"
    if set(known) - set(names):
        return "header_missing"
    for name in names:
        if name not in known:
            return "header_unknown"
        if names.count(name) > 1:
            return "header_repeated"
    if names != known:
        return "header_order"
    fixed = texts[:2] == [SPECVERSION, CONTENT_TYPE]
    return "record_withheld" if fixed and all(map(_is_text, texts[2:-1])) else "header_malformed"


class Seal(NamedTuple):
    """A batch signature, and the way from an event to the root that it signs."""

    signature: bytes
    place: int
    size: int
    path: list[bytes]


@dataclass
class Key:
    """An enrolled key."""

    key_id: str
    raw: bytes
    source: str
    role: str
    devices: list[str]
    revoked: bool = False
    revoked_at: int = 0
    counts_to: dict[str, int] | None = None
    proof_type: str = "ed25519"
    algorithm: str = "Ed25519"
    relying_party: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Event:
    """A record whose seal holds under a key that may say so."""

    record: Record
    type: str
    fields: dict[str, Any]
    digest: str
    key: Key
    sequence: int
    time_us: int
    causes: list[tuple[str, str, int, str]]

    @property
    def name(self) -> tuple[str, str, int]:
        """How others name it as a cause."""
        return self.record.topic, self.key.source, self.sequence

    @property
    def job(self) -> str:
        """The job that it is about; where its words are withheld, its subject."""
        return self.record.texts["subject"] if self.record.withheld else self.text("job_id")

    def text(self, name: str) -> str:
        """A field that is a text; empty where it is none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    def get(self, name: str, kind: Any) -> Any:
        """A field of this type; `Wrong` if it is none, as a schema could say."""
        value = self.fields.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise Wrong("body_undecodable", f"{self.type} has no {name} as it should be")
        return value


class Finding(NamedTuple):
    """Something that is not as it should be. What may follow from others has a higher rank."""

    rank: int
    place: str
    reason: str
    detail: str
    is_missing: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}: {self.detail}"


_CAUSE = re.compile(r"([a-z]+)/([^/ ]+)/([1-9][0-9]{0,17})/([0-9a-f]{64})\Z")
_DECIDED = re.compile(r"[1-9][0-9]{0,17}/[1-9][0-9]{0,17}( [a-z]+:[1-9][0-9]{0,17}){0,256}\Z")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}\Z")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z\Z")
_TEXT = re.compile(r"[ !#-\[\]-~]*\Z")
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_SEAL = struct.Struct(">c16s64sII")


def causes_of(text: str) -> list[tuple[str, str, int, str]]:
    """The causes in a header."""
    words = text.split(" ") if text else []
    matches = [_CAUSE.match(word) for word in words]
    if len(words) > CAUSES_MAX or not all(matches):
        raise Wrong("causes_malformed", "the header qb_causes does not name causes")
    return [(match[1], match[2], int(match[3]), match[4]) for match in matches if match]


def time_us_of(text: str) -> int:
    """Microseconds since 1970."""
    if not _TIME.match(text):
        raise Wrong("time_malformed", f"{text[:40]!r} is no UTC time with six decimals")
    try:
        return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    except ValueError:
        raise Wrong("time_malformed", f"{text!r} is no time of the calendar") from None


class Ledger:
    """What governance has said so far: keys and schemas. It judges records one after the other."""

    def __init__(self, root: bytes, site: str) -> None:
        self.site = site
        self.keys = {key_id_of(root): Key(key_id_of(root), root, "root", "root", [])}
        self.schemas: dict[int, Schema] = {}
        self.signatures = 0
        self._held: set[tuple[str, bytes, int, bytes]] = set()
        self._sequences: dict[tuple[str, str], int] = {}

    def judge(self, record: Record) -> Event:
        """The event in a record, or `Wrong`; what governance says counts from the next record on."""
        texts, topic = record.texts, record.topic
        key, seal = self._claimed(record)
        if len(record.value) > VALUE_BYTES_MAX:
            raise Wrong("value_oversized", f"the value has {len(record.value)} bytes")
        if texts["key"] != self.site:
            raise Wrong("site_foreign", "the record is of another site")
        if texts["source"] != key.source:
            raise Wrong("source_forbidden", f"the key {key.key_id} is not of {texts['source'][:64]}")
        schema = self._schema(record)
        if schema.name != texts["type"]:
            raise Wrong("type_mismatch", f"its schema is not of {texts['type'][:64]}")
        statement = record.statement(schema.digest)
        if len(statement) + len(record.seal) > HEADER_BYTES_MAX:
            raise Wrong("header_oversized", f"the headers have over {HEADER_BYTES_MAX} bytes")
        digest = sha256(b"\x00" + statement)
        self._check_seal(seal, digest, key)
        sequence = self._count(record, key)
        time_us, causes = self._check_header(record, key)
        name = texts["type"].removeprefix("qpubus.")
        if key.role not in WRITERS[topic].get(name, "").split():
            raise Wrong("role_forbidden", f"role {key.role} may not write {name[:64]} to {topic}")
        if record.withheld and name in _SHOWN:
            raise Wrong("body_withheld", f"what {name} says must be there, or it could say anything")
        fields = {} if record.withheld else schema.read(record.value[5:])
        event = Event(record, name, fields, digest.hex(), key, sequence, time_us, causes)
        if key.devices and event.fields.get("device", "") not in [*key.devices, ""]:
            raise Wrong("device_forbidden", f"the key {key.key_id} may not speak for this device")
        if topic == "governance":
            self._govern(event, schema)
        return event

    def schema_of(self, record: Record) -> Schema | None:
        """The schema by which a record's value is framed, if it is published."""
        number = int.from_bytes(record.value[1:5], "big")
        return self.schemas.get(number) if len(record.value) >= 5 and record.value[0] == 0 else None

    def _schema(self, record: Record) -> Schema:
        schema = self.schema_of(record)
        if schema is None and not self.schemas and record.topic == "governance" and record.value[:5] == b"\0\0\0\0\1":
            return _first_schema(record.value[5:])
        if len(record.value) < 5 or record.value[0] != 0:
            raise Wrong("frame_malformed", "the value does not begin with 00 and a schema id")
        if schema is None:
            raise Wrong("schema_unknown", "no such schema is published")
        return schema

    def _claimed(self, record: Record) -> tuple[Key, Seal]:
        path = len(record.seal) - _SEAL.size
        if path < 0 or path % 32 or path > 32 * 12 or record.seal[:1] != b"\x01":
            raise Wrong("seal_malformed", "the header qb_seal is no seal of version 1")
        _, key_id, signature, index, size = _SEAL.unpack(record.seal[: _SEAL.size])
        if not index < size <= BATCH_MAX:
            raise Wrong("seal_malformed", f"a seal for place {index} of {size}")
        key = self.keys.get(key_id.hex())
        if key is None:
            raise Wrong("key_unknown", f"the key {key_id.hex()} is not enrolled")
        return key, Seal(signature, index, size, hashes_of(record.seal[_SEAL.size :]))

    def _check_seal(self, seal: Seal, digest: bytes, key: Key) -> None:
        signature, place, size, path = seal
        root = root_of_path(leaf_hash(digest), place, size, path)
        if root is None:
            raise Wrong("seal_broken", "the audit path has another length than the batch's size asks for")
        if (key.key_id, signature, size, root) in self._held:
            return
        self.signatures += 1
        message = pae("application/vnd.qpubus.batch.v1", root + size.to_bytes(8, "big"))
        if not holds(key.raw, signature, message):
            raise Wrong("seal_broken", "the seal does not hold for these bytes")
        self._held.add((key.key_id, signature, size, root))

    def _count(self, record: Record, key: Key) -> int:
        text, author = record.texts["sequence"], (key.source, record.topic)
        if not _NUMBER.match(text):
            raise Wrong("sequence_malformed", f"the sequence {text[:40]!r} is no positive number")
        sequence = int(text)
        if key.revoked and key.counts_to is not None and sequence > key.counts_to.get(record.topic, 0):
            raise Wrong("key_revoked", f"the key {key.key_id} was revoked before")
        if sequence <= self._sequences.get(author, 0):
            raise Wrong("sequence_repeated", f"{key.source} has used the number {sequence} before")
        self._sequences[author] = sequence
        return sequence

    def _check_header(self, record: Record, key: Key) -> tuple[int, list[tuple[str, str, int, str]]]:
        """Time and causes of a record."""
        time_us = time_us_of(record.texts["time"])
        if time_us > record.append_time_us + SKEW_US_MAX:
            raise Wrong("time_ahead", "dated long after the log took it in")
        causes, inputs = causes_of(record.texts["causes"]), record.texts["inputs"]
        if bool(inputs) != (key.role in _STAGES) or (inputs and not _DECIDED.match(inputs)):
            raise Wrong("inputs_malformed", "a stage, and nobody else, says what it had read")
        return time_us, causes

    def _govern(self, event: Event, schema: Schema) -> None:
        match event.type:
            case "SchemaPublished":
                self._publish(event, schema)
            case "KeyEnrolled":
                self._enrol(event)
            case "KeyRevoked":
                key = self.keys.get(event.get("key_id", str))
                if key and not key.revoked:
                    key.revoked, key.revoked_at = True, event.record.offset
                    if event.causes:
                        key.counts_to = {
                            topic: number for topic, source, number, _ in event.causes if source == key.source
                        }
            case _:
                pass

    def _publish(self, event: Event, used: Schema) -> None:
        number, schema = event.get("schema_id", int), Schema(event.get("text", str))
        if number in self.schemas and self.schemas[number].digest != schema.digest:
            raise Wrong("schema_known", f"the number {number} is another schema's")
        if schema.name != event.get("event_type", str):
            raise Wrong("schema_invalid", "the schema is of another event type")
        if not self.schemas and (number != 1 or schema.digest != used.digest):
            raise Wrong("schema_invalid", "the first schema must be that of SchemaPublished itself")
        self.schemas[number] = schema

    def _enrol(self, event: Event) -> None:
        raw, name, role = event.get("public_key", bytes), event.get("key_id", str), event.get("role", str)
        key = Key(
            name,
            raw,
            event.get("source", str),
            role,
            [each for each in event.get("devices", list) if isinstance(each, str)],
            proof_type=event.text("proof_type") or "ed25519",
            algorithm=event.text("algorithm") or "Ed25519",
            relying_party=event.text("relying_party"),
            origin=event.text("origin"),
        )
        if not is_enrollable(key) or name != key_id_of(raw) or role not in _ROLES:
            raise Wrong("key_invalid", "the key, its id or its role is not one that may be enrolled")
        if name in self.keys:
            raise Wrong("key_known", f"the key {name} was enrolled before")
        self.keys[name] = key


def _first_schema(data: bytes) -> Schema:
    """The schema that the very first record publishes: its own. It begins with a number, a name and the text."""
    body = Body(data)
    if body.long() != 1:
        raise Wrong("schema_unknown", "the first record does not publish schema 1")
    _read_string(body, 0)
    return Schema(_read_string(body, 0))


# -- The bundle -------------------------------------------------------------------------------------------------------

_MEMBERS = {"artifacts", "checkpoints", "dsse", "format", "job", "kind", "partition", "records", "root", "site"}
_KINDS = {"artifacts": dict, "checkpoints": dict, "dsse": dict, "format": int, "job": str, "kind": str,
          "partition": int, "records": list, "root": str, "site": str}  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A bundle as read; nothing in it is believed yet."""

    site: str
    job: str
    partition: int
    root: bytes
    records: list[Record | Other]
    checkpoints: dict[str, str]
    artifacts: dict[str, bytes | None]
    dsse: dict[str, Any]
    content_digest: str


def read_bundle(data: bytes) -> Bundle:
    """The bundle in the bytes of a file; `Unreadable` says what is wrong with its form."""
    if len(data) > BUNDLE_BYTES_MAX:
        raise Unreadable(f"a bundle has at most {BUNDLE_BYTES_MAX} bytes")
    if sum(map(data.count, (b"[", b"{", b","))) > 65_536 + len(data) // 32:
        raise Unreadable("it has more values than any bundle of its length")
    try:
        said = read_json(data)
    except ValueError as error:
        raise Unreadable(f"it is not JSON: {str(error)[:120]}") from None
    if not isinstance(said, dict) or said.get("kind") != "qpubus bundle" or said.get("format") != 1:
        raise Unreadable("it is no bundle of format 1")
    if said.keys() != _MEMBERS or any(type(said[name]) is not kind for name, kind in _KINDS.items()):
        raise Unreadable("its members are not those of a bundle")
    if canonical_of_file(said) != data:
        raise Unreadable("it is not in canonical form")
    texts = [*said["checkpoints"].values(), *(each for each in said["artifacts"].values() if each is not None)]
    if not _HEX.match(said["root"]) or not all(isinstance(each, str) for each in texts):
        raise Unreadable("its root, checkpoints or artifacts are not texts")
    if not said["checkpoints"].keys() <= WRITERS.keys():
        raise Unreadable("it has a checkpoint of a topic that no log has")
    content = canonical({name: member for name, member in said.items() if name != "dsse"})
    return Bundle(
        said["site"],
        said["job"],
        said["partition"],
        bytes.fromhex(said["root"]),
        _records_of(said["records"]),
        said["checkpoints"],
        {name: None if text is None else unbase64(text, "an artifact") for name, text in said["artifacts"].items()},
        said["dsse"],
        sha256(content).hex(),
    )


def canonical_of_file(said: Any) -> bytes:
    """The bytes that a bundle must have."""
    try:
        return canonical(said) + b"\n"
    except ValueError as error:
        raise Unreadable(f"it has no canonical form: {error}") from None


def _records_of(said: list[Any]) -> list[Record | Other]:
    records = [_record_of(each) for each in said]
    places = [each.place for each in records]
    if places != sorted(set(places), key=lambda place: (list(WRITERS).index(place[0]), place[1])):
        raise Unreadable("its records are not in the order of topics and offsets")
    return records


def _record_of(said: Any) -> Record | Other:
    match said:
        case {
            "append_time_us": str(),
            "offset": int(offset),
            "preimage": str(preimage),
            "proof": str(proof),
            "topic": str(topic),
            **rest,
        } if not rest and topic in WRITERS:
            return Other(topic, offset, proof, unbase64(preimage, f"{topic} offset {offset}"))
        case {
            "append_time_us": str(),
            "digest": str(digest),
            "offset": int(offset),
            "proof": str(proof),
            "topic": str(topic),
            **rest,
        } if not rest and topic in WRITERS and _HEX.match(digest):
            return Other(topic, offset, proof, b"", bytes.fromhex(digest))
        case {
            "append_time_us": str(time),
            "offset": int(offset),
            "proof": str(proof),
            "record": {"seal": str(seal), "value": str(value), **texts},
            "topic": str(topic),
            **rest,
        } if (
            not rest
            and topic in WRITERS
            and texts.keys() - {"body"} == set(TEXTS)
            and re.match(r"-?[0-9]{1,19}\Z", time)
        ):
            what = f"{topic} offset {offset}"
            body: object = texts.pop("body", None)
            named = {str(name): text for name, text in texts.items() if isinstance(text, str) and _TEXT.match(text)}
            if len(named) < len(TEXTS):
                raise Unreadable(f"{what}: a text holds what no header may hold")
            known = unbase64(value, what)
            withheld = body if isinstance(body, str) and _HEX.match(body) and len(known) == 5 else ""
            if body is not None and not withheld:
                raise Unreadable(f"{what}: its words are neither there nor withheld as they may be")
            return Record(topic, offset, int(time), named, known, unbase64(seal, what), proof, withheld)
        case _:
            raise Unreadable("a record is not in the form of one")


# -- Checkpoints: C2SP signed notes, proofs and witness policies ------------------------------------------------------


class Head(NamedTuple):
    """A tree as its sealer signed it; `lines` are all signature lines: name, key id, signature."""

    text: str
    size: int
    root: bytes
    lines: list[tuple[str, bytes, bytes]]


def read_note(note: str, origin: str) -> Head:
    """A checkpoint of a tree in a signed note; `Wrong` if it is another's or not in its form."""
    text, blank, signatures = note.partition("\n\n")
    lines = signatures.split("\n")
    body = text.split("\n")
    if not blank or lines.pop() or not lines or len(body) != 3 or len(lines) > 100:
        raise Wrong("checkpoint_malformed", "it is no signed note of a checkpoint")
    if body[0] != origin:
        raise Wrong("checkpoint_foreign", f"the checkpoint is of {body[0][:120]!r}, not of {origin}")
    if not (body[1] == "0" or _NUMBER.match(body[1])):
        raise Wrong("checkpoint_malformed", "the size of the checkpoint is no number")
    try:
        root = unbase64(body[2], "a root")
        signed = [(name, unbase64(encoded, "a signature")) for name, encoded in map(_signature_line, lines)]
    except Unreadable as error:
        raise Wrong("checkpoint_malformed", str(error)) from None
    if len(root) != 32:
        raise Wrong("checkpoint_malformed", "the root of the checkpoint has 32 bytes")
    return Head(text + "\n", int(body[1]), root, [(name, each[:4], each[4:]) for name, each in signed])


def _signature_line(line: str) -> tuple[str, str]:
    words = line.split(" ")
    if len(words) != 3 or words[0] != "—":
        raise Wrong("checkpoint_malformed", f"no signature line: {line[:80]!r}")
    return words[1], words[2]


def note_key_id(name: str, kind: int, raw: bytes) -> bytes:
    """The id of a key that signs notes."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + raw)[:4]


def cosigned_us(head: Head, name: str, raw: bytes) -> int | None:
    """When a witness has cosigned a checkpoint; None if it has not. `Wrong` if one of its signatures does not hold."""
    for signer, key_id, data in head.lines:
        if (signer, key_id) == (name, note_key_id(name, 4, raw)):
            time_s = int.from_bytes(data[:8], "big")
            if not holds(raw, data[8:], f"cosignature/v1\ntime {time_s}\n{head.text}".encode()):
                raise Wrong("cosignature_broken", f"the cosignature of {name[:80]} does not hold")
            return time_s
    return None


@dataclass
class Policy:
    """Witnesses by name and groups of them, as C2SP tlog-policy has it."""

    logs: list[bytes] = field(default_factory=list)
    witnesses: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    groups: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    quorum: str = ""

    def is_met(self, cosigned: set[str]) -> bool:
        """Whether the witnesses of these names are enough."""
        return self.quorum == "none" or self._has(self.quorum, cosigned)

    def _has(self, name: str, cosigned: set[str]) -> bool:
        if name in self.groups:
            least, members = self.groups[name]
            return sum(self._has(member, cosigned) for member in members) >= least
        return name in cosigned


def read_policy(text: str) -> Policy:
    """A policy from the text of its file; `Unreadable` names the line."""
    policy, members_so_far, logs = Policy(), set[str](), set[tuple[str, bytes]]()
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        known = policy.witnesses.keys() | policy.groups.keys()
        match words:
            case [] | [str(), *_] if not words or words[0].startswith("#"):
                continue
            case ["log", key, *_]:
                log = _note_key(key, 1, number)
                if log in logs:
                    raise Unreadable(f"line {number} of the policy: the key of this log is listed already")
                logs.add(log)
                policy.logs.append(log[1])
            case ["witness", name, key, *_] if name not in known and name != "none":
                witness = _note_key(key, 4, number)
                if witness[1] in {raw for _, raw in policy.witnesses.values()}:
                    raise Unreadable(f"line {number} of the policy: the key of this witness is listed already")
                policy.witnesses[name] = witness
            case ["group", name, least, *members] if name not in known and members and known.issuperset(members):
                count = {"any": 1, "all": len(members)}.get(least) or int(
                    least if re.match(r"[1-9][0-9]{0,5}\Z", least) else 0
                )
                if not 1 <= count <= len(members) or len(set(members)) < len(members) or members_so_far & set(members):
                    raise Unreadable(f"line {number} of the policy: not a group")
                members_so_far |= set(members)
                policy.groups[name] = count, members
            case ["quorum", name] if not policy.quorum and (name in known or name == "none"):
                policy.quorum = name
            case _:
                raise Unreadable(f"line {number} of the policy is not in its form")
    if not policy.quorum:
        raise Unreadable("the policy has no quorum line")
    return policy


def _note_key(text: str, kind: int, number: int) -> tuple[str, bytes]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    data = unbase64(encoded, f"the key in line {number} of the policy")
    if data[:1] != bytes([kind]) or note_key_id(name, kind, data[1:]).hex() != key_id or public_key(data[1:]) is None:
        raise Unreadable(f"line {number} of the policy: no key that anyone should trust")
    return name, data[1:]


_PROOF = re.compile(r"c2sp\.org/tlog-proof@v1\nindex (0|[1-9][0-9]{0,15})\n((?:[A-Za-z0-9+/]{43}=\n)*)\Z")


def read_proof(proof: str) -> tuple[int, list[bytes]]:
    """Index and audit path in the upper part of a C2SP tlog-proof."""
    match = _PROOF.match(proof)
    if match is None:
        raise Wrong("proof_malformed", "its inclusion proof is not in its form")
    try:
        return int(match[1]), [unbase64(line, "a hash") for line in match[2].split()]
    except Unreadable as error:
        raise Wrong("proof_malformed", str(error)) from None


# -- Signatures that agents, gateway and people made, inside events ---------------------------------------------------


def open_jws(token: str, type_: str) -> tuple[str, bytes, bytes, bytes]:
    """Key id, payload, what is signed, signature of a compact JWS with `alg`, `kid` and `typ` in its header."""
    parts = token.split(".")
    try:
        head, payload, signature = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts]
        header = read_json(head)
    except (ValueError, binascii.Error):
        raise Wrong("proof_invalid", "it is no compact JWS") from None
    again = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (head, payload, signature)]
    if again != parts or not isinstance(header, dict) or header.keys() != {"alg", "kid", "typ"}:
        raise Wrong("proof_invalid", "the JWS is not in its form")
    if (header["alg"], header["typ"]) != ("Ed25519", type_) or not isinstance(header["kid"], str):
        raise Wrong("proof_invalid", f"the JWS is not of type {type_}, signed by Ed25519")
    return header["kid"], payload, f"{parts[0]}.{parts[1]}".encode(), signature


def check_jws(token: str, type_: str, key: Key | None) -> Any:
    """The JSON payload of a JWS that holds under a key."""
    key_id, payload, signed, signature = open_jws(token, type_)
    if key is None or key.key_id != key_id:
        raise Wrong("key_unknown", "it is signed by a key that is not enrolled for this")
    if not holds(key.raw, signature, signed):
        raise Wrong("proof_invalid", "the signature does not hold")
    try:
        said = read_json(payload)
        again = canonical(said)
    except ValueError:
        again, said = b"", None
    if again != payload:
        raise Wrong("proof_invalid", "the payload is not in RFC 8785 form")
    return said


def check_agent(declared: Event, schema: Schema, keys: Mapping[str, Key]) -> None:
    """That the agent signed what the gateway completed, and nothing else."""
    manifest = declared.get("manifest", dict)
    key = keys.get(declared.get("agent_key_id", str))
    if key is None or key.role != "agent" or key.source != manifest.get("initiator"):
        raise Wrong("key_unknown", "the agent's key is not enrolled for the initiator")
    said = schema.completed("qpubus.Manifest", check_jws(declared.get("agent_proof", str), "qpubus-intent+jws", key))
    for name in ("seed", "idempotency_key", "signature"):
        if said.get(name) is None:
            said[name] = manifest.get(name)
    if said != manifest:
        raise Wrong("manifest_altered", "the gateway changed what the agent had signed")


def check_gateway(declared: Event, keys: Mapping[str, Key]) -> None:
    """That the gateway signed the manifest as it stands."""
    manifest = declared.get("manifest", dict)
    head, dots, signature = str(manifest.get("signature")).partition("..")
    try:
        payload = canonical(plain({**manifest, "signature": None}))
    except ValueError as error:
        raise Wrong("proof_invalid", f"the manifest has no RFC 8785 form: {error}") from None
    token = f"{head}.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.{signature}" if dots else ""
    key = keys.get(open_jws(token, "qpubus-manifest+jws")[0])
    check_jws(token, "qpubus-manifest+jws", key if key and key.source == declared.key.source else None)
    if key and key.counts_to is not None and declared.sequence > key.counts_to.get(declared.record.topic, 0):
        raise Wrong("gateway_key_revoked", "the gateway signed the manifest with a key that had been revoked")


def check_withdrawal(withdrawn: Event, keys: Mapping[str, Key]) -> None:
    """That an agent signed its withdrawal."""
    key = keys.get(withdrawn.get("agent_key_id", str))
    said = check_jws(
        withdrawn.get("agent_proof", str), "qpubus-withdrawal+jws", key if key and key.role == "agent" else None
    )
    if said != {"job_id": withdrawn.get("job_id", str), "reason": withdrawn.get("reason", str)}:
        raise Wrong("proof_invalid", "the agent signed another withdrawal")


def check_calibration(requested: Event, site: str, keys: Mapping[str, Key]) -> None:
    """That an agent asked this site for this very calibration."""
    key = keys.get(requested.get("agent_key_id", str))
    if key is None or key.role != "agent" or key.source != requested.get("initiator", str):
        raise Wrong("key_unknown", "the key is not enrolled for the agent that asks")
    said = check_jws(requested.get("agent_proof", str), "qpubus-calibration+jws", key)
    asked: dict[str, Any] = {name: requested.get(name, str) for name in ("request_id", "device", "reason")}
    if said != asked | {"site": site, "max_age_s": requested.get("max_age_s", int)}:
        raise Wrong("proof_invalid", "the agent asked for something else")


# What people sign: a plain Ed25519 key (RFC 8032), an SSH key (OpenSSH, PROTOCOL.sshsig and PROTOCOL.u2f), or a passkey
# (W3C WebAuthn level 3, section 7.2), over RFC 8785 JSON of what was put to them.

_PEOPLE = frozenset({"approver", "operator"})
_PROOF_BYTES_MAX = 8 * 1024
_PRESENT, _VERIFIED = 0x01, 0x04


def p256_key(point: bytes) -> EllipticCurvePublicKey | None:
    """The key behind an uncompressed point of P-256; None if it is none."""
    if len(point) != 65 or point[0] != 4:
        return None
    try:
        return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point)
    except ValueError:
        return None


def is_enrollable(key: Key) -> bool:
    """Whether a key may be enrolled as it is said: those that sign records are plain Ed25519 keys."""
    if key.role not in _PEOPLE and (key.algorithm, key.proof_type) != ("Ed25519", "ed25519"):
        return False
    if key.proof_type == "webauthn" and not (key.relying_party and key.origin):
        return False
    if key.algorithm == "ES256":
        return key.proof_type != "ed25519" and p256_key(key.raw) is not None
    return public_key(key.raw) is not None


def person_signed(payload: bytes, proof: Mapping[str, Any], key: Key) -> bool:
    """Whether a person's proof over a payload holds, by their key and in the way that it is enrolled for."""
    parts = [proof.get(name, b"") for name in ("signature", "client_data", "authenticator_data")]
    if proof.get("proof_type") != key.proof_type or not all(isinstance(part, bytes) for part in parts):
        return False
    if sum(map(len, parts)) > _PROOF_BYTES_MAX or not is_enrollable(key):
        return False
    signature, client_data, authenticator_data = parts
    if key.proof_type == "ed25519":
        return holds(key.raw, signature, payload)
    if key.proof_type == "sshsig":
        return _ssh_holds(key, signature, payload)
    return _passkey_holds(key, client_data, authenticator_data, signature, sha256(payload))


def _holds_by(key: Key, signature: bytes, message: bytes) -> bool:
    if key.algorithm != "ES256":
        return holds(key.raw, signature, message)
    point = p256_key(key.raw)
    if point is None:
        return False
    try:
        point.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _passkey_holds(key: Key, client_data: bytes, authenticator_data: bytes, signature: bytes, challenge: bytes) -> bool:
    try:
        client = json.loads(client_data.decode())
    except (ValueError, RecursionError):
        return False
    asked = base64.urlsafe_b64encode(challenge).rstrip(b"=").decode()
    wanted = {"type": "webauthn.get", "challenge": asked, "origin": key.origin}
    if not isinstance(client, dict) or any(client.get(name) != value for name, value in wanted.items()):
        return False
    if client.get("crossOrigin", False) is not False or len(authenticator_data) < 37:
        return False
    flags = authenticator_data[32]
    if authenticator_data[:32] != sha256(key.relying_party.encode()) or not (flags & _PRESENT and flags & _VERIFIED):
        return False
    return _holds_by(key, signature, authenticator_data + sha256(client_data))


def _ssh_text(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _ssh_texts(data: bytes, count: int) -> tuple[list[bytes], bytes] | None:
    """So many length-prefixed fields (RFC 4251, section 5), and what stands behind them."""
    found = []
    for _ in range(count):
        size = int.from_bytes(data[:4], "big")
        if len(data) < 4 + size:
            return None
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found, data


def _ssh_holds(key: Key, signature: bytes, payload: bytes) -> bool:
    is_p256, is_hardware = key.algorithm == "ES256", bool(key.relying_party)
    kind = b"ecdsa-sha2-nistp256" if is_p256 else b"ssh-ed25519"
    kind = b"sk-" + kind + b"@openssh.com" if is_hardware else kind
    fields = [kind, *([b"nistp256"] if is_p256 else []), key.raw]
    blob = b"".join(map(_ssh_text, [*fields, *([key.relying_party.encode()] if is_hardware else [])]))
    outer = _ssh_texts(signature[10:], 5)
    if signature[:10] != b"SSHSIG\0\0\0\1" or outer is None or outer[1]:
        return False
    signer, namespace, reserved, hash_name, signed = outer[0]
    inner = _ssh_texts(signed, 2)
    if signer != blob or namespace != b"qpubus" or hash_name not in {b"sha256", b"sha512"} or inner is None:
        return False
    (signed_kind, body), tail = inner
    if signed_kind != kind or len(tail) != (5 if is_hardware else 0):
        return False
    digest = hashlib.new(hash_name.decode(), payload).digest()
    message = b"SSHSIG" + b"".join(map(_ssh_text, (namespace, reserved, hash_name, digest)))
    if is_hardware:
        if not tail[0] & _PRESENT:
            return False
        message = sha256(key.relying_party.encode()) + tail + sha256(message)
    if is_p256:
        numbers = _ssh_texts(body, 2)
        if numbers is None or numbers[1]:
            return False
        body = encode_dss_signature(*(int.from_bytes(number, "big") for number in numbers[0]))
    return _holds_by(key, body, message)


_SAYS = {
    "MandateGranted": ("approver",),
    "MandateRevoked": ("approver",),
    "AutonomyGranted": ("approver",),
    "AutonomyRevoked": ("approver",),
    "HaltOrdered": ("operator", "approver"),
    "HaltLifted": ("operator", "approver"),
}
"""What people say of their own accord, and in which roles."""


def check_person(said: Event, site: str, keys: Mapping[str, Key]) -> None:
    """That a person signed what is said to be theirs: type, site and all fields but the proof."""
    proof = said.get("proof", dict)
    key = keys.get(str(proof.get("key_id")))
    if key is None or key.role not in _SAYS[said.type] or key.source != said.get("person", str):
        raise Wrong("key_unknown", "the key is not enrolled for this person in a role that may say this")
    fields = {name: value for name, value in said.fields.items() if name != "proof"}
    try:
        payload = canonical({"fields": plain(fields), "site": site, "type": f"qpubus.{said.type}"})
    except ValueError:
        payload = b""
    if not person_signed(payload, proof, key):
        raise Wrong("proof_invalid", "the person's signature does not hold for these very words")
    if key.revoked and said.record.topic == "governance" and said.record.offset > key.revoked_at:
        raise Wrong("person_key_revoked", "the person signed it with a key that had been revoked")


_UNSAID = {"snapshot_class": "", "quorum": 1, "roles": [], "rule": ""}
"""What is not signed of an approval statement where it is at its default."""


def _as_signed(statement: Mapping[str, Any]) -> Any:
    return plain({name: value for name, value in statement.items() if _UNSAID.get(name) != value})


def check_answer(answer: Event, asked: Mapping[str, list[Any]], keys: Mapping[str, Key]) -> None:
    """That the approver signed a statement that was put to them, with this decision; `asked` is by intent digest."""
    proof = answer.get("proof", dict)
    key = keys.get(str(proof.get("key_id")))
    if key is None or key.role != "approver" or key.source != answer.get("approver", str):
        raise Wrong("key_unknown", "the key is not enrolled for this approver")
    denied = answer.type == "ApprovalDenied"
    decision, reason = ("deny", answer.get("reason", str)) if denied else ("grant", "")
    for statement in asked.get(answer.get("intent_digest", str), [])[:ASKED_MAX]:
        with suppress(ValueError):
            signed = canonical({"decision": decision, "reason": reason, "statement": _as_signed(statement)})
            if person_signed(signed, proof, key):
                return
    raise Wrong("approval_proof_invalid", "no statement that was put to this approver bears this signature")


def check_trace(sealed: Event, declared: Event) -> None:
    """That what stands of a decision trace is what the agent signed."""
    try:
        summary = sha256(canonical(plain(sealed.get("summary", dict))))
        text = bytes.fromhex(sealed.get("text_digest", str))
    except ValueError as error:
        raise Wrong("trace_differs", f"the trace is not in its form: {error}") from None
    named = declared.get("manifest", dict).get("decision_trace_digest")
    if sha256(b"qpubus trace 1\n" + summary + text).hex() != named:
        raise Wrong("trace_differs", "the decision trace is not the one that the manifest names")


# -- The verification -------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What came of it. `verdict` is the exit code."""

    verdict: int = SOUND
    site: str = ""
    job: str = ""
    root: str = ""
    records: int = 0
    signatures: int = 0
    proven: int = 0
    withheld: int = 0
    root_given: bool = False
    uncovered: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    witnesses: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        findings = [each._asdict() | {"rank": each.rank} for each in self.findings]
        return {**vars(self), "verdict": VERDICTS[self.verdict], "findings": findings}


def verify(data: bytes, root: bytes | None = None, policy: Policy | None = None) -> Report:
    """Verify the bytes of a bundle, under a root key from elsewhere if there is one, against a policy of witnesses."""
    try:
        bundle = read_bundle(data)
    except Unreadable as error:
        return Report(UNREADABLE, notes=[str(error)])
    report = _Verification(bundle, root or bundle.root, policy).run()
    report.root_given = root is not None
    return report


class _Verification:
    """One bundle under one root key."""

    def __init__(self, bundle: Bundle, root: bytes, policy: Policy | None) -> None:
        self.bundle, self.root, self.policy = bundle, root, policy
        self.ledger = Ledger(root, bundle.site)
        self.report = Report(site=bundle.site, job=bundle.job, root=key_id_of(root), records=len(bundle.records))
        self.events: list[Event] = []
        self.uncovered: list[str] = []
        self._failed: dict[tuple[str, int], tuple[Record | Other, Wrong]] = {}
        self._rejected: set[tuple[str, int]] = set()
        self._governed = 0

    def run(self) -> Report:
        report = self.report
        if self.root != self.bundle.root:
            self._find(0, "the bundle", "root_other", "it was made under another root key than the one you gave")
        elif public_key(self.root) is None:
            self._find(0, "the bundle", "key_invalid", "its root key is none that anyone should trust")
        self._judge()
        self._reject()
        self._trace_causes()
        self._prove_inclusion()
        self._open_events()
        self._check_completeness()
        self._check_artifacts()
        self._check_provenance()
        self._note_withheld()
        report.signatures += self.ledger.signatures
        report.findings.sort(key=lambda each: each.rank)
        report.uncovered = list(dict.fromkeys(self.uncovered)) if self.policy else []
        if report.findings:
            first = [each for each in report.findings if each.rank == report.findings[0].rank]
            report.verdict = INCOMPLETE if all(each.is_missing for each in first) else TAMPERED
        elif report.uncovered:
            report.verdict = UNCOVERED
        report.story = list(story(self.bundle.job, self.events))
        return report

    def _find(self, rank: int, place: str, reason: str, detail: str, *, is_missing: bool = False) -> None:
        self.report.findings.append(Finding(rank, place, reason, detail, is_missing))

    def _judge(self) -> None:
        for record in self.bundle.records:
            try:
                if isinstance(record, Other):
                    record.judge(self.bundle.site)
                else:
                    self.events.append(self.ledger.judge(record))
            except Wrong as wrong:
                self._failed[record.place] = record, wrong
                if len(self._failed) == FAILURES_MAX:
                    self._find(0, _at(record.place), "failures_many", "so many records do not hold that it stops here")
                    return

    def _reject(self) -> None:
        """Records that do not hold are no finding where the stage in charge has rejected them for the same reason."""
        rejections: dict[tuple[str, int], Event] = {}
        for event in self._all("EventRejected"):
            topic, offset = event.text("topic"), event.fields.get("offset")
            is_here = event.fields.get("partition") == self.bundle.partition
            if is_here and isinstance(offset, int) and REJECTS.get(topic) == event.key.role:
                rejections[topic, offset] = event
        excused = 0
        for place, (record, wrong) in self._failed.items():
            rejection = rejections.get(place)
            said = (rejection.fields.get("reason"), rejection.fields.get("digest")) if rejection else None
            digests = [digest.hex() for digest in self._digests(record)]
            is_unseen = isinstance(record, Other) and record.withheld and place[0] != "governance"
            if said and said[1] in digests and (said[0] == wrong.reason or is_unseen):
                excused += 1
            else:
                self._find(0, _at(place), wrong.reason, str(wrong))
        if excused:
            self.report.notes.append(f"{excused} records were rejected on the log and are not believed")
        self._rejected = set(rejections)
        self.events = [event for event in self.events if not self._is_dropped(event, rejections)]

    def _is_dropped(self, event: Event, rejections: Mapping[Any, Event]) -> bool:
        """Whether a record that holds was rejected for a reason that only the order of reading can give.

        A stage may also reject what it believes, by its own rules: that changes nothing here.
        """
        rejection = rejections.get(event.record.place)
        reason = rejection.text("reason") if rejection else ""
        by_order = reason in {"cause_absent", "sequence_gap"}
        if event.record.withheld and reason in _OF_WORDS:
            return True
        if rejection and reason in _OF_BYTES:
            self._find(1, _of(rejection), "rejection_unfounded", f"it rejects {_of(event)}, which holds")
        return by_order or (reason == "key_revoked" and event.key.revoked and event.key.counts_to is None)

    def _digests(self, record: Record | Other) -> list[bytes]:
        """The names that a record may have: by its statement, where its schema is published, or by its bytes."""
        if isinstance(record, Other):
            return [record.digest]
        schema = self.ledger.schema_of(record)
        by_statement = [sha256(b"\x00" + record.statement(schema.digest))] if schema else []
        return by_statement if record.withheld else [*by_statement, record.raw_digest()]

    def _all(self, *types: str) -> list[Event]:
        return [event for event in self.events if event.type in types]

    def _trace_causes(self) -> None:
        known = {event.name: event for event in self.events}
        for event in self.events:
            for topic, source, number, digest in event.causes:
                cause = known.get((topic, source, number))
                what = f"its cause {topic}/{source}/{number}"
                if cause is None:
                    if event.record.topic not in {"governance", "checkpoints"}:
                        self._find(1, _of(event), "cause_absent", f"{what} is not there", is_missing=True)
                elif cause.digest != digest or (
                    topic == event.record.topic and cause.record.offset >= event.record.offset
                ):
                    self._find(1, _of(event), "cause_differs", f"{what} is another, or comes later")

    # Inclusion

    def _prove_inclusion(self) -> None:
        sealers = [key for key in self.ledger.keys.values() if key.role == "sealer"]
        cosigned: set[str] = set()
        self._check_governance_goes_on()
        if not self.bundle.checkpoints:
            what = (
                "no sealed tree is told of, so anything may be left out, a revocation too: bundle a log that is sealed"
            )
            self._find(2, "the bundle", "checkpoint_absent", what, is_missing=True)
        for topic in WRITERS:
            records = [record for record in self.bundle.records if record.topic == topic]
            note = self.bundle.checkpoints.get(topic)
            head = None
            if note is None and records and self.bundle.checkpoints:
                what = "its checkpoint is not there, so nothing proves its records: a round seals every topic"
                self._find(2, topic, "checkpoint_absent", what, is_missing=True)
            if note is not None:
                try:
                    head = self._head(note, topic, sealers)
                except Wrong as wrong:
                    self._find(0, f"the checkpoint of {topic}", wrong.reason, str(wrong))
                    continue
            self._check_paths(topic, records, head)
            if head:
                cosigned |= self._cosigned(head, topic)
        unproven = len(self.bundle.records) - self.report.proven
        if unproven and not self.report.findings:
            self.report.notes.append(f"{unproven} records came after the checkpoints: their order is not proven yet")
        self.report.witnesses = sorted(cosigned)

    def _check_governance_goes_on(self) -> None:
        """That governance has no gaps: neither in its places nor in the numbers that each of its authors gave."""
        records = [record for record in self.bundle.records if record.topic == "governance"]
        offsets = [record.offset for record in records]
        if offsets != list(range(len(offsets))):
            what = "its records do not follow on one another: one that is not there may revoke a key"
            self._find(2, "governance", "governance_incomplete", what, is_missing=True)
        accepted = {
            (event.text("source"), event.fields.get("next_sequence"))
            for event in self._all("GapAccepted")
            if event.text("topic") == "governance"
        }
        believed = {event.record.place for event in self.events}
        last: dict[str, int] = {}
        for record in records:
            if isinstance(record, Other) or not _NUMBER.match(record.texts["sequence"]):
                continue
            source, number = record.texts["source"], int(record.texts["sequence"])
            follows = number <= last.get(source, 0) + 1
            if record.place in believed and not follows and (source, number) not in accepted:
                what = f"{source} has said something before its number {number} that is not there"
                self._find(2, _at(record.place), "sequence_gap", what, is_missing=True)
            if record.place in believed or follows:
                last[source] = max(number, last.get(source, 0))

    def _head(self, note: str, topic: str, sealers: Sequence[Key]) -> Head:
        """The tree in a note that an enrolled sealer has signed."""
        origin = f"qpubus/{key_id_of(self.root)}/{topic}/{self.bundle.partition}"
        head = read_note(note, origin)
        for key in sealers:
            for name, key_id, data in head.lines:
                if (name, key_id) == (origin, note_key_id(origin, 1, key.raw)):
                    self.report.signatures += 1
                    if not holds(key.raw, data, head.text.encode()):
                        raise Wrong("checkpoint_broken", "the sealer's signature does not hold")
                    if topic == "governance":
                        self._governed = head.size
                    if key.revoked:
                        self._check_revoked_sealer(key)
                    if self.policy and self.policy.logs and key.raw not in self.policy.logs:
                        self.uncovered.append(f"{topic}: the policy does not list the sealer's key")
                    return head
        raise Wrong("checkpoint_unsigned", "no enrolled sealer has signed it")

    def _check_revoked_sealer(self, key: Key) -> None:
        """That a sealer's key was revoked after it sealed, as far as the sealed governance tells.

        A tree holds the revocation if it goes beyond its place; that one it can only have sealed after it.
        """
        place = sum(each.topic == "governance" and each.offset < key.revoked_at for each in self.bundle.records)
        if self._governed > place:
            what = f"the sealer's key {key.key_id} had been revoked before: the governance that is sealed says so"
            raise Wrong("key_revoked", what)
        note = (
            f"the sealer's key {key.key_id} was revoked, after this round as far as can be seen here: who has the key "
            "could have sealed it later"
        )
        if note not in self.report.notes:
            self.report.notes.append(note)

    def _check_paths(self, topic: str, records: Sequence[Record | Other], head: Head | None) -> None:
        before, proven = -1, 0
        for record in records:
            if not record.proof:
                self.uncovered.append(f"{topic}: records came after the checkpoint")
                if head and record.offset < head.size:
                    what = "it stood in the sealed tree, but nothing proves it: records of the tree may be gone"
                    self._find(2, _at(record.place), "proof_absent", what, is_missing=True)
                continue
            try:
                before = self._index(record, head, before)
            except Wrong as wrong:
                self._find(2, _at(record.place), wrong.reason, str(wrong))
                continue
            proven += 1
        self.report.proven += proven
        if head and topic == "governance" and proven < head.size:
            what = f"{head.size - proven} records of governance are not there as sealed: one may revoke a key"
            self._find(2, "governance", "governance_incomplete", what, is_missing=True)

    def _index(self, record: Record | Other, head: Head | None, before: int) -> int:
        """Where a record stands in the sealed tree, which must be behind the one before."""
        if head is None:
            raise Wrong("checkpoint_absent", "there is a proof, but no checkpoint")
        index, path = read_proof(record.proof)
        roots = [root_of_path(leaf_hash(digest), index, head.size, path) for digest in self._digests(record)]
        if head.root not in roots:
            raise Wrong("proof_broken", "its inclusion proof does not lead to the sealed root")
        if index <= before:
            raise Wrong("proof_broken", "its place in the tree is not behind that of the record before")
        return index

    def _cosigned(self, head: Head, topic: str) -> set[str]:
        """The witnesses of a tree: those of the policy, whose cosignatures hold, else whoever is named there."""
        if self.policy is None:
            return {f"{name} (not checked: no policy was given)" for name, _, data in head.lines if len(data) == 72}
        found = set()
        for name, (key_name, raw) in self.policy.witnesses.items():
            try:
                if cosigned_us(head, key_name, raw) is not None:
                    found.add(name)
                    self.report.signatures += 1
            except Wrong as wrong:
                self._find(1, f"the checkpoint of {topic}", wrong.reason, str(wrong))
        if not self.policy.is_met(found):
            self.uncovered.append(f"{topic}: not enough witnesses")
        return found

    # What is inside

    def _open_events(self) -> None:
        answered = {(event.type, cause[3]) for event in self._all(*_EXCUSES.values()) for cause in event.causes}
        obeyed = {cause[3] for event in self._all("IntentAdmitted") for cause in event.causes}
        declared = {event.job: event for event in self._all("IntentDeclared")}
        asked: dict[str, list[Any]] = {}
        for event in self._all("ApprovalRequested"):
            statement = event.fields.get("statement")
            if isinstance(statement, dict):
                asked.setdefault(str(statement.get("intent_digest")), []).append(statement)
        grants: set[tuple[str, str]] = set()
        for event in self.events:
            if event.record.withheld:
                continue
            try:
                self._open(event, asked, declared)
            except Wrong as wrong:
                is_refused = (_EXCUSES.get(event.type, ""), event.digest) in answered and event.digest not in obeyed
                if not is_refused:
                    self._find(0, _of(event), wrong.reason, str(wrong))
            else:
                if event.type == "ApprovalGranted":
                    grants.add((event.text("approver"), event.text("intent_digest")))
        self._check_decisions(declared, grants)
        self._note_revoked()

    def _check_decisions(self, declared: Mapping[str, Event], grants: set[tuple[str, str]]) -> None:
        """That what was admitted was declared, granted, and not refused; `grants` are those that hold."""
        refused = {self._intent_of(event) for event in self._all("IntentRefused")} - {""}
        for event in self._all("IntentAdmitted"):
            if self._intent_of(event) in refused:
                self._find(1, _of(event), "intent_refused", "policy admits an intent that it also refused")
            if event.record.withheld:
                continue
            try:
                self._check_admission(event, declared.get(event.job), grants)
            except Wrong as wrong:
                self._find(0, _of(event), wrong.reason, str(wrong))

    def _intent_of(self, decided: Event) -> str:
        """The digest of the intent that policy decided on; empty where words are withheld and it could be several."""
        if not decided.record.withheld:
            return decided.text("intent_digest")
        intents = [event.digest for event in self._all("IntentDeclared") if event.job == decided.job]
        return intents[0] if len(intents) == 1 else ""

    def _note_revoked(self) -> None:
        """Name the keys of agents and approvers whose end policy's journal places, of which a bundle has a part."""
        signed_by = [event.fields.get("agent_key_id") for event in self.events]
        proofs = [event.fields.get("proof") for event in self._all("ApprovalGranted", "ApprovalDenied")]
        signed_by += [proof.get("key_id") for proof in proofs if isinstance(proof, dict)]
        for key in self.ledger.keys.values():
            if key.revoked and key.key_id in signed_by:
                self.report.notes.append(
                    f"the key {key.key_id} of {key.source} was revoked; an audit of the log tells whether policy had "
                    "read that when it counted what this key signed"
                )

    def _open(
        self,
        event: Event,
        asked: Mapping[str, list[Any]],
        declared: Mapping[str, Event],
    ) -> None:
        """Check what is signed inside an event."""
        keys = self.ledger.keys
        match event.type:
            case "IntentDeclared":
                schema = self.ledger.schema_of(event.record)
                self.report.signatures += 2
                check_gateway(event, keys)
                if schema:
                    check_agent(event, schema, keys)
            case "IntentWithdrawn":
                self.report.signatures += 1
                check_withdrawal(event, keys)
            case "CalibrationRequested":
                self.report.signatures += 1
                check_calibration(event, self.bundle.site, keys)
            case "ApprovalGranted" if self._is_question_withheld(event):
                self._check_grant(event, declared.get(event.job))
            case "ApprovalGranted" | "ApprovalDenied":
                self.report.signatures += 1
                check_answer(event, asked, keys)
            case petition if petition in _SAYS:
                self.report.signatures += 1
                check_person(event, self.bundle.site, keys)
            case "TraceSealed" if event.job in declared and not declared[event.job].record.withheld:
                check_trace(event, declared[event.job])
            case _:
                pass

    def _is_question_withheld(self, grant: Event) -> bool:
        """Whether what a person was asked is there without its words, so that their signature cannot be checked."""
        return any(event.record.withheld and event.job == grant.job for event in self._all("ApprovalRequested"))

    def _check_grant(self, grant: Event, declared: Event | None) -> None:
        """That a person who may grant it is said to have granted this very intent, where their words are withheld."""
        proof = grant.get("proof", dict)
        key = self.ledger.keys.get(str(proof.get("key_id")))
        if key is None or key.role != "approver" or key.source != grant.get("approver", str):
            raise Wrong("key_unknown", "the key is not enrolled for this approver")
        if declared and grant.get("intent_digest", str) != declared.digest:
            raise Wrong("intent_other", "another intent was granted than the one that was declared")

    def _note_withheld(self) -> None:
        """Say what could not be checked, as the words that it takes are not there."""
        self.report.withheld = sum(bool(event.record.withheld) for event in self.events)
        withheld = {event.type for event in self.events if event.record.withheld}
        self.report.unchecked = [what for what, types in _UNCHECKED.items() if withheld.intersection(types)]

    def _check_admission(self, admitted: Event, declared: Event | None, grants: set[tuple[str, str]]) -> None:
        digest, approver = admitted.get("intent_digest", str), admitted.get("approver", str)
        if declared and digest != declared.digest:
            raise Wrong("intent_other", "another intent was admitted than the one that was declared")
        named = admitted.fields.get("approvers")
        all_named = [str(each) for each in named] if isinstance(named, list) else []
        for each in dict.fromkeys([*all_named, *([approver] if approver else [])]):
            if (each, digest) not in grants:
                self._find(1, _of(admitted), "grant_absent", f"the grant of {each} is not there", is_missing=True)

    def _check_completeness(self) -> None:
        job = self.bundle.job
        if not any(event.job == job for event in self._all("IntentDeclared")):
            self._find(1, "the bundle", "intent_absent", f"nobody declares the job {job[:80]}", is_missing=True)
        if any(event.record.withheld for event in self._all("StepPlanned", "ShotsMeasured", "StepCompleted")):
            return
        planned = {event.fields["step"] for event in self._job("StepPlanned", "step")}
        if planned and len(planned) <= max(planned):
            self._find(
                1, "the bundle", "step_absent", "a step between the first and the last is missing", is_missing=True
            )
        shots: dict[int, int] = {}
        for event in self._job("ShotsMeasured", "step", "shots"):
            shots[event.fields["step"]] = shots.get(event.fields["step"], 0) + event.fields["shots"]
        for event in self._job("StepCompleted", "step", "shots"):
            if shots.get(event.fields["step"], 0) != event.fields["shots"]:
                what = f"the step ended with {event.fields['shots']} shots, other ones are there"
                self._find(1, _of(event), "shots_absent", what, is_missing=True)

    def _job(self, type_: str, *numbers: str) -> Iterator[Event]:
        """The job's events of a type, if they have these numbers."""
        for event in self._all(type_):
            if event.job == self.bundle.job and all(type(event.fields.get(name)) is int for name in numbers):
                yield event

    def _check_artifacts(self) -> None:
        for digest, content in self.bundle.artifacts.items():
            if not _HEX.match(digest) or (content is not None and sha256(content).hex() != digest):
                self._find(0, f"artifact {digest[:64]}", "artifact_differs", "its bytes have another SHA-256")
        left_out = sum(content is None for content in self.bundle.artifacts.values())
        if left_out:
            self.report.notes.append(f"{left_out} documents are named by their digest and left out")

    def _check_provenance(self) -> None:
        try:
            subject, said = self._signed_statement()
        except Wrong as wrong:
            self._find(2, "the provenance", wrong.reason, str(wrong))
            return
        definition, run = said.get("buildDefinition"), said.get("runDetails")
        byproducts = run.get("byproducts") if isinstance(run, dict) else None
        content = {"name": "bundle", "digest": {"sha256": self.bundle.content_digest}}
        if not isinstance(byproducts, list) or content not in byproducts:
            self._find(2, "the provenance", "content_differs", "the auditor signed for another content of this bundle")
        parameters = definition.get("externalParameters") if isinstance(definition, dict) else None
        if parameters not in [_asked(event) for event in self._all("IntentDeclared")]:
            self._find(2, "the provenance", "manifest_differs", "it tells another manifest than was declared")
        dependencies = definition.get("resolvedDependencies") if isinstance(definition, dict) else None
        known = {event.digest for event in self.events} | self.bundle.artifacts.keys()
        for each in dependencies if isinstance(dependencies, list) else [None]:
            digest = each.get("digest") if isinstance(each, dict) else None
            if not isinstance(digest, dict) or digest.keys() != {"sha256"} or str(digest["sha256"]) not in known:
                self._find(2, "the provenance", "dependency_unknown", f"{str(each)[:120]} is nothing of this bundle")
        believed = [event for event in self.events if event.record.place not in self._rejected]
        if any(event.job == self.bundle.job for event in self._all("IntentDeclared")):
            self._compare(Told(self.bundle.site, self.bundle.job, believed, subject), subject, said)

    def _compare(self, told: "Told", subject: dict[str, Any], said: dict[str, Any]) -> None:
        """That a statement says of the job what its events say."""
        definition, run = (
            each if isinstance(each, dict) else {} for each in map(said.get, ("buildDefinition", "runDetails"))
        )
        for name, is_so, expected in (
            ("subject", subject, told.subject()),
            ("buildType", definition.get("buildType"), "urn:qpubus:job:v1"),
            ("internalParameters", definition.get("internalParameters"), told.rules()),
            ("builder", run.get("builder"), told.builder()),
            ("metadata", run.get("metadata"), told.metadata()),
        ):
            if is_so != expected:
                what = f"its {name} is {str(is_so)[:300]}, and by the events {str(expected)[:300]}"
                self._find(3, "the provenance", "provenance_differs", what)
        needed, possible = told.dependencies()
        listed = definition.get("resolvedDependencies")
        named = {_key(each) for each in listed} if isinstance(listed, list) else set()
        for each in sorted(named - needed.keys() - possible.keys()):
            what = f"{each[:160]} is by the events no dependency of the job"
            self._find(3, "the provenance", "dependency_other", what)
        for each in sorted(needed.keys() - named):
            what = f"it leaves out that the job rests on {each[:160]}"
            self._find(3, "the provenance", "dependency_absent", what, is_missing=True)

    def _signed_statement(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Subject and predicate of the statement that an auditor has signed."""
        match self.bundle.dsse:
            case {
                "payload": str(encoded),
                "payloadType": str(type_),
                "signatures": [{"keyid": str(key_id), "sig": str(sig)}],
            }:
                try:
                    payload, signature = unbase64(encoded, "payload"), unbase64(sig, "sig")
                    said = read_json(payload)
                except (Unreadable, ValueError) as error:
                    raise Wrong("envelope_malformed", str(error)) from None
            case _:
                raise Wrong("envelope_malformed", "it is no DSSE envelope with one signature")
        key = self.ledger.keys.get(key_id)
        if key is None or key.role != "auditor" or key.revoked:
            raise Wrong("key_unknown", f"the key {key_id[:64]} is not enrolled for an auditor, or was revoked")
        self.report.signatures += 1
        if type_ != "application/vnd.in-toto+json" or not holds(key.raw, signature, pae(type_, payload)):
            raise Wrong("envelope_broken", "the auditor's signature does not hold")
        match said:
            case {
                "_type": "https://in-toto.io/Statement/v1",
                "predicateType": "https://slsa.dev/provenance/v1",
                "predicate": dict(predicate),
                "subject": [{"digest": {"sha256": str(digest)}} as subject],
            } if digest in self._ends():
                return subject, predicate
        raise Wrong("statement_invalid", "it is no SLSA provenance of this job's end")

    def _ends(self) -> set[str]:
        """What may be the outcome of the job: the digest of its result, or of any of its events."""
        results = {event.text("result_digest") for event in self._job("ResultRecorded")}
        own = {event.digest for event in self.events if event.job == self.bundle.job}
        return results | own


def _asked(declared: Event) -> dict[str, Any]:
    """What the provenance says was asked for: the manifest, or the intent's digest where its words are withheld."""
    if declared.record.withheld:
        return {"intent": {"sha256": declared.digest}}
    return {"manifest": plain(declared.fields.get("manifest"))}


_DEPENDENCIES: Mapping[str, str] = {
    "PolicyPublished": "policy",
    "PriceListPublished": "prices",
    "IntentDeclared": "intent",
    "ApprovalGranted": "grant",
    "IntentAdmitted": "admission",
    "DeviceSnapshotTaken": "snapshot taken",
    "ReservationGranted": "slot",
}
"""By event type, under which name a job depends on it."""
_ENDS = frozenset({"JobCompleted", "JobFailed", "JobCancelled", "IntentRefused"})


class Told:
    """What a statement must say of a job that was declared, by its events.

    Where the words of the intent are withheld it says less: nothing that stands in the body of an event.
    """

    def __init__(self, site: str, job: str, events: Iterable[Event], subject: Mapping[str, Any]) -> None:
        """`subject` is the one that is stated: it tells the end where words are withheld and no event is an end."""
        self._site, self._job = site, job
        self._facts = sorted(events, key=lambda event: event.time_us)
        self._own = [event for event in self._facts if event.job == job]
        intent = next(event for event in self._own if event.type == "IntentDeclared")
        self.is_redacted = bool(intent.record.withheld)
        self._began = next((event for event in self._own if event.type == "StepStarted"), intent)
        stated = [event for event in self._own if {"sha256": event.digest} == subject.get("digest")]
        last = stated if self.is_redacted and stated else self._own
        self._end = next((event for event in reversed(self._own) if event.type in _ENDS), last[-1])
        result, slot = self._last("ResultRecorded"), self._last("ReservationGranted")
        self._result = None if self.is_redacted else result
        self._slot = None if self.is_redacted else slot
        self._device = result.text("device") if result else slot.text("device") if slot else ""

    def subject(self) -> dict[str, Any]:
        """The result, or what ended the job without one."""
        if self._result:
            return _named(f"result of {self._job}", self._result.text("result_digest"))
        return _named(f"{self._end.type} of {self._job}", self._end.digest)

    def rules(self) -> dict[str, str]:
        """By which rules it was admitted and placed."""
        if self.is_redacted:
            return {}
        decided = {"admission": self._last("IntentAdmitted"), "placement": self._last("PlacementDecided")}
        return {name: event.text("rule") for name, event in decided.items() if event and event.text("rule")}

    def builder(self) -> dict[str, Any]:
        """The device that ran it, with the versions that it told last."""
        if self.is_redacted:
            return {"id": f"urn:qpubus:{self._site}"}
        taken = [event for event in self._facts if event.type == "DeviceSnapshotTaken"]
        own = [event for event in taken if event.text("device") == self._device]
        version = {name: own[-1].text(name) for name in ("firmware", "compiler")} if own else {}
        return {"id": f"urn:qpubus:{self._site}:device:{self._device}", "version": version}

    def metadata(self) -> dict[str, str]:
        """When it began and ended: by the first step, or by the intent where none was begun."""
        return {
            "invocationId": self._slot.text("reservation_id") if self._slot else self._job,
            "startedOn": self._began.record.texts["time"],
            "finishedOn": self._end.record.texts["time"],
        }

    def dependencies(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the job rests on, and what it may rest on where only withheld words would tell."""
        needed, possible = dict[str, Any](), dict[str, Any]()
        policies = {event.text("policy_digest") for event in self._own if event.type == "IntentAdmitted"}
        snapshots = {event.text("snapshot_digest") for event in self._own if event.type == "StepStarted"}
        prices = [event for event in self._facts if event.type == "PriceListPublished"]
        for event in self._facts:
            match event.type:
                case "PolicyPublished":
                    is_needed = event.digest in policies
                case "PriceListPublished":
                    is_needed = event is prices[-1]
                case "DeviceSnapshotTaken":
                    is_needed = event.text("snapshot_digest") in snapshots
                case _:
                    is_needed = event.job == self._job
            if name := _DEPENDENCIES.get(event.type):
                topic, source, sequence = event.name
                uri = f"urn:qpubus:{self._site}:{topic}:{source}:{sequence}"
                stated = {**_named(name, event.digest), "uri": uri}
                is_untold = self.is_redacted and event.type in {"PolicyPublished", "DeviceSnapshotTaken"}
                if is_needed or is_untold:
                    (possible if is_untold else needed)[_key(stated)] = stated
        documents = [] if self.is_redacted else [_named("snapshot", each) for each in snapshots if each]
        for event in self._own:
            manifest = event.fields.get("manifest") if event.type == "IntentDeclared" else None
            artifacts = manifest.get("artifacts") if isinstance(manifest, dict) else None
            if isinstance(artifacts, dict):
                documents += [_named(name, digest) for name, digest in artifacts.items()]
        return needed | {_key(each): each for each in documents}, possible

    def _last(self, type_: str) -> Event | None:
        return next((event for event in reversed(self._own) if event.type == type_), None)


def _named(name: str, digest: Any) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}}


def _key(stated: Any) -> str:
    """A text that is the same for what is stated equally."""
    return json.dumps(stated, sort_keys=True, default=str)


def _at(place: tuple[str, int]) -> str:
    return f"{place[0]} offset {place[1]}"


def _of(event: Event) -> str:
    return f"{_at(event.record.place)} event {event.record.texts['id']}"


# -- The story --------------------------------------------------------------------------------------------------------

_TOLD: Mapping[str, str] = {
    "IntentDeclared": "{manifest[initiator]} declares the job: {manifest[purpose]}",
    "IntentWithdrawn": "the agent withdraws it: {reason}",
    "ApprovalRequested": "a person must say yes: {message}",
    "ApprovalGranted": "{approver} says yes",
    "ApprovalDenied": "{approver} says no: {reason}",
    "ApprovalCounted": "{persons} of {quorum} persons have said yes",
    "ApprovalInvalidated": "what people were asked counts no longer: {message}",
    "ApprovalExpired": "nobody said yes in time",
    "IntentAdmitted": "policy admits it by rule {rule}",
    "IntentRefused": "policy refuses it, {reason}: {message}",
    "PlacementDecided": "the scheduler chooses {device}: {why}",
    "ReservationGranted": "{device} holds a slot",
    "RunCancelDecided": "the guard stops the run: {reason}",
    "StepFailed": "step {step} fails: {reason}",
    "ResultRecorded": "the result is recorded: {shots} shots, converged {converged}",
    "BudgetCaptured": "{amount_microusd} micro-dollars are spent",
    "JobCompleted": "the job is complete",
    "JobFailed": "the job fails: {reason}",
    "JobCancelled": "the job is cancelled: {reason}",
    "ReproductionMeasured": "run again by the auditor: {verdict}, index {index:.4f}",
    "CallbackDelivered": "callback after {attempts} attempts: {message}",
}


def story(job: str, events: Iterable[Event]) -> Iterator[str]:
    """The job in a few lines, by signed time, each event after its causes; what is repeated is told once."""
    for told, run in groupby(_lines(job, events), key=lambda line: line[1]):
        times = [time for time, _ in run]
        again = f" ({len(times)} times, until {times[-1]})" if len(times) > 1 else ""
        yield f"{times[0]}  {told}{again}"


def _lines(job: str, events: Iterable[Event]) -> Iterator[tuple[str, str]]:
    """Time and words of each event that is told."""
    for event in in_order([event for event in events if event.job == job]):
        time = event.record.texts["time"][:19].replace("T", " ")
        if event.record.withheld:
            yield time, f"{event.type}, said by {event.key.source}"
        elif template := _TOLD.get(event.type):
            with suppress(KeyError, ValueError, TypeError, AttributeError, IndexError):
                yield time, template.format_map(event.fields)[:240]


def in_order(events: Sequence[Event]) -> Iterator[Event]:
    """Events by signed time, each after its causes; what waits for itself is left out."""
    places = {event.name: place for place, event in enumerate(events)}
    waits = [{cause[:3] for cause in event.causes} & places.keys() for event in events]
    follows: dict[int, list[int]] = {}
    for place, names in enumerate(waits):
        for name in names:
            follows.setdefault(places[name], []).append(place)
    left = [len(names) for names in waits]
    ready = [(event.time_us, place) for place, event in enumerate(events) if not left[place]]
    heapq.heapify(ready)
    while ready:
        _, place = heapq.heappop(ready)
        yield events[place]
        for following in follows.get(place, ()):
            left[following] -= 1
            if not left[following]:
                heapq.heappush(ready, (events[following].time_us, following))


def printable(text: str) -> str:
    """A text that moves no cursor."""
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)


def show(report: Report) -> None:
    """Print a report for a person."""
    facts = [("verdict", VERDICTS[report.verdict])]
    if report.verdict != UNREADABLE:
        theirs = "FROM THE BUNDLE ITSELF: compare it, or give yours with --root"
        asked = "the one you gave" if report.root_given else theirs
        facts += [
            ("job", f"{report.job} at {report.site}"),
            ("root key", f"{report.root} ({asked})"),
            ("records", f"{report.records:,}, of which {report.proven:,} are in the sealed trees"),
            ("signatures", f"{report.signatures:,} checked"),
            ("witnesses", ", ".join(report.witnesses) or "none"),
        ]
    for name, text in facts:
        print(printable(f"{name:<11} {text}"))
    if report.withheld:
        checked = "their seals, keys, roles, causes and places were checked"
        print(f"withheld    what {report.withheld:,} events say; {checked}")
    for what in report.unchecked:
        print(f"not checked {what}")
    for note in report.notes:
        print(printable(f"note: {note}"))
    for what in report.uncovered:
        print(printable(f"uncovered: {what}"))
    for finding in report.findings[:FINDINGS_SHOWN]:
        print(printable(f"found: {finding}"))
    if len(report.findings) > FINDINGS_SHOWN:
        print(f"and {len(report.findings) - FINDINGS_SHOWN} more; all of them with --json")
    for line in report.story:
        print(printable(f"  {line}"))


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; what it returns is the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    parser = _Arguments("qpubus-verify", description="Verify a bundle, trusting a root key and nothing else.")
    parser.add_argument("bundle", metavar="BUNDLE", help="a file that `qpubus audit bundle` wrote")
    parser.add_argument(
        "--root", metavar="HEX|FILE", help="the site's root public key or root.pub, from whom you trust"
    )
    parser.add_argument("--witness", metavar="FILE", help="a C2SP tlog-policy: whose cosignatures are enough")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    given = parser.parse_args(arguments)
    try:
        root = _read_root(given.root) if given.root else None
    except (OSError, ValueError, Unreadable) as error:
        parser.error(f"--root {given.root}: {_why(error)}")
    try:
        policy = read_policy(_read(given.witness, 1 << 20).decode()) if given.witness else None
    except (OSError, ValueError, Unreadable) as error:
        parser.error(f"--witness {given.witness}: {_why(error)}")
    try:
        report = verify(_read(given.bundle, BUNDLE_BYTES_MAX + 1), root, policy)
    except OSError as error:
        report = Report(UNREADABLE, notes=[f"{given.bundle}: {error.strerror}"])
    try:
        if given.json:
            print(json.dumps(report.document()))
        else:
            show(report)
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would be tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"{parser.prog}: the report could not be written: {error.strerror}", file=sys.stderr)
            return UNTOLD
    return report.verdict


def _why(error: Exception) -> str:
    """What was wrong with a file that was named."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is not text" if isinstance(error, UnicodeDecodeError) else str(error)


def _read_root(text: str) -> bytes:
    root = bytes.fromhex(text if _HEX.match(text) else _read(text, 1_024).decode().strip())
    if public_key(root) is None:
        raise Unreadable("this is no public key that anyone should trust")
    return root


def _read(path: str, limit: int) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 (a path may be a pipe)
        return file.read(limit)


def command() -> NoReturn:
    """`qpubus-verify`."""
    sys.exit(main())


if __name__ == "__main__":
    command()
