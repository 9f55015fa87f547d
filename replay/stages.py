"""The stages whose decisions can be recomputed, by the role under which they sign and the version of their rules.

Where the rules of a stage change so that an old log would be decided otherwise, the old ones stay: as a stage of their
version in `OLDER`, beside the new one with the next number.
"""

from streams.guard.stage import GUARD
from streams.orchestrator.stage import ORCHESTRATOR
from streams.policy.stage import POLICY
from streams.scheduler.stage import SCHEDULER
from streams.stage import AnyStage

STAGES: tuple[AnyStage, ...] = (ORCHESTRATOR, POLICY, SCHEDULER, GUARD)
"""By the rules of today."""
OLDER: tuple[AnyStage, ...] = ()
"""By rules of other days."""
