"""A job's events go in, an in-toto Statement v1 with SLSA provenance v1 comes out, and the DSSE envelope around it.

In the words of SLSA the job is a build: the manifest is what was asked from outside; intent, grant, slot and
calibration are what it depended on; the device is the builder; the result is what was built.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas import events as e
from schemas.envelope import Cause, time_text
from schemas.keys import key_id, raw_public_key
from schemas.manifest import plain
from schemas.seal import pae
from schemas.words import Event

PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:qpubus:job:v1"
_NAMES: Mapping[type[Event], str] = {
    e.PolicyPublished: "policy",
    e.PriceListPublished: "prices",
    e.IntentDeclared: "intent",
    e.ApprovalGranted: "grant",
    e.IntentAdmitted: "admission",
    e.DeviceSnapshotTaken: "snapshot taken",
    e.ReservationGranted: "slot",
}
_ENDS = (e.JobCompleted, e.JobFailed, e.JobCancelled, e.IntentRefused)
E = TypeVar("E", bound=Event)


class Fact(NamedTuple):
    """An event with its name on the log."""

    event: Event
    cause: Cause
    time_us: int


def statement(site: str, job_id: str, facts: Sequence[Fact], byproducts: Mapping[str, str]) -> dict[str, Any]:
    """The statement about a job that was declared; `facts` in their order, `byproducts` as SHA-256 in hex by name."""
    own = _facts_of(job_id, facts)
    [manifest, *_] = [declared.manifest for _, declared in _of(own, e.IntentDeclared)]
    result, slot = _last(own, e.ResultRecorded), _last(own, e.ReservationGranted)
    device = result.device if result else slot.device if slot else ""
    builder = {"id": f"urn:qpubus:{site}:device:{device}", "version": _versions(facts, device)}
    said = {
        "externalParameters": {"manifest": plain(manifest)},
        "internalParameters": _rules(own),
        "resolvedDependencies": [*_dependencies(site, job_id, facts), *_documents(own)],
    }
    subject = _digest(f"result of {job_id}", result.result_digest) if result else _end_of(job_id, own)
    run = {"builder": builder, "metadata": _metadata(slot.reservation_id if slot else job_id, own)}
    return _statement(subject, said, run, byproducts)


def redacted_statement(site: str, job_id: str, facts: Sequence[Fact], byproducts: Mapping[str, str]) -> dict[str, Any]:
    """The same, with nothing in it that stands in the body of an event: what was asked is the intent's digest."""
    own = _facts_of(job_id, facts)
    [intent, *_] = [fact.cause.digest for fact, _ in _of(own, e.IntentDeclared)]
    said = {
        "externalParameters": {"intent": {"sha256": intent}},
        "internalParameters": {},
        "resolvedDependencies": list(_dependencies(site, job_id, facts)),
    }
    run = {"builder": {"id": f"urn:qpubus:{site}"}, "metadata": _metadata(job_id, own)}
    return _statement(_end_of(job_id, own), said, run, byproducts)


def _statement(
    subject: Mapping[str, Any], said: Mapping[str, Any], run: Mapping[str, Any], byproducts: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [subject],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {"buildType": BUILD_TYPE, **said},
            "runDetails": {**run, "byproducts": [_digest(name, digest) for name, digest in byproducts.items()]},
        },
    }


def _facts_of(job_id: str, facts: Sequence[Fact]) -> list[Fact]:
    return [each for each in facts if getattr(each.event, "job_id", "") == job_id]


def _end(own: Sequence[Fact]) -> Fact:
    """What ended a job, or the last that was said of it."""
    return next((each for each in reversed(own) if isinstance(each.event, _ENDS)), own[-1])


def _end_of(job_id: str, own: Sequence[Fact]) -> dict[str, Any]:
    end = _end(own)
    return _digest(f"{type(end.event).__name__} of {job_id}", end.cause.digest)


