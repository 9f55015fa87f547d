"""A job as W3C PROV: the chain of its events goes in, a PROV-JSON document comes out.

Every event is an entity: attributed to its author, derived from its causes. Each step that ran is an activity: it used
its plan, and the calibration for a quantum step, and generated its outcome, by an agent that is a device or the
sandbox. The author of the manifest acts for whoever its name stands for; an approver is an agent whose grant the
admission was derived from. Names are digests, so two documents about the same event can be joined.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from replay.explain import Chain
from replay.sentences import sentence
from schemas import events as e
from schemas.admission import Admitted
from schemas.envelope import Cause, time_text
from schemas.topics import Role

_PREFIXES = {
    "event": "urn:qpubus:event:",
    "who": "urn:qpubus:source:",
    "step": "urn:qpubus:step:",
    "qpubus": "urn:qpubus:",
}
_PERSONS = frozenset({Role.APPROVER.value})
_ENDS = (e.StepCompleted, e.StepFailed, e.StepOutcomeUnknown, e.RunCancelled)

Document = dict[str, dict[str, Any]]


def prov_document(chain: Chain) -> Document:
    """The PROV-JSON document of a job."""
    names = {_place(each.cause): _event(each) for each in chain.events}
    document: Document = {"prefix": dict(_PREFIXES)}
    for kind, name, attributes in _statements(chain, names):
        document.setdefault(kind, {})[name] = attributes
    return document


def _statements(chain: Chain, names: Mapping[tuple[str, str, int], str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    count = 0

    def relation(kind: str, **attributes: str) -> tuple[str, str, dict[str, Any]]:
        nonlocal count
        count += 1
        return kind, f"_:r{count}", {f"prov:{name}": value for name, value in attributes.items()}

    for each in chain.events:
        name = _event(each)
        yield "agent", _who(each.source), _agent(each.source, each.role)
        yield "entity", name, _entity(each)
        yield relation("wasAttributedTo", entity=name, agent=_who(each.source))
        for cause in each.causes:
            if used := names.get(_place(cause)):
                yield relation("wasDerivedFrom", generatedEntity=name, usedEntity=used)
        if isinstance(each.event, e.IntentDeclared):
            initiator = each.event.manifest.initiator
            yield "agent", _who(initiator), _agent(initiator, Role.AGENT)
            yield relation("wasAttributedTo", entity=name, agent=_who(initiator))
            yield relation("actedOnBehalfOf", delegate=_who(each.source), responsible=_who(initiator))
        elif isinstance(each.event, e.ApprovalGranted | e.ApprovalDenied):
            yield "agent", _who(each.event.approver), _agent(each.event.approver, Role.APPROVER)
            yield relation("wasAttributedTo", entity=name, agent=_who(each.event.approver))
    for step in _steps(chain):
        yield "activity", step.name, step.attributes
        yield relation("wasAssociatedWith", activity=step.name, agent=_who(step.who))
        for used in step.used:
            yield relation("used", activity=step.name, entity=used)
        for generated, time in step.generated:
            yield relation("wasGeneratedBy", entity=generated, activity=step.name, time=time)


class _Step:
    """A step that was run: from its start to what became of it."""

    def __init__(self, chain: Chain, started: Admitted) -> None:
        self.started = started
        event = started.event
        assert isinstance(event, e.StepStarted)  # noqa: S101 (the caller has looked)
        self.number = event.step
        self.name = f"step:{quote(event.job_id, safe='')}-{event.step}"
        self.who = started.source
        same = [each for each in chain.events if getattr(each.event, "step", None) == self.number]
        planned = [_event(each) for each in same if isinstance(each.event, e.StepPlanned)]
        snapshots = [
            _event(each)
            for each in chain.events
            if isinstance(each.event, e.DeviceSnapshotTaken) and each.event.snapshot_digest == event.snapshot_digest
        ]
        self.used = planned + snapshots
        self.ends = [each for each in same if isinstance(each.event, _ENDS)]
        outcomes = [each for each in same if isinstance(each.event, e.ShotsMeasured)] + self.ends
        self.generated = [(_event(each), time_text(each.time_us)) for each in outcomes]

    @property
    def attributes(self) -> dict[str, Any]:
        event = self.started.event
        assert isinstance(event, e.StepStarted)  # noqa: S101 (as above)
        times = {"prov:startTime": time_text(self.started.time_us)}
        if self.ends:
            times["prov:endTime"] = time_text(max(each.time_us for each in self.ends))
        return times | {
            "prov:type": _name(f"qpubus:{event.kind}-step"),
            "prov:label": f"step {event.step}: {event.kind}",
        }


def _steps(chain: Chain) -> Iterator[_Step]:
    """Each step once, at its first start."""
    seen: set[int] = set()
    for each in chain.events:
        if isinstance(each.event, e.StepStarted) and each.event.step not in seen:
            seen.add(each.event.step)
            yield _Step(chain, each)


def _entity(each: Admitted) -> dict[str, Any]:
    return {
        "prov:type": _name(f"qpubus:{type(each.event).__name__}"),
        "prov:label": sentence(each.event),
        "qpubus:topic": each.stored.topic,
        "qpubus:time": {"$": time_text(each.time_us), "type": "xsd:dateTime"},
        "qpubus:digest": each.digest.hex(),
        "qpubus:key": each.key_id,
    }


def _agent(source: str, role: str) -> dict[str, Any]:
    kind = "prov:Person" if role in _PERSONS else "prov:SoftwareAgent"
    return {"prov:type": _name(kind), "prov:label": source, "qpubus:role": str(role)}


def _name(text: str) -> dict[str, str]:
    return {"$": text, "type": "prov:QUALIFIED_NAME"}


def _event(each: Admitted) -> str:
    return f"event:{each.digest.hex()}"


def _who(source: str) -> str:
    return f"who:{quote(source, safe='')}"


def _place(cause: Cause) -> tuple[str, str, int]:
    return cause.topic, cause.source, cause.sequence
