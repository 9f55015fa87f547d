"""Standing mandates: what people signed that one agent's key may do without being asked, and how much of it is used."""

from dataclasses import dataclass, field, replace

from schemas.events import IntentAdmitted, MandateGranted, MandateRevoked, MandateStatement
from schemas.people import signed_words
from schemas.reasons import Reason
from schemas.topics import Role
from streams.persons import Persons
from streams.policy.wish import Wish
from streams.stage import Heard
from streams.state import Map, Table

MAY_MANDATE = (Role.APPROVER,)


@dataclass(frozen=True, slots=True)
class Mandate:
    """A mandate, and what was admitted under it: money held or spent in all, jobs in the period that ran last."""

    statement: MandateStatement
    person: str
    is_revoked: bool = False
    used_microusd: int = 0
    period: int = -1
    jobs: int = 0

    def period_at(self, time_us: int) -> int:
        """The number of the period that a time lies in; the first is 0. A mandate without periods has one."""
        said = self.statement
        return (time_us - said.starts_us) // said.period_us if said.period_us else 0

    def covers(self, wish: Wish, device: str, time_us: int) -> bool:
        """Whether a wish on a device may be admitted under it at a time."""
        said = self.statement
        jobs = self.jobs if self.period == self.period_at(time_us) else 0
        return (
            not self.is_revoked
            and said.starts_us <= time_us < said.expires_us
            and (said.agent, said.agent_key_id) == (wish.initiator, wish.agent_key_id)
            and any(wish.purpose.startswith(purpose) for purpose in said.purposes)
            and device in said.devices
            and wish.data_class in said.data_classes
            and wish.price_ceiling_microusd <= said.cost_per_job_microusd
            and self.used_microusd + wish.price_ceiling_microusd <= said.cost_total_microusd
            and jobs < said.jobs_per_period
        )


@dataclass(frozen=True, slots=True)
class Mandates:
    """All mandates by their id, revoked ones among them: an id is used once."""

    granted: Table[str, Mandate] = field(default_factory=Map[str, Mandate])

    def why_not(self, event: MandateGranted | MandateRevoked, site: str, persons: Persons) -> Reason | None:
        """Why a grant or a revocation does not count; none if it counts."""
        if isinstance(event, MandateGranted):
            if event.statement.mandate_id in self.granted:
                return Reason.MANDATE_KNOWN
            if event.statement.site != site:
                return Reason.SITE_FOREIGN
            if event.person == event.statement.agent:
                return Reason.APPROVER_IS_INITIATOR
        else:
            known = self.granted.get(event.mandate_id)
            if known is None or known.is_revoked:
                return Reason.MANDATE_UNKNOWN
        return persons.why_not_signed(signed_words(event, site), event.person, event.proof, MAY_MANDATE)

    def after(self, heard: Heard, persons: Persons) -> "Mandates":
        """The mandates after a person granted or revoked one, if that counts."""
        match heard.event:
            case MandateGranted(statement=said, person=person) as event:
                if self.why_not(event, heard.site, persons):
                    return self
                return self._with(said.mandate_id, Mandate(said, person))
            case MandateRevoked(mandate_id=mandate_id) as event:
                if self.why_not(event, heard.site, persons):
                    return self
                return self._with(mandate_id, replace(self.granted[mandate_id], is_revoked=True))
            case _:
                return self

    def covering(self, wish: Wish, device: str, time_us: int) -> str:
        """The id of a mandate that covers a wish on a device, the first by name; empty where there is none."""
        if not self.granted:
            return ""
        covering = (name for name, mandate in sorted(self.granted.items()) if mandate.covers(wish, device, time_us))
        return next(covering, "")

    def with_job(self, admitted: IntentAdmitted, time_us: int) -> "Mandates":
        """The mandates after a job was admitted: its whole ceiling and one job of the period are used."""
        mandate = self.granted.get(admitted.mandate_id)
        if mandate is None:
            return self
        period = mandate.period_at(time_us)
        used = replace(
            mandate,
            used_microusd=mandate.used_microusd + admitted.price_ceiling_microusd,
            period=period,
            jobs=mandate.jobs + 1 if mandate.period == period else 1,
        )
        return self._with(admitted.mandate_id, used)

    def with_released(self, mandate_id: str, amount_microusd: int) -> "Mandates":
        """The mandates after a job gave back what it did not spend."""
        mandate = self.granted.get(mandate_id)
        if mandate is None:
            return self
        return self._with(mandate_id, replace(mandate, used_microusd=mandate.used_microusd - amount_microusd))

    def _with(self, mandate_id: str, mandate: Mandate) -> "Mandates":
        return replace(self, granted=self.granted.set(mandate_id, mandate))
