"""A small pure world: the four stages over a log in memory, each reading at its own pace, causes first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from schemas.digests import digest_of_parts
from schemas.envelope import Cause
from schemas.events import AlarmRang, AlarmSet
from schemas.topics import TOPICS, WRITERS, Role, topic_of
from schemas.words import Event
from streams.guard import GUARD
from streams.orchestrator import ORCHESTRATOR
from streams.policy import POLICY
from streams.scheduler import SCHEDULER
from streams.stage import AnyStage, Heard

STAGES: tuple[AnyStage, ...] = (POLICY, SCHEDULER, ORCHESTRATOR, GUARD)
SITE = "site-a"
START_US = 1_800_000_000_000_000
E = TypeVar("E", bound=Event)


@dataclass
class Desk:
    """One stage at work: its state, and how far it has read each topic."""

    stage: AnyStage
    state: Any
    read: dict[str, int]
    time_us: int = 0


@dataclass
class World:
    """All that was said. With `rng` each stage reads topics in any order that causality allows, else in its own."""

    rng: Random | None = None
    stages: Sequence[AnyStage] = STAGES
    log: list[Heard] = field(default_factory=list)
    topics: dict[str, list[Heard]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})
    causes: dict[str, tuple[Cause, ...]] = field(default_factory=dict)
    places: dict[Cause, int] = field(default_factory=dict)
    now_us: int = START_US
    sequences: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.desks = [Desk(stage, stage.initial, dict.fromkeys(stage.inputs, 0)) for stage in self.stages]

    def say(
        self,
        role: Role,
        source: str,
        event: Event,
        *causes: Heard | Cause,
        topic: str = "",
        time_us: int | None = None,
        key_id: str = "",
    ) -> Heard:
        """Put an event on the log, as admission would hand it over."""
        topic = topic or topic_of(type(event))
        assert role in WRITERS[topic][type(event)], f"{role} may not write {type(event).__name__}"
        sequence = self.sequences[source, topic] = self.sequences.get((source, topic), 0) + 1
        digest = digest_of_parts(topic, source, sequence, repr(event))
        cause = Cause(topic, source, sequence, digest)
        time_us = self.now_us if time_us is None else time_us
        heard = Heard(event, SITE, source, role.value, key_id, digest, time_us, cause)
        named = tuple(each.cause if isinstance(each, Heard) else each for each in causes)
        assert len(set(named)) == len(named), "a cause is named twice"
        self.causes[digest] = named
        self.log.append(heard)
        self.places[cause] = len(self.topics[topic])
        self.topics[topic].append(heard)
        return heard

    def settle(self) -> None:
        """Let the stages read until nothing is left that they may read."""
        while desk := self._any([desk for desk in self.desks if any(self._readable(desk))]):
            self.turn(desk)

    def can_read(self) -> bool:
        """Whether any stage may read on."""
        return any(any(self._readable(desk)) for desk in self.desks)

    def turn(self, desk: Desk) -> None:
        """Let one stage read one event."""
        topic = self._any(list(self._readable(desk)))
        if topic is None:
            return
        heard = self.topics[topic][desk.read[topic]]
        desk.read[topic] += 1
        if heard.source == desk.stage.source:
            return
        desk.time_us = max(desk.time_us, heard.time_us)
        heard = heard._replace(time_us=desk.time_us)
        outputs = desk.stage.decide(desk.state, heard)
        desk.state = desk.stage.evolve(desk.state, heard)
        for output in outputs:
            said = self.say(
                desk.stage.role,
                desk.stage.source,
                output.event,
                heard,
                *output.causes,
                topic=output.topic,
                time_us=desk.time_us,
            )
            desk.state = desk.stage.evolve(desk.state, said)

    def ring(self) -> bool:
        """Let the next alarm ring that has not; its time has come then."""
        rung = {(h.event.alarm_id, h.event.rings_us) for h in self.log if isinstance(h.event, AlarmRang)}
        due = sorted(
            ((h.event.rings_us, h.event.alarm_id, h) for h in self.log if isinstance(h.event, AlarmSet)),
            key=lambda alarm: alarm[:2],
        )
        for rings_us, alarm_id, heard in due:
            if (alarm_id, rings_us) not in rung:
                self.now_us = max(self.now_us, rings_us)
                self.say(Role.CLOCK, "clock:main", AlarmRang(alarm_id=alarm_id, rings_us=rings_us), heard)
                return True
        return False

    def said(self, event_type: type[E], job_id: str = "") -> list[E]:
        """All events of a type, in the order of the log; of one job where one is named."""
        return [
            heard.event
            for heard in self.log
            if isinstance(heard.event, event_type) and (not job_id or getattr(heard.event, "job_id", "") == job_id)
        ]

    def state(self, stage: AnyStage) -> Any:
        """A stage's state."""
        return next(desk.state for desk in self.desks if desk.stage is stage)

    def _readable(self, desk: Desk) -> Iterator[str]:
        for topic in desk.stage.inputs:
            said, place = self.topics[topic], desk.read[topic]
            if place < len(said) and not any(
                self._is_unread(desk, topic, cause) for cause in self.causes[said[place].digest]
            ):
                yield topic

    def _is_unread(self, desk: Desk, topic: str, cause: Cause) -> bool:
        if cause.topic == topic or cause.topic not in desk.read:
            return False
        return self.places[cause] >= desk.read[cause.topic]

    def _any(self, choices: list[Any]) -> Any:
        if not choices:
            return None
        return self.rng.choice(choices) if self.rng else choices[0]
