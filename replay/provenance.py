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
    declared = next(each for each in facts if isinstance(each.event, e.IntentDeclared) and each.event.job_id == job_id)
    manifest = declared.event.manifest if isinstance(declared.event, e.IntentDeclared) else None
    own = [each for each in facts if getattr(each.event, "job_id", "") == job_id]
    result, slot = _last(own, e.ResultRecorded), _last(own, e.ReservationGranted)
    end = next((each for each in reversed(own) if isinstance(each.event, _ENDS)), own[-1])
    device = result.device if result else slot.device if slot else ""
    started = next((each.time_us for each in own if isinstance(each.event, e.StepStarted)), declared.time_us)
    subject = ("result", result.result_digest) if result else (type(end.event).__name__, end.cause.digest)
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [_digest(f"{subject[0]} of {job_id}", subject[1])],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"manifest": plain(manifest) if manifest else {}},
                "internalParameters": _rules(own),
                "resolvedDependencies": [*_dependencies(site, job_id, facts), *_documents(own)],
            },
            "runDetails": {
                "builder": {"id": f"urn:qpubus:{site}:device:{device}", "version": _versions(facts, device)},
                "metadata": {
                    "invocationId": slot.reservation_id if slot else job_id,
                    "startedOn": time_text(started),
                    "finishedOn": time_text(end.time_us),
                },
                "byproducts": [_digest(name, digest) for name, digest in byproducts.items()],
            },
        },
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
