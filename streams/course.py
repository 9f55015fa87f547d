"""The course of one stage at one site: what it has read, what follows from it, and the journal that says so."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Generic

from schemas.admission import Refused
from schemas.envelope import INPUT_RUNS_MAX, Inputs
from schemas.events import EventRejected, InputsNoted
from schemas.topics import HOME, REJECTS
from schemas.words import Event
from streams.author import Draft, Scribe, Written
from streams.reader import Item
from streams.stage import Heard, Output, Stage, State


@dataclass
class Course(Generic[State]):
    """A stage at work at one site. `take` is pure but for this object: the same items give the same records.

    `decision` counts the outputs so far; `runs` are the inputs read since the last one, as `qb_inputs` will tell them.
    `heard` is what followed from the last item, as the stage hears it.
    """

    stage: Stage[State]
    site: str
    scribe: Scribe
    state: State
    decision: int = 0
    time_us: int = 0
    runs: list[tuple[str, int]] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Know by which name and role the stage speaks."""
        self._source, self._role = self.stage.source, self.stage.role.value

    def take(self, item: Item) -> list[Written]:
        """Read one item and say what follows. The state afterwards has heard the input and the outputs."""
        self.heard = []
        item = self._at_stage_time(item)
        digest, outputs = self._decide(item)
        self._hear_input(item)
        written = [self._say(item, digest, index, output) for index, output in enumerate(outputs)]
        if len(self.runs) >= INPUT_RUNS_MAX:
            noted = Output(HOME[self.stage.role], InputsNoted(runs=len(self.runs)), self.site)
            written.append(self._say(item, digest, len(outputs), noted))
        return written

    def relive(self, item: Item, outputs: list[Heard]) -> None:
        """Read one item again, with the outputs that the log says followed from it."""
        self._hear_input(self._at_stage_time(item))
        for heard in outputs:
            self._hear_output(heard)

    def _at_stage_time(self, item: Item) -> Item:
        """The item as it counts here: the stage's time never goes backwards."""
        return (
            item if isinstance(item, Refused) or item.time_us >= self.time_us else item._replace(time_us=self.time_us)
        )

    def _decide(self, item: Item) -> tuple[str, list[Output]]:
        if isinstance(item, Refused):
            return item.digest.hex(), self._reject(item)
        if item.source == self._source:
            return item.digest, []
        return item.digest, list(self.stage.decide(self.state, item))

    def _reject(self, refused: Refused) -> list[Output]:
        stored = refused.stored
        if REJECTS.get(stored.topic) is not self.stage.role:
            return []
        event = EventRejected(
            topic=stored.topic,
            partition=stored.partition,
            offset=stored.offset,
            digest=refused.digest.hex(),
            reason=refused.reason,
            detail=refused.detail,
        )
        return [Output("deadletters", event, self.site)]

    def _hear_input(self, item: Item) -> None:
        topic = item.stored.topic if isinstance(item, Refused) else item.cause.topic
        if self.runs and self.runs[-1][0] == topic:
            self.runs[-1] = (topic, self.runs[-1][1] + 1)
        else:
            self.runs.append((topic, 1))
        if isinstance(item, Heard) and item.source != self._source:
            self.time_us = item.time_us
            self.state = self.stage.evolve(self.state, item)

    def _hear_output(self, heard: Heard) -> None:
        self.decision += 1
        self.runs.clear()
        self.state = self.stage.evolve(self.state, heard)

    def _say(self, item: Item, digest: str, index: int, output: Output) -> Written:
        causes = (item.cause, *output.causes) if isinstance(item, Heard) else output.causes
        inputs = Inputs(self.decision + 1, self.stage.version, tuple(self.runs))
        draft = Draft(
            output.topic,
            output.event,
            output.subject,
            self.time_us,
            causes,
            item.traceparent if isinstance(item, Heard) else "",
            inputs,
            _output_id(self._source, digest, index),
        )
        written = self.scribe.write(draft)
        self.heard.append(self._heard_of(written, output.event, inputs))
        self._hear_output(self.heard[-1])
        return written

    def _heard_of(self, written: Written, event: Event, inputs: Inputs) -> Heard:
        """An output as the stage itself hears it."""
        cause = written.cause
        return Heard(
            event,
            self.site,
            self._source,
            self._role,
            "",
            cause.digest,
            self.time_us,
            cause,
            written.record.traceparent,
            inputs,
        )


def _output_id(source: str, digest: str, index: int) -> str:
    """The id of a stage's output, which follows from the stage, the input's digest and the place among its outputs."""
    return sha256(f"{source}/{digest}/{index}".encode()).hexdigest()[:32]
