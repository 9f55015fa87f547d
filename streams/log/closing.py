"""Where a log that is being written may be cut, so that what lies before the cut holds together.

Topics are measured one after the other while others append, so an effect may lie before the cut and its cause behind
it. Records say what they follow from: a record stays before the cut only if its causes do, what its stage had read,
what its stage had said before, and the rest of its own batch. What does not is left out, with all behind it in its
topic.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.admission import Stored
from schemas.envelope import Cause, EnvelopeInvalid, Inputs, Record, causes_of, inputs_of
from schemas.seal import PREFIX_BYTES

_PLACE_BYTES = 4
Window = Mapping[str, Sequence[Stored]]
"""By topic, neighbouring records of one partition number."""


class _Spot(NamedTuple):
    topic: str
    offset: int


class _Said(NamedTuple):
    """An output of a stage, and where it is."""

    inputs: Inputs
    spot: _Spot


@dataclass
class Closing:
    """What is known of the records before a window, which all stay: how many there are, and what stages had read."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Records of a site on a topic."""
    read: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Of a site and a stage: how many records it had read of each topic."""

    def take(self, stored: Stored) -> None:
        """One more record that stays."""
        record = stored.record
        if isinstance(record, Record):
            self.counts[record.key, stored.topic] += 1
            if inputs := _inputs(record):
                self.read[record.key, record.source].update(_sums(inputs))

    def cut(self, window: Window, at: Mapping[str, int]) -> dict[str, int]:
        """The farthest cut that is nowhere behind `at` and leaves nothing before it without what it needs.

        The window goes on past `at`, to where everything lies that a record before it follows from.
        """
        needs = self._needs(window)
        cut = dict(at)
        while True:
            before = dict(cut)
            for topic, records in window.items():
                for stored in records:
                    if stored.offset >= cut[topic]:
                        break
                    if any(offset >= cut[other] for other, offset in needs[_Spot(topic, stored.offset)]):
                        cut[topic] = stored.offset
                        break
            if cut == before:
                return cut

    def _needs(self, window: Window) -> dict[_Spot, list[_Spot]]:
        """For each record of the window, those in the window that it cannot be without."""
        said: dict[tuple[str, str, str, str], _Spot] = {}
        sealed: dict[tuple[str, bytes, int], _Spot] = {}
        places: dict[tuple[str, str], list[int]] = defaultdict(list)
        outputs: dict[tuple[str, str], list[_Said]] = defaultdict(list)
        needs: dict[_Spot, list[_Spot]] = {}
        for spot, record in _records(window):
            needs[spot] = []
            said.setdefault((record.key, spot.topic, record.source, record.sequence), spot)
            sealed.setdefault((spot.topic, *_sealed(record)), spot)
            places[record.key, spot.topic].append(spot.offset)
            if inputs := _inputs(record):
                outputs[record.key, record.source].append(_Said(inputs, spot))
        for spot, record in _records(window):
            named = ((record.key, each.topic, each.source, str(each.sequence)) for each in _causes(record))
            needs[spot] += [said[each] for each in named if each in said]
        for spot, record in _records(window):
            following = sealed.get((spot.topic, *_sealed(record, 1)))
            needs[spot] += [following] if following else []
        for (site, source), spoken in outputs.items():
            self._add_needs_of_outputs(site, source, sorted(spoken), places, needs)
        return defaultdict(list, needs)

    def _add_needs_of_outputs(
        self,
        site: str,
        source: str,
        spoken: Sequence[_Said],
        places: Mapping[tuple[str, str], Sequence[int]],
        needs: Mapping[_Spot, list[_Spot]],
    ) -> None:
        """An output needs the one before it, what had been read for it, and the next one if that answers the same."""
        read = Counter(self.read.get((site, source), {}))
        for number, (inputs, spot) in enumerate(spoken):
            read.update(_sums(inputs))
            for topic, count in read.items():
                there = places.get((site, topic), ())
                last = count - self.counts[site, topic] - 1
                if last >= 0 and there:  # strays count as read and are not told apart here: then all there is is needed
                    needs[spot].append(_Spot(topic, there[min(last, len(there) - 1)]))
            if number:
                needs[spot].append(spoken[number - 1].spot)
                if not inputs.runs:
                    needs[spoken[number - 1].spot].append(spot)


def _records(window: Window) -> Iterator[tuple[_Spot, Record]]:
    for topic, records in window.items():
        for stored in records:
            if isinstance(stored.record, Record):
                yield _Spot(topic, stored.offset), stored.record


def _sealed(record: Record, further: int = 0) -> tuple[bytes, int]:
    """What a record's batch has in common, and the record's place there, or that of one further on."""
    prefix, place = record.seal[:PREFIX_BYTES], record.seal[PREFIX_BYTES : PREFIX_BYTES + _PLACE_BYTES]
    return prefix, int.from_bytes(place) + further


def _causes(record: Record) -> Sequence[Cause]:
    try:
        return causes_of(record.causes)
    except EnvelopeInvalid:
        return ()


def _inputs(record: Record) -> Inputs | None:
    try:
        return inputs_of(record.inputs) if record.inputs else None
    except EnvelopeInvalid:
        return None


def _sums(inputs: Inputs) -> Counter[str]:
    sums: Counter[str] = Counter()
    for topic, count in inputs.runs:
        sums[topic] += count
    return sums
