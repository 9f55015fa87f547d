"""The gate before the HTTP door: what is refused before anybody reads it, and bodies within bounds of size and time.

Another host's name (DNS rebinding), another web origin, a compressed body, one too large or too slow, and whatever
comes on top of what can be worked on, or of the asker's fair share of it. Plain ASGI: a request that is turned away
costs little more than its parsing. What goes out is cut in pieces, each of which waits for its reader.
"""

import asyncio
from collections.abc import Callable, Collection

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agents.artifacts import ARTIFACT_BYTES_MAX
from qpubus.refusal import Refusal
from qpubus.web.workload import Shares, Workload

BODY_BYTES_MAX = 1 << 20
"""Room for a manifest, the proof over it and a trace."""
BODIES_BYTES_MAX = 64 << 20
"""What all bodies that come in, and all large ones that go out, may have together."""
PIECE_BYTES = 64 << 10
DRAINED_BYTES_MAX = 4 << 20
DRAIN_S = 1.0
BODY_S = 10.0
LARGE_BODY_S = 60.0
_LARGE = ("/v1/artifacts", "/v1/uploads/")
PROBLEM_JSON = "application/problem+json"


class Gate:
    """An ASGI application around another one."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str],
        origins: Collection[str],
        workload: Workload,
        whose: Callable[[bytes], str] = lambda _: "",
    ) -> None:
        """`hosts` are the values of Host that are this door's own, `origins` those of Origin that may ask.

        `whose` says by the Authorization header whose share a request counts towards; the empty name where it does not
        tell.
        """
        self._app = app
        self._hosts = frozenset(hosts)
        self._origins = frozenset(origins)
        self._workload = workload
        self._whose = whose
        self._bytes = Shares(BODIES_BYTES_MAX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or turn it away."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        whose, reserved, is_read = "", 0, False
        try:
            self._check(headers)
            whose = self._whose(headers.get(b"authorization", b""))
            limit = ARTIFACT_BYTES_MAX if scope["path"].startswith(_LARGE) else BODY_BYTES_MAX
            reserved = self._reserve(whose, headers, limit)
            body = await _read(receive, reserved, LARGE_BODY_S if limit > BODY_BYTES_MAX else BODY_S)
            is_read = True
            with self._workload.working(whose):
                outgoing = _Outgoing(send, self._bytes, whose)
                try:
                    await self._app(scope, _replay(body, receive), outgoing.send)
                finally:
                    outgoing.end()
        except Refusal as refusal:
            is_read = is_read or (refusal.status != 408 and await _drained(receive, headers))
            await send_problem(send, refusal, close=not is_read)
        finally:
            self._bytes.give(whose, reserved)

    def _check(self, headers: dict[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if host not in self._hosts:
            raise Refusal("host_refused", f"this is not {host[:100]}: ask for one of {', '.join(sorted(self._hosts))}")
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower() not in self._origins:
            raise Refusal("origin_refused", "web pages of another origin may not ask here")
        if b"transfer-encoding" in headers and b"content-length" in headers:
            raise Refusal("header_invalid", "a body has a Content-Length or a Transfer-Encoding, never both")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refusal("encoding_refused", "send the body as it is, without a Content-Encoding")

    def _reserve(self, whose: str, headers: dict[bytes, bytes], limit: int) -> int:
        """Set room aside for a body: what it says it has, or all that it may have where it does not say."""
        length = headers.get(b"content-length", b"")
        size = int(length) if length.isdigit() and len(length) < 16 else 0
        if b"transfer-encoding" in headers:
            size = limit
        if size > limit:
            raise Refusal("body_oversized", f"a body at this address has at most {limit} bytes")
        if size and not self._bytes.take(whose, size):
            raise Refusal("overloaded", "too many bytes are on their way, or too many of them yours", retry_after_s=2)
        return size


class _Outgoing:
    """An answer on its way out. A large one counts like a body that comes in, and goes as its reader takes it."""

    def __init__(self, send: Send, bytes_: Shares, whose: str) -> None:
        self._send = send
        self._bytes = bytes_
        self._whose = whose
        self._counted = 0
        self._is_refused = False

    async def send(self, message: Message) -> None:
        """Pass a message on in pieces; where there is no room for all of the answer, a refusal goes in its place."""
        if message["type"] == "http.response.start":
            size = int(dict(message["headers"]).get(b"content-length", b"0"))
            if size > PIECE_BYTES and not self._bytes.take(self._whose, size):
                self._is_refused = True
                told = "too many bytes are on their way out, or too many of them to you"
                await send_problem(self._send, Refusal("overloaded", told, retry_after_s=2))
                return
            self._counted = size if size > PIECE_BYTES else 0
        body: bytes = message.get("body", b"")
        if self._is_refused:
            return
        if len(body) <= PIECE_BYTES:
            await self._send(message)
            return
        for at in range(0, len(body), PIECE_BYTES):
            is_more = at + PIECE_BYTES < len(body) or bool(message.get("more_body", False))
            await self._send({**message, "body": body[at : at + PIECE_BYTES], "more_body": is_more})

    def end(self) -> None:
        """The answer has gone out, or will not."""
        self._bytes.give(self._whose, self._counted)


async def send_problem(send: Send, refusal: Refusal, *, close: bool = False) -> None:
    """Answer with a problem document (RFC 9457)."""
    body = orjson.dumps(refusal.document())
    headers = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if refusal.retry_after_s:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _read(receive: Receive, limit: int, within_s: float) -> bytes:
    """A whole body of at most `limit` bytes, in time."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(within_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal("body_slow", "the connection ended before the body did")
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise Refusal("body_oversized", f"a body at this address has at most {limit} bytes")
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise Refusal("body_slow", f"the body must come within {within_s:g} s") from None


async def _drained(receive: Receive, headers: dict[bytes, bytes]) -> bool:
    """Whether the rest of a refused body was read past: who is still sending when we close never sees our answer."""
    length = headers.get(b"content-length", b"0")
    if b"transfer-encoding" in headers or not length.isdigit() or int(length[:12]) > DRAINED_BYTES_MAX:
        return False
    try:
        async with asyncio.timeout(DRAIN_S):
            while (message := await receive())["type"] == "http.request":
                if not message.get("more_body", False):
                    return True
    except TimeoutError:
        return False
    return False


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then what the connection says."""
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
