"""`policy what-if`: recorded history under a changed policy. A log and a policy go in, verdicts that differ come out.

Every intent is judged again where it was judged: by the state that policy had then, folded from the log in the order in
which the stage read it, with the changed policy in the place of the one in force. History itself stays as it was: money
that a job held or spent counts on, whether or not the changed policy would have let it run.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from replay.audit import collector_off
from replay.verdict import Progress
from schemas.events import (
    ApprovalRequested,
    BudgetCaptured,
    IntentAdmitted,
    IntentDeclared,
    IntentRefused,
    PolicyPublished,
)
from schemas.reasons import Reason
from streams.journal import Step, outputs_of, walk
from streams.log.port import ReadableLog, partition_of
from streams.policy.jobs import Declared
from streams.policy.judging import judge
from streams.policy.stage import POLICY
from streams.policy.state import NOBODYS, PolicyState
from streams.policy.wish import Admit, Ask, Refuse, Verdict, Wish
from streams.reader import Reader
from streams.stage import Heard
from streams.state import changed

Word = Literal["admit", "ask", "refuse"]
CHANGED_DIGEST = "0" * 64
"""The digest of a policy that was not published."""
_PROGRESS_EVERY = 256


@dataclass(frozen=True, slots=True)
class Change:
    """An intent on which the changed policy says something else, with what its job cost in the end."""

    job_id: str
    agent: str
    time_us: int
    was: Word
    would_be: Word
    rules: tuple[str, ...]
    message: str
    price_ceiling_microusd: int
    spent_microusd: int = 0


@dataclass
class Tally:
    """What changes for one agent: intents judged, those that differ by kind, and their money."""

    intents: int = 0
    differ: dict[str, int] = field(default_factory=dict)
    ceiling_microusd: int = 0
    spent_microusd: int = 0


@dataclass
class WhatIf:
    """All that came of a replay."""

    decisions: int = 0
    changes: dict[str, Change] = field(default_factory=dict)
    agents: dict[str, Tally] = field(default_factory=dict)


class Replay:
    """Takes the steps of policy's journal one after the other."""

    def __init__(self, changed: PolicyPublished, state: PolicyState = POLICY.initial) -> None:
        """`state` is what policy knew before the first of these steps."""
        self._changed = changed
        self._state = state
        self._time_us = 0
        self.found = WhatIf()

    def take(self, step: Step) -> None:
        """Judge an intent again; follow history."""
        item = step.item
        if isinstance(item, Heard):
            heard = item if item.time_us >= self._time_us else item._replace(time_us=self._time_us)
            self._time_us = heard.time_us
            before, self._state = self._state, POLICY.evolve(self._state, heard)
            if isinstance(heard.event, IntentDeclared) and (was := _recorded(step.outputs)):
                job = self._state.jobs[heard.event.job_id]
                if isinstance(job, Declared):
                    self._judge(before, heard.time_us, heard.event.job_id, job.wish, was)
        for output in step.outputs:
            self._state = POLICY.evolve(self._state, output)
            if isinstance(output.event, BudgetCaptured):
                self._note_spent(output.event)

    def _judge(self, before: PolicyState, time_us: int, job_id: str, wish: Wish, was: Word) -> None:
        supposed = changed(before, policy=self._changed, policy_digest=CHANGED_DIGEST)
        verdict = judge(supposed, wish, time_us)
        tally = self.found.agents.setdefault(wish.initiator, Tally())
        tally.intents += 1
        self.found.decisions += 1
        would_be = word_of(verdict)
        if would_be == was:
            return
        ceiling = wish.price_ceiling_microusd
        rules, message = verdict.grounds.rules, "" if isinstance(verdict, Admit) else verdict.message
        self.found.changes[job_id] = Change(job_id, wish.initiator, time_us, was, would_be, rules, message, ceiling)
        kind = f"{was} → {would_be}"
        tally.differ[kind] = tally.differ.get(kind, 0) + 1
        tally.ceiling_microusd += ceiling

    def _note_spent(self, captured: BudgetCaptured) -> None:
        change = self.found.changes.get(captured.job_id)
        if change is not None:
            spent = change.spent_microusd + captured.amount_microusd
            self.found.changes[captured.job_id] = replace(change, spent_microusd=spent)
            self.found.agents[change.agent].spent_microusd += captured.amount_microusd


async def what_if(
    log: ReadableLog, roots: Mapping[str, bytes], changed: PolicyPublished, progress: Progress | None = None
) -> WhatIf:
    """Replay what policy decided at the one site of a log; `JournalBroken` if its journal does not fit the log."""
    [(site, root)] = roots.items()
    replayed = Replay(changed)
    with collector_off():
        async for step in history(log, {site: root}, progress):
            replayed.take(step)
    return replayed.found


async def history(
    log: ReadableLog, roots: Mapping[str, bytes], progress: Progress | None = None
) -> AsyncIterator[Step]:
    """What policy read and said at a site, in its order. `progress` is told how many of its outputs were passed."""
    [(site, _)] = roots.items()
    partition = partition_of(site.encode(), log.partitions)
    outputs = (await outputs_of(POLICY, log, partition, roots))[site]
    reader = Reader(log, partition, POLICY.inputs, roots)
    told: Callable[[int, int], None] = progress or (lambda _done, _total: None)
    done = last = 0
    async for step in walk(outputs, reader, site):
        yield step
        done += len(step.outputs)
        if done - last >= _PROGRESS_EVERY:
            last = done
            told(done, len(outputs))
    told(len(outputs), len(outputs))


def word_of(verdict: Verdict) -> Word:
    """A verdict in a word."""
    match verdict:
        case Admit():
            return "admit"
        case Ask():
            return "ask"
        case Refuse():
            return "refuse"


def _recorded(outputs: list[Heard]) -> Word | None:
    """What policy said to an intent then; None where it was not the agent's own, which no policy changes."""
    for output in outputs:
        match output.event:
            case IntentAdmitted():
                return "admit"
            case ApprovalRequested():
                return "ask"
            case IntentRefused(reason=reason):
                return None if reason in NOBODYS and reason != Reason.RATE_EXCEEDED else "refuse"
            case _:
                pass
    return None
