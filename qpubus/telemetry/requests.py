"""Requests as spans: a caller's `traceparent` comes in, a server span of its trace is current while it is answered."""

from logging import getLogger
from time import monotonic
from typing import Any

from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qpubus.telemetry import names

_log = getLogger("qpubus.http")
_CARRIED = ("traceparent", "tracestate")


class Traced:
    """Wraps an application. Of a request only method, path, route and status are told: no query, header or body.

    Without an exporter nothing is recorded, but the caller's trace still goes on into the events of its call.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer | None = None) -> None:
        self._app = app
        self._tracer = tracer or trace.get_tracer(names.SCOPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request inside its span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        carried = {name: headers[name] for name in _CARRIED if name in headers}
        attributes: dict[str, Any] = {
            names.HTTP_METHOD: scope["method"],
            names.URL_PATH: scope["path"],
            names.URL_SCHEME: scope.get("scheme", "http"),
        }
        with self._tracer.start_as_current_span(
            scope["method"], extract(carried), SpanKind.SERVER, attributes, record_exception=False
        ) as span:
            began_s, status = monotonic(), 0

            async def tell(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute(names.HTTP_STATUS, status)
                    if status >= 500:
                        span.set_attribute(names.ERROR_TYPE, str(status))
                        span.set_status(StatusCode.ERROR)
                await send(message)

            try:
                await self._app(scope, receive, tell)
            finally:
                route = getattr(scope.get("route"), "path", None)
                if route:
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute(names.HTTP_ROUTE, route)
                told = {"method": scope["method"], "path": route or scope["path"], "status": status}
                _log.info("request", extra={"told": told | {"took_ms": round(1_000 * (monotonic() - began_s), 1)}})
