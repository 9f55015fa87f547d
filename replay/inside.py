"""What agents, gateway and people signed inside of events, in an audit: all of it holds, or a stage has refused it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from replay.admissions import Admissions
from replay.index import Index, Rows, Texts
from replay.proofs import Keys, Proof, proofs_inside
from replay.verdict import Finding
from schemas import events as e
from schemas.admission import Admission, Admitted
from schemas.codec import decode, unframe
from schemas.envelope import Record
from schemas.events import ApprovalStatement
from schemas.topics import Role
from schemas.words import Event

SIGNED: frozenset[type[Event]] = frozenset(
    {
        *(e.IntentDeclared, e.IntentWithdrawn, e.CalibrationRequested, e.ApprovalGranted, e.ApprovalDenied),
        *(e.MandateGranted, e.MandateRevoked, e.AutonomyGranted, e.AutonomyRevoked, e.HaltOrdered, e.HaltLifted),
    }
)
"""Events with signatures inside."""
TELLING: frozenset[type[Event]] = frozenset(
    {e.ApprovalRequested, e.IntentRefused, e.ApprovalRejected, e.IntentAdmitted}
)
"""Events that say what was to be signed, what a stage has refused, and what came of it."""
_REASONS = {
    "agent": "agent_proof_invalid",
    "gateway": "gateway_proof_invalid",
    "approver": "approval_proof_invalid",
    "person": "proof_invalid",
}
"""By the kind of a signature that does not hold."""
_REVOKED = {
    "agent": "agent_key_revoked",
    "gateway": "gateway_key_revoked",
    "approver": "approver_key_revoked",
    "person": "person_key_revoked",
}
"""By the kind of a signature that holds, made with a key that had been revoked."""
_EXCUSES: Mapping[type[Event], type[Event]] = {
    e.IntentDeclared: e.IntentRefused,
    e.ApprovalGranted: e.ApprovalRejected,
    e.ApprovalDenied: e.ApprovalRejected,
}
"""What policy says of an event that it does not believe."""
_ANSWERS = (e.ApprovalGranted, e.ApprovalDenied)
_NO_INTENTS: Mapping[str, e.IntentDeclared] = {}

Said = Callable[[str, int], str]
"""The digest of the record at a topic and offset that the stage in charge has rejected; empty if it has none."""
Ends = Callable[["Fault"], bool]
"""Whether the key of a signature that holds had been revoked before its event counted."""


class Fault(NamedTuple):
    """A signature that does not hold, or whose key has been revoked, perhaps after it was made.

    `place` is the offset of its event, `before` how many records of its site and topic stand before that, `number` its
    number among its author's, `digest` its digest. Policy may have refused it by an event of the type `excuse`.
    """

    topic: str
    place: int
    before: int
    number: int
    digest: str
    excuse: str
    reason: str
    detail: str
    key_id: str


class Where(NamedTuple):
    """Where an event with signatures inside stands; the first fields of a fault."""

    topic: str
    place: int
    before: int
    number: int
    digest: str

    @classmethod
    def of(cls, admitted: Admitted, before: int) -> "Where":
        """The place of an event that so many records stand before."""
        stored = admitted.stored
        return cls(stored.topic, stored.offset, before, admitted.sequence, admitted.digest.hex())


class _Asked(Mapping[str, Sequence[ApprovalStatement]]):
    """The statements that were put to people, by intent digest."""

    def __init__(self, rows: Rows[tuple[str, str]]) -> None:
        self._rows = rows

    def __getitem__(self, digest: str) -> Sequence[ApprovalStatement]:
        if found := [ApprovalStatement.model_validate_json(text) for _, text in self._rows.of(digest)]:
            return found
        raise KeyError(digest)

    def __iter__(self) -> Iterator[str]:
        return (digest for digest, _ in self._rows)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Inside:
    """What was signed inside of a site's events, as far as an audit has read."""

    def __init__(self, index: Index) -> None:
        """Nothing is known yet."""
        self.faults = Rows(index, Fault._fields, Fault._make)
        self.doubtful = Rows(index, Fault._fields, Fault._make)
        self.waiting = Rows[tuple[Any, ...]](index, (*Where._fields, "value"), tuple)
        self.asked = Rows[tuple[str, str]](index, ("digest", "statement"), tuple, is_looked_up=True)
        self.refused = Texts(index)
        self.admissions = Admissions(index)
        self._statements = _Asked(self.asked)

    def hear(self, admitted: Admitted, before: int, keys: Keys, site: str) -> None:
        """Take in an event of `SIGNED` or `TELLING`; `keys` are all that were enrolled before it.

        So many of its site's records in its topic stand `before` it. An answer that no statement bears out so far waits
        until all statements are there.
        """
        match admitted.event:
            case e.ApprovalRequested(statement=statement):
                self.asked.append((statement.intent_digest, statement.model_dump_json(exclude_defaults=True)))
            case e.IntentRefused() | e.ApprovalRejected() as said if admitted.role == Role.POLICY:
                self.refused.update(_refused(type(said).__name__, cause.digest) for cause in admitted.causes)
            case e.IntentAdmitted() as event:
                self.admissions.hear(event, admitted)
            case said:
                stored, where = admitted.stored, Where.of(admitted, before)
                proofs = list(proofs_inside((said, admitted.source), keys, self._statements, _NO_INTENTS, site))
                if isinstance(said, _ANSWERS) and not all(proof.holds for proof in proofs):
                    value = stored.record.value if isinstance(stored.record, Record) else b""
                    self.waiting.append((*where, value))
                else:
                    self._judge(said, where, proofs)

    def findings(self, admission: Admission, partition: int, rejected: Said, is_over: Ends) -> Iterator[Finding]:
        """Signatures that do not count, of events that no stage refused, and admissions that rest on nothing.

        A refusal excuses no event that an admission rests on all the same. `admission` knows all keys and schemas.
        """
        for *where, value in self.waiting:
            schema_id, body = unframe(value)
            said = decode(body, admission.schemas[schema_id])
            proofs = proofs_inside((said, ""), admission.keys, self._statements, _NO_INTENTS, admission.site)
            self._judge(said, Where(*where), list(proofs))
        for fault in chain(self.faults, filter(is_over, self.doubtful)):
            is_refused = fault.excuse and _refused(fault.excuse, fault.digest) in self.refused
            is_excused = is_refused or rejected(fault.topic, fault.place) == fault.digest
            if not is_excused or self.admissions.rest_on(fault.digest):
                yield Finding(1, fault.topic, partition, fault.place, "", fault.reason, fault.detail)
        yield from self.admissions.findings(partition, self.refused)

    def _judge(self, said: Event, where: "Where", proofs: Sequence[Proof]) -> None:
        if isinstance(said, e.ApprovalGranted) and all(proof.holds for proof in proofs):
            self.admissions.grant(said)
        excuse = _EXCUSES.get(type(said))
        for proof in proofs:
            if not proof.holds:
                what = f"the signature of the {proof.kind} in it does not hold: {proof.detail}"
                rows, reason = self.faults, _REASONS[proof.kind]
            elif proof.is_revoked:
                what = f"the {proof.kind} signed it with the key {proof.key_id}, which had been revoked"
                rows, reason = self.doubtful, _REVOKED[proof.kind]
            else:
                continue
            rows.append((*where, excuse.__name__ if excuse else "", reason, what, proof.key_id))


def _refused(said: str, digest: str) -> str:
    return f"{digest} {said}"
