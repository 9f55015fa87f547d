"""A job has ended: its money is settled, and what it has shown of its agent is counted."""

from collections.abc import Sequence

from schemas.events import BudgetCaptured, JobCancelled, JobCompleted, JobFailed, RunCancelDecided
from schemas.reasons import Reason
from streams.policy.autonomy import AT_FAULT, EndedJob, outcome_of
from streams.policy.jobs import Admitted
from streams.policy.money import settle
from streams.policy.saying import out
from streams.policy.state import PolicyState
from streams.stage import Heard, Output


def end(state: PolicyState, heard: Heard, ended: JobCompleted | JobFailed | JobCancelled) -> Sequence[Output]:
    """Settle a job's money; propose the step up that it has earned its agent, or take back what it has cost."""
    job = state.jobs.get(ended.job_id)
    if not isinstance(job, Admitted):
        return ()
    said = settle(ended.job_id, job)
    if not isinstance(ended, JobCompleted) and ended.reason in AT_FAULT:
        return [*said, *suspend(state, job.agent, job.action_class, Reason.of(ended.reason))]
    spent = sum(output.event.amount_microusd for output in said if isinstance(output.event, BudgetCaptured))
    shown = EndedJob(ended.job_id, spent, outcome_of(ended), heard.time_us)
    autonomy = state.autonomy.with_job(job.agent, job.action_class, shown, state.ladder)
    proposed = autonomy.proposal(job.agent, job.action_class, state.ladder, heard.time_us)
    return [*said, out(proposed)] if proposed else said


def overrun(state: PolicyState, decided: RunCancelDecided) -> Sequence[Output]:
    """Put an agent back at once whose job had to be stopped for what it did."""
    job = state.jobs.get(decided.job_id)
    if not isinstance(job, Admitted) or decided.reason not in AT_FAULT:
        return ()
    return suspend(state, job.agent, job.action_class, Reason.of(decided.reason))


def suspend(state: PolicyState, agent: str, kind: str, reason: Reason) -> Sequence[Output]:
    """Put an agent back on the lowest step, if it stands any higher or is proposed for more."""
    suspended = state.autonomy.suspension(agent, kind, reason)
    return [out(suspended)] if suspended else ()
