"""The scheduler: chooses the device of an admitted job by what devices offer, and asks it for a slot.

A job goes through these phases: declared → collecting (offers) → choosing → asked (for a slot) → held, back to
choosing when a slot is refused, not answered or lost, and out of sight when it ends. In come offers, states of devices
and their answers; out go PlacementDecided, with every candidate and a sentence, ReservationRequested, and
ReservationReleased.
"""

from streams.scheduler.choice import Choice, Limits, Request, choose
from streams.scheduler.stage import SCHEDULER
from streams.scheduler.state import SchedulerState

__all__ = ["SCHEDULER", "Choice", "Limits", "Request", "SchedulerState", "choose"]
