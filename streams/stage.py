"""What a stage is: three pure functions and the topics it reads. No clock, no randomness, no I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from schemas.envelope import Cause, Inputs
from schemas.topics import Role
from schemas.words import Event

State = TypeVar("State")


class Heard(NamedTuple):
    """An event as a stage hears it: what was said, by whom, and the stage's time at which it counts.

    `time_us` is the latest signed time the stage has read up to and with this event; it never goes backwards. A reader
    hands an event over with its own signed time, and so do views hear it.
    `digest` names the event (hex). `cause` names it as a cause. `inputs` is there where a stage said it.
    """

    event: Event
    site: str
    source: str
    role: str
    key_id: str
    digest: str
    time_us: int
    cause: Cause
    traceparent: str = ""
    inputs: Inputs | None = None


class Output(NamedTuple):
    """An event that a stage says, where it says it, on what subject (a job id, or another name) and because of what.

    `causes` are those besides the input event itself, which the worker always names first.
    """

    topic: str
    event: Event
    subject: str
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage(Generic[State]):
    """A stage of one version of its rules.

    For each event of its inputs, in the order read, the worker calls `decide(state, heard)` with the state before the
    event, then `evolve(state, heard)`, then `evolve` for each of its own outputs in order. States are immutable values
    that pydantic can turn into JSON and back (frozen dataclasses, `immutables.Map` by `streams.state.Table`).
    """

    role: Role
    version: int
    inputs: tuple[str, ...]
    initial: State
    evolve: Callable[[State, Heard], State]
    decide: Callable[[State, Heard], Sequence[Output]]
    state_type: type[State]

    @property
    def source(self) -> str:
        """The author's name of the stage."""
        return f"stage:{self.role.value}"


AnyStage = Stage[Any]
