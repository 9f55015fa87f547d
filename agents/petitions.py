"""What people say of their own accord as the gateway takes it: mandates, autonomy and halts, signed by their person.

A word is checked by the very functions by which the stages will count it, and goes on the log with the person's proof.
"""

from collections.abc import Mapping

from agents.answers import REASON_LENGTH_MAX
from agents.replies import Refused
from schemas.admission import EnrolledKey
from schemas.events import (
    AutonomyGranted,
    AutonomyRevoked,
    HaltLifted,
    HaltOrdered,
    MandateGranted,
    MandateRevoked,
    MandateStatement,
)
from schemas.people import signed_words
from schemas.petitions import Petition
from schemas.reasons import Reason
from schemas.topics import Role
from streams.policy.autonomy import MAY_RATIFY
from streams.policy.state import PolicyState
from streams.stage import Heard


def subject_of(petition: Petition) -> str:
    """What a petition is about: a mandate, a halt, or the agent whose autonomy it is."""
    match petition:
        case MandateGranted(statement=said):
            return said.mandate_id
        case MandateRevoked(mandate_id=mandate_id):
            return mandate_id
        case AutonomyGranted(statement=ratified):
            return ratified.agent
        case AutonomyRevoked(agent=agent):
            return agent
        case HaltOrdered(halt_id=halt_id) | HaltLifted(halt_id=halt_id):
            return halt_id


class Petitions:
    """What people have said of their own accord, folded from events."""

    def __init__(self) -> None:
        self._said: list[Heard] = []

    def hear(self, heard: Heard) -> None:
        """Take in an event."""
        if isinstance(heard.event, Petition):
            self._said.append(heard)

    def earlier(self, petition: Petition, policy: PolicyState) -> Heard | None:
        """The same, said before by the same proof, which needs not be said again.

        To put an agent back is never in vain while it stands anywhere: its words have no id that is used up.
        """
        if isinstance(petition, AutonomyRevoked) and _stands(petition, policy):
            return None
        return next((heard for heard in self._said if heard.event == petition), None)

    def because(self, petition: Petition) -> list[Heard]:
        """The order or the grant that a petition ends."""
        if not isinstance(petition, HaltLifted | MandateRevoked):
            return []
        ended = subject_of(petition)
        return [
            heard
            for heard in self._said
            if isinstance(heard.event, HaltOrdered | MandateGranted) and subject_of(heard.event) == ended
        ][:1]


def why_not(
    petition: Petition, policy: PolicyState, keys: Mapping[str, EnrolledKey], site: str, now_us: int
) -> Refused | None:
    """Why a petition would not count if it were said now."""
    reason = getattr(petition, "reason", "-")
    if not 0 < len(reason.strip()) <= len(reason) <= REASON_LENGTH_MAX:
        return Refused("reason_missing", f"say why, in at most {REASON_LENGTH_MAX} characters")
    if isinstance(petition, MandateGranted) and (refused := _why_in_vain(petition.statement, keys, now_us)):
        return refused
    if isinstance(petition, AutonomyRevoked) and not _stands(petition, policy):
        message = f"{petition.agent} stands on the lowest step for {petition.action_class!r} already"
        return Refused("autonomy_absent", message)
    why = _why_not_counted(petition, policy, site, now_us)
    return Refused(why.value, why.sentence) if why is not None else None


def _why_not_counted(petition: Petition, policy: PolicyState, site: str, now_us: int) -> Reason | None:
    match petition:
        case HaltOrdered() | HaltLifted():
            return policy.halts.why_not(petition, site)
        case MandateGranted() | MandateRevoked():
            return policy.mandates.why_not(petition, site, policy.persons)
        case AutonomyGranted():
            return policy.autonomy.why_not(petition, site, now_us, policy.persons, policy.ladder)
        case AutonomyRevoked():
            signed = signed_words(petition, site)
            return policy.persons.why_not_signed(signed, petition.person, petition.proof, MAY_RATIFY)


def _why_in_vain(said: MandateStatement, keys: Mapping[str, EnrolledKey], now_us: int) -> Refused | None:
    """Why nothing would ever be admitted under a mandate; the stage lets such a one stand and asks nobody by it."""
    if said.expires_us <= max(now_us, said.starts_us):
        return Refused("mandate_over", "the mandate ends before it begins, or has ended: give a later end")
    key = keys.get(said.agent_key_id)
    if key is None or key.revoked or (key.role, key.source) != (Role.AGENT, said.agent):
        return Refused("agent_unknown", f"the key {said.agent_key_id[:64]!r} is not one in force of {said.agent}")
    return None


def _stands(revoked: AutonomyRevoked, policy: PolicyState) -> bool:
    standing = policy.autonomy.of(revoked.agent, revoked.action_class)
    return bool(standing.level or standing.proposed_digest)
