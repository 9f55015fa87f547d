"""The five KPIs, reckoned from the view of KPIs when somebody asks: `{value, n, low, high}` each, null where n is 0.

A single job tells nothing of the spread between jobs: then the value stands alone, low and high are null.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from projections.interval import mean_interval, ratio_interval
from projections.kpis import Fidelity, JobFigures, KpisView

_SECOND_US = 1_000_000
_DOLLAR_MICROUSD = 1_000_000
_NO_SPREAD = "no interval from a single job, which shows no spread"
_EMULATED = "what of queue and execution an emulated device told and nobody waited for: 0 on a virtual clock"
_T_INTERVAL = f"mean over jobs, 95 % by Student's t; {_NO_SPREAD}"


@dataclass(frozen=True)
class Kpi:
    """A figure over `n` cases with its 95 % interval; `method` says how, `reason` why there is no value."""

    value: float | None
    n: int
    low: float | None
    high: float | None
    method: str
    reason: str = ""
    parts: Mapping[str, "Kpi"] = field(default_factory=dict)

    def brief(self) -> dict[str, Any]:
        """The four numbers, with the reason where there is no value."""
        numbers = {"value": self.value, "n": self.n, "low": self.low, "high": self.high}
        return numbers | {"reason": self.reason} if self.value is None else numbers

    def full(self) -> dict[str, Any]:
        """All of it, parts included."""
        shown = self.brief() | {"method": self.method}
        return shown | {"parts": {name: part.full() for name, part in self.parts.items()}} if self.parts else shown


def scorecard(view: KpisView) -> dict[str, Kpi]:
    """All five, by the names under which they are shown."""
    return {
        "turnaround_s": _turnaround(view),
        "fidelity_per_shot": _fidelity(view),
        "cost_per_converged_result_usd": _cost(view),
        "reproducibility_index": _reproducibility(view),
        "agent_decision_accuracy": Kpi(
            None, 0, None, None, "wins over decided cases", "no counterfactual placement is on the log"
        ),
    }


@dataclass(frozen=True)
class Turnaround:
    """The time of one job from declaration to result, cut into parts that add up to it.

    `emulated_us` is no such part: it is what of queue and execution was emulated and not waited out.
    """

    whole_us: int
    policy_us: int
    human_us: int
    queue_us: int
    execution_us: int
    classical_us: int
    emulated_us: int


def turnaround(job: JobFigures) -> Turnaround | None:
    """The turnaround of a job; None before its result.

    Policy and human share the time up to admission: human from the request to the grant that counted, policy the rest.
    Execution is when a step ran on a device, classical when one ran in the sandbox, queue whatever else passed.
    Where emulated device time is not waited out, it is counted as if it had been.
    """
    if job.declared_us is None or job.recorded_us is None:
        return None
    admitted_us = job.admitted_us if job.admitted_us is not None else job.declared_us
    human_us = 0
    if job.requested_us is not None and job.granted_us is not None:
        human_us = max(0, min(job.granted_us, admitted_us) - job.requested_us)
    whole_us = job.recorded_us - job.declared_us + job.emulated_us
    policy_us = admitted_us - job.declared_us - human_us
    queue_us = whole_us - policy_us - human_us - job.execution_us - job.classical_us
    return Turnaround(whole_us, policy_us, human_us, queue_us, job.execution_us, job.classical_us, job.emulated_us)


def _turnaround(view: KpisView) -> Kpi:
    times = [time for _, job in sorted(view.jobs.items()) if (time := turnaround(job)) is not None]

    def mean_of(part: Callable[[Turnaround], int], parts: Mapping[str, Kpi], method: str = _T_INTERVAL) -> Kpi:
        return _mean([part(time) / _SECOND_US for time in times], parts, method)

    parts = {
        "policy_s": mean_of(lambda time: time.policy_us, {}),
        "human_s": mean_of(lambda time: time.human_us, {}),
        "queue_s": mean_of(lambda time: time.queue_us, {}),
        "execution_s": mean_of(lambda time: time.execution_us, {}),
        "classical_s": mean_of(lambda time: time.classical_us, {}),
        "emulated_s": mean_of(lambda time: time.emulated_us, {}, f"{_T_INTERVAL}; {_EMULATED}"),
    }
    emulated = parts["emulated_s"].value
    method = f"{_T_INTERVAL}; {emulated:.0f} s of it were emulated and not waited out" if emulated else _T_INTERVAL
    return mean_of(lambda time: time.whole_us, parts, method)


def _mean(values: Sequence[float], parts: Mapping[str, Kpi], method: str) -> Kpi:
    if not values:
        return Kpi(None, 0, None, None, method, "no job has a result", parts)
    mean, low, high = mean_interval(values)
    return Kpi(mean, len(values), low, high, method, parts=parts)


def _fidelity(view: KpisView) -> Kpi:
    both = _shot_weighted(view.hellinger, view.mirror)
    parts = {"hellinger": _shot_weighted(view.hellinger), "mirror": _shot_weighted(view.mirror)}
    return Kpi(both.value, both.n, both.low, both.high, both.method, both.reason, parts)


def _shot_weighted(*sums: Fidelity) -> Kpi:
    method = "mean over circuits weighted by shots; 95 % intervals in quadrature, in full where canaries are shared"
    shots = sum(each.shots for each in sums)
    if not shots:
        return Kpi(None, 0, None, None, method, "no circuit was measured")
    value = sum(each.weighted for each in sums) / shots
    below = math.sqrt(sum(each.below_squared for each in sums)) / shots
    above = math.sqrt(sum(each.above_squared for each in sums)) / shots
    return Kpi(value, sum(each.circuits for each in sums), value - below, value + above, method)


def _cost(view: KpisView) -> Kpi:
    """What all jobs cost that were charged or had a result, those without one included, for each converged result."""
    method = f"spent over converged jobs, 95 % of the ratio by Student's t, linearised; {_NO_SPREAD}"
    jobs = [
        job for _, job in sorted(view.jobs.items()) if job.spent_microusd is not None or job.recorded_us is not None
    ]
    converged = sum(job.converged for job in jobs)
    if not converged:
        return Kpi(None, 0, None, None, method, "no job has converged")
    spent = [(job.spent_microusd or 0) / _DOLLAR_MICROUSD for job in jobs]
    value, low, high = ratio_interval(spent, [float(job.converged) for job in jobs])
    return Kpi(value, converged, low, high, method)


def _reproducibility(view: KpisView) -> Kpi:
    method = "mean over jobs of the latest reproduction; their 95 % intervals added in quadrature"
    measured = [each for _, each in sorted(view.reproductions.items())]
    if not measured:
        return Kpi(None, 0, None, None, method, "no job was reproduced")
    n = len(measured)
    value = math.fsum(each.index for each in measured) / n
    below = math.hypot(*(each.index - each.low for each in measured))
    above = math.hypot(*(each.high - each.index for each in measured))
    return Kpi(value, n, value - below / n, value + above / n, method)
