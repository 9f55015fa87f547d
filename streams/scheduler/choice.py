"""The choice among devices: a request and offers go in, the best device and a verdict on each come out.

Of the offers that nothing rules out, with the fastest, cheapest and most faithful of them as the measure:

    speed        (shortest time + 1 s) ÷ (this time + 1 s), where time = waiting + running
    cheapness    (lowest price + 0.01 USD) ÷ (this price + 0.01 USD)
    faithfulness predicted success ÷ highest predicted success

The score is speed for `fastest`, cheapness for `cheapest`, faithfulness for `most-faithful`, and for `balanced`
(speed + cheapness + 2 × faithfulness) ÷ 4. Equal scores: the better balanced one, then the first by name.
The dry run asks the very same function.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.events import Candidate, PlacementOffered
from schemas.manifest import Manifest
from schemas.reasons import Reason

RULE = "score@1"
HALTED = "halted"
UNAVAILABLE = {
    "offline": Reason.OFFLINE,
    "draining": Reason.DRAINING,
    "retired": Reason.RETIRED,
    HALTED: Reason.HALTED,
}
_TIME_UNIT_US = 1_000_000
_PRICE_UNIT_MICROUSD = 10_000
_BEST = {
    "fastest": "the shortest wait and run",
    "cheapest": "the lowest price",
    "most-faithful": "the highest predicted success",
    "balanced": "the best balance of fidelity, time and price",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a job asks of a device."""

    objective: str
    topology: str
    min_fidelity: float
    min_success: float
    max_calibration_age_us: int | None
    deadline_us: int | None
    price_ceiling_microusd: int
    devices: tuple[str, ...]
    initiator: str

    @classmethod
    def of(cls, manifest: Manifest, devices: tuple[str, ...], price_ceiling_microusd: int) -> "Request":
        """The request of a manifest that was admitted to these devices at this ceiling."""
        wanted = manifest.quantum.backend_requirements
        age_s = manifest.max_calibration_age_s
        return cls(
            objective=manifest.objective,
            topology=wanted.topology,
            min_fidelity=wanted.min_fidelity,
            min_success=wanted.min_success,
            max_calibration_age_us=None if age_s is None else age_s * 1_000_000,
            deadline_us=manifest.deadline_us,
            price_ceiling_microusd=price_ceiling_microusd,
            devices=devices,
            initiator=manifest.initiator,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for all jobs of the site at the moment, states of all known devices, and what this job has tried."""

    min_fidelity: float
    max_snapshot_age_us: int
    statuses: Mapping[str, str]
    tried: Mapping[str, Reason]


@dataclass(frozen=True, slots=True)
class Choice:
    """What came of looking at all candidates; without an offer no device may run the job."""

    offer: PlacementOffered | None
    candidates: tuple[Candidate, ...]
    why: str


@dataclass(frozen=True, slots=True)
class _RuledOut:
    reason: Reason
    detail: str = ""


def choose(request: Request, offers: Sequence[PlacementOffered], limits: Limits, time_us: int) -> Choice:
    """Choose among the offers of devices, at most one each."""
    by_device = {offer.device: offer for offer in offers}
    names = sorted({*request.devices, *by_device, *limits.statuses})
    ruled_out = {
        name: why
        for name in names
        if (why := _why_not(name, by_device.get(name), request, limits, time_us)) is not None
    }
    able = [by_device[name] for name in names if name not in ruled_out]
    scores = _scores(able, request.objective)
    ranked = sorted(able, key=lambda offer: scores[offer.device], reverse=True)
    best = ranked[0].device if ranked else ""
    candidates = []
    for name in names:
        able_verdict = Reason.CHOSEN if name == best else Reason.OUTSCORED
        verdict = ruled_out[name].reason if name in ruled_out else able_verdict
        candidates.append(_candidate(name, verdict, by_device.get(name), scores.get(name, (0.0, 0.0))[0]))
    return Choice(ranked[0] if ranked else None, tuple(candidates), _why(request, ranked, scores, ruled_out))


def _why_not(
    device: str, offer: PlacementOffered | None, request: Request, limits: Limits, time_us: int
) -> _RuledOut | None:
    """What rules a device out; the first that applies counts."""
    status = limits.statuses.get(device, "")
    if device not in request.devices:
        return _RuledOut(Reason.NOT_ALLOWED)
    if device in limits.tried:
        return _RuledOut(limits.tried[device])
    if status in UNAVAILABLE:
        return _RuledOut(UNAVAILABLE[status])
    if offer is None:
        return _RuledOut(Reason.NO_OFFER)
    if not offer.fits:
        return _RuledOut(Reason.DOES_NOT_FIT, offer.reason)
    if request.topology and offer.topology != request.topology:
        return _RuledOut(Reason.TOPOLOGY, f"{offer.topology}, asked for is {request.topology}")
    return _quality_why_not(offer, request, limits, time_us) or _limits_why_not(offer, request, time_us)


def _quality_why_not(offer: PlacementOffered, request: Request, limits: Limits, time_us: int) -> _RuledOut | None:
    fidelity = max(request.min_fidelity, limits.min_fidelity)
    if offer.two_qubit_fidelity < fidelity:
        return _RuledOut(Reason.MIN_FIDELITY, f"{offer.two_qubit_fidelity:.4f} is below {fidelity:.4f}")
    if offer.predicted_success < request.min_success:
        return _RuledOut(Reason.MIN_SUCCESS, f"{offer.predicted_success:.4f} is below {request.min_success:.4f}")
    age_us = time_us - offer.snapshot_taken_us
    age_max_us = limits.max_snapshot_age_us
    if request.max_calibration_age_us is not None:
        age_max_us = min(age_max_us, request.max_calibration_age_us)
    if age_us > age_max_us:
        return _RuledOut(Reason.SNAPSHOT_TOO_OLD, f"{_span(age_us)} old, at most {_span(age_max_us)}")
    return None


def _limits_why_not(offer: PlacementOffered, request: Request, time_us: int) -> _RuledOut | None:
    if offer.price_microusd > request.price_ceiling_microusd:
        price, ceiling = _dollars(offer.price_microusd), _dollars(request.price_ceiling_microusd)
        return _RuledOut(Reason.PRICE_ABOVE_CEILING, f"{price} is above {ceiling}")
    if request.deadline_us is not None and time_us + _time_us(offer) > request.deadline_us:
        over_us = time_us + _time_us(offer) - request.deadline_us
        return _RuledOut(Reason.QUEUE_PAST_DEADLINE, f"it would end {_span(over_us)} late")
    return None


def _scores(able: Sequence[PlacementOffered], objective: str) -> dict[str, tuple[float, float]]:
    """For each device that may run the job, its score by the objective and its balanced score."""
    if not able:
        return {}
    shortest_us = min(map(_time_us, able))
    lowest_microusd = min(offer.price_microusd for offer in able)
    highest = max(offer.predicted_success for offer in able)
    scores = {}
    for offer in able:
        speed = (shortest_us + _TIME_UNIT_US) / (_time_us(offer) + _TIME_UNIT_US)
        cheapness = (lowest_microusd + _PRICE_UNIT_MICROUSD) / (offer.price_microusd + _PRICE_UNIT_MICROUSD)
        faithfulness = offer.predicted_success / highest if highest > 0 else 0.0
        balanced = (speed + cheapness + 2 * faithfulness) / 4
        by_objective = {"fastest": speed, "cheapest": cheapness, "most-faithful": faithfulness}
        scores[offer.device] = (by_objective.get(objective, balanced), balanced)
    return scores


def _candidate(device: str, verdict: Reason, offer: PlacementOffered | None, score: float) -> Candidate:
    return Candidate(
        device=device,
        verdict=verdict,
        score=score,
        predicted_success=offer.predicted_success if offer else 0.0,
        price_microusd=offer.price_microusd if offer else 0,
        queue_wait_us=offer.queue_wait_us if offer else 0,
    )


def _why(
    request: Request,
    ranked: Sequence[PlacementOffered],
    scores: Mapping[str, tuple[float, float]],
    ruled_out: Mapping[str, _RuledOut],
) -> str:
    """The choice as a person would tell it."""
    others = "; ".join(
        f"{device} ({why.reason.value}{': ' + why.detail if why.detail else ''})" for device, why in ruled_out.items()
    )
    if not ranked:
        return f"No device may run this job: {others or 'none was named'}."
    best, *rest = ranked
    told = (
        f"{best.device} has {_BEST.get(request.objective, _BEST['balanced'])}: "
        f"predicted success {best.predicted_success:.4f}, {_span(_time_us(best))} to wait and run, "
        f"{_dollars(best.price_microusd)}."
    )
    if rest:
        second = rest[0].device
        told += f" Next is {second}, which scores {scores[second][0]:.4f} against {scores[best.device][0]:.4f}."
    return f"{told} Ruled out: {others}." if others else told


def _time_us(offer: PlacementOffered) -> int:
    return offer.queue_wait_us + offer.run_duration_us


def _span(time_us: int) -> str:
    """A span of time as people read it, in its largest unit."""
    for unit, name in ((86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min")):
        if time_us >= unit:
            return f"{time_us / unit:.1f} {name}"
    return f"{time_us / 1_000_000:.1f} s"


def _dollars(microusd: int) -> str:
    return f"{microusd / 1_000_000:.2f} USD"
