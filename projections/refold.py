"""Views from a log that was verified apart: records are decoded and folded, topic by topic, and nothing is checked."""

import gc
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from typing import Any

from projections.view import Fold
from projections.views import FOLDS, Views
from schemas.codec import FRAME_BYTES, Schema, frame, own_schemas
from schemas.envelope import time_us_of
from schemas.events import SchemaPublished
from schemas.topics import WRITERS
from schemas.trusted import decode_trusted
from schemas.words import Event
from streams.log.port import Bare, Place, ReadableLog

FETCH = 512
_TOPICS = tuple(topic for topic, types in WRITERS.items() if topic == "governance" or FOLDS.keys() & types.keys())

Kind = tuple[str, bytes]
"""A site and the frame of a value: events of one kind share a schema."""


async def refold(
    log: ReadableLog, partition: int, sites: Collection[str], refused: Collection[Place]
) -> dict[str, Views]:
    """The views of each site from a log that was audited; `refused` are the places that the audit passed over."""
    refolding = Refolding(sites)
    with _no_garbage_collection():
        for topic in _TOPICS:
            offset = 0
            while records := await log.read_bare(topic, partition, offset, FETCH):
                offset = records[-1].offset + 1
                if refused:
                    records = [each for each in records if Place(topic, partition, each.offset) not in refused]
                refolding.take(records)
    return refolding.views


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Folds leave no cycles, and looking for some in a growing heap takes a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Refolding:
    """Folds verified records; governance must come first, for it brings the schemas."""

    def __init__(self, sites: Collection[str]) -> None:
        self.views = {site: Views() for site in sites}
        self._first = next(own_schemas())
        self._first_frame = frame(self._first.schema_id, b"")
        self._kinds: dict[Kind, tuple[Schema, tuple[tuple[int, Fold[Any]], ...]]] = {}

    def take(self, records: Sequence[Bare]) -> None:
        """Fold records of one topic in their order; those that no view is about are not decoded."""
        self._learn(records)
        kinds = self._kinds
        order = [(kind, each) for each in records if (kind := (each.key, each.value[:FRAME_BYTES])) in kinds]
        events = self._decoded(order)
        for kind, each in order:
            event, time = next(events[kind]), each.time
            time_us = _minute_us(time[:17]) + int(time[17:19] + time[20:26])
            states = self.views[kind[0]].states
            for at, fold in kinds[kind][1]:
                states[at] = fold(states[at], event, time_us)

    def _decoded(self, order: Sequence[tuple[Kind, Bare]]) -> dict[Kind, Iterator[Event]]:
        """The events of each kind, all of a kind decoded at once."""
        bodies: dict[Kind, list[bytes]] = {}
        for kind, each in order:
            bodies.setdefault(kind, []).append(each.value[FRAME_BYTES:])
        return {kind: iter(decode_trusted(of_kind, self._kinds[kind][0])) for kind, of_kind in bodies.items()}

    def _learn(self, records: Sequence[Bare]) -> None:
        """Note which schemas are of events that a view is about."""
        published = [each for each in records if each.value[:FRAME_BYTES] == self._first_frame]
        events = decode_trusted([each.value[FRAME_BYTES:] for each in published], self._first)
        for each, event in zip(published, events, strict=True):
            folds = FOLDS.get(Event.types.get(getattr(event, "event_type", ""), Event))
            if folds and isinstance(event, SchemaPublished):
                digest = sha256(event.text.encode()).hexdigest()
                schema = Schema(event.schema_id, event.event_type, event.text, digest)
                self._kinds[each.key, frame(event.schema_id, b"")] = schema, folds


@lru_cache(1_024)
def _minute_us(text: str) -> int:
    """The microseconds of a time text that is cut off before its seconds."""
    return time_us_of(f"{text}00.000000Z")