def _metadata(invocation: str, own: Sequence[Fact]) -> dict[str, str]:
    """When it began and ended: by the first step, or by the intent where none was begun."""
    began = next((each for each in own if isinstance(each.event, e.StepStarted)), None)
    began = began or next(each for each in own if isinstance(each.event, e.IntentDeclared))
    return {
        "invocationId": invocation,
        "startedOn": time_text(began.time_us),
        "finishedOn": time_text(_end(own).time_us),
    }


def envelope(said: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """The statement in a DSSE envelope, signed."""
    payload = rfc8785.dumps(dict(said))
    signature = key.sign(pae(PAYLOAD_TYPE.encode(), payload))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id(raw_public_key(key)), "sig": base64.b64encode(signature).decode()}],
    }


def named_documents(event: Event) -> Iterator[str]:
    """The SHA-256 of each document of the artefact store that an event names."""
    for name in ("snapshot_digest", "compiled_digest", "result_digest", "output_digest", "program_digest"):
        yield from filter(None, [getattr(event, name, "")])
    yield from getattr(event, "compiled_digests", ())
    if isinstance(event, e.IntentDeclared):
        yield from event.manifest.artifacts.values()
    if isinstance(event, e.ArtifactStored):
        yield event.digest


def _dependencies(site: str, job_id: str, facts: Sequence[Fact]) -> Iterator[dict[str, Any]]:
    """The events that the job rests on, each by its digest; of policy and prices those in force."""
    policies = {each.policy_digest for _, each in _own(facts, job_id, e.IntentAdmitted)}
    snapshots = {each.snapshot_digest for _, each in _own(facts, job_id, e.StepStarted)}
    prices = [fact for fact in facts if isinstance(fact.event, e.PriceListPublished)]
    for fact in facts:
        name = _NAMES.get(type(fact.event))
        match fact.event:
            case e.PolicyPublished():
                is_needed = fact.cause.digest in policies
            case e.PriceListPublished():
                is_needed = fact is prices[-1]
            case e.DeviceSnapshotTaken(snapshot_digest=digest):
                is_needed = digest in snapshots
            case event:
                is_needed = getattr(event, "job_id", "") == job_id
        if name and is_needed:
            topic, source, sequence, digest = fact.cause
            yield {**_digest(name, digest), "uri": f"urn:qpubus:{site}:{topic}:{source}:{sequence}"}


def _documents(own: Sequence[Fact]) -> Iterator[dict[str, Any]]:
    """Calibration, programs and inputs, by SHA-256."""
    for digest in sorted({each.snapshot_digest for _, each in _of(own, e.StepStarted) if each.snapshot_digest}):
        yield _digest("snapshot", digest)
    for _, declared in _of(own, e.IntentDeclared):
        for name, digest in sorted(declared.manifest.artifacts.items()):
            yield _digest(name, digest)


def _rules(own: Sequence[Fact]) -> dict[str, str]:
    """By which rules it was admitted and placed."""
    admitted, placed = _last(own, e.IntentAdmitted), _last(own, e.PlacementDecided)
    named = {"admission": admitted.rule if admitted else "", "placement": placed.rule if placed else ""}
    return {name: rule for name, rule in named.items() if rule}


def _versions(facts: Sequence[Fact], device: str) -> dict[str, str]:
    taken = [each for _, each in _of(facts, e.DeviceSnapshotTaken) if each.device == device]
    return {"firmware": taken[-1].firmware, "compiler": taken[-1].compiler} if taken else {}


def _last(facts: Sequence[Fact], event_type: type[E]) -> E | None:
    return next((each.event for each in reversed(facts) if isinstance(each.event, event_type)), None)


def _of(facts: Sequence[Fact], event_type: type[E]) -> list[tuple[Fact, E]]:
    return [(each, each.event) for each in facts if isinstance(each.event, event_type)]


def _own(facts: Sequence[Fact], job_id: str, event_type: type[E]) -> list[tuple[Fact, E]]:
    return [(fact, event) for fact, event in _of(facts, event_type) if getattr(event, "job_id", "") == job_id]


def _digest(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}}
