"""A schema registry as a mirror: each SchemaPublished on the log is registered, by the REST API that Confluent defined.

    POST /subjects/qpubus.IntentDeclared                 {"schema": "…"}           → {"id": 3} if it is there
    PUT  /mode/qpubus.IntentDeclared                     {"mode": "IMPORT"}
    POST /subjects/qpubus.IntentDeclared/versions        {"schema": "…", "id": 3}  → {"id": 3}

The frame of a value holds the log's own number of its schema, and keeps it wherever the log goes. A registry that can
be told numbers is told them; one that cannot (Apicurio) counts, and an empty one that is told the schemas in their
order counts as the log did. Where a number is taken, or counted otherwise, it gives another: `ids` says which.
Nothing on the bus reads from a registry.
"""

from collections.abc import Mapping
from logging import getLogger
from typing import Any

import aiohttp
import orjson

from qpubus.problem import Problem
from schemas.events import SchemaPublished
from streams.log.port import ReadableLog
from streams.reader import Reader
from streams.stage import Heard

TIMEOUT_S = 60.0
_log = getLogger("qpubus.mirror")
_TYPE = "application/vnd.schemaregistry.v1+json"


class Mirror:
    """Brings what is published at a site to a registry. It starts at the first schema; one that is there is left."""

    name = "mirror"

    def __init__(self, log: ReadableLog, partition: int, roots: Mapping[str, bytes], url: str) -> None:
        self.registered = 0
        self.ids: dict[int, int] = {}
        """Under which number the registry has each schema, by the log's own number."""
        self._url = url.rstrip("/")
        self._reader = Reader(log, partition, ("governance",), roots, heeds_causes=False)

    @property
    def differing(self) -> dict[int, int]:
        """Those that the registry has under another number: readers that go by the frame alone read them wrong."""
        return {number: there for number, there in self.ids.items() if number != there}

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
            told = len(self.differing)
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            async with aiohttp.ClientSession(headers={"content-type": _TYPE}, timeout=timeout) as session:
                for event in published:
                    self.ids[event.schema_id] = await self._number(session, event)
            if len(self.differing) > told:
                _log.warning(
                    "the registry at %s has %d of %d schemas under other numbers than the log; see "
                    "`qpubus schemas mirror`", self._url, len(self.differing), len(self.ids),
                )  # fmt: skip
        return bool(items)

    async def _number(self, session: aiohttp.ClientSession, event: SchemaPublished) -> int:
        """The registry's number of a schema, which it has afterwards."""
        subject = f"/subjects/{event.event_type}"
        answer = await self._ask(session, "POST", subject, {"schema": event.text})
        if "id" not in answer:
            self.registered += 1
            await self._ask(session, "PUT", f"/mode/{event.event_type}", {"mode": "IMPORT"})
            said = {"schema": event.text, "id": event.schema_id}
            answer = await self._ask(session, "POST", f"{subject}/versions", said)
        if "id" not in answer:  # the number is another schema's
            await self._ask(session, "PUT", f"/mode/{event.event_type}", {"mode": "READWRITE"})
            answer = await self._ask(session, "POST", f"{subject}/versions", {"schema": event.text})
        number = answer.get("id")
        if not isinstance(number, int):
            raise self._unlike(event, f"does not take it: {answer.get('message')}")
        there = await self._ask(session, "GET", f"/schemas/ids/{number}")
        if orjson.loads(there.get("schema", "null")) != orjson.loads(event.text):
            raise self._unlike(event, f"says that it is its {number}, which is another")
        return number

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

    def _unlike(self, event: SchemaPublished, what: str) -> Problem:
        return Problem(
            f"schema {event.schema_id} of the log is {event.event_type}, and the registry at {self._url} {what}",
            "Give this log a registry, or a group of subjects, of its own.",
        )
