"""Plain limits: a policy's ceilings, prices and the budget go in, and what they say to a wish comes out.

They hold for every policy. Where it has no rules they are all there is, and one of them asks a person.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.events import DevicePrice, PolicyPublished, PriceListPublished
from schemas.reasons import Reason
from streams.policy.wish import Admit, Ask, Refuse, Wish, dollars
from streams.pricing import price_of, run_microusd

RULE_LIMITS = "limits@1"
RULE_PRICE_ASKS = "price_asks_human@1"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is in force when a verdict is given. `free_microusd` of the site's budget is neither held nor spent."""

    policy: PolicyPublished
    prices: PriceListPublished | None
    free_microusd: int


def within_limits(limits: Limits, wish: Wish, time_us: int) -> Refuse | tuple[str, ...]:
    """The devices on which a wish lies within all limits at a time, at least one; or why there is none."""
    policy = limits.policy
    refusal = _over_limits(policy, wish, time_us)
    if refusal is not None:
        return refusal
    allowed = [device for device in policy.devices if not wish.devices or device in wish.devices]
    if not allowed:
        return _refuse(
            Reason.DEVICE_NOT_ALLOWED, f"allowed_devices names none that policy allows: {_listed(policy.devices)}"
        )
    priced = [price for device in dict.fromkeys(allowed) if (price := price_of(limits.prices, device))]
    refusal = _unaffordable(priced, wish, limits.free_microusd)
    if refusal is not None:
        return refusal
    return tuple(price.device for price in priced if price.shots_max >= wish.run_shots)


def admit_or_ask(policy: PolicyPublished, wish: Wish, devices: tuple[str, ...], is_granted: bool) -> Admit | Ask:
    """What a policy without rules says to a wish that lies within its limits, and that people granted or did not."""
    if wish.price_ceiling_microusd > policy.approval_above_microusd:
        if is_granted:
            return Admit(devices, RULE_PRICE_ASKS)
        return Ask(
            devices,
            RULE_PRICE_ASKS,
            f"the price ceiling of {dollars(wish.price_ceiling_microusd)} is above "
            f"{dollars(policy.approval_above_microusd)}: a person must grant it",
        )
    return Admit(devices, RULE_LIMITS)


def _over_limits(policy: PolicyPublished, wish: Wish, time_us: int) -> Refuse | None:
    if wish.deadline_us is not None and wish.deadline_us <= time_us:
        return _refuse(Reason.DEADLINE_PASSED, "deadline_us lies in the past: give a later one or none")
    if wish.run_shots > wish.shots:
        return _refuse(
            Reason.SHOTS_OVER_BUDGET, f"quantum.shots is {wish.run_shots}, budget.shots only {wish.shots}: raise it"
        )
    if wish.shots > policy.shots_max:
        return _refuse(Reason.SHOTS_OVER_POLICY, f"budget.shots is {wish.shots}, policy allows {policy.shots_max}")
    if wish.price_ceiling_microusd > policy.cost_max_microusd:
        return _refuse(
            Reason.PRICE_OVER_POLICY,
            f"budget.cost_microusd is {dollars(wish.price_ceiling_microusd)}, "
            f"policy allows {dollars(policy.cost_max_microusd)}",
        )
    if wish.iterations > policy.iterations_max:
        return _refuse(
            Reason.ITERATIONS_OVER_POLICY,
            f"loop.iterations_max is {wish.iterations}, policy allows {policy.iterations_max}",
        )
    return None


def _unaffordable(priced: Sequence[DevicePrice], wish: Wish, free_microusd: int) -> Refuse | None:
    if not priced:
        return _refuse(Reason.PRICE_UNKNOWN, "none of the devices that the job may run on has a price")
    able = [price for price in priced if price.shots_max >= wish.run_shots]
    if not able:
        most = max(price.shots_max for price in priced)
        return _refuse(Reason.SHOTS_ABOVE_DEVICE, f"quantum.shots is {wish.run_shots}, the devices take {most} at most")
    cheapest = min(run_microusd(price, 1, wish.run_shots) for price in able)
    if cheapest > wish.price_ceiling_microusd:
        return _refuse(
            Reason.BUDGET_TOO_SMALL,
            f"one run of {wish.run_shots} shots costs {dollars(cheapest)} at least, "
            f"budget.cost_microusd is {dollars(wish.price_ceiling_microusd)}",
        )
    if wish.price_ceiling_microusd > free_microusd:
        return _refuse(
            Reason.BUDGET_EXHAUSTED,
            f"the site has {dollars(free_microusd)} left, the job may cost {dollars(wish.price_ceiling_microusd)}",
        )
    return None


def _refuse(reason: Reason, message: str) -> Refuse:
    return Refuse(reason, message, RULE_LIMITS)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "none"
