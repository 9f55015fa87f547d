"""All views of one site, folded together: each event goes once to every view that is about it."""

from typing import Any, TypeVar

from projections.budgets import BUDGETS
from projections.devices import DEVICES
from projections.jobs import JOBS
from projections.kpis import KPIS
from projections.view import Fold, View
from schemas.words import Event
from streams.stage import Heard
from streams.state import state_bytes, state_from

State = TypeVar("State")

ALL_VIEWS: tuple[View[Any], ...] = (JOBS, BUDGETS, DEVICES, KPIS)

FOLDS: dict[type[Event], tuple[tuple[int, Fold[Any]], ...]] = {
    event_type: tuple((at, view.folds[event_type]) for at, view in enumerate(ALL_VIEWS) if event_type in view.folds)
    for event_type in {event_type for view in ALL_VIEWS for event_type in view.folds}
}
"""Event type → the folds that are about it, each with the place of its view in `ALL_VIEWS`."""


class Views:
    """The states of all views. `views[JOBS]` is the view of jobs, an immutable value."""

    def __init__(self) -> None:
        self.states: list[Any] = [view.initial for view in ALL_VIEWS]

    def __getitem__(self, view: View[State]) -> State:
        """The present state of a view."""
        state: State = self.states[ALL_VIEWS.index(view)]
        return state

    def hear(self, heard: Heard) -> None:
        """Fold an admitted event into every view that is about it."""
        for at, fold in FOLDS.get(type(heard.event), ()):
            self.states[at] = fold(self.states[at], heard.event, heard.time_us)

    def to_bytes(self) -> dict[str, bytes]:
        """Each view by its name, as the same JSON wherever the same events were heard."""
        return {view.name: state_bytes(view.state_type, self[view]) for view in ALL_VIEWS}

    @classmethod
    def from_bytes(cls, saved: dict[str, bytes]) -> "Views":
        """The views that `to_bytes` wrote; `KeyError` or `pydantic.ValidationError` if they are of another shape."""
        views = cls()
        views.states = [state_from(view.state_type, saved[view.name]) for view in ALL_VIEWS]
        return views
