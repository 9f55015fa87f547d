"""People at a site: whose keys are enrolled, and whether what somebody is said to have signed was signed by them."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from schemas.events import HumanProof, KeyEnrolled, KeyRevoked, SiteFounded
from schemas.people import PersonKey, person_signed
from schemas.reasons import Reason
from schemas.topics import PEOPLE, Role
from schemas.words import Event
from streams.state import Map, Table

DEMO_ASSURANCE = "demo"


@dataclass(frozen=True, slots=True)
class Person:
    """A person's key, as governance enrolled it, and what they answer for."""

    public_key_hex: str
    source: str
    role: str
    duties: tuple[str, ...]
    assurance: str
    proof_type: str
    algorithm: str
    relying_party: str
    origin: str
    is_revoked: bool = False

    @classmethod
    def of(cls, enrolled: KeyEnrolled) -> "Person":
        """The person in an enrolment."""
        return cls(
            public_key_hex=enrolled.public_key.hex(),
            source=enrolled.source,
            role=enrolled.role,
            duties=enrolled.duties,
            assurance=enrolled.assurance,
            proof_type=enrolled.proof_type,
            algorithm=enrolled.algorithm,
            relying_party=enrolled.relying_party,
            origin=enrolled.origin,
        )

    @property
    def key(self) -> PersonKey:
        """The key by which what they sign is checked."""
        public_key = bytes.fromhex(self.public_key_hex)
        return PersonKey(public_key, self.proof_type, self.algorithm, self.relying_party, self.origin)


@dataclass(frozen=True, slots=True)
class Persons:
    """The keys of people by key id. On a site of the wall's time a demonstration key signs nothing."""

    keys: Table[str, Person] = field(default_factory=Map[str, Person])
    is_virtual: bool | None = None

    def after(self, event: Event) -> "Persons":
        """Who there is after an event."""
        match event:
            case SiteFounded(clock=clock) if self.is_virtual is None:  # a site is founded once
                return replace(self, is_virtual=clock == "virtual")
            case KeyEnrolled(role=role, key_id=key_id) if role in PEOPLE and key_id not in self.keys:
                return replace(self, keys=self.keys.set(key_id, Person.of(event)))
            case KeyRevoked(key_id=key_id) if key_id in self.keys:
                return replace(self, keys=self.keys.set(key_id, replace(self.keys[key_id], is_revoked=True)))
            case _:
                return self

    def known(self, key_id: str, source: str, roles: Collection[Role]) -> Person | None:
        """The person of this name who may speak with this key in one of these roles."""
        person = self.keys.get(key_id)
        if person is None or person.is_revoked or person.source != source:
            return None
        return person if person.role in {role.value for role in roles} else None

    def why_not_signed(self, payload: bytes, source: str, proof: HumanProof, roles: Collection[Role]) -> Reason | None:
        """Why a payload does not count as signed by a person in one of these roles; none if it counts."""
        person = self.known(proof.key_id, source, roles)
        if person is None:
            return Reason.PERSON_UNKNOWN
        if person.assurance == DEMO_ASSURANCE and not self.is_virtual:
            return Reason.KEY_DEMO_ONLY
        return None if person_signed(payload, proof, person.key) else Reason.PROOF_INVALID
