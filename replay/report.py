"""What happened in a period that somebody must answer for: verdicts on records go in, rows come out, oldest first."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from replay.judged import Judged
from schemas import events as e
from schemas.admission import Admitted
from schemas.envelope import time_text
from schemas.reasons import Reason
from schemas.words import Event


class Row(NamedTuple):
    """One thing that happened. `kind` is a stable word; an amount that does not apply is empty."""

    time: str
    kind: str
    site: str
    job: str = ""
    by: str = ""
    reason: str = ""
    detail: str = ""
    amount_usd: str = ""
    topic: str = ""
    partition: int = 0
    offset: int = 0
    digest: str = ""


COLUMNS = Row._fields
KINDS = (
    *("run_without_human", "grant", "denial", "answer_rejected", "refusal", "overrun"),
    *("mandate_granted", "mandate_revoked", "autonomy_granted", "autonomy_revoked", "autonomy_suspended"),
    *("halt_ordered", "halt_lifted", "key_revoked", "subject_erased", "event_rejected", "record_not_believed"),
)
_OVERRUNS = frozenset({Reason.COST_OVERRUN.value, Reason.SHOTS_OVER_CEILING.value})
_MICROUSD = 1_000_000


class _Known:
    """What rows say that stands in other events: who declared a job, whose key it was."""

    def __init__(self) -> None:
        self.initiators: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.rejected: set[tuple[str, int, int]] = set()

    def hear(self, event: Event) -> None:
        match event:
            case e.IntentDeclared():
                self.initiators.setdefault(event.job_id, event.manifest.initiator)
            case e.KeyEnrolled():
                self.owners[event.key_id] = event.source
            case e.EventRejected():
                self.rejected.add((event.topic, event.partition, event.offset))
            case _:
                pass


def report_rows(verdicts: Iterable[tuple[str, Judged]], begin_us: int, end_us: int) -> list[Row]:
    """The rows of a period, its end left out, by the signed times; by the log's own for what is not believed."""
    known, found = _Known(), list[tuple[int, int, Row]]()
    doubtful: list[tuple[int, int, Row]] = []
    for number, (site, verdict) in enumerate(verdicts):
        if isinstance(verdict, Admitted):
            known.hear(verdict.event)
            told = _row(verdict.event, known)
            if told and begin_us <= verdict.time_us < end_us:
                found.append((verdict.time_us, number, _placed(told, site, verdict, verdict.time_us)))
        elif begin_us <= (time_us := verdict.stored.append_time_us) < end_us:
            told = {"kind": "record_not_believed", "reason": verdict.reason, "detail": verdict.detail}
            doubtful.append((time_us, number, _placed(told | {"by": verdict.source}, site, verdict, time_us)))
    found += [each for each in doubtful if (each[2].topic, each[2].partition, each[2].offset) not in known.rejected]
    return [row for _, _, row in sorted(found, key=lambda each: each[:2])]


def _placed(told: Mapping[str, Any], site: str, verdict: Judged, time_us: int) -> Row:
    stored = verdict.stored
    row = Row(
        time_text(max(0, time_us)),
        site=site,
        topic=stored.topic,
        partition=stored.partition,
        offset=stored.offset,
        digest=verdict.digest.hex(),
        **told,
    )
    return row if row.by or not isinstance(verdict, Admitted) else row._replace(by=verdict.source)


def _row(event: Event, known: _Known) -> dict[str, Any] | None:
    """What a row says of an event apart from its place; None for an event that needs no answer."""
    tell = _TOLD.get(type(event))
    return tell(event, known) if tell else None


def _admitted(event: e.IntentAdmitted, known: _Known) -> dict[str, Any] | None:
    if event.approver:
        return None
    return {
        "kind": "run_without_human",
        "job": event.job_id,
        "by": known.initiators.get(event.job_id, ""),
        "detail": f"rule {event.rule}" + (f", mandate {event.mandate_id}" if event.mandate_id else ""),
        "amount_usd": _dollars(event.price_ceiling_microusd),
    }


def _cancelled(event: e.RunCancelDecided | e.JobFailed, _: _Known) -> dict[str, Any] | None:
    if event.reason not in _OVERRUNS:
        return None
    return {"kind": "overrun", "job": event.job_id, "reason": event.reason, "detail": event.message}


