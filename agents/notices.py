"""What people must be told, folded from the log: events go in, notices with their times come out. Nothing is sent.

A notice has an id that follows from the event it is about, its kind and whom it is for: whoever makes it again after a
restart makes the same. It names no secret and nothing that a person signs with.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.digests import digest_of_parts
from schemas.envelope import time_text
from schemas.events import (
    ApprovalCounted,
    ApprovalExpired,
    ApprovalInvalidated,
    ApprovalRequested,
    AutonomyProposed,
    HaltLifted,
    HaltOrdered,
    IntentAdmitted,
    IntentRefused,
    KeyEnrolled,
    RunCancelDecided,
)
from schemas.topics import PEOPLE
from streams.stage import Heard

TOPICS = ("governance", "approvals", "results")
_MICROUSD = 1_000_000


@dataclass(frozen=True, slots=True)
class Addressee:
    """A person as the operator lists them. While they are away, the delegate is told in their place."""

    name: str
    email: str = ""
    webhook: str = ""
    secret: bytes = field(default=b"", repr=False)
    delegate: str = ""
    away_from_us: int = 0
    away_until_us: int = 0

    def is_away(self, now_us: int) -> bool:
        """Whether they are away."""
        return self.away_from_us <= now_us < self.away_until_us


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to tell when: people in the order in which they are asked, and the times between."""

    people: Sequence[Addressee]
    escalate_us: int
    remind_us: int
    alarms: Sequence[str] = ()
    """Who is told of alarms, halts and proposals; all people if none is named."""

    def stand_in(self, name: str, now_us: int) -> Addressee | None:
        """Who is told what is for a person; of several delegates in a ring nobody is away."""
        known = {each.name: each for each in self.people}
        first = found = known.get(name)
        for _ in known:
            if found is None or not found.is_away(now_us) or found.delegate not in known:
                return found
            found = known[found.delegate]
        return first


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that one person is told. `due_us` is when it first may be."""

    notice_id: str
    kind: str
    to: str
    subject: str
    text: str
    due_us: int
    job_id: str = ""


class _About(NamedTuple):
    """What a notice is about, whoever is told."""

    heard: Heard
    kind: str
    subject: str
    text: str
    job_id: str = ""


@dataclass
class Asked:
    """A request that waits for people, and who has said yes."""

    heard: Heard
    request: ApprovalRequested
    granted: set[str] = field(default_factory=set)


class Board:
    """All that people are to be told. Of what had happened before `began_us` only what still waits is told.

    `reasons` puts a person's words in the place of a pointer to them, as `Vault.told` does.
    """

    def __init__(self, plan: Plan, began_us: int, reasons: Callable[[str], str] = str) -> None:
        self._plan = plan
        self._reasons = reasons
        self._began_us = began_us
        self._asked: dict[str, Asked] = {}
        self._happened: list[_About] = []
        self._duties: dict[str, tuple[str, ...]] = {}

    def hear(self, heard: Heard) -> None:
        """Take in an event."""
        match heard.event:
            case KeyEnrolled(role=role, source=source) as key if role in PEOPLE:
                self._duties[source] = key.duties
            case ApprovalRequested(job_id=job_id) as request:
                self._asked[job_id] = Asked(heard, request)
            case ApprovalCounted(job_id=job_id, approver=approver) if job_id in self._asked:
                self._asked[job_id].granted.add(approver)
            case (
                IntentAdmitted(job_id=job_id)
                | IntentRefused(job_id=job_id)
                | ApprovalExpired(job_id=job_id)
                | ApprovalInvalidated(job_id=job_id)
            ):
                self._asked.pop(job_id, None)
            case _ if heard.time_us >= self._began_us:
                self._note(heard)

    def _note(self, heard: Heard) -> None:
        match heard.event:
            case RunCancelDecided(job_id=job_id, reason=reason) as decided:
                text = f"reason: {reason}\n{self._words(decided.message)}"
                about = _About(heard, "alarm", f"the guard stops {job_id}", text, job_id)
            case HaltOrdered(halt_id=halt_id, scope=scope, target=target) as halt:
                text = f"{halt.person}: {self._words(halt.reason)}\nAnother person lifts it: qpubus resume {halt_id}"
                about = _About(heard, "halt", f"{scope} {target} is halted", text)
            case HaltLifted(halt_id=halt_id, person=person) as lifted:
                about = _About(heard, "halt", f"halt {halt_id} is lifted", f"{person}: {self._words(lifted.reason)}")
            case AutonomyProposed(agent=agent, level=level) as proposed:
                text = (
                    f"class of action: {_line(proposed.action_class)}\nup to {_usd(proposed.price_limit_microusd)}\n"
                    f"evidence: {proposed.jobs} jobs, accuracy at least {proposed.accuracy_low:.3f}\n"
                    f"qpubus autonomy ratify {agent} --key FILE"
                )
                about = _About(heard, "proposal", f"step {level} is proposed for {agent}", text)
            case _:
                return
        self._happened.append(about)

    def _words(self, text: str) -> str:
        return _line(self._reasons(text))

    def notices(self, now_us: int) -> Iterator[Notice]:
        """All that there is to tell by what is known now, also what is due later."""
        for about in self._happened:
            yield from self._of_happening(about, now_us)
        for asked in self._asked.values():
            yield from self._of_request(asked, now_us)

    def forget(self, awaited: Collection[str], now_us: int) -> None:
        """Let go of what has happened and is told: of which no notice is `awaited` any more."""
        self._happened = [
            about
            for about in self._happened
            if any(notice.notice_id in awaited for notice in self._of_happening(about, now_us))
        ]

    def _of_happening(self, about: "_About", now_us: int) -> Iterator[Notice]:
        for name in self._plan.alarms or [each.name for each in self._plan.people]:
            yield from self._to(name, about, about.heard.time_us, now_us)

    def _of_request(self, asked: Asked, now_us: int) -> Iterator[Notice]:
        """Some people are asked at once, as many as must say yes; the others one by one; all of them are reminded."""
        statement, heard, job_id = asked.request.statement, asked.heard, asked.request.job_id
        if now_us >= statement.expires_us:
            return
        lacking = max(1, statement.quorum - len(asked.granted))
        text = (
            f"purpose: {_line(statement.purpose)}\nprice at most: {_usd(statement.price_ceiling_microusd)}\n"
            f"why: {_line(asked.request.message)}\nexpires: {time_text(statement.expires_us)}\n"
            f"persons who must still say yes: {lacking}\nqpubus approve {job_id} --key FILE"
        )
        order = self._order(asked)
        at_once = max(lacking, len(statement.roles))
        told: list[str] = []
        for place, name in enumerate(order):
            due_us = heard.time_us + max(0, place - at_once + 1) * self._plan.escalate_us
            if due_us < statement.expires_us:
                kind = "approval" if place < at_once else "escalation"
                yield from self._to(name, _About(heard, kind, f"{job_id} waits for you", text, job_id), due_us, now_us)
                told += [name] if due_us <= now_us else []
        remind_us = max(heard.time_us, statement.expires_us - self._plan.remind_us)
        soon = _About(heard, "reminder", f"{job_id} is about to expire", text, job_id)
        for name in told or order[:at_once]:
            yield from self._to(name, soon, remind_us, now_us)

    def _order(self, asked: Asked) -> list[str]:
        """People in the order in which they are asked: first those whose duties are needed; nobody who has said yes."""
        names = [each.name for each in self._plan.people if each.name not in asked.granted]
        needed = set(asked.request.statement.roles)
        return sorted(names, key=lambda name: not needed.intersection(self._duties.get(name, ())))

    def _to(self, name: str, about: "_About", due_us: int, now_us: int) -> Iterator[Notice]:
        person = self._plan.stand_in(name, now_us)
        if person is None:
            return
        instead = "" if person.name == name else f"\nYou are told in place of {name}, who is away."
        yield Notice(
            digest_of_parts("notice", about.kind, about.heard.digest, name),
            about.kind,
            person.name,
            f"[{about.heard.site}] {about.subject}",
            f"{about.text}{instead}\n",
            due_us,
            about.job_id,
        )


def _line(text: str) -> str:
    """A stranger's text in one line that steers nothing."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)[:500]


def _usd(microusd: int) -> str:
    return f"${microusd / _MICROUSD:,.2f}"
