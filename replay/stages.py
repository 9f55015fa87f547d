"""The stages whose decisions can be recomputed, by the role under which they sign."""

from streams.guard.stage import GUARD
from streams.orchestrator.stage import ORCHESTRATOR
from streams.policy.stage import POLICY
from streams.scheduler.stage import SCHEDULER
from streams.stage import AnyStage

STAGES: tuple[AnyStage, ...] = (ORCHESTRATOR, POLICY, SCHEDULER, GUARD)
