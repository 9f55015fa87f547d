"""What the gateway knows of jobs, folded from events: intents, what waits for a person, who answered, how it ended."""

from dataclasses import dataclass, field
from typing import Literal

from agents.replies import Outcome, PendingApproval, Receipt
from schemas.events import (
    ApprovalDenied,
    ApprovalGranted,
    ApprovalPresented,
    ApprovalRejected,
    ApprovalRequested,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    IntentWithdrawn,
    JobCancelled,
    JobCompleted,
    JobFailed,
    ResultRecorded,
)
from streams.stage import Heard


@dataclass
class Case:
    """One job from its intent to its end.

    `answers` are people's to the latest request that policy has not turned down; `presented` by whom it was shown to.
    """

    heard: Heard
    declared: IntentDeclared
    requested: Heard | None = None
    answers: list[Heard] = field(default_factory=list)
    presented: dict[str, Heard] = field(default_factory=dict)
    withdrawn: Heard | None = None
    result: ResultRecorded | None = None
    ended: tuple[Literal["completed", "failed", "cancelled", "refused"], str, str] | None = None

    @property
    def outcome(self) -> Outcome | None:
        """How the job ended; a completed one has its result."""
        if self.ended is None or (self.ended[0] == "completed" and self.result is None):
            return None
        return Outcome(*self.ended, self.result)

    @property
    def receipt(self) -> Receipt:
        """What the agent was told when it declared the job."""
        return Receipt(self.declared.job_id, self.heard.digest, self.declared.manifest, self.heard.time_us)

    @property
    def pending(self) -> PendingApproval | None:
        """What a person is asked, while they are."""
        request = self.requested.event if self.requested else None
        if not isinstance(request, ApprovalRequested) or self.requested is None:
            return None
        return PendingApproval(request.job_id, request.rule, request.message, request.statement, self.requested.time_us)


@dataclass
class Docket:
    """All jobs of a site by id."""

    cases: dict[str, Case] = field(default_factory=dict)
    job_ids: dict[tuple[str, str], str] = field(default_factory=dict)
    """By agent and idempotency key, the job that was declared under it."""

    def hear(self, heard: Heard) -> None:
        """Take in an event; the first intent of a job id, or idempotency key, is the one that counts."""
        if isinstance(heard.event, IntentDeclared):
            manifest = heard.event.manifest
            self.cases.setdefault(manifest.job_id, Case(heard, heard.event))
            if manifest.idempotency_key:
                self.job_ids.setdefault((manifest.initiator, manifest.idempotency_key), manifest.job_id)
            return
        case = self.cases.get(getattr(heard.event, "job_id", ""))
        if case is not None:
            _follow(case, heard)


def _follow(case: Case, heard: Heard) -> None:
    match heard.event:
        case ApprovalRequested():
            case.requested, case.answers, case.presented = heard, [], {}
        case ApprovalGranted() | ApprovalDenied():
            case.answers.append(heard)
        case ApprovalPresented(approver=approver):
            case.presented.setdefault(approver, heard)
        case ApprovalRejected(approver=approver):
            of_person = [each for each in case.answers if getattr(each.event, "approver", "") == approver]
            case.answers = [each for each in case.answers if each not in of_person[-1:]]
        case IntentAdmitted():
            case.requested = None
        case IntentRefused() as refused if refused.intent_digest == case.heard.digest:
            case.requested = None
            case.ended = ("refused", refused.reason, refused.message)
        case IntentWithdrawn():
            case.withdrawn = heard
        case ResultRecorded() as result:
            case.result = result
        case JobCompleted():
            case.ended = ("completed", "", "")
        case JobFailed(reason=reason, message=message):
            case.ended = ("failed", reason, message)
        case JobCancelled(reason=reason, message=message):
            case.ended = ("cancelled", reason, message)
        case _:
            pass
