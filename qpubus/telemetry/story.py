"""Jobs as traces: events that carry a `traceparent` become spans of the call that began it all.

A span lasts from what was said before it in the same trace to its event, by their signed times: what the log says, told
to another audience. Nothing is added to the log, and a bus without an exporter has no such part.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from qpubus.telemetry import names
from schemas.events import IntentDeclared
from schemas.topics import TOPICS
from streams.log.port import ReadableLog
from streams.reader import Reader
from streams.stage import Heard

_REMEMBERED = 65_536
"""So many traces are known at once."""
_FAILURES = frozenset(
    {"IntentRefused", "StepFailed", "JobFailed", "JobCancelled", "RunCancelled", "ReservationRefused", "ApprovalDenied"}
)
_TOLD = {"job_id": names.JOB_ID, "device": names.DEVICE, "step": names.STEP, "shots": names.SHOTS}


class Story:
    """Reads the log of a site and tells it as spans, from the time on at which it began to look."""

    name = "traces"

    def __init__(
        self, log: ReadableLog, partition: int, roots: Mapping[str, bytes], since_us: int, tracer: Tracer | None = None
    ) -> None:
        self._reader = Reader(log, partition, [topic for topic in TOPICS if topic != "checkpoints"], roots)
        self._since_us = since_us
        self._tracer = tracer or trace.get_tracer(names.SCOPE)
        self._latest_us: OrderedDict[str, int] = OrderedDict()

    async def step(self) -> bool:
        """Tell what is new; True if anything was read."""
        items = await self._reader.read()
        for item in items:
            if isinstance(item, Heard):
                self._tell(item)
        return bool(items)

    def next_due_us(self) -> int | None:
        """Time alone gives it no work."""
        return None

    def _tell(self, heard: Heard) -> None:
        if not heard.traceparent:
            return
        began_us = min(self._latest_us.pop(heard.traceparent, heard.time_us), heard.time_us)
        self._latest_us[heard.traceparent] = heard.time_us
        if len(self._latest_us) > _REMEMBERED:
            self._latest_us.popitem(last=False)
        if heard.time_us < self._since_us:
            return
        span = self._tracer.start_span(
            type(heard.event).__name__,
            extract({"traceparent": heard.traceparent}),
            SpanKind.INTERNAL,
            _attributes(heard),
            start_time=1_000 * began_us,
        )
        if type(heard.event).__name__ in _FAILURES:
            span.set_status(StatusCode.ERROR, str(getattr(heard.event, "reason", "")))
        span.end(1_000 * heard.time_us)


def _attributes(heard: Heard) -> dict[str, Any]:
    event = heard.event
    told: dict[str, Any] = {
        names.EVENT_TYPE: type(event).__name__,
        names.EVENT_DIGEST: heard.digest,
        names.TOPIC: heard.cause.topic,
        names.SOURCE: heard.source,
        names.SITE: heard.site,
    }
    told |= {name: value for field, name in _TOLD.items() if (value := getattr(event, field, None)) not in (None, "")}
    if isinstance(event, IntentDeclared):
        told[names.GEN_AI_AGENT_ID] = event.manifest.initiator
    reason = getattr(event, "reason", "")
    return told | ({names.REASON: reason} if type(event).__name__ in _FAILURES and reason else {})
