"""Policy: admits, refuses, or asks a person; holds a job's money before it runs and settles it afterwards.

An intent goes through these phases: declared → (waiting for a person →) admitted → finished, or → finished at any time
by a refusal. In comes what agents declare, people grant and jobs use; out go IntentAdmitted, IntentRefused,
ApprovalRequested and the budget's movements.
"""

from streams.policy.judging import judge
from streams.policy.stage import POLICY
from streams.policy.state import PolicyState
from streams.policy.wish import Admit, Ask, Refuse, Verdict, Wish

__all__ = ["POLICY", "Admit", "Ask", "PolicyState", "Refuse", "Verdict", "Wish", "judge"]
