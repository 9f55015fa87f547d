"""Given these events, then this view: events told by nobody in particular, folded into a view."""

from collections.abc import Iterable
from typing import TypeVar

from projections.view import View
from schemas.envelope import Cause
from schemas.topics import topic_of
from schemas.words import Event
from streams.stage import Heard

State = TypeVar("State")
DIGEST = "d" * 64


def heard(event: Event, time_us: int = 0) -> Heard:
    """An admitted event, signed at a time."""
    return Heard(event, "site-a", "anyone", "", "", DIGEST, time_us, Cause(topic_of(type(event)), "anyone", 1, DIGEST))


def told(view: View[State], *events: Event | tuple[Event, int]) -> State:
    """The view after these events; an event may come with the time at which it was signed."""
    state = view.initial
    for each in events:
        event, time_us = each if isinstance(each, tuple) else (each, 0)
        state = view.evolve(state, heard(event, time_us))
    return state


def folded(view: View[State], story: Iterable[Heard]) -> State:
    """The view after a story."""
    state = view.initial
    for each in story:
        state = view.evolve(state, each)
    return state
