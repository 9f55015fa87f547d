"""What a view is: a name, an initial value, and a pure fold for each type of event that it is about.

A fold may depend on the order of events within a topic, never on how topics interleave: a rebuild may read them in
another order. So a field is fed from one topic only, or by sums, or it is derived when somebody asks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from schemas.words import Event
from streams.stage import Heard

State = TypeVar("State")
Fold = Callable[[State, Any, int], State]
"""`fold(view, event, time_us)`: the view after an event that its author signed at that time."""


@dataclass(frozen=True)
class View(Generic[State]):
    """A read model. Its state is a frozen dataclass that `streams.state.state_bytes` can write."""

    name: str
    initial: State
    state_type: type[State]
    folds: Mapping[type[Event], Fold[State]]

    def evolve(self, view: State, heard: Heard) -> State:
        """The view after an admitted event, whose `time_us` is its own signed time; the same view if not about it."""
        fold = self.folds.get(type(heard.event))
        return view if fold is None else fold(view, heard.event, heard.time_us)
