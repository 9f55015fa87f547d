"""The log for a SIEM: verdicts on records go in, events of OCSF 1.9 with the profile `record_integrity` come out.

What somebody does is API Activity (6003), what governs the site is Entity Management (3004), a person's yes or no is
Authorize Session (3003). A record that is refused is an API Activity that failed.

Each exported event carries a fingerprint of itself, SHA-256 over its RFC 8785 form without fingerprint and signatures,
and that of the event before it in its topic and partition, so a collector that loses or changes one notices. Whose
signature the event itself bears, and over what, stands in `unmapped.qpubus`: its digest finds it on the log again.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from hashlib import sha256
from typing import Any

import rfc8785

from replay.judged import Judged
from replay.sentences import sentence
from schemas import events as e
from schemas.admission import Admitted
from schemas.envelope import Record, time_us_of
from schemas.seal import seal_of
from schemas.words import Event

VERSION = "1.9.0"
PROFILE = "record_integrity"
SHA_256 = 3
_TEXT_MAX = 1_024
_EXACT_MAX = 2**53 - 1


class Class(IntEnum):
    """The classes of OCSF that are used, by their uids; the category is the thousands."""

    AUTHORIZE_SESSION = 3003
    ENTITY_MANAGEMENT = 3004
    API_ACTIVITY = 6003


_CREATE, _UPDATE, _DELETE, _OTHER = 1, 3, 4, 99
_ENROLL, _UNENROLL = 6, 7
_ASSIGN_PRIVILEGES = 1
_INFORMATIONAL, _LOW, _MEDIUM, _HIGH = 1, 2, 3, 4
_SUCCESS, _FAILURE = 1, 2

_GOVERNED: Mapping[type[Event], int] = {
    e.SiteFounded: _CREATE,
    e.SchemaPublished: _CREATE,
    e.KeyEnrolled: _ENROLL,
    e.KeyRevoked: _UNENROLL,
    e.GapAccepted: _UPDATE,
    e.PolicyPublished: _UPDATE,
    e.PriceListPublished: _UPDATE,
    e.BudgetSet: _UPDATE,
    e.SubjectErased: _DELETE,
}
_ANSWERS = (e.ApprovalGranted, e.ApprovalDenied)
_FAILURES = (
    *(e.IntentRefused, e.ApprovalDenied, e.ApprovalExpired, e.ApprovalRejected, e.ReservationRefused),
    *(e.StepFailed, e.StepOutcomeUnknown, e.JobFailed, e.EventRejected),
)
_SEVERITIES: Mapping[type[Event], int] = {
    **dict.fromkeys((e.IntentRefused, e.ApprovalDenied, e.ApprovalRejected, e.StepFailed, e.JobFailed), _LOW),
    **dict.fromkeys((e.RunCancelDecided, e.StepOutcomeUnknown, e.GapAccepted, e.KeyRevoked), _MEDIUM),
    e.EventRejected: _HIGH,
}
_CREATES = (e.IntentDeclared, e.StepPlanned, e.ArtifactStored, e.TraceSealed, e.ReservationRequested)


def ocsf_events(log_id: str, verdicts: Iterable[tuple[str, Judged]], product_version: str) -> Iterator[dict[str, Any]]:
    """An OCSF event for each record, in the order given, each chained to the one before it in its topic-partition."""
    before: dict[tuple[str, int], dict[str, Any]] = {}
    for site, verdict in verdicts:
        stored = verdict.stored
        event = _admitted(site, verdict) if isinstance(verdict, Admitted) else _refused(verdict)
        event["metadata"] |= {
            "version": VERSION,
            "profiles": [PROFILE],
            "product": {"name": "qpubus", "vendor_name": "qpubus", "version": product_version},
            "log_provider": "qpubus",
            "log_name": stored.topic,
            "logged_time": stored.append_time_us // 1_000,
            "tenant_uid": site,
        }
        line = (stored.topic, stored.partition)
        _attest(event, f"{log_id}/{stored.topic}/{stored.partition}", before.get(line))
        before[line] = event
        yield event


def covered_bytes(event: Mapping[str, Any]) -> bytes:
    """What the fingerprint of an exported event is taken over."""
    attestations = [
        {name: value for name, value in each.items() if name not in {"fingerprint", "signatures"}}
        for each in event["attestation_list"]
    ]
    return rfc8785.dumps({**event, "attestation_list": attestations})


def _attest(event: dict[str, Any], chain_uid: str, before: Mapping[str, Any] | None) -> None:
    attestation: dict[str, Any] = {"uid": event["metadata"]["uid"], "chain_uid": chain_uid, "authority_uid": "qpubus"}
    if before:
        attestation["prev_event"] = {
            "uid": before["metadata"]["uid"],
            "type_uid": before["type_uid"],
            "fingerprint": before["attestation_list"][0]["fingerprint"],
        }
    event["attestation_list"] = [attestation]
    attestation["fingerprint"] = _fingerprint(sha256(covered_bytes(event)).hexdigest())


def _fingerprint(digest: str) -> dict[str, Any]:
    return {"algorithm_id": SHA_256, "algorithm": "SHA-256", "value": digest}


def _admitted(site: str, admitted: Admitted) -> dict[str, Any]:
    event, record, stored = admitted.event, admitted.stored.record, admitted.stored
    assert isinstance(record, Record)  # noqa: S101 (only what is in the form of a record is admitted)
    name, job = type(event).__name__, getattr(event, "job_id", "")
    failed = isinstance(event, _FAILURES)
    said = _classified(site, admitted) | {
        "time": admitted.time_us // 1_000,
        "severity_id": _SEVERITIES.get(type(event), _INFORMATIONAL),
        "status_id": _FAILURE if failed else _SUCCESS,
        "message": sentence(event),
        "actor": {"user": _user(admitted.source) | {"type_id": _OTHER, "type": admitted.role}},
        "metadata": {
            "uid": record.id,
            "event_code": name,
            "original_event_uid": admitted.digest.hex(),
            "original_time": record.time,
            "sequence": admitted.sequence,
            **({"correlation_uid": job} if job else {}),
        },
        "raw_data_hash": _fingerprint(admitted.digest.hex()),
        "unmapped": {
            "qpubus": {
                "partition": stored.partition,
                "offset": stored.offset,
                "digest": admitted.digest.hex(),
                "key_id": admitted.key_id,
                "signature": seal_of(record.seal).signature.hex(),
                "causes": record.causes.split(" ") if record.causes else [],
                "event": _plain(event.model_dump()),
            }
        },
    }
    if reason := getattr(event, "reason", ""):
        said |= {"status_code": _short(reason), "status_detail": _short(getattr(event, "message", "") or reason)}
    return said


def _classified(site: str, admitted: Admitted) -> dict[str, Any]:
    """What depends on the class: its uids, and the attributes that it asks for."""
    event, source = admitted.event, admitted.source
    name = type(event).__name__
    if (activity := _GOVERNED.get(type(event))) is not None:
        entity = next((text for each in ("key_id", "subject", "policy_id") if (text := getattr(event, each, ""))), site)
        return _uids(Class.ENTITY_MANAGEMENT, activity) | {"entity": {"uid": entity, "name": entity, "type": name}}
    if isinstance(event, _ANSWERS):
        activity = _ASSIGN_PRIVILEGES if isinstance(event, e.ApprovalGranted) else _OTHER
        return _uids(Class.AUTHORIZE_SESSION, activity, name) | {
            "user": _user(event.approver),
            "privileges": [f"run {event.job_id}"],
        }
    activity = _CREATE if isinstance(event, _CREATES) else _OTHER
    uids = [text for each in ("job_id", "device", "digest") if (text := getattr(event, each, ""))]
    return _uids(Class.API_ACTIVITY, activity, name) | {
        "api": {"operation": name, "service": {"name": f"qpubus {admitted.role}"}},
        "src_endpoint": {"svc_name": source},
        "resources": [{"uid": uid} for uid in uids or [site]],
    }


def _refused(refused: Judged) -> dict[str, Any]:
    assert not isinstance(refused, Admitted)  # noqa: S101 (the caller has looked)
    stored, digest = refused.stored, refused.digest.hex()
    record = stored.record
    source = refused.source or "unknown"
    name = record.type if isinstance(record, Record) else "unknown"
    return _uids(Class.API_ACTIVITY, _OTHER, "Refused") | {
        "time": _time_us(record, stored.append_time_us) // 1_000,
        "severity_id": _HIGH,
        "status_id": _FAILURE,
        "status_code": refused.reason,
        "status_detail": _short(refused.detail),
        "message": f"a record is not believed: {refused.reason}",
        "actor": {"user": _user(source)},
        "api": {"operation": _short(name), "service": {"name": "qpubus log"}},
        "src_endpoint": {"svc_name": source},
        "resources": [{"uid": stored.topic}],
        "metadata": {"uid": digest, "event_code": "Refused", "original_event_uid": digest},
        "raw_data_hash": _fingerprint(digest),
        "unmapped": {"qpubus": {"partition": stored.partition, "offset": stored.offset, "digest": digest}},
    }


def _uids(class_: Class, activity: int, name: str = "") -> dict[str, Any]:
    named = {"activity_name": name} if activity == _OTHER else {}
    return {
        "category_uid": class_ // 1_000,
        "class_uid": int(class_),
        "activity_id": activity,
        "type_uid": class_ * 100 + activity,
        **named,
    }


def _user(source: str) -> dict[str, Any]:
    return {"uid": _short(source), "name": _short(source)}


def _time_us(record: object, append_time_us: int) -> int:
    try:
        return time_us_of(record.time) if isinstance(record, Record) else append_time_us
    except ValueError:
        return append_time_us


def _plain(value: Any) -> Any:
    """A value as JSON of OCSF can hold it: exact numbers only, and of a long text its digest."""
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items() if each is not None}
        case list() | tuple():
            return [_plain(each) for each in value]
        case bytes():
            return _plain(value.hex())
        case str() if len(value) > _TEXT_MAX:
            return f"sha256:{sha256(value.encode()).hexdigest()}"
        case int() if abs(value) > _EXACT_MAX:
            return str(value)
        case _ if hasattr(value, "items"):
            return _plain(dict(value))
        case _:
            return value


def _short(text: str) -> str:
    return text[:_TEXT_MAX]
