"""The one table of topics, roles and events: who may write what where. Checks, ACLs and the reference page use it."""

from enum import StrEnum

from schemas import events as e
from schemas.words import Event


class Role(StrEnum):
    """What a key may be enrolled for."""

    ROOT = "root"
    ADMIN = "admin"
    GATEWAY = "gateway"
    AGENT = "agent"
    APPROVER = "approver"
    OPERATOR = "operator"
    ORCHESTRATOR = "orchestrator"
    POLICY = "policy"
    SCHEDULER = "scheduler"
    GUARD = "guard"
    DEVICE = "device"
    SANDBOX = "sandbox"
    CLOCK = "clock"
    AUDITOR = "auditor"
    SEALER = "sealer"
    WITNESS = "witness"
    CALLBACKS = "callbacks"


STAGES = frozenset({Role.ORCHESTRATOR, Role.POLICY, Role.SCHEDULER, Role.GUARD})
"""Roles whose events are decisions: they carry `qb_inputs` and can be recomputed."""

PEOPLE = frozenset({Role.APPROVER, Role.OPERATOR})
"""Roles of people: their keys sign statements and no records."""

_GOVERNORS = frozenset({Role.ROOT, Role.ADMIN})
_EXECUTORS = frozenset({Role.DEVICE, Role.SANDBOX})

WRITERS: dict[str, dict[type[Event], frozenset[Role]]] = {
    "governance": {
        **dict.fromkeys(
            (
                e.MandateGranted,
                e.MandateRevoked,
                e.AutonomyGranted,
                e.AutonomyRevoked,
                e.HaltOrdered,
                e.HaltLifted,
            ),
            _GOVERNORS | {Role.GATEWAY},  # carrying a person's own proof, which policy checks
        ),
        **dict.fromkeys(
            (
                e.SiteFounded,
                e.SchemaPublished,
                e.KeyEnrolled,
                e.KeyRevoked,
                e.GapAccepted,
                e.PolicyPublished,
                e.PriceListPublished,
                e.BudgetSet,
                e.SubjectErased,
            ),
            _GOVERNORS,
        ),
    },
    "intents": {
        e.IntentDeclared: frozenset({Role.GATEWAY}),
        e.IntentWithdrawn: frozenset({Role.GATEWAY}),
        e.TraceSealed: frozenset({Role.GATEWAY}),
        e.CalibrationRequested: frozenset({Role.GATEWAY}),
        e.StepPlanned: frozenset({Role.ORCHESTRATOR}),
        e.JobCompleted: frozenset({Role.ORCHESTRATOR}),
        e.JobFailed: frozenset({Role.ORCHESTRATOR}),
        e.JobCancelled: frozenset({Role.ORCHESTRATOR}),
        e.InputsNoted: frozenset({Role.ORCHESTRATOR}),
    },
    "approvals": {
        **dict.fromkeys(
            (
                e.BudgetHeld,
                e.BudgetCaptured,
                e.BudgetReleased,
                e.IntentAdmitted,
                e.IntentRefused,
                e.ApprovalRequested,
                e.ApprovalExpired,
                e.ApprovalRejected,
                e.ApprovalCounted,
                e.ApprovalInvalidated,
                e.AutonomyProposed,
                e.AutonomySuspended,
                e.InputsNoted,
            ),
            frozenset({Role.POLICY}),
        ),
        e.ApprovalGranted: frozenset({Role.GATEWAY}),
        e.ApprovalDenied: frozenset({Role.GATEWAY}),
        e.ApprovalPresented: frozenset({Role.GATEWAY}),
    },
    "reservations": {
        e.PlacementOffered: frozenset({Role.DEVICE}),
        e.PlacementDecided: frozenset({Role.SCHEDULER}),
        e.ReservationRequested: frozenset({Role.SCHEDULER}),
        e.ReservationReleased: frozenset({Role.SCHEDULER}),
        e.ReservationGranted: frozenset({Role.DEVICE}),
        e.ReservationRefused: frozenset({Role.DEVICE}),
        e.ReservationExpired: frozenset({Role.DEVICE}),
        e.InputsNoted: frozenset({Role.SCHEDULER}),
    },
    "snapshots": dict.fromkeys(
        (e.DeviceSnapshotTaken, e.DeviceStatusChanged, e.CalibrationFinished), frozenset({Role.DEVICE})
    ),
    "results": {
        e.StepStarted: _EXECUTORS,
        e.StepCompleted: _EXECUTORS,
        e.StepFailed: _EXECUTORS,
        e.StepOutcomeUnknown: _EXECUTORS,
        e.ShotsMeasured: frozenset({Role.DEVICE}),
        e.RunCancelled: frozenset({Role.DEVICE}),
        e.ArtifactStored: _EXECUTORS | {Role.GATEWAY},
        e.ResultRecorded: frozenset({Role.ORCHESTRATOR}),
        e.RunCancelDecided: frozenset({Role.GUARD}),
        e.InputsNoted: frozenset({Role.GUARD}),
        e.ReproductionMeasured: frozenset({Role.AUDITOR}),
        e.CallbackDelivered: frozenset({Role.CALLBACKS}),
    },
    "alarms": {
        e.AlarmSet: STAGES,
        e.AlarmRang: frozenset({Role.CLOCK}),
    },
    "checkpoints": {
        e.CheckpointSealed: frozenset({Role.SEALER}),
        e.CheckpointWitnessed: frozenset({Role.WITNESS}),
    },
    "deadletters": {e.EventRejected: STAGES},
}
"""Topic → event type → roles that may write it there."""

TOPICS = tuple(WRITERS)

UNSEALED_ALONE = frozenset({"alarms", "checkpoints"})
"""A round of checkpoints covers these topics too, but what is new in them alone is no reason for one."""

REJECTS = {
    "governance": Role.POLICY,
    "intents": Role.POLICY,
    "approvals": Role.ORCHESTRATOR,
    "reservations": Role.SCHEDULER,
    "snapshots": Role.SCHEDULER,
    "results": Role.ORCHESTRATOR,
    "alarms": Role.ORCHESTRATOR,
}
"""The one stage that records a refused record of a topic as EventRejected; the others skip it and count it."""


def topic_of(event_type: type[Event]) -> str:
    """The topic of an event type that has only one. InputsNoted has one a stage: the stage's own."""
    topics = [topic for topic, types in WRITERS.items() if event_type in types]
    if len(topics) != 1:
        raise LookupError(f"{event_type.__name__} stands on {len(topics)} topics")
    return topics[0]


HOME = {Role.ORCHESTRATOR: "intents", Role.POLICY: "approvals", Role.SCHEDULER: "reservations", Role.GUARD: "results"}
"""The topic on which a stage notes its inputs."""
