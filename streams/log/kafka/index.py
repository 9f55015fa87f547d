"""The index of a log on Kafka: a small file that says how far its records have been counted. Never evidence.

It is believed of a topic-partition only if the last record that had been counted there still stands at its offset.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from streams.disk import put
from streams.log.kafka.batches import Kept, Line, committed
from streams.log.kafka.track import Track
from streams.log.kafka.wire import Wire


class Index:
    """Marks of topic-partitions in a file; one that is not there or cannot be read says nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        try:
            known = orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return
        if isinstance(known, dict):
            self._known = known

    async def marks(self, line: Line, wire: Wire) -> list[tuple[int, int]] | None:
        """Places and their offsets, ascending; None if nothing is known or it is not of this log."""
        match self._known.get(_name(line)):
            case {"marks": [*marks], "last": [int(offset), str(digest)]}:
                pass
            case _:
                return None
        if offset >= (await wire.committed_ends(line.partition, (line.topic,)))[line.topic]:
            return None
        fetched = await wire.fetch(line, offset)
        records, _ = committed(line, fetched.data, fetched.aborted, offset)
        if not records or records[0].offset != offset or _digest(records[0]) != digest:
            return None
        return [(int(place), int(at)) for place, at in marks]

    def write(self, tracks: Mapping[Line, Track]) -> None:
        """Write down what is known of these topic-partitions, and what was of others."""
        for line, track in tracks.items():
            if track.last is not None:
                marks = (
                    track.marks if track.marks[-1][0] == track.place else [*track.marks, (track.place, track.offset)]
                )
                self._known[_name(line)] = {"marks": marks, "last": [track.last.offset, _digest(track.last)]}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        put(self._path, orjson.dumps(self._known))


def _name(line: Line) -> str:
    return f"{line.topic}/{line.partition}"


def _digest(record: Kept) -> str:
    return sha256(repr((record.key, record.value, [*record.headers])).encode()).hexdigest()
