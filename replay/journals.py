"""The journals of all stages at one site, as far as an audit can check them without deciding anything again."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from replay.verdict import Finding
from schemas.envelope import Inputs

Runs = tuple[tuple[str, int], ...]


class _Journal:
    """The outputs of one stage: of each its decision number, its place and the runs before it, 20 bytes an output."""

    def __init__(self) -> None:
        self.decisions = array("q")
        self.offsets = array("q")
        self.homes = array("H")
        self.runs = array("L")


class Journals:
    """Collects the outputs of stages, then checks that none is missing and that each had something to read."""

    def __init__(self) -> None:
        self._journals: dict[str, _Journal] = {}
        self._topics: dict[str, int] = {}
        self._runs: dict[Runs, int] = {}

    def note(self, source: str, inputs: Inputs, topic: str, offset: int) -> None:
        """Take in an output of a stage, and where it stands."""
        self.add(source, inputs.decision, inputs.runs, topic, offset)

    def entries(self) -> list[tuple[str, int, Runs, str, int]]:
        """All outputs as (source, decision, runs, topic, offset)."""
        return [(source, *entry) for source in self._journals for entry in self._journal(source)]

    def add(self, source: str, decision: int, runs: Runs, topic: str, offset: int) -> None:
        """Take in an output by what `entries` tells of it."""
        journal = self._journals.get(source)
        if journal is None:
            journal = self._journals[source] = _Journal()
        journal.decisions.append(decision)
        journal.offsets.append(offset)
        journal.homes.append(self._topics.setdefault(topic, len(self._topics)))
        journal.runs.append(self._runs.setdefault(runs, len(self._runs)))

    def state(self) -> dict[str, Any]:
        """What `restore` needs before it can make anything of the columns."""
        return {"topics": list(self._topics), "runs": list(self._runs)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take in what `state` told, before anything else."""
        self._topics = {topic: number for number, topic in enumerate(state["topics"])}
        runs = (tuple((str(topic), int(count)) for topic, count in each) for each in state["runs"])
        self._runs = {each: number for number, each in enumerate(runs)}

    def columns(self) -> Iterator[tuple[str, str, "array[int]"]]:
        """By source and name, what there is of each output, output by output. As it lies in this machine's memory."""
        for source, journal in self._journals.items():
            for name, column in vars(journal).items():
                yield source, name, column

    def fill(self, source: str, name: str, data: bytes) -> None:
        """Put bytes of a column behind those that are there."""
        getattr(self._journals.setdefault(source, _Journal()), name).frombytes(data)

    def check(self, sizes: Mapping[str, int], partition: int) -> Iterator[Finding]:
        """What is wrong, stage by stage: `sizes` are the site's records of each topic."""
        for source in self._journals:
            read: Counter[str] = Counter()
            for number, (decision, runs, home, offset) in enumerate(self._journal(source), 1):
                if decision != number:
                    what = f"{source} has decision {number} {'not' if decision > number else 'twice'}"
                    yield Finding(1, home, partition, offset, "", "journal_gap", what, decision > number)
                    break
                for topic, count in runs:
                    read[topic] += count
                beyond = next((topic for topic, _ in runs if read[topic] > sizes.get(topic, 0)), None)
                if beyond:
                    what = f"{source} had read {read[beyond]} records of {beyond}, and {sizes.get(beyond, 0)} are there"
                    yield Finding(1, home, partition, offset, "", "inputs_missing", what, is_missing=True)
                    break

    def _journal(self, source: str) -> Iterator[tuple[int, Runs, str, int]]:
        """The outputs of a stage in the order in which it decided, which is not that of its topics."""
        journal, topics, runs = self._journals.get(source) or _Journal(), list(self._topics), list(self._runs)
        decisions = journal.decisions
        for at in sorted(range(len(decisions)), key=decisions.__getitem__):
            yield decisions[at], runs[journal.runs[at]], topics[journal.homes[at]], journal.offsets[at]

    def heard_keys_first(self, source: str, keys_end: int) -> bool:
        """Whether a stage had read the first `keys_end` governance records before it read anything else."""
        for _, runs, _, _ in self._journal(source):
            for topic, count in runs:
                if topic != "governance":
                    return keys_end <= 0
                keys_end -= count
        return True
