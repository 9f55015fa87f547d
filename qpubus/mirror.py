"""A schema registry as a mirror: each SchemaPublished on the log is registered, by the REST API that Confluent defined.

    GET  /schemas/ids/3                                → {"schema": "…"}
    PUT  /mode/qpubus.IntentDeclared                     {"mode": "IMPORT"}
    POST /subjects/qpubus.IntentDeclared/versions        {"schema": "…", "id": 3}  → {"id": 3}

The frame of a value holds the log's own number of its schema, so readers that only know a registry need the same number
there. A registry that can be told numbers is told them; one that cannot (Apicurio) counts, and an empty one that is
told the schemas in their order counts as the log did. Nothing on the bus reads from a registry.
"""

from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from qpubus.problem import Problem
from schemas.events import SchemaPublished
from streams.log.port import ReadableLog
from streams.reader import Reader
from streams.stage import Heard

TIMEOUT_S = 10.0
_TYPE = "application/vnd.schemaregistry.v1+json"


class Mirror:
    """Brings what is published at a site to a registry. It starts at the first schema; one that is there is left."""

    name = "mirror"

    def __init__(self, log: ReadableLog, partition: int, roots: Mapping[str, bytes], url: str) -> None:
        self.registered = 0
        self._url = url.rstrip("/")
        self._reader = Reader(log, partition, ("governance",), roots, heeds_causes=False)

    def next_due_us(self) -> int | None:
        """Never: it has work when something is published."""
        return None

    async def step(self) -> bool:
        """Register what is new; True if anything was read. `Problem` says why the registry cannot mirror this log."""
        items = await self._reader.read()
        published = [
            each.event for each in items if isinstance(each, Heard) and isinstance(each.event, SchemaPublished)
        ]
        if published:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            async with aiohttp.ClientSession(headers={"content-type": _TYPE}, timeout=timeout) as session:
                for event in published:
                    await self._register(session, event)
        return bool(items)

    async def _register(self, session: aiohttp.ClientSession, event: SchemaPublished) -> None:
        known = await self._ask(session, "GET", f"/schemas/ids/{event.schema_id}")
        if known.get("schema") is not None:
            if orjson.loads(known["schema"]) != orjson.loads(event.text):
                raise self._differs(event, "has another schema under that number")
            return
        await self._ask(session, "PUT", f"/mode/{event.event_type}", {"mode": "IMPORT"})
        said = {"schema": event.text, "id": event.schema_id}
        answer = await self._ask(session, "POST", f"/subjects/{event.event_type}/versions", said)
        if answer.get("id") != event.schema_id:
            raise self._differs(event, f"answers {answer.get('id') or answer.get('message')}")
        self.registered += 1

    async def _ask(
        self, session: aiohttp.ClientSession, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What the registry answers, an error of its own among it."""
        try:
            data = orjson.dumps(body) if body else None
            async with session.request(method, self._url + path, data=data) as answer:
                said = orjson.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise Problem(
                f"the registry at {self._url} does not answer as one: {type(error).__name__}: {error}",
                "Name the URL of its Confluent API, as http://localhost:8081/apis/ccompat/v7.",
            ) from None
        return said if isinstance(said, dict) else {}

    def _differs(self, event: SchemaPublished, what: str) -> Problem:
        return Problem(
            f"schema {event.schema_id} of the log is {event.event_type}, and the registry at {self._url} {what}",
            "Its readers would take one event for another. Give this log an empty registry of its own.",
        )
