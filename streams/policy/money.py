"""A site's money: what may be spent, what is set aside for jobs, what they have spent; what a job that ends costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.events import BudgetCaptured, BudgetHeld, BudgetReleased, BudgetSet
from streams.policy.jobs import Admitted
from streams.policy.saying import out
from streams.pricing import classical_microusd, price_of
from streams.stage import Output

Moved = BudgetHeld | BudgetCaptured | BudgetReleased


@dataclass(frozen=True, slots=True)
class Money:
    """The site's budget, and what of it is held or spent."""

    limit_microusd: int = 0
    held_microusd: int = 0
    spent_microusd: int = 0

    def free_microusd(self, of_this_job_microusd: int = 0) -> int:
        """What may still be promised; what is already held for the job in question counts as free."""
        held = self.held_microusd - of_this_job_microusd
        return max(0, self.limit_microusd - self.spent_microusd - held)

    def after(self, event: BudgetSet | Moved) -> "Money":
        """The money after a limit was set or something was moved."""
        match event:
            case BudgetSet():
                is_of_site = event.scope == "site" and event.period == "total"
                return replace(self, limit_microusd=event.limit_microusd) if is_of_site else self
            case BudgetCaptured():
                spent = self.spent_microusd + event.amount_microusd
                return Money(self.limit_microusd, self.held_microusd + held_by(event), spent)
            case _:
                return Money(self.limit_microusd, self.held_microusd + held_by(event), self.spent_microusd)


def held_by(moved: Moved) -> int:
    """By how much an event changes what is held."""
    return moved.amount_microusd if isinstance(moved, BudgetHeld) else -moved.amount_microusd


def settle(job_id: str, job: Admitted) -> Sequence[Output]:
    """Capture what an ended job used, up to its hold, and free the rest."""
    price = price_of(job.prices, job.device)
    used = job.usage.at_most(price)
    quantum = min(used.charge_microusd(price), job.held_microusd)
    second_microusd = job.prices.classical_second_microusd if job.prices else 0
    classical = min(classical_microusd(second_microusd, used.classical_time_us), job.held_microusd - quantum)
    captured = BudgetCaptured(
        job_id=job_id,
        amount_microusd=quantum + classical,
        quantum_microusd=quantum,
        classical_microusd=classical,
        shots=used.shots,
    )
    rest = BudgetReleased(job_id=job_id, amount_microusd=job.held_microusd - quantum - classical)
    return [out(captured), out(rest)]
