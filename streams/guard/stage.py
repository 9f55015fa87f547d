"""What the guard says to each event: `decide`, and the stage it makes with `evolve`."""

from collections.abc import Sequence

from schemas.events import DevicePrice, RunCancelDecided
from schemas.reasons import Reason
from schemas.topics import Role
from streams.guard.state import GuardState, Stop, Watch, evolve
from streams.guard.survival import is_below
from streams.pricing import charge_microusd, classical_microusd, price_of
from streams.stage import Heard, Output, Stage
from streams.usage import OpenStep

TOPIC = "results"
VERSION = 1
SURVIVAL_TOLERANCE = 0.1
"""Without a `min_success` in the manifest, canaries may survive this much less often than the offer predicted."""
RULES = {
    Reason.COST_OVERRUN: "rest_payable@1",
    Reason.SHOTS_OVER_CEILING: "shots_ceiling@1",
    Reason.FIDELITY_DROP: "canary_bernstein@1",
    Reason.WITHDRAWN: "withdrawal@1",
    Reason.HALTED: "halt@1",
    Reason.DEADLINE_PASSED: "deadline@1",
}


def decide(state: GuardState, heard: Heard) -> Sequence[Output]:
    """Stop the running quantum step of each job that an event is about, if there is a reason to; once a step."""
    after = evolve(state, heard)
    return [output for job_id in after_jobs(state, after, heard) for output in _decide_job(after, job_id, heard)]


def after_jobs(state: GuardState, after: GuardState, heard: Heard) -> Sequence[str]:
    """The jobs to look at: those that the event is about before it, or after it where it begins one."""
    return state.jobs_of(heard) or after.jobs_of(heard)


def _decide_job(after: GuardState, job_id: str, heard: Heard) -> Sequence[Output]:
    watch = after.jobs.get(job_id)
    running = watch.usage.running if watch else None
    if watch is None or running is None or running.kind != "quantum" or running.step == watch.stopped_step:
        return ()
    stop = _halted(after, watch, running) or watch.stop or _why_stop(watch, running)
    if stop is None:
        return ()
    decided = RunCancelDecided(
        job_id=job_id, step=running.step, reason=stop.reason, message=stop.message, rule=RULES[stop.reason]
    )
    planned = () if running.cause == heard.cause else (running.cause,)
    return [Output(TOPIC, decided, job_id, planned)]


def _halted(state: GuardState, watch: Watch, running: OpenStep) -> Stop | None:
    halt = state.halts.covering(watch.initiator, running.device)
    return Stop(Reason.HALTED, halt.message) if halt else None


def _why_stop(watch: Watch, running: OpenStep) -> Stop | None:
    shots = watch.usage.so_far().shots
    if shots > watch.shots_ceiling:
        return Stop(Reason.SHOTS_OVER_CEILING, f"{shots} shots have run, the ceiling is {watch.shots_ceiling}")
    price = price_of(watch.prices, running.device)
    if price is None:
        return Stop(Reason.COST_OVERRUN, f"{running.device} has no price")
    cost = _cost_with_rest_microusd(watch, running, price)
    if cost > watch.price_ceiling_microusd:
        return Stop(
            Reason.COST_OVERRUN,
            f"with the rest of this step the job costs {cost} microUSD at least, "
            f"its ceiling is {watch.price_ceiling_microusd}",
        )
    return _why_unfaithful(watch, running)


def _cost_with_rest_microusd(watch: Watch, running: OpenStep, price: DevicePrice) -> int:
    """What the job costs when this step ends, at the least: each circuit left is one task, no shot is slow."""
    used = watch.usage.so_far()
    shots_left = max(0, running.planned_shots - running.shots)
    tasks_left = max(1, running.planned_circuits - running.tasks) if shots_left else 0
    device = charge_microusd(
        price,
        used.tasks + tasks_left,
        used.shots + shots_left,
        used.device_time_us + shots_left * price.shot_duration_us,
        used.slot_us,
    )
    second_microusd = watch.prices.classical_second_microusd if watch.prices else 0
    return device + classical_microusd(second_microusd, used.classical_time_us)


def _why_unfaithful(watch: Watch, running: OpenStep) -> Stop | None:
    survival = watch.min_success or watch.predicted.get(running.device, 0.0) - SURVIVAL_TOLERANCE
    if survival <= 0 or not is_below(watch.canary_survivors, watch.canary_shots, survival):
        return None
    return Stop(
        Reason.FIDELITY_DROP,
        f"{watch.canary_survivors} of {watch.canary_shots} canary shots came out right, "
        f"at least {survival:.4f} of them should",
    )


GUARD: Stage[GuardState] = Stage(
    role=Role.GUARD,
    version=VERSION,
    inputs=("governance", "intents", "approvals", "reservations", "results", "snapshots", "alarms"),
    initial=GuardState(),
    evolve=evolve,
    decide=decide,
    state_type=GuardState,
)
