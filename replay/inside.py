"""What agents, gateway and people signed inside of events, in an audit: all of it holds, or a stage has refused it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from replay.proofs import Keys, Proof, proofs_inside
from replay.verdict import Finding
from schemas import events as e
from schemas.admission import Admitted
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
TELLING: frozenset[type[Event]] = frozenset({e.ApprovalRequested, e.IntentRefused, e.ApprovalRejected})
"""Events that say what was to be signed, and what a stage has refused."""
_REASONS = {
    "agent": "agent_proof_invalid",
    "gateway": "gateway_proof_invalid",
    "approver": "approval_proof_invalid",
    "person": "proof_invalid",
}
"""By the kind of a signature."""
_NO_INTENTS: Mapping[str, e.IntentDeclared] = {}


class _Fault(NamedTuple):
    """A signature that does not hold: where its event stands, the event's digest and by which event it is excused."""

    topic: str
    offset: int
    digest: str
    excuse: type[Event] | None
    reason: str
    detail: str


class Inside:
    """What was signed inside of a site's events, as far as an audit has read."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.faults: list[_Fault] = []
        self.waiting: list[Admitted] = []
        self.asked: dict[str, list[ApprovalStatement]] = {}
        self.refused: set[tuple[type[Event], str]] = set()

    def hear(self, admitted: Admitted, keys: Keys, site: str) -> None:
        """Take in an event of `SIGNED` or `TELLING`; `keys` are all that were enrolled before it.

        An answer that no statement bears out so far waits until all statements are there.
        """
        match admitted.event:
            case e.ApprovalRequested(statement=statement):
                self.asked.setdefault(statement.intent_digest, []).append(statement)
            case e.IntentRefused() | e.ApprovalRejected() as said if admitted.role == Role.POLICY:
                self.refused.update((type(said), cause.digest) for cause in admitted.causes)
            case e.ApprovalGranted() | e.ApprovalDenied() if any(self._failing(admitted, keys, site)):
                self.waiting.append(admitted)
            case _:
                self.faults += [self._fault(admitted, proof) for proof in self._failing(admitted, keys, site)]

    def state(self) -> list[Any]:
        """What a later audit needs, for `restore`: in a sound log all that does not hold has been refused."""
        asked = [statement for each in self.asked.values() for statement in each]
        return [statement.model_dump(mode="json", exclude_defaults=True) for statement in asked]

    def restore(self, state: list[Any]) -> None:
        """Know what was known before."""
        for statement in map(ApprovalStatement.model_validate, state):
            self.asked.setdefault(statement.intent_digest, []).append(statement)

    def absorb(self, other: "Inside") -> None:
        """Take over what was read elsewhere."""
        self.faults += other.faults
        self.waiting += other.waiting
        self.refused |= other.refused
        for digest, statements in other.asked.items():
            self.asked.setdefault(digest, []).extend(statements)

    def findings(
        self, keys: Keys, site: str, partition: int, rejected: Mapping[tuple[str, int], str]
    ) -> Iterator[Finding]:
        """Signatures that do not hold, of events that no stage refused; `rejected` has digests by topic and offset."""
        late = (self._fault(each, proof) for each in self.waiting for proof in self._failing(each, keys, site))
        for fault in (*self.faults, *late):
            is_refused = (fault.excuse, fault.digest) in self.refused
            if not is_refused and rejected.get((fault.topic, fault.offset)) != fault.digest:
                yield Finding(1, fault.topic, partition, fault.offset, "", fault.reason, fault.detail)

    def _failing(self, admitted: Admitted, keys: Keys, site: str) -> Iterator[Proof]:
        return (proof for proof in proofs_inside(admitted, keys, self.asked, _NO_INTENTS, site) if not proof.holds)

    @staticmethod
    def _fault(admitted: Admitted, proof: Proof) -> _Fault:
        match admitted.event:
            case e.IntentDeclared():
                excuse: type[Event] | None = e.IntentRefused
            case e.ApprovalGranted() | e.ApprovalDenied():
                excuse = e.ApprovalRejected
            case _:
                excuse = None
        stored = admitted.stored
        what = f"the signature of the {proof.kind} in it does not hold: {proof.detail}"
        return _Fault(stored.topic, stored.offset, admitted.digest.hex(), excuse, _REASONS[proof.kind], what)
