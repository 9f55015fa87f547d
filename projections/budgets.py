"""The view of budgets: from limits, holds, captures and releases to what a site may still spend, in all and by job."""

from dataclasses import dataclass, field

from projections.view import View
from schemas.events import BudgetCaptured, BudgetHeld, BudgetReleased, BudgetSet
from streams.state import Map, Table, changed


@dataclass(frozen=True)
class JobBudget:
    """The money of one job: what was set aside, what of it was spent, what was given back."""

    set_aside_microusd: int = 0
    spent_microusd: int = 0
    released_microusd: int = 0

    @property
    def held_microusd(self) -> int:
        """What is still set aside."""
        return self.set_aside_microusd - self.spent_microusd - self.released_microusd


@dataclass(frozen=True)
class BudgetsView:
    """The money of a site."""

    limit_microusd: int = 0
    set_aside_microusd: int = 0
    spent_microusd: int = 0
    released_microusd: int = 0
    jobs: Table[str, JobBudget] = field(default_factory=Map)

    @property
    def held_microusd(self) -> int:
        """What is set aside for jobs and not yet spent."""
        return self.set_aside_microusd - self.spent_microusd - self.released_microusd

    @property
    def free_microusd(self) -> int:
        """What may still be set aside; below zero where the limit was lowered under what is held and spent."""
        return self.limit_microusd - self.held_microusd - self.spent_microusd


def _set(view: BudgetsView, event: BudgetSet, _: int) -> BudgetsView:
    return changed(view, limit_microusd=event.limit_microusd)


def _add(view: BudgetsView, job_id: str, name: str, amount_microusd: int) -> BudgetsView:
    """The same sum for the site and for the job."""
    job = view.jobs.get(job_id) or JobBudget()
    job = changed(job, **{name: getattr(job, name) + amount_microusd})
    return changed(view, **{name: getattr(view, name) + amount_microusd}, jobs=view.jobs.set(job_id, job))


def _held(view: BudgetsView, event: BudgetHeld, _: int) -> BudgetsView:
    return _add(view, event.job_id, "set_aside_microusd", event.amount_microusd)


def _captured(view: BudgetsView, event: BudgetCaptured, _: int) -> BudgetsView:
    return _add(view, event.job_id, "spent_microusd", event.amount_microusd)


def _released(view: BudgetsView, event: BudgetReleased, _: int) -> BudgetsView:
    return _add(view, event.job_id, "released_microusd", event.amount_microusd)


BUDGETS = View(
    "budgets",
    BudgetsView(),
    BudgetsView,
    {BudgetSet: _set, BudgetHeld: _held, BudgetCaptured: _captured, BudgetReleased: _released},
)
