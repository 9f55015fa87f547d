"""Views must not depend on how topics interleave, only on the order within each: a rebuild may interleave otherwise."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.view import View
from projections.views import ALL_VIEWS, FOLDS
from schemas.envelope import Cause
from streams.stage import Heard
from streams.state import state_bytes, state_from
from tests.support.job_histories import histories
from tests.support.telling import folded

HISTORY = histories()


def interleaved(seed: int) -> list[Heard]:
    """The same events, each topic in its own order and now and then late, interleaved by chance."""
    topics: dict[str, list[Heard]] = {}
    for heard in HISTORY:
        topics.setdefault(heard.cause.topic, []).append(heard)
    chance = Random(seed)  # noqa: S311 - no secret is made here
    placed: list[tuple[float, Heard]] = []
    for events in topics.values():
        late = chance.randint(0, 2)
        places = sorted(late + chance.random() for _ in events)
        placed += zip(places, events, strict=True)
    return [heard for _, heard in sorted(placed, key=lambda pair: pair[0])]


@pytest.mark.parametrize("view", ALL_VIEWS, ids=lambda view: view.name)
@given(seed=st.integers(0, 2**32))
def test_a_view_is_the_same_however_topics_interleave(view: View[Any], seed: int) -> None:
    assert state_bytes(view.state_type, folded(view, interleaved(seed))) == state_bytes(
        view.state_type, folded(view, HISTORY)
    )


@pytest.mark.parametrize("view", ALL_VIEWS, ids=lambda view: view.name)
def test_a_view_reads_back_from_its_bytes(view: View[Any]) -> None:
    state = folded(view, HISTORY)
    assert state_from(view.state_type, state_bytes(view.state_type, state)) == state


def test_the_history_has_every_event_that_a_view_is_about() -> None:
    assert {type(heard.event) for heard in HISTORY} >= FOLDS.keys()


def test_the_history_would_show_a_fold_that_takes_the_last_event_of_any_topic() -> None:
    last = View[str](
        "last", "", str, dict.fromkeys(FOLDS, lambda _, event, time_us: f"{type(event).__name__} {time_us}")
    )
    assert len({folded(last, interleaved(seed)) for seed in range(20)}) > 1


def test_each_topic_keeps_its_order() -> None:
    def order(story: list[Heard], topic: str) -> list[Cause]:
        return [heard.cause for heard in story if heard.cause.topic == topic]

    assert all(order(interleaved(7), topic) == order(HISTORY, topic) for topic in {h.cause.topic for h in HISTORY})
