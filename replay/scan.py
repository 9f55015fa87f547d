"""One pass over the records of a site: each is judged by its bytes, and what is needed later is kept."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from replay.checkpoints import Checkpoints
from replay.journals import Journals
from replay.verdict import Finding
from schemas.admission import Admission, Admitted, Refused, Stored
from schemas.envelope import Cause, Record
from schemas.events import (
    CheckpointSealed,
    CheckpointWitnessed,
    EventRejected,
    IntentDeclared,
    KeyEnrolled,
    KeyRevoked,
)
from schemas.said import Said
from schemas.words import Event, wire_name

_KEPT: frozenset[type[Event]] = frozenset(
    {CheckpointSealed, CheckpointWitnessed, EventRejected, IntentDeclared, KeyEnrolled, KeyRevoked}
)
_READ = frozenset({wire_name(kind) for kind in _KEPT})
"""The bodies that an audit reads, besides governance. What others say matters where decisions are made again."""


class Rejection(NamedTuple):
    """An EventRejected and who said it."""

    event: EventRejected
    role: str
    stored: Stored


class RefusedHere(NamedTuple):
    """A refused record and how many records of its site and topic stand before it."""

    refused: Refused
    before: int


class SiteScan:
    """What is kept of one site."""

    def __init__(self, site: str, root: bytes, partition: int, checkpoints: Checkpoints) -> None:
        self.site = site
        self.checkpoints = checkpoints
        self.admission = Admission(root, site, topics=frozenset(), passes_over_revocations=True, reads=_READ)
        self.journals = Journals()
        self.said = Said()
        self.sizes: Counter[str] = Counter()
        self.jobs: set[str] = set()
        self.events = 0
        self.refused: dict[tuple[str, int], RefusedHere] = {}
        self.rejections: dict[tuple[str, int], Rejection] = {}
        self.early: list[Finding] = []
        self.revocations = 0
        self._enrolled: dict[str, int] = {}
        self._signers: set[str] = set()
        self._partition = partition
        self._awaited: dict[Cause, tuple[str, int]] = {}

    def take(self, records: Sequence[Stored]) -> None:
        """Judge neighbours of one topic."""
        said, causes_before, signer = self.said, None, ""
        digests: list[bytes] = []
        for verdict in self.admission.admit(records):
            if isinstance(verdict, Refused):
                digests.append(verdict.digest)
                place = verdict.stored.topic, verdict.stored.offset
                self.refused[place] = RefusedHere(verdict, self.sizes[place[0]] + records.index(verdict.stored))
                continue
            event, digest, stored, source, _, key_id, sequence, _, causes, inputs = verdict
            said.add(source, stored.topic, sequence, digest)
            digests.append(digest)
            if key_id is not signer:
                signer = key_id
                self._signers.add(key_id)
            if causes is not causes_before:
                causes_before = causes
                for cause in causes:
                    if said.fault(cause):
                        self._await(cause, stored)
            if inputs is not None:
                self.journals.note(verdict)
            if type(event) in _KEPT:
                self._keep(event, verdict)
        self.sizes[records[0].topic] += len(records)
        self.checkpoints.digests.add(records[0].topic, digests)

    @property
    def keys_end(self) -> int:
        """The place in governance by which every key that signed anything was enrolled."""
        return max((self._enrolled.get(key_id, -1) + 1 for key_id in self._signers), default=0)

    def _await(self, cause: Cause, stored: Stored) -> None:
        """A cause in another topic may come yet; one in the same topic must have come before."""
        if cause.topic == stored.topic:
            self.early.append(self._of_cause(stored.topic, stored.offset, cause))
        else:
            self._awaited.setdefault(cause, (stored.topic, stored.offset))

    def _keep(self, event: object, verdict: Admitted) -> None:
        match event:
            case IntentDeclared():
                self.jobs.add(event.job_id)
            case EventRejected() if event.partition == self._partition:
                self.rejections[event.topic, event.offset] = Rejection(event, verdict.role, verdict.stored)
            case KeyEnrolled():
                self._enrolled[event.key_id] = verdict.stored.offset
            case KeyRevoked():
                self.revocations += 1
            case CheckpointSealed() | CheckpointWitnessed():
                self.checkpoints.hear(self.site, verdict, self.admission.keys[verdict.key_id])
            case _:
                pass

    def cause_findings(self) -> list[Finding]:
        """Events whose causes are nowhere, or are others."""
        for refused, _ in self.refused.values():
            record = refused.stored.record
            if refused.reason == "sequence_repeated" and isinstance(record, Record):
                cause = Cause(record.topic, record.source, int(record.sequence), refused.digest.hex())
                self.said.add_other(cause)
        late = [(*place, cause) for cause, place in self._awaited.items() if self.said.fault(cause)]
        return self.early + [self._of_cause(*each) for each in late]

    def _of_cause(self, topic: str, offset: int, cause: Cause) -> Finding:
        fault = self.said.fault(cause)
        is_missing = fault == "cause_absent"
        how = "not there" if is_missing else "there with another digest"
        what = f"its cause {cause.topic}/{cause.source}/{cause.sequence} is {how}"
        return Finding(1, topic, self._partition, offset, "", fault, what, is_missing)
