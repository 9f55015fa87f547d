"""How answers leave the HTTP door: documents as JSON with entity tags, ranges of documents, streams of events."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractContextManager, aclosing
from typing import Any

import orjson
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from qpubus.refusal import Refusal
from qpubus.show import json_bytes
from qpubus.web.answers import ProblemAnswer
from qpubus.web.desk import StoredDocument, etag_of
from qpubus.web.gate import PROBLEM_JSON
from qpubus.web.stream import Told

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})\Z")

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": "Why it was not done (RFC 9457); `code` is stable",
        "content": {PROBLEM_JSON: {"schema": {"$ref": f"#/components/schemas/{ProblemAnswer.__name__}"}}},
    }
    for status in ("4XX", "5XX")
}
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "It is as the entity tag says"}}


def as_json(document: Mapping[str, Any] | list[Any], status: int = 200, headers: Mapping[str, str] = {}) -> Response:
    """A document as it is."""
    body = json_bytes(document)
    return Response(body, status, {"cache-control": "no-store", **headers}, media_type="application/json")


def tagged(request: Request, document: Mapping[str, Any]) -> Response:
    """A document with its entity tag; 304 where the caller has that already."""
    etag = etag_of(document)
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if has_tag(request, etag):
        return Response(status_code=304, headers=headers)
    return as_json(document, headers=headers)


def has_tag(request: Request, etag: str) -> bool:
    """Whether If-None-Match names an entity tag."""
    named = request.headers.get("if-none-match", "")
    return named.strip() == "*" or etag in {each.strip().removeprefix("W/") for each in named.split(",")}


def problem(refusal: Refusal, headers: Mapping[str, str] = {}) -> Response:
    """A problem document (RFC 9457)."""
    more = {"cache-control": "no-store", **headers}
    if refusal.retry_after_s:
        more["retry-after"] = str(refusal.retry_after_s)
    return Response(orjson.dumps(refusal.document()), refusal.status, more, media_type=PROBLEM_JSON)


def downloaded(request: Request, digest: str, stored: StoredDocument) -> Response:
    """A document, or the one range of it that is asked for (RFC 9110, 14). Whoever wrote it, no browser runs it."""
    etag = f'"{digest}"'
    headers = {
        "etag": etag,
        "accept-ranges": "bytes",
        "cache-control": "private, immutable, max-age=31536000",
        "content-disposition": f'attachment; filename="{digest}"',
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
    }
    if has_tag(request, etag):
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range", "")
    size = len(stored.content)
    if not asked.startswith("bytes=") or request.headers.get("if-range", etag) != etag or "," in asked:
        return Response(stored.content, 200, headers, media_type=stored.media_type)
    first, last = _range(asked, size)
    headers["content-range"] = f"bytes {first}-{last}/{size}"
    return Response(stored.content[first : last + 1], 206, headers, media_type=stored.media_type)


def _range(asked: str, size: int) -> tuple[int, int]:
    found = _RANGE.match(asked)
    if found is None or not any(found.groups()):
        raise Refusal("range_refused", "a range is bytes=FIRST-LAST, bytes=FIRST- or bytes=-LENGTH")
    begins, ends = found.groups()
    first = int(begins) if begins else max(0, size - int(ends))
    last = min(int(ends), size - 1) if begins and ends else size - 1
    if first > last:
        raise Refusal("range_refused", f"the document has {size} bytes")
    return first, last


class EventStream(Response):
    """Events as they come, as server-sent events; `id` is the position to go on from."""

    def __init__(self, stream: AbstractContextManager[AsyncGenerator[Told]]) -> None:
        super().__init__(media_type="text/event-stream", headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (as ASGI has it)
        """Send events until the reader has gone; `Refusal` before anything is sent if there is no room for a stream."""
        with self._stream as all_told:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            sending = asyncio.create_task(_send_all(all_told, send))
            leaving = asyncio.create_task(_gone(receive))
            try:
                await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, leaving):
                    task.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send_all(stream: AsyncGenerator[Told], send: Send) -> None:
    async with aclosing(stream) as all_told:
        async for told in all_told:
            await send({"type": "http.response.body", "body": _sse(told), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _sse(told: Told) -> bytes:
    position = f"id: {told.position}\n".encode()
    if told.document is None:
        return position + b"\n"
    type_ = str(told.document["type"]).encode()
    return position + b"event: " + type_ + b"\ndata: " + json_bytes(told.document) + b"\n\n"
