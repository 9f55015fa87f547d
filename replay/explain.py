"""`audit explain JOB`: the causal chain of a job, from intent to result, as lines in order, every signature checked.

A line stands after the lines of its causes. Beside the job's own events there stand those it hangs on: the policy in
force, the price list, the mandate, earned autonomy or halt it hangs on, the calibrations of the devices that offered,
and its alarms.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from pydantic import Field

from replay.hearing import refused_of_revoked
from replay.proofs import Proof, proofs_of
from replay.sentences import Policies, details, sentence
from schemas import events as e
from schemas.admission import Admission, Admitted, EnrolledKey
from schemas.envelope import Cause, Record
from schemas.topics import TOPICS
from schemas.words import Words, wire_name
from streams.log.port import ReadableLog, partition_of
from streams.policy.autonomy import action_class
from streams.policy.wish import Wish

_FETCH = 4_096
_BACKGROUND = (
    *(e.PolicyPublished, e.PriceListPublished, e.DeviceSnapshotTaken, e.AlarmSet, e.AlarmRang, e.EventRejected),
    *(e.MandateGranted, e.MandateRevoked, e.HaltOrdered),
    *(e.AutonomyProposed, e.AutonomyGranted, e.AutonomyRevoked, e.AutonomySuspended),
)


class Line(Words):
    """An event of the chain as it is shown: where it stands, what it says, and which signatures on it hold."""

    time_us: int = Field(description="signed by the author")
    topic: str
    partition: int
    offset: int
    event_id: str
    event_type: str
    source: str
    role: str
    sentence: str
    details: tuple[tuple[str, str], ...]
    proofs: tuple[Proof, ...]
    causes: tuple[str, ...] = Field(description="by their names")
    name: str = Field(description="how others name this event as a cause")


class Explanation(Words):
    """What happened to a job, and whether each signature on the way holds."""

    job_id: str
    site: str
    lines: tuple[Line, ...]
    passed_over: tuple[str, ...] = Field(description="what the stage in charge refused, its key being revoked")

    @property
    def holds(self) -> bool:
        """Whether every signature holds."""
        return all(proof.holds for line in self.lines for proof in line.proofs)

    @property
    def signatures(self) -> int:
        """How many signatures were checked."""
        return sum(len(line.proofs) for line in self.lines)


async def explain(log: ReadableLog, roots: Mapping[str, bytes], job_id: str) -> Explanation | None:
    """The chain of a job; None if nobody declared it here."""
    chain = await chain_of(log, roots, job_id)
    return None if chain is None else explanation_of(chain, job_id)


def explanation_of(chain: "Chain", job_id: str) -> Explanation:
    """The chain of a job in words, every signature checked."""
    events = [each.event for each in chain.events]
    statements: dict[str, list[e.ApprovalStatement]] = {}
    for each in events:
        if isinstance(each, e.ApprovalRequested):
            statements.setdefault(each.statement.intent_digest, []).append(each.statement)
    intents = {each.job_id: each for each in reversed(events) if isinstance(each, e.IntentDeclared)}
    policies = {each.digest.hex(): each.event for each in chain.events if isinstance(each.event, e.PolicyPublished)}
    lines = tuple(
        _line(each, proofs_of(each, chain.keys, statements, intents, chain.site), policies) for each in chain.events
    )
    passed_over = tuple(f"{_place(each)}: {reason}" for each, reason in chain.passed_over)
    return Explanation(job_id=job_id, site=chain.site, lines=lines, passed_over=passed_over)


class Chain(NamedTuple):
    """The events that a job hangs on and consists of, each after its causes, and the keys of its site.

    What a key said after it was revoked is no event, if the journal of the stage in charge says so: it is passed over.
    """

    site: str
    keys: Mapping[str, EnrolledKey]
    events: tuple[Admitted, ...]
    passed_over: tuple[tuple[Admitted, str], ...] = ()


async def chain_of(log: ReadableLog, roots: Mapping[str, bytes], job_id: str) -> Chain | None:
    """The events of a job in order; None if nobody declared it here."""
    for site, root in roots.items():
        admission = Admission(root, site, topics=frozenset(), passes_over_revocations=True)
        found, background = await _gathered(log, admission, job_id)
        if any(isinstance(each.event, e.IntentDeclared) for each in found):
            chain = list(_in_order([*_needed(found, background), *found]))
            refused = await refused_of_revoked(chain, admission.keys, log, _neighbours(log, roots, site), site)
            events = tuple(each for each in chain if _at(each) not in refused)
            passed_over = tuple((each, refused[_at(each)]) for each in chain if _at(each) in refused)
            return Chain(site, admission.keys, events, passed_over)
    return None


async def _gathered(log: ReadableLog, admission: Admission, job_id: str) -> tuple[list[Admitted], list[Admitted]]:
    """The job's own events, and those of others that a job may hang on."""
    partition = partition_of(admission.site.encode(), log.partitions)
    found, background = [], []
    for topic in TOPICS:
        offset = 0
        while records := await log.read(topic, partition, offset, _FETCH):
            for verdict in admission.admit(records):
                if isinstance(verdict, Admitted):
                    if getattr(verdict.event, "job_id", "") == job_id:
                        found.append(verdict)
                    elif isinstance(verdict.event, _BACKGROUND):
                        background.append(verdict)
            offset = records[-1].offset + 1
    return found, background


