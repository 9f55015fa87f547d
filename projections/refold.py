"""Views from a log that was verified apart: records are decoded and folded, topic by topic, and nothing is checked."""

import gc
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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

FETCH = 2_048
_TOPICS = tuple(topic for topic, types in WRITERS.items() if topic == "governance" or FOLDS.keys() & types.keys())


@dataclass(slots=True)
class _Kind:
    """What events of a site by one schema need: the folds that are about them, the states of the site's views.

    `bodies` wait to be decoded, all of a kind at once.
    """

    schema: Schema
    folds: tuple[tuple[int, Fold[Any]], ...]
    states: list[Any]
    bodies: list[bytes] = field(default_factory=list)

    def decoded(self) -> list[Event]:
        """The events of the bodies that wait."""
        bodies, self.bodies = self.bodies, []
        return decode_trusted(bodies, self.schema)


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
        self._kinds: dict[tuple[str, bytes], _Kind] = {}

    def take(self, records: Sequence[Bare]) -> None:
        """Fold records of one topic in their order; those that no view is about are not decoded."""
        self._learn(records)
        kinds, order = self._kinds, list[tuple[_Kind, str]]()
        for _, key, value, time in records:
            kind = kinds.get((key, value[:FRAME_BYTES]))
            if kind is not None:
                kind.bodies.append(value[FRAME_BYTES:])
                order.append((kind, time))
        events = {id(kind): iter(kind.decoded()) for kind in kinds.values()}
        for kind, time in order:
            event, states = next(events[id(kind)]), kind.states
            time_us = _minute_us(time[:17]) + int(time[17:19] + time[20:26])
            for at, fold in kind.folds:
                states[at] = fold(states[at], event, time_us)

    def _learn(self, records: Sequence[Bare]) -> None:
        """Note which schemas are of events that a view is about."""
        published = [each for each in records if each.value[:FRAME_BYTES] == self._first_frame]
        events = decode_trusted([each.value[FRAME_BYTES:] for each in published], self._first)
        for each, event in zip(published, events, strict=True):
            folds = FOLDS.get(Event.types.get(getattr(event, "event_type", ""), Event))
            if folds and isinstance(event, SchemaPublished):
                digest = sha256(event.text.encode()).hexdigest()
                schema = Schema(event.schema_id, event.event_type, event.text, digest)
                kind = _Kind(schema, folds, self.views[each.key].states)
                self._kinds[each.key, frame(event.schema_id, b"")] = kind


@lru_cache(1_024)
def _minute_us(text: str) -> int:
    """The microseconds of a time text that is cut off before its seconds."""
    return time_us_of(f"{text}00.000000Z")
