"""Drafts of what a party says: an event and what it follows from go in; topic, subject and causes are found here."""

from functools import cache

from schemas.envelope import Cause
from schemas.topics import topic_of
from schemas.words import Event
from streams.author import Draft
from streams.stage import Heard

_topic_of = cache(topic_of)


def draft(event: Event, time_us: int, *because: Heard | Cause, subject: str = "") -> Draft:
    """An event about to be said. Its subject is its job, or its device, unless another is named."""
    causes = tuple(each.cause if isinstance(each, Heard) else each for each in because)
    traces = [each.traceparent for each in because if isinstance(each, Heard) and each.traceparent]
    named = subject or getattr(event, "job_id", "") or getattr(event, "device", "")
    return Draft(_topic_of(type(event)), event, named, time_us, causes, traces[0] if traces else "")
