"""The journals of all stages at one site, as far as an audit can check them without deciding anything again."""

from collections import Counter
from collections.abc import Iterator, Mapping
from operator import itemgetter

from replay.verdict import Finding
from schemas.admission import Admitted

_Entry = tuple[int, tuple[tuple[str, int], ...], str, int]
"""An output: its decision number, the runs before it, its topic and its offset there."""


class Journals:
    """Collects the outputs of stages, then checks that none is missing and that each had something to read."""

    def __init__(self) -> None:
        self._entries: dict[str, list[_Entry]] = {}

    def note(self, output: Admitted) -> None:
        """Take in an output of a stage."""
        if output.inputs:
            entry = (output.inputs.decision, output.inputs.runs, output.stored.topic, output.stored.offset)
            self._entries.setdefault(output.source, []).append(entry)

    def check(self, sizes: Mapping[str, int], partition: int) -> Iterator[Finding]:
        """What is wrong, stage by stage: `sizes` are the site's records of each topic."""
        for source in self._entries:
            entries = self._journal(source)
            read: Counter[str] = Counter()
            for number, (decision, runs, home, offset) in enumerate(entries, 1):
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

    def _journal(self, source: str) -> list[_Entry]:
        """The outputs of a stage in the order in which it decided, which is not that of its topics."""
        return sorted(self._entries.get(source, ()), key=itemgetter(0))

    def heard_keys_first(self, source: str, keys_end: int) -> bool:
        """Whether a stage had read the first `keys_end` governance records before it read anything else."""
        for _, runs, _, _ in self._journal(source):
            for topic, count in runs:
                if topic != "governance":
                    return keys_end <= 0
                keys_end -= count
        return True
