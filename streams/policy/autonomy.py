"""Earned autonomy: what an agent's jobs of one class have shown, and which step of the ladder that is worth.

Evidence counts per agent and class of action, each job by the money it spent, capped a day, so that many cheap jobs in
a row prove little. The share of money that went into jobs that ended well has a lower bound (Wilson's, at 95 %, with
the effective number of jobs (Σw)² ÷ Σw²), and that bound is what a step asks for. A job that ended badly counts whole,
whatever the cap, and never less than the mean job. A person ratifies a step by signing it, for a time. An overrun, a
refusal or a person's no puts the agent back on the lowest step at once and its evidence to nothing. No step lets pass
what is above the ladder's floor.
"""

from dataclasses import dataclass, field, replace
from decimal import Context, Decimal

from schemas.digests import digest_of_parts
from schemas.events import (
    AutonomyGranted,
    AutonomyLadder,
    AutonomyProposed,
    AutonomyRevoked,
    AutonomySuspended,
    JobCancelled,
    JobCompleted,
    JobFailed,
)
from schemas.people import signed_words
from schemas.reasons import Reason
from schemas.topics import Role
from streams.persons import Persons
from streams.policy.budgets import DAY_US
from streams.policy.wish import Wish
from streams.stage import Heard
from streams.state import Map, Table

MAY_RATIFY = (Role.APPROVER,)
_Z = Decimal("1.959963984540054")
"""The 97.5th percentile of the normal distribution."""
_ARITHMETIC = Context(prec=28)
"""The same digits on every machine."""
WELL, BADLY = "well", "badly"
AT_FAULT = frozenset(
    {
        Reason.COST_OVERRUN,
        Reason.SHOTS_OVER_CEILING,
        Reason.CIRCUIT_NOT_APPROVED,
        Reason.PROPOSAL_OVERSIZED,
        Reason.SHOTS_ABOVE_DEVICE,
        Reason.STEP_FAILED,
        Reason.OUTPUT_MISSING,
    }
)
"""Ends of a job that speak against the agent that declared it; others prove nothing."""
REFUSALS = frozenset(
    {
        Reason.RULE_FORBIDS,
        Reason.SHOTS_OVER_POLICY,
        Reason.PRICE_OVER_POLICY,
        Reason.ITERATIONS_OVER_POLICY,
        Reason.RATE_EXCEEDED,
        Reason.DENIED,
    }
)
"""Refusals that speak against the agent."""