def _needed(found: list[Admitted], background: list[Admitted]) -> Iterator[Admitted]:
    """What the job hangs on: named by digest, in force when it was declared, or caused by its events."""
    digests = {
        digest
        for each in found
        for name in ("policy_digest", "snapshot_digest")
        if (digest := getattr(each.event, name, ""))
    }
    declared_us = min(each.time_us for each in found)
    prices = [
        each for each in background if isinstance(each.event, e.PriceListPublished) and each.time_us <= declared_us
    ]
    if prices:
        yield prices[-1]
    names = {_name(each.cause) for each in found}
    mandates = {each.event.mandate_id for each in found if isinstance(each.event, e.IntentAdmitted)}
    asked_for = {_name(cause) for each in found for cause in each.causes}
    autonomy = _autonomy(found, background)
    for each in background:
        match each.event:
            case e.PolicyPublished():
                is_needed = each.digest.hex() in digests
            case e.DeviceSnapshotTaken():
                is_needed = each.event.snapshot_digest in digests
            case e.MandateGranted():
                is_needed = each.event.statement.mandate_id in mandates
            case e.MandateRevoked():
                is_needed = each.event.mandate_id in mandates
            case e.AutonomyProposed() | e.AutonomyGranted():
                is_needed = each in autonomy
            case e.HaltOrdered():
                is_needed = _name(each.cause) in asked_for
            case e.AlarmSet() | e.AlarmRang() | e.EventRejected():
                is_needed = any(_name(cause) in names for cause in each.causes)
            case _:
                is_needed = False
        if is_needed:
            names.add(_name(each.cause))
            yield each


def _autonomy(found: list[Admitted], background: list[Admitted]) -> list[Admitted]:
    """The step of autonomy that the agent stood on where policy asked nobody, and what it was proposed on."""
    manifests = [each.event.manifest for each in found if isinstance(each.event, e.IntentDeclared)]
    unasked_us = [
        each.time_us
        for each in found
        if isinstance(each.event, e.IntentAdmitted) and not (each.event.approver or each.event.mandate_id)
    ]
    if not unasked_us:
        return []
    agent, kind = manifests[0].initiator, action_class(Wish.of(manifests[0]))
    standing: list[Admitted] = []
    for each in sorted(background, key=lambda said: said.time_us):
        said = getattr(each.event, "statement", each.event)
        if (getattr(said, "agent", ""), getattr(said, "action_class", "")) != (agent, kind):
            continue
        match each.event:
            case e.AutonomyGranted(statement=ratified) if each.time_us <= unasked_us[0] < ratified.expires_us:
                standing = [*_proposal(ratified.evidence_digest, background), each]
            case e.AutonomyRevoked() | e.AutonomySuspended() if each.time_us <= unasked_us[0]:
                standing = []
            case _:
                pass
    return standing


def _proposal(evidence_digest: str, background: list[Admitted]) -> Iterator[Admitted]:
    for each in background:
        if isinstance(each.event, e.AutonomyProposed) and each.event.evidence_digest == evidence_digest:
            yield each


def _in_order(chain: list[Admitted]) -> Iterator[Admitted]:
    """Events by their signed times, each after its causes."""
    by_name = {_name(each.cause): each for each in chain}
    waits = Counter({name: sum(_name(cause) in by_name for cause in each.causes) for name, each in by_name.items()})
    follows: dict[str, list[str]] = {}
    for name, each in by_name.items():
        for cause in each.causes:
            follows.setdefault(_name(cause), []).append(name)
    ready = [(each.time_us, place, name) for place, (name, each) in enumerate(by_name.items()) if not waits[name]]
    places = {name: place for place, name in enumerate(by_name)}
    heapify(ready)
    while ready:
        _, _, name = heappop(ready)
        yield by_name[name]
        for following in follows.get(name, ()):
            waits[following] -= 1
            if not waits[following]:
                heappush(ready, (by_name[following].time_us, places[following], following))


def _neighbours(log: ReadableLog, roots: Mapping[str, bytes], site: str) -> dict[str, bytes]:
    """The roots of the sites on the partition number of this one."""
    partition = partition_of(site.encode(), log.partitions)
    return {name: key for name, key in roots.items() if partition_of(name.encode(), log.partitions) == partition}


def _line(each: Admitted, proofs: tuple[Proof, ...], policies: Policies) -> Line:
    stored, event = each.stored, each.event
    return Line(
        time_us=each.time_us,
        topic=stored.topic,
        partition=stored.partition,
        offset=stored.offset,
        event_id=stored.record.id if isinstance(stored.record, Record) else "",
        event_type=wire_name(type(event)),
        source=each.source,
        role=each.role,
        sentence=sentence(event),
        details=tuple(details(event, policies)),
        proofs=proofs,
        causes=tuple(map(_name, each.causes)),
        name=_name(each.cause),
    )


def _at(each: Admitted) -> tuple[str, int]:
    return each.stored.topic, each.stored.offset


def _place(each: Admitted) -> str:
    kind = wire_name(type(each.event)).removeprefix("qpubus.")
    return f"{each.stored.topic} partition {each.stored.partition} offset {each.stored.offset}: {kind} of {each.source}"


def _name(cause: Cause) -> str:
    return f"{cause.topic}/{cause.source}/{cause.sequence}"
