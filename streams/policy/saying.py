"""Where policy says what it says."""

from schemas.envelope import Cause
from schemas.words import Event
from streams.stage import Output

TOPIC = "approvals"


def out(event: Event, causes: tuple[Cause, ...] = ()) -> Output:
    """An event on policy's own topic; its subject is the job that it is about."""
    return Output(TOPIC, event, getattr(event, "job_id", ""), causes)
