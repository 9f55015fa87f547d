"""Door and OpenAPI document agree, whatever is asked: no server error, no answer that the document does not name."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.town import AGENT, APPROVER
from tests.support.web_house import House, copy_of, open_house

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
SAMPLE, ALL = 150, 10_000


class Served:
    """A door with a loop and a thread of its own, for a client that blocks; who may come in, each with a token."""

    def __init__(self, directory: Path, keys: dict[str, Any]) -> None:
        self._directory, self._keys = directory, keys
        self._ready, self._done = threading.Event(), threading.Event()
        self.url = ""
        self.house: House | None = None
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self.loop.run_until_complete(self._serve()))
        self._thread.start()
        self._ready.wait(60)

    async def _serve(self) -> None:
        try:
            async with open_house(self._directory, self._keys) as house:
                self.house, self.url = house, house.url
                await house.settle()
                await house.declare()
                await house.settle()
                self._ready.set()
                await asyncio.to_thread(self._done.wait)
        finally:
            self._ready.set()

    def token(self, source: str) -> str:
        """An access token; a new one for each hundred or so requests keeps it young."""
        assert self.house is not None
        self.house.tokens.clear()
        return asyncio.run_coroutine_threadsafe(self.house.token(source), self.loop).result(30)

    def close(self) -> None:
        self._done.set()
        self._thread.join(30)
        self.loop.close()


@pytest.fixture
def served(founded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    directory, keys = founded
    served = Served(copy_of(directory, tmp_path / "site"), dict(keys))
    yield served
    served.close()


def ask_everything(served: Served, cases: int) -> Counter[str]:
    """So many cases, spread over all operations; how often each status came."""
    document = httpx.get(f"{served.url}/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = served.url
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    statuses: Counter[str] = Counter()
    turn = -1
    while sum(statuses.values()) < cases:
        turn += 1
        for operation in operations:
            tokens = {AGENT: served.token(AGENT), APPROVER: served.token(APPROVER), "": ""}
            examples = -(-(cases - sum(statuses.values())) // len(operations)) if turn else -(-cases // len(operations))
            ask_one(operation, tokens, min(max(examples, 1), 100), turn, statuses)
    return statuses


def ask_one(operation: Any, tokens: dict[str, str], examples: int, turn: int, statuses: Counter[str]) -> None:
    """Some cases of one operation, by an agent, a person and nobody."""

    @seed(turn)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), who=st.sampled_from([AGENT, AGENT, APPROVER, ""]))
    def try_one(case: Any, who: str) -> None:
        if operation.path == "/v1/events":
            case.query = {**(case.query or {}), "follow": "false"}
        response = case.call(headers={"authorization": f"Bearer {tokens[who]}"} if who else {})
        statuses[f"{response.status_code}"] += 1
        case.validate_response(response, checks=CHECKS)

    try_one()


def test_no_request_breaks_the_door_or_its_document(served: Served) -> None:
    statuses = ask_everything(served, SAMPLE)
    assert sum(statuses.values()) >= SAMPLE
    assert statuses["200"]


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_ten_thousand_requests_break_neither_the_door_nor_its_document(served: Served) -> None:
    assert sum(ask_everything(served, ALL).values()) >= ALL
