"""Halts in force: what every stage and party asks before anything new is admitted, placed or run.

Any one operator or approver orders a halt, and it counts from where it is read. Another person must lift it. A halt
that was lifted is over for good: its order, said again, is no new one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from schemas.events import HaltLifted, HaltOrdered
from schemas.people import signed_words
from schemas.reasons import Reason
from schemas.topics import Role
from schemas.words import Event
from streams.persons import Persons
from streams.stage import Heard
from streams.state import Map, Table

MAY_HALT = (Role.OPERATOR, Role.APPROVER)


@dataclass(frozen=True, slots=True)
class Halt:
    """A halt that was ordered. `target` is the site, an agent or a device."""

    scope: str
    target: str
    person: str
    reason: str
    is_lifted: bool = False

    def covers(self, agent: str, device: str) -> bool:
        """Whether it stops what an agent does, on a device; the device is empty where there is none yet."""
        return not self.is_lifted and (
            self.scope == "site" or (self.scope == "agent" and self.target == agent) or self.is_of_device(device)
        )

    def is_of_device(self, device: str) -> bool:
        """Whether it stops this very device."""
        return self.scope == "device" and self.target == device and not self.is_lifted

    @property
    def message(self) -> str:
        """What whoever meets it is told."""
        what = "the site is" if self.scope == "site" else f"{self.target} is"
        return f"{what} halted by {self.person}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Halts:
    """All halts by their id, those that were lifted among them, and the people who may order and lift them."""

    persons: Persons = field(default_factory=Persons)
    ordered: Table[str, Halt] = field(default_factory=Map[str, Halt])

    def after(self, heard: Heard) -> "Halts":
        """The halts after an event; an order or a lifting that nobody signed who may changes nothing."""
        event = heard.event
        if isinstance(event, HaltOrdered | HaltLifted):
            return self if self.why_not(event, heard.site) else self._with(event)
        persons = self.persons.after(event)
        return self if persons is self.persons else replace(self, persons=persons)

    def why_not(self, event: HaltOrdered | HaltLifted, site: str) -> Reason | None:
        """Why an order or a lifting does not count; none if it counts."""
        known = self.ordered.get(event.halt_id)
        if isinstance(event, HaltOrdered):
            if known is not None:
                return Reason.HALT_KNOWN
            if event.scope == "site" and event.target != site:
                return Reason.SITE_FOREIGN
        elif known is None or known.is_lifted:
            return Reason.HALT_UNKNOWN
        elif known.person == event.person:
            return Reason.HALT_OWN
        return self.persons.why_not_signed(signed_words(event, site), event.person, event.proof, MAY_HALT)

    def covering(self, agent: str, device: str = "") -> Halt | None:
        """A halt in force that stops what an agent does, on a device where one is named; the first by its id."""
        if not self.ordered:
            return None
        return next((halt for _, halt in sorted(self.ordered.items()) if halt.covers(agent, device)), None)

    def in_force(self) -> Iterator[tuple[str, Halt]]:
        """The halts in force with their ids."""
        return ((halt_id, halt) for halt_id, halt in sorted(self.ordered.items()) if not halt.is_lifted)

    def is_new(self, heard: Heard) -> bool:
        """Whether an event is an order that counts."""
        event: Event = heard.event
        return isinstance(event, HaltOrdered) and self.why_not(event, heard.site) is None

    def _with(self, event: HaltOrdered | HaltLifted) -> "Halts":
        if isinstance(event, HaltOrdered):
            halt = Halt(event.scope, event.target, event.person, event.reason)
        else:
            halt = replace(self.ordered[event.halt_id], is_lifted=True)
        return replace(self, ordered=self.ordered.set(event.halt_id, halt))
