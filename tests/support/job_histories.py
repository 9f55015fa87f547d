"""Several jobs with different ends, told one after the other: at least one event of each type that a view is about."""

from qpubus.bench.story import AGENT, APPROVER, DEVICES, Told, job_story
from schemas.envelope import Cause
from schemas.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalRejected,
    BudgetReleased,
    BudgetSet,
    DevicePrice,
    HumanProof,
    IntentRefused,
    IntentWithdrawn,
    JobCancelled,
    JobFailed,
    KeyEnrolled,
    PriceListPublished,
    ReproductionMeasured,
    ReservationExpired,
    RunCancelDecided,
    RunCancelled,
    StepFailed,
    StepOutcomeUnknown,
)
from schemas.topics import topic_of
from schemas.words import Event
from streams.stage import Heard

DIGEST = "d" * 64
SITE = "site-a"
_HOUR_US = 3_600_000_000


def histories() -> list[Heard]:
    """The whole history, in the order in which it came about."""
    told = [*_founding()]
    for number, ends in enumerate(_ENDS):
        story = list(job_story(number, SITE, number * _HOUR_US))
        cut, events = ends
        told += story[: cut or len(story)]
        after_us = story[-1].time_us
        told += [Told("anyone", topic_of(type(each)), each, after_us + at) for at, each in enumerate(events)]
    return [
        Heard(each.event, SITE, each.source, "", "", DIGEST, each.time_us, Cause(each.topic, each.source, at, DIGEST))
        for at, each in enumerate(told, 1)
    ]


def _founding() -> list[Told]:
    price = DevicePrice(
        device=DEVICES[0], task_microusd=1, shot_microusd=2, hour_microusd=3, shot_duration_us=4, shots_max=5
    )
    events: list[Event] = [
        KeyEnrolled(key_id="b" * 32, public_key=b"p", source=APPROVER, role="approver", assurance="demo"),
        PriceListPublished(devices=(price,), classical_second_microusd=20),
        BudgetSet(limit_microusd=10**12),
    ]
    return [Told("root", "governance", event, 0) for event in events]


def _job(number: int) -> str:
    return f"job-{number:06}"


def _proof() -> HumanProof:
    return HumanProof(proof_type="ed25519", key_id="b" * 32, signature=b"s")


_DENIED = 3
_EXPIRED = 3
_RUNNING = 40
_ENDS: list[tuple[int, list[Event]]] = [
    (
        0,
        [
            ReproductionMeasured(
                job_id=_job(0),
                seed=1,
                index=0.99,
                low=0.98,
                high=1.0,
                p_value=0.4,
                shift_max=0.5,
                verdict="reproducible",
            )
        ],
    ),
    (
        _DENIED,
        [
            ApprovalDenied(job_id=_job(1), intent_digest=DIGEST, approver=APPROVER, reason="eh", proof=_proof()),
            ApprovalRejected(
                job_id=_job(1), intent_digest=DIGEST, approver=APPROVER, reason="proof_invalid", message="unsigned"
            ),
            ApprovalDenied(job_id=_job(1), intent_digest=DIGEST, approver=APPROVER, reason="no", proof=_proof()),
            IntentRefused(job_id=_job(1), intent_digest=DIGEST, reason="denied", message="no"),
            BudgetReleased(job_id=_job(1), amount_microusd=400_000_000),
        ],
    ),
    (
        _EXPIRED,
        [
            ApprovalExpired(job_id=_job(2), intent_digest=DIGEST),
            IntentRefused(job_id=_job(2), intent_digest=DIGEST, reason="expired", message="nobody answered"),
        ],
    ),
    (
        _RUNNING,
        [
            StepOutcomeUnknown(job_id=_job(3), step=0, message="the device does not answer"),
            StepFailed(job_id=_job(3), step=0, reason="device_lost", message="it does not answer"),
            JobFailed(job_id=_job(3), reason="device_lost", message="it does not answer"),
            ReservationExpired(job_id=_job(3), reservation_id=f"{_job(3)}-1", device=DEVICES[0]),
        ],
    ),
    (
        _RUNNING,
        [
            IntentWithdrawn(job_id=_job(4), agent_key_id="k", agent_proof="p", reason=f"{AGENT} has no more use"),
            RunCancelDecided(job_id=_job(4), step=0, reason="withdrawn", message="by its agent", rule="guard/1"),
            RunCancelled(job_id=_job(4), step=0, device=DEVICES[0], shots=9, device_time_us=8, reason="withdrawn"),
            JobCancelled(job_id=_job(4), reason="withdrawn", message="by its agent"),
        ],
    ),
    (0, []),
]
