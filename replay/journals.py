"""The journals of all stages at one site, as far as an audit can check them without deciding anything again."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise, repeat
from typing import NamedTuple

import orjson

from replay.index import Index, Rows
from replay.verdict import Finding
from schemas.envelope import Inputs
from streams.journal import JournalBroken

Runs = Sequence[tuple[str, int]]


class Output(NamedTuple):
    """An output of a stage: its decision number, the runs that it names as JSON, and where it stands."""

    source: str
    decision: int
    named: str
    topic: str
    place: int

    @property
    def runs(self) -> Runs:
        """What the stage had read since the output before."""
        return orjson.loads(self.named) if self.named else ()


class Journals:
    """Collects the outputs of stages, then checks that none is missing and that each had something to read."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.outputs = Rows(index, Output._fields, Output._make)

    def note(self, source: str, inputs: Inputs, topic: str, offset: int) -> None:
        """Take in an output of a stage, and where it stands."""
        self.outputs.append(
            (source, inputs.decision, orjson.dumps(inputs.runs).decode() if inputs.runs else "", topic, offset)
        )

    def check(self, sizes: Mapping[str, int], partition: int) -> Iterator[Finding]:
        """What is wrong, stage by stage: `sizes` are the site's records of each topic."""
        self.outputs.flush()
        for source in self._sources():
            read: Counter[str] = Counter()
            for number, output in enumerate(self.of(source), 1):
                if output.decision != number:
                    is_lost = output.decision > number
                    what = f"{source} has decision {number} {'not' if is_lost else 'twice'}"
                    yield Finding(1, output.topic, partition, output.place, "", "journal_gap", what, is_lost)
                    break
                runs = output.runs
                for topic, count in runs:
                    read[topic] += count
                beyond = next((topic for topic, _ in runs if read[topic] > sizes.get(topic, 0)), None)
                if beyond:
                    what = f"{source} had read {read[beyond]} records of {beyond}, and {sizes.get(beyond, 0)} are there"
                    where = output.topic, partition, output.place
                    yield Finding(1, *where, "", "inputs_missing", what, is_missing=True)
                    break

    def of(self, source: str) -> Iterator[Output]:
        """The outputs of a stage in the order in which it decided, which is not that of its topics."""
        self.outputs.flush()
        sql = f"SELECT * FROM {self.outputs.name} WHERE source = ? ORDER BY decision, rowid"  # noqa: S608 (names are our own)
        return map(Output._make, self._index.execute(sql, (source,)))

    def heard_keys_first(self, source: str, keys_end: int) -> bool:
        """Whether a stage had read the first `keys_end` governance records before it read anything else."""
        for topic, count in chain.from_iterable(output.runs for output in self.of(source)):
            if topic != "governance":
                return keys_end <= 0
            keys_end -= count
        return True

    def read_by(self, source: str) -> Iterator[str]:
        """The topic of each record that a stage read, in the order of reading.

        `JournalBroken` if a decision is missing or is there twice, or if the first one tells nothing of what was read.
        """
        for before, output in pairwise(self.of(source)):
            if output.decision != before.decision + 1:
                what = f"{source}: a decision is missing before {output.decision}, or it is there twice"
                raise JournalBroken(what)
        for number, output in enumerate(self.of(source)):
            if not number and not output.named:
                raise JournalBroken(f"{source}: decision {output.decision} tells another order of inputs")
            for topic, count in output.runs:
                yield from repeat(topic, count)

    def _sources(self) -> list[str]:
        sql = f"SELECT DISTINCT source FROM {self.outputs.name}"  # noqa: S608 (names are our own)
        return [source for (source,) in self._index.execute(sql)]
