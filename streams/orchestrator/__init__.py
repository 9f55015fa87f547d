"""The orchestrator: leads an admitted job through its steps to exactly one end.

A job is declared, rests (waiting for a slot), runs a step, rests, and so on: preprocess, quantum, loop, quantum, …
post. It ends only while it rests, so that what ran is known; nothing but silence ends it while it runs. In come
admissions, slots and ends of steps; out go StepPlanned, ResultRecorded, JobCompleted, JobFailed and JobCancelled.
"""

from streams.orchestrator.plan import Plan
from streams.orchestrator.stage import ORCHESTRATOR
from streams.orchestrator.state import OrchestratorState

__all__ = ["ORCHESTRATOR", "OrchestratorState", "Plan"]
