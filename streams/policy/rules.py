"""The rules of admission: limits and a wish go in, a verdict comes out. The dry run asks the very same function."""

from dataclasses import dataclass

from schemas.digests import sha256_hex
from schemas.events import DevicePrice, PolicyPublished, PriceListPublished
from schemas.manifest import Manifest, circuit_text
from schemas.reasons import Reason
from streams.pricing import price_of, run_microusd

RULE_LIMITS = "limits@1"
RULE_PRICE_ASKS = "price_asks_human@1"


@dataclass(frozen=True, slots=True)
class Wish:
    """What admission depends on, of all that a manifest says."""

    initiator: str
    purpose: str
    run_shots: int
    shots: int
    price_ceiling_microusd: int
    iterations: int
    devices: tuple[str, ...]
    deadline_us: int | None
    template_digests: tuple[str, ...]
    program_digests: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> "Wish":
        """The wish in a manifest."""
        templates = [circuit_text(template.circuit).encode() for template in manifest.quantum.templates()]
        return cls(
            initiator=manifest.initiator,
            purpose=manifest.purpose,
            run_shots=manifest.quantum.shots,
            shots=manifest.budget.shots,
            price_ceiling_microusd=manifest.budget.cost_microusd,
            iterations=manifest.loop.iterations_max if manifest.loop else 1,
            devices=manifest.allowed_devices,
            deadline_us=manifest.deadline_us,
            template_digests=tuple(map(sha256_hex, templates)),
            program_digests=tuple(manifest.program_digest(kind) for kind in manifest.programs()),
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What is in force when a verdict is given. `free_microusd` of the site's budget is neither held nor spent."""

    policy: PolicyPublished | None
    prices: PriceListPublished | None
    free_microusd: int


@dataclass(frozen=True, slots=True)
class Admit:
    """The job may run on these devices."""

    devices: tuple[str, ...]
    rule: str


@dataclass(frozen=True, slots=True)
class Ask:
    """The job may run on these devices once a person has granted it."""

    devices: tuple[str, ...]
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The job may not run; the message says what to change."""

    reason: Reason
    message: str
    rule: str = RULE_LIMITS


Verdict = Admit | Ask | Refuse


def judge(limits: Limits, wish: Wish, time_us: int) -> Verdict:
    """What policy says to a wish at a time."""
    policy = limits.policy
    if policy is None:
        return Refuse(Reason.POLICY_MISSING, "no policy is published for this site: an admin must publish one")
    refusal = _over_limits(policy, wish, time_us)
    if refusal is not None:
        return refusal
    allowed = [device for device in policy.devices if not wish.devices or device in wish.devices]
    if not allowed:
        return Refuse(
            Reason.DEVICE_NOT_ALLOWED, f"allowed_devices names none that policy allows: {_listed(policy.devices)}"
        )
    priced = [price for device in dict.fromkeys(allowed) if (price := price_of(limits.prices, device))]
    refusal = _unaffordable(priced, wish, limits.free_microusd)
    if refusal is not None:
        return refusal
    devices = tuple(price.device for price in priced if price.shots_max >= wish.run_shots)
    if wish.price_ceiling_microusd > policy.approval_above_microusd:
        return Ask(
            devices,
            RULE_PRICE_ASKS,
            f"the price ceiling of {dollars(wish.price_ceiling_microusd)} is above "
            f"{dollars(policy.approval_above_microusd)}: a person must grant it",
        )
    return Admit(devices, RULE_LIMITS)


def _over_limits(policy: PolicyPublished, wish: Wish, time_us: int) -> Refuse | None:
    if wish.deadline_us is not None and wish.deadline_us <= time_us:
        return Refuse(Reason.DEADLINE_PASSED, "deadline_us lies in the past: give a later one or none")
    if wish.run_shots > wish.shots:
        return Refuse(
            Reason.SHOTS_OVER_BUDGET, f"quantum.shots is {wish.run_shots}, budget.shots only {wish.shots}: raise it"
        )
    if wish.shots > policy.shots_max:
        return Refuse(Reason.SHOTS_OVER_POLICY, f"budget.shots is {wish.shots}, policy allows {policy.shots_max}")
    if wish.price_ceiling_microusd > policy.cost_max_microusd:
        return Refuse(
            Reason.PRICE_OVER_POLICY,
            f"budget.cost_microusd is {dollars(wish.price_ceiling_microusd)}, "
            f"policy allows {dollars(policy.cost_max_microusd)}",
        )
    if wish.iterations > policy.iterations_max:
        return Refuse(
            Reason.ITERATIONS_OVER_POLICY,
            f"loop.iterations_max is {wish.iterations}, policy allows {policy.iterations_max}",
        )
    return None


def _unaffordable(priced: list[DevicePrice], wish: Wish, free_microusd: int) -> Refuse | None:
    if not priced:
        return Refuse(Reason.PRICE_UNKNOWN, "none of the devices that the job may run on has a price")
    able = [price for price in priced if price.shots_max >= wish.run_shots]
    if not able:
        most = max(price.shots_max for price in priced)
        return Refuse(Reason.SHOTS_ABOVE_DEVICE, f"quantum.shots is {wish.run_shots}, the devices take {most} at most")
    cheapest = min(run_microusd(price, 1, wish.run_shots) for price in able)
    if cheapest > wish.price_ceiling_microusd:
        return Refuse(
            Reason.BUDGET_TOO_SMALL,
            f"one run of {wish.run_shots} shots costs {dollars(cheapest)} at least, "
            f"budget.cost_microusd is {dollars(wish.price_ceiling_microusd)}",
        )
    if wish.price_ceiling_microusd > free_microusd:
        return Refuse(
            Reason.BUDGET_EXHAUSTED,
            f"the site has {dollars(free_microusd)} left, the job may cost {dollars(wish.price_ceiling_microusd)}",
        )
    return None


def dollars(microusd: int) -> str:
    """Micro-dollars as people read them: `12.34 USD`, with more digits only where there are more."""
    whole, micro = divmod(microusd, 1_000_000)
    digits = f"{micro:06d}"
    return f"{whole}.{digits[:2]}{digits[2:].rstrip('0')} USD"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "none"
