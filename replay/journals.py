"""The journals of all stages at one site, as far as an audit can check them without deciding anything again."""

from collections import Counter
from collections.abc import Iterator, Mapping
from operator import itemgetter

from replay.verdict import Finding, about
from schemas.admission import Admitted, Stored

_Entry = tuple[int, tuple[tuple[str, int], ...], Stored]


class Journals:
    """Collects the outputs of stages, then checks that none is missing and that each had something to read."""

    def __init__(self) -> None:
        self._entries: dict[str, list[_Entry]] = {}

    def note(self, output: Admitted) -> None:
        """Take in an output of a stage."""
        if output.inputs:
            entry = (output.inputs.decision, output.inputs.runs, output.stored)
            self._entries.setdefault(output.source, []).append(entry)

    def check(self, sizes: Mapping[str, int]) -> Iterator[Finding]:
        """What is wrong, stage by stage: `sizes` are the site's records of each topic."""
        for source, entries in self._entries.items():
            entries.sort(key=itemgetter(0))
            read: Counter[str] = Counter()
            for number, (decision, runs, stored) in enumerate(entries, 1):
                if decision != number:
                    what = f"{source} has decision {number} {'not' if decision > number else 'twice'}"
                    yield about(stored, "journal_gap", what, rank=1, is_missing=decision > number)
                    break
                for topic, count in runs:
                    read[topic] += count
                beyond = next((topic for topic, _ in runs if read[topic] > sizes.get(topic, 0)), None)
                if beyond:
                    what = f"{source} had read {read[beyond]} records of {beyond}, and {sizes.get(beyond, 0)} are there"
                    yield about(stored, "inputs_missing", what, rank=1, is_missing=True)
                    break

    def heard_keys_first(self, source: str, keys_end: int) -> bool:
        """Whether a stage had read the first `keys_end` governance records before it read anything else."""
        for _, runs, _ in self._entries.get(source, ()):
            for topic, count in runs:
                if topic != "governance":
                    return keys_end <= 0
                keys_end -= count
        return True
