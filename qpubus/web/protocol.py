"""HTTP/1.1 connections within bounds: how many, how long one may take to say what it wants and to take its answer."""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEADERS_S = 10.0
"""From the opening of a connection, or the first byte of a further request, to the end of the request's headers."""
HEADER_BYTES_MAX = 16_384
STALLED_S = 30.0
"""A reader that does not take one piece of its answer in so long has gone, whatever its connection says."""
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n"
    b"connection: close\r\ncontent-length: 120\r\n\r\n"
    b'{"type":"/v1/problems/overloaded","title":"More is asked than can be done","status":503,'
    b'"detail":"","code":"overloaded"}'
)


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol, with a limit on connections, a time for headers and one for readers: it waits for ever."""

    connections_max: ClassVar[int] = 2_048
    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection, or turn it away when there are too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # paused while anything waits to be taken, so nobody waits for ever
        if len(self.connections) > self.connections_max:
            transport.write(_FULL)
            transport.close()
            return
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; once headers are whole their time counts no more."""
        super().data_received(data)
        if self._is_busy():
            self._forget_deadline()
        elif self._deadline is None:
            self._await_headers()

    def on_response_complete(self) -> None:
        """Go on to the next request; if it has begun already, its time runs."""
        super().on_response_complete()
        if not self._is_busy() and self.conn.trailing_data[0]:
            self._await_headers()

    def pause_writing(self) -> None:
        """Wait for the reader to take what was written, for a while."""
        super().pause_writing()
        self._stall = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the reader has taken all of it."""
        self._forget_stall()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of a connection."""
        self._forget_stall()
        self._forget_deadline()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        self._forget_deadline()
        self._deadline = self.loop.call_later(HEADERS_S, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        if not self._is_busy() and not self.transport.is_closing():
            self.transport.close()

    def _is_busy(self) -> bool:
        cycle: RequestResponseCycle | None = vars(self)["cycle"]
        return cycle is not None and not cycle.response_complete

    def _forget_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
