"""The guard: watches running jobs and stops the rest of their shots.

In come a job's ceilings, its steps, chunks and canaries; out goes RunCancelDecided, once a step, when the rest of the
step cannot be paid, shots pass their ceiling, canaries fail, the agent withdraws or the deadline comes.
"""

from streams.guard.stage import GUARD
from streams.guard.state import GuardState
from streams.guard.survival import is_below

__all__ = ["GUARD", "GuardState", "is_below"]