def _revoked(event: e.KeyRevoked, known: _Known) -> dict[str, Any]:
    owner = known.owners.get(event.key_id, "nobody enrolled")
    return {"kind": "key_revoked", "reason": event.reason, "detail": f"key {event.key_id} of {owner}"}


def _rejected(event: e.EventRejected, _: _Known) -> dict[str, Any]:
    detail = f"{event.topic}/{event.partition}/{event.offset}: {event.detail}"
    return {"kind": "event_rejected", "reason": event.reason, "detail": detail}


def _refused(event: e.IntentRefused, _: _Known) -> dict[str, Any]:
    return {"kind": "refusal", "job": event.job_id, "reason": event.reason, "detail": event.message}


def _granted(event: e.ApprovalGranted, _: _Known) -> dict[str, Any]:
    detail = f"{event.proof.proof_type} by key {event.proof.key_id}"
    return {"kind": "grant", "job": event.job_id, "by": event.approver, "detail": detail}


def _denied(event: e.ApprovalDenied, _: _Known) -> dict[str, Any]:
    return {"kind": "denial", "job": event.job_id, "by": event.approver, "reason": event.reason}


def _answer_rejected(event: e.ApprovalRejected, _: _Known) -> dict[str, Any]:
    detail = f"of {event.approver}: {event.message}"
    return {"kind": "answer_rejected", "job": event.job_id, "reason": event.reason, "detail": detail}


def _mandated(event: e.MandateGranted | e.MandateRevoked, _: _Known) -> dict[str, Any]:
    if isinstance(event, e.MandateRevoked):
        return {
            "kind": "mandate_revoked",
            "by": event.person,
            "reason": event.reason,
            "detail": f"mandate {event.mandate_id}",
        }
    said = event.statement
    detail = f"mandate {said.mandate_id} of {said.agent} until {time_text(said.expires_us)}"
    amount = _dollars(said.cost_total_microusd)
    return {"kind": "mandate_granted", "by": event.person, "detail": detail, "amount_usd": amount}


def _autonomous(event: e.AutonomyGranted | e.AutonomyRevoked | e.AutonomySuspended, _: _Known) -> dict[str, Any]:
    match event:
        case e.AutonomyGranted(statement=said):
            detail = f"{said.agent} on step {said.level} for {said.action_class} until {time_text(said.expires_us)}"
            amount = _dollars(said.price_limit_microusd)
            return {"kind": "autonomy_granted", "by": event.person, "detail": detail, "amount_usd": amount}
        case e.AutonomyRevoked():
            detail = f"{event.agent} for {event.action_class}"
            return {"kind": "autonomy_revoked", "by": event.person, "reason": event.reason, "detail": detail}
        case e.AutonomySuspended():
            detail = f"{event.agent} for {event.action_class}: {event.message}"
            return {"kind": "autonomy_suspended", "reason": event.reason, "detail": detail}


def _halted(event: e.HaltOrdered | e.HaltLifted, _: _Known) -> dict[str, Any]:
    told = {"by": event.person, "reason": event.reason}
    if isinstance(event, e.HaltLifted):
        return told | {"kind": "halt_lifted", "detail": f"halt {event.halt_id}"}
    return told | {"kind": "halt_ordered", "detail": f"halt {event.halt_id} of {event.scope} {event.target}"}


def _erased(event: e.SubjectErased, _: _Known) -> dict[str, Any]:
    detail = f"{len(event.text_digests)} texts of {event.subject}"
    return {"kind": "subject_erased", "reason": event.reason, "detail": detail}


_TOLD: Mapping[type[Event], Callable[[Any, _Known], dict[str, Any] | None]] = {
    e.IntentAdmitted: _admitted,
    e.ApprovalGranted: _granted,
    e.ApprovalDenied: _denied,
    e.ApprovalRejected: _answer_rejected,
    e.IntentRefused: _refused,
    e.RunCancelDecided: _cancelled,
    e.JobFailed: _cancelled,
    e.MandateGranted: _mandated,
    e.MandateRevoked: _mandated,
    e.AutonomyGranted: _autonomous,
    e.AutonomyRevoked: _autonomous,
    e.AutonomySuspended: _autonomous,
    e.HaltOrdered: _halted,
    e.HaltLifted: _halted,
    e.KeyRevoked: _revoked,
    e.SubjectErased: _erased,
    e.EventRejected: _rejected,
}


def _dollars(microusd: int) -> str:
    return f"{microusd // _MICROUSD}.{microusd % _MICROUSD:06d}"