def action_class(wish: Wish) -> str:
    """The class of action that a wish is of: what its purpose begins with, the class of its data, if programs run."""
    programs = "own programs" if wish.program_digests else "no programs"
    return f"{wish.purpose.partition(':')[0][:64]}, {wish.data_class} data, {programs}"


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job that has ended: what it spent, and whether it ended well or badly; empty if it shows nothing."""

    job_id: str
    spent_microusd: int
    outcome: str
    time_us: int


def outcome_of(ended: JobCompleted | JobFailed | JobCancelled) -> str:
    """What an end says of the agent that declared the job; empty where it says nothing."""
    if isinstance(ended, JobCompleted):
        return WELL
    return BADLY if ended.reason in AT_FAULT else ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What jobs of one class have shown: Σw, Σw² and Σw of those that ended well, w in micro-dollars.

    `today` is what the day `day` (from 1970) has counted so far. `digest` names the jobs and how they were counted.
    """

    jobs: int = 0
    weight: int = 0
    weight_squared: int = 0
    weight_well: int = 0
    overruns: int = 0
    refusals: int = 0
    day: int = -1
    today: int = 0
    digest: str = ""

    def with_job(self, ended: "EndedJob", ladder: AutonomyLadder) -> "Evidence":
        """The evidence with one more job, by the money it spent.

        What ended well counts no more than a day may count, and nothing once the day is full or where it was for free.
        """
        day = ended.time_us // DAY_US
        today = self.today if day == self.day else 0
        is_well = ended.outcome == WELL
        if is_well:
            weight = max(0, min(ended.spent_microusd, ladder.day_cap_microusd - today))
        else:
            weight = max(1, ended.spent_microusd, self.weight // max(1, self.jobs))
        if not weight:
            return self
        return replace(
            self,
            jobs=self.jobs + 1,
            weight=self.weight + weight,
            weight_squared=self.weight_squared + weight * weight,
            weight_well=self.weight_well + (weight if is_well else 0),
            overruns=self.overruns + (0 if is_well else 1),
            day=day,
            today=today + (weight if is_well else 0),
            digest=digest_of_parts("evidence", self.digest, ended.job_id, weight, ended.outcome),
        )

    @property
    def accuracy_low(self) -> float:
        """The lower bound of the share of money that went into jobs that ended well; 0 where there is no evidence."""
        if not self.weight_squared:
            return 0.0
        context = _ARITHMETIC
        total = Decimal(self.weight)
        share = context.divide(Decimal(self.weight_well), total)
        jobs = context.divide(context.multiply(total, total), Decimal(self.weight_squared))
        squared = context.multiply(_Z, _Z)
        spread = context.divide(context.multiply(share, context.subtract(1, share)), jobs)
        spread = context.add(spread, context.divide(squared, context.multiply(context.multiply(4, jobs), jobs)))
        middle = context.add(share, context.divide(squared, context.multiply(2, jobs)))
        low = context.subtract(middle, context.multiply(_Z, context.sqrt(spread)))
        return float(max(Decimal(0), context.divide(low, context.add(1, context.divide(squared, jobs)))))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an agent stands for one class: its evidence, the step it was proposed for, and the one ratified."""

    evidence: Evidence = field(default_factory=Evidence)
    proposed_level: int = 0
    proposed_digest: str = ""
    level: int = 0
    limit_microusd: int = 0
    expires_us: int = 0

    def level_at(self, time_us: int) -> int:
        """The step in force at a time; the lowest once what was ratified has expired."""
        return self.level if time_us < self.expires_us else 0


@dataclass(frozen=True, slots=True)
class Autonomy:
    """Where each agent stands, by agent and class of action."""

    standings: Table[str, Table[str, Standing]] = field(default_factory=Map[str, Table[str, Standing]])

    def of(self, agent: str, kind: str) -> Standing:
        """Where an agent stands for a class; at the beginning where nothing is known."""
        return self.standings.get(agent, Map()).get(kind, Standing())

    def in_force(self, wish: Wish, time_us: int, ladder: AutonomyLadder) -> tuple[int, int]:
        """The step that a wish is judged by, and the price up to which it lets pass.

        It is never more than the ladder gives that is in force now, nor above its floor.
        """
        standing = self.of(wish.initiator, action_class(wish))
        level = min(standing.level_at(time_us), len(ladder.steps))
        if not level:
            return 0, 0
        step = ladder.steps[level - 1]
        return level, min(standing.limit_microusd, step.price_limit_microusd, ladder.floor_microusd)

    def with_job(self, agent: str, kind: str, ended: "EndedJob", ladder: AutonomyLadder) -> "Autonomy":
        """What is known after a job of a class has ended; where there is no ladder nothing is counted."""
        if not ladder.steps or not ended.outcome:
            return self
        standing = self.of(agent, kind)
        return self._with(agent, kind, replace(standing, evidence=standing.evidence.with_job(ended, ladder)))

    def with_refusal(self, agent: str, kind: str, ladder: AutonomyLadder) -> "Autonomy":
        """What is known after a refusal that speaks against an agent; where there is no ladder nothing is counted."""
        if not ladder.steps:
            return self
        standing = self.of(agent, kind)
        evidence = replace(standing.evidence, refusals=standing.evidence.refusals + 1)
        return self._with(agent, kind, replace(standing, evidence=evidence))

    def after(self, heard: Heard, persons: Persons, ladder: AutonomyLadder) -> "Autonomy":
        """What is known after policy or a person has spoken of an agent's autonomy, if that counts."""
        match heard.event:
            case AutonomyProposed(agent=agent, action_class=kind) as proposed:
                standing = self.of(agent, kind)
                digest = proposed.evidence_digest
                return self._with(agent, kind, replace(standing, proposed_level=proposed.level, proposed_digest=digest))
            case AutonomySuspended(agent=agent, action_class=kind):
                return self._with(agent, kind, self._lowest(agent, kind))
            case AutonomyGranted(statement=said) as granted:
                if self.why_not(granted, heard.site, heard.time_us, persons, ladder):
                    return self
                standing = self.of(said.agent, said.action_class)
                limit = min(said.price_limit_microusd, ladder.steps[said.level - 1].price_limit_microusd)
                ratified = replace(standing, level=said.level, limit_microusd=limit, expires_us=said.expires_us)
                return self._with(said.agent, said.action_class, replace(ratified, proposed_digest=""))
            case AutonomyRevoked(agent=agent, action_class=kind) as revoked:
                signed = signed_words(revoked, heard.site)
                if persons.why_not_signed(signed, revoked.person, revoked.proof, MAY_RATIFY):
                    return self
                return self._with(agent, kind, self._lowest(agent, kind))
            case _:
                return self

    def why_not(
        self, granted: AutonomyGranted, site: str, time_us: int, persons: Persons, ladder: AutonomyLadder
    ) -> Reason | None:
        """Why a person's ratification does not count; none if it counts."""
        said = granted.statement
        standing = self.of(said.agent, said.action_class)
        if said.site != site:
            return Reason.SITE_FOREIGN
        if granted.person == said.agent:
            return Reason.APPROVER_IS_INITIATOR
        is_proposed = standing.proposed_digest and standing.proposed_digest == said.evidence_digest
        if not is_proposed or not 0 < said.level <= min(standing.proposed_level, len(ladder.steps)):
            return Reason.AUTONOMY_UNPROPOSED
        if said.expires_us > time_us + ladder.valid_us:
            return Reason.AUTONOMY_TOO_LONG
        return persons.why_not_signed(signed_words(granted, site), granted.person, granted.proof, MAY_RATIFY)

    def proposal(self, agent: str, kind: str, ladder: AutonomyLadder, time_us: int) -> AutonomyProposed | None:
        """The next step up, if the evidence is worth it and no proposal of it waits for a person already."""
        standing = self.of(agent, kind)
        evidence = standing.evidence
        level = standing.level_at(time_us) + 1
        if level > len(ladder.steps) or (standing.proposed_digest and level <= standing.proposed_level):
            return None
        step = ladder.steps[level - 1]
        low = evidence.accuracy_low
        if evidence.jobs < step.jobs_min or evidence.weight < step.spent_microusd_min or low < step.accuracy_low_min:
            return None
        return AutonomyProposed(
            agent=agent,
            action_class=kind,
            level=level,
            price_limit_microusd=step.price_limit_microusd,
            jobs=evidence.jobs,
            accuracy_low=low,
            overruns=evidence.overruns,
            refusals=evidence.refusals,
            evidence_digest=evidence.digest,
        )

    def suspension(self, agent: str, kind: str, reason: Reason) -> AutonomySuspended | None:
        """The way back to the lowest step; none where the agent stands there and nothing higher is proposed."""
        standing = self.of(agent, kind)
        if not standing.level and not standing.proposed_digest:
            return None
        return AutonomySuspended(agent=agent, action_class=kind, reason=reason, message=reason.sentence)

    def _lowest(self, agent: str, kind: str) -> Standing:
        """An agent put back: how often it was at fault or refused is kept, nothing that speaks for it is."""
        known = self.of(agent, kind).evidence
        return Standing(Evidence(overruns=known.overruns, refusals=known.refusals))

    def _with(self, agent: str, kind: str, standing: Standing) -> "Autonomy":
        kinds = self.standings.get(agent, Map())
        return replace(self, standings=self.standings.set(agent, kinds.set(kind, standing)))
