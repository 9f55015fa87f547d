"""The trace that a call belongs to, as it goes into the header of what is said because of that call."""

from opentelemetry import trace


def current_traceparent() -> str:
    """The current span as a W3C traceparent; empty where the caller brought none and none is made here."""
    span = trace.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if span.is_valid else ""
