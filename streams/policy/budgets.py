"""Budgets of a site's parts: of projects, agents and devices, in all or a day, and of the site a day.

What counts is what is promised: the price ceiling of each job from its hold on, less what it gives back. A day's budget
counts a job on the day of its hold. A job is promised to each device that it was admitted to until it is placed on one
of them, and from then on to that one alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from schemas.events import BudgetSet
from schemas.reasons import Reason
from streams.policy.limits import RULE_LIMITS
from streams.policy.wish import Refuse, Wish, dollars
from streams.state import Map, Table

DAY_US = 86_400_000_000
SITE = "site"


@dataclass(frozen=True, slots=True)
class Promise:
    """What some parts have promised for a job, each of them the whole amount, on a day."""

    parts: tuple[str, ...] = ()
    amount_microusd: int = 0
    day: int = -1


NOTHING = Promise()


@dataclass(frozen=True, slots=True)
class Promised:
    """What is promised of a part's money: in all, and of it on the day (from 1970) that was promised on last."""

    total_microusd: int = 0
    day: int = -1
    today_microusd: int = 0

    def on(self, day: int) -> int:
        """What is promised on a day; of days before the last one nobody asks."""
        return self.today_microusd if day == self.day else 0

    def plus(self, amount_microusd: int, day: int) -> "Promised":
        """With more, or with a negative amount less, promised on a day."""
        if day < self.day:
            return replace(self, total_microusd=self.total_microusd + amount_microusd)
        return Promised(self.total_microusd + amount_microusd, day, self.on(day) + amount_microusd)


_UNPROMISED = Promised()


@dataclass(frozen=True, slots=True)
class Budgets:
    """Limits by part and period (`agent/agent:ada/day`), and what is promised of each part's money, limited or not."""

    limits: Table[str, int] = field(default_factory=Map[str, int])
    promised: Table[str, Promised] = field(default_factory=Map[str, Promised])

    def after(self, budget: BudgetSet) -> "Budgets":
        """The budgets after a limit was set. That of the site in all is the account that `money` keeps."""
        if budget.scope == SITE and budget.period == "total":
            return self
        limits = self.limits.set(f"{budget.scope}/{budget.name}/{budget.period}", budget.limit_microusd)
        return replace(self, limits=limits)

    def promising(self, promise: Promise) -> "Budgets":
        """The budgets after a promise was made."""
        promised = self.promised
        for part in promise.parts:
            known = promised.get(part, _UNPROMISED)
            promised = promised.set(part, known.plus(promise.amount_microusd, promise.day))
        return Budgets(self.limits, promised)

    def taking_back(self, promise: Promise, amount_microusd: int) -> "Budgets":
        """The budgets after some of a promise was not needed."""
        return self.promising(Promise(promise.parts, -amount_microusd, promise.day))

    def why_exhausted(self, parts: Iterable[str], wish: Wish, time_us: int, held_microusd: int) -> Refuse | None:
        """Why some parts cannot promise what a wish may cost; none if all can.

        What is already held for the job itself counts as free, and its day has been asked when it was held.
        """
        if not self.limits:
            return None
        day = time_us // DAY_US
        for part in parts:
            known = self.promised.get(part, Promised())
            free = {"total": held_microusd - known.total_microusd} | ({} if held_microusd else {"day": -known.on(day)})
            for period, gone in free.items():
                limit = self.limits.get(f"{part}/{period}")
                if limit is not None and limit + gone < wish.price_ceiling_microusd:
                    return _exhausted(part, period, max(0, limit + gone), wish)
        return None


def parts_of(wish: Wish) -> tuple[str, ...]:
    """The parts of a site that promise money for a wish, whatever device it will run on."""
    project = (f"project/{wish.project}",) if wish.project else ()
    return (f"{SITE}/", f"agent/{wish.initiator}", *project)


def device_part(device: str) -> str:
    """A device as a part that promises money."""
    return f"device/{device}"


def promise_of(wish: Wish, time_us: int) -> Promise:
    """What the parts of a site promise for a wish when its money is held."""
    return Promise(parts_of(wish), wish.price_ceiling_microusd, time_us // DAY_US)


def promise_on(devices: Iterable[str], amount_microusd: int, time_us: int) -> Promise:
    """What devices promise for a job that is admitted to them."""
    return Promise(tuple(map(device_part, devices)), amount_microusd, time_us // DAY_US)


def _exhausted(part: str, period: str, left_microusd: int, wish: Wish) -> Refuse:
    scope, _, name = part.partition("/")
    whose = f"the {scope} {name}".rstrip()
    when = " today" if period == "day" else ""
    message = (
        f"{whose} has {dollars(left_microusd)} left{when}, the job may cost {dollars(wish.price_ceiling_microusd)}"
    )
    return Refuse(Reason.BUDGET_EXHAUSTED, message, RULE_LIMITS)
