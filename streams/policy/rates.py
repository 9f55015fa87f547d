"""How much each agent has asked for lately, by the minute: rate limits and rules go by the last hour."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.events import RateLimits
from schemas.reasons import Reason
from streams.policy.limits import RULE_LIMITS
from streams.policy.wish import Refuse, Wish, dollars
from streams.state import Map, Table

MINUTE_US = 60_000_000
_MINUTES = 61
"""Minutes that the last hour lies in: the one that runs, and sixty before it, of which the first is counted whole."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an agent asked for in a minute or an hour: intents, and shots and price ceilings of those not refused.

    A minute is counted from 1970.
    """

    minute: int
    intents: int = 0
    shots: int = 0
    cost_microusd: int = 0

    def __add__(self, other: "Asked") -> "Asked":
        """Both together, in the minute of this one."""
        return Asked(
            self.minute,
            self.intents + other.intents,
            self.shots + other.shots,
            self.cost_microusd + other.cost_microusd,
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """What each agent has asked for in the minutes of the last hour in which it asked for anything, oldest first."""

    agents: Table[str, tuple[Asked, ...]] = field(default_factory=Map[str, tuple[Asked, ...]])

    def last_hour(self, agent: str, time_us: int) -> Asked:
        """What was asked for in the hour up to a time, and up to a minute more: never less than in that hour."""
        minute = time_us // MINUTE_US
        total = Asked(minute)
        for asked in self.agents.get(agent, ()):
            if asked.minute > minute - _MINUTES:
                total += asked
        return total

    def with_intent(self, agent: str, time_us: int, shots: int, cost_microusd: int) -> "Rates":
        """The rates after one more intent of an agent; of one that was refused its shots and cost are 0."""
        minute = time_us // MINUTE_US
        known = self.agents.get(agent, ())
        if known and (last := known[-1]).minute == minute:
            more = Asked(minute, last.intents + 1, last.shots + shots, last.cost_microusd + cost_microusd)
            recent = (*known[:-1], more)
        else:
            one = Asked(minute, 1, shots, cost_microusd)
            recent = (*(asked for asked in known if asked.minute > minute - _MINUTES), one)
        return Rates(self.agents.set(agent, recent))


def why_too_fast(limits: RateLimits, asked: Asked, wish: Wish) -> Refuse | None:
    """Why a wish would take an agent over its limits an hour; none if it would not."""
    would: Sequence[tuple[int, int, str]] = (
        (asked.intents + 1, limits.intents_per_hour, "{} intents"),
        (asked.shots + wish.shots, limits.shots_per_hour, "{} shots"),
    )
    for amount, most, told in would:
        if most and amount > most:
            return _refuse(told.format(amount), told.format(most))
    cost, most = asked.cost_microusd + wish.price_ceiling_microusd, limits.cost_per_hour_microusd
    return _refuse(dollars(cost), dollars(most)) if most and cost > most else None


def _refuse(would: str, most: str) -> Refuse:
    message = f"this would make {would} of this agent in an hour, policy allows {most}: wait, or ask for less"
    return Refuse(Reason.RATE_EXCEEDED, message, RULE_LIMITS)
