"""Wherever a growing log is measured, the cut that is made of it leaves no effect without what it follows from."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.admission import Stored
from schemas.envelope import Cause, Inputs, Record, Stray, causes_text, inputs_text
from schemas.seal import PREFIX_BYTES
from streams.log.closing import Closing
from tests.support.records import record

TOPICS = ("intents", "approvals", "alarms")
SITE, AGENT, STAGE = "site-a", "gateway:main", "stage:policy"
Spot = tuple[str, int]


@dataclass
class History:
    """A log as it grew, by moments: at each, some records of one append became visible in one topic.

    An agent says batches that follow from what the stage said; the stage reads topics in an order of its own, and
    answers with an append over two topics, which become visible one after the other.
    """

    chance: Random
    topics: dict[str, list[Record]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})
    moments: list[dict[str, int]] = field(default_factory=list)
    needs: dict[Spot, set[Spot]] = field(default_factory=lambda: defaultdict(set))
    quiet: list[int] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOPICS, 0))
    decisions: int = 0
    batches: int = 0

    def grow(self, appends: int) -> "History":
        for _ in range(appends):
            self.quiet.append(len(self.moments))
            if self.chance.random() < 0.5:
                self._declare()
            else:
                self._decide()
        return self

    def before(self, spots: Sequence[Spot]) -> dict[str, list[Stored]]:
        ends = dict(spots)
        return {
            topic: [Stored(topic, 0, at, at, each) for at, each in enumerate(records[: ends[topic]])]
            for topic, records in self.topics.items()
        }

    def _say(self, topic: str, source: str, causes: Sequence[Spot], inputs: Inputs | None, mates: list[Spot]) -> None:
        records = self.topics[topic]
        named = [
            Cause(where, self.topics[where][at].source, int(self.topics[where][at].sequence), "0" * 64)
            for where, at in causes
        ]
        sequence = sum(each.source == source for each in records) + 1
        said = record(topic, sequence)._replace(
            source=source,
            sequence=str(sequence),
            causes=causes_text(named),
            inputs=inputs_text(inputs) if inputs else "",
            seal=self.batches.to_bytes(PREFIX_BYTES) + len(mates).to_bytes(4),
        )
        spot = (topic, len(records))
        records.append(said)
        self.needs[spot] |= {*causes, *mates}
        for mate in mates:
            self.needs[mate].add(spot)
        mates.append(spot)

    def _visible(self) -> None:
        self.moments.append({topic: len(records) for topic, records in self.topics.items()})

    def _declare(self) -> None:
        self.batches += 1
        mates: list[Spot] = []
        said = self.topics["approvals"]
        for _ in range(self.chance.randint(1, 3)):
            causes = [("approvals", self.chance.randrange(len(said)))] if said and self.chance.random() < 0.5 else []
            self._say("intents", AGENT, causes, None, mates)
        self._visible()

    def _decide(self) -> None:
        unread = [topic for topic in TOPICS if self.read[topic] < len(self.topics[topic])]
        self.chance.shuffle(unread)
        if not unread:
            return
        runs: list[tuple[str, int]] = []
        inputs: set[Spot] = set()
        for topic in unread:
            count = self.chance.randint(1, len(self.topics[topic]) - self.read[topic])
            runs.append((topic, count))
            self.read[topic] += count
            inputs.add((topic, self.read[topic] - 1))
        mates: list[Spot] = []
        for number, topic in enumerate(self.chance.sample(("approvals", "alarms"), self.chance.randint(1, 2))):
            self.batches += 1
            self.decisions += 1
            self._say(topic, STAGE, (), Inputs(self.decisions, 1, () if number else tuple(runs)), mates)
            self.needs[mates[-1]] |= inputs
            self._visible()


@pytest.mark.parametrize("is_known_from_the_beginning", [True, False])
@given(seed=st.integers(0, 1 << 32), appends=st.integers(1, 40))
def test_a_cut_tears_nothing_and_loses_nothing_that_a_quiet_moment_had(
    is_known_from_the_beginning: bool, seed: int, appends: int
) -> None:
    chance = Random(seed)  # noqa: S311 (a history to be repeated, no secret)
    history = History(chance).grow(appends)
    calm = chance.choice(history.quiet)
    old = dict.fromkeys(TOPICS, 0)
    if calm and not is_known_from_the_beginning:
        old = history.moments[calm - 1]
    later = [*history.moments[calm:], history.moments[-1]] if history.moments else [old]
    at = {topic: chance.choice(later)[topic] for topic in TOPICS}  # each topic measured at a moment of its own
    everything = history.before([(topic, len(records)) for topic, records in history.topics.items()])
    closing = Closing()
    for topic, records in everything.items():
        for stored in records[: old[topic]]:
            closing.take(stored)
    cut = closing.cut({topic: records[old[topic] :] for topic, records in everything.items()}, at)

    torn = [
        (spot, need)
        for spot, needed in history.needs.items()
        if spot[1] < cut[spot[0]]
        for need in needed
        if need[1] >= cut[need[0]]
    ]
    assert torn == []
    floor = history.moments[calm - 1] if calm else dict.fromkeys(TOPICS, 0)
    assert all(floor[topic] <= cut[topic] <= at[topic] for topic in TOPICS)


@pytest.mark.parametrize("stray", [Stray("intents", SITE.encode(), None, ()), record(key="nobody")])
def test_a_stray_record_among_what_a_stage_had_read_tears_nothing(stray: Stray | Record) -> None:
    intents = [stray, *(record(number=number, key=SITE) for number in (1, 2, 3))]
    output = record("approvals", key=SITE)._replace(inputs=inputs_text(Inputs(1, 1, (("intents", 4),))))
    window = {
        "intents": [Stored("intents", 0, at, at, each) for at, each in enumerate(intents)],
        "approvals": [Stored("approvals", 0, 0, 0, output)],
    }
    assert Closing().cut(window, {"intents": 3, "approvals": 1})["approvals"] == 0


@pytest.mark.parametrize("copies", [5, 50])
def test_records_said_again_and_again_hold_no_copy_back(copies: int) -> None:
    said = record("results", key=SITE)._replace(seal=bytes(PREFIX_BYTES + 8))
    because = causes_text((Cause("results", said.source, int(said.sequence), "0" * 64),))
    window = {
        "results": [Stored("results", 0, at, at, said) for at in range(1 + copies)],
        "intents": [Stored("intents", 0, 0, 0, record(key=SITE)._replace(causes=because))],
    }
    at = {"results": copies - 1, "intents": 1}
    assert Closing().cut(window, at) == at
