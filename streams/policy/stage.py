"""Policy as a stage: each event goes to the module of its subject, and what that decides is said."""

from collections.abc import Sequence

from schemas.events import (
    AlarmRang,
    ApprovalDenied,
    ApprovalGranted,
    DeviceSnapshotTaken,
    HaltOrdered,
    IntentDeclared,
    IntentWithdrawn,
    JobCancelled,
    JobCompleted,
    JobFailed,
    PolicyPublished,
    PriceListPublished,
    RunCancelDecided,
)
from schemas.topics import Role
from streams.policy.approval import expire, halt, reconsider, weigh, withdraw
from streams.policy.declaring import receive
from streams.policy.ending import end, overrun
from streams.policy.state import PolicyState, evolve
from streams.stage import Heard, Output, Stage

VERSION = 1


def decide(state: PolicyState, heard: Heard) -> Sequence[Output]:
    """What follows from an event."""
    match heard.event:
        case IntentDeclared() as declared:
            return receive(state, heard, declared)
        case ApprovalGranted() | ApprovalDenied() as answer:
            return weigh(state, heard, answer)
        case AlarmRang() as rang:
            return expire(state, rang)
        case IntentWithdrawn(job_id=job_id):
            return withdraw(state, job_id)
        case HaltOrdered():
            return halt(state, heard, state.halts.after(heard))
        case PolicyPublished() | PriceListPublished() | DeviceSnapshotTaken():
            return reconsider(state, evolve(state, heard), heard)
        case JobCompleted() | JobFailed() | JobCancelled() as ended:
            return end(state, heard, ended)
        case RunCancelDecided() as decided:
            return overrun(state, decided)
        case _:
            return ()


POLICY: Stage[PolicyState] = Stage(
    role=Role.POLICY,
    version=VERSION,
    inputs=("governance", "snapshots", "intents", "approvals", "results", "alarms"),
    initial=PolicyState(),
    evolve=evolve,
    decide=decide,
    state_type=PolicyState,
)
