"""One pass over the records of a site: each is judged by its bytes, and what is needed later is kept."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from replay.checkpoints import Checkpoints
from replay.journals import Journals
from replay.said import Said
from replay.verdict import Finding, about
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

_KEPT = frozenset({CheckpointSealed, CheckpointWitnessed, EventRejected, IntentDeclared, KeyEnrolled, KeyRevoked})


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
        self.admission = Admission(root, site, topics=frozenset(), passes_over_revocations=True)
        self.journals = Journals()
        self.said = Said()
        self.sizes: Counter[str] = Counter()
        self.jobs: set[str] = set()
        self.events = 0
        self.refused: dict[tuple[str, int], RefusedHere] = {}
        self.rejections: dict[tuple[str, int], Rejection] = {}
        self.early: list[Finding] = []
        self.revocations = 0
        self.keys_end = 0
        self._partition = partition
        self._awaited: dict[Cause, Stored] = {}

    def take(self, records: Sequence[Stored]) -> None:
        """Judge neighbours of one topic."""
        said, causes_before = self.said, None
        digests: list[bytes] = []
        for verdict in self.admission.admit(records):
            if isinstance(verdict, Refused):
                digests.append(verdict.digest)
                place = verdict.stored.topic, verdict.stored.offset
                self.refused[place] = RefusedHere(verdict, self.sizes[place[0]] + records.index(verdict.stored))
                continue
            event, digest, stored, source, _, _, sequence, _, causes, inputs = verdict
            said.add(source, stored.topic, sequence, digest)
            digests.append(digest)
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

    def _await(self, cause: Cause, stored: Stored) -> None:
        """A cause in another topic may come yet; one in the same topic must have come before."""
        if cause.topic == stored.topic:
            self.early.append(_of_cause(stored, cause, self.said.fault(cause)))
        else:
            self._awaited.setdefault(cause, stored)

    def _keep(self, event: object, verdict: Admitted) -> None:
        match event:
            case IntentDeclared():
                self.jobs.add(event.job_id)
            case EventRejected() if event.partition == self._partition:
                self.rejections[event.topic, event.offset] = Rejection(event, verdict.role, verdict.stored)
            case KeyEnrolled():
                self.keys_end = max(self.keys_end, verdict.stored.offset + 1)
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
        late = [(cause, stored, self.said.fault(cause)) for cause, stored in self._awaited.items()]
        return self.early + [_of_cause(stored, cause, fault) for cause, stored, fault in late if fault]


def _of_cause(stored: Stored, cause: Cause, fault: str) -> Finding:
    named = f"its cause {cause.topic}/{cause.source}/{cause.sequence}"
    what = f"{named} is not there" if fault == "cause_absent" else f"{named} is there with another digest"
    return about(stored, fault, what, rank=1, is_missing=fault == "cause_absent")
