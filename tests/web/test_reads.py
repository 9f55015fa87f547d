"""Who sees what: every route of the OpenAPI document that names something of an agent's is tried by everybody else."""

import re
from typing import Any

from schemas.digests import sha256_hex
from tests.support.town import APPROVER, STRANGER
from tests.support.web_house import AUDITOR, READER, House

PUBLIC = {"/v1/devices/{device}/snapshot", "/v1/devices/{device}/calibrations", "/v1/problems/{code}"}
"""What has a parameter and is nobody's own."""
BODIES: dict[str, dict[str, Any]] = {
    "post /v1/jobs/{job_id}/withdrawal": {"json": {"reason": "mine now"}},
    "post /v1/approvals/{job_id}": {
        "json": {
            "decision": "grant",
            "intent_digest": "0" * 64,
            "proof": {"proof_type": "ed25519", "key_id": "k", "signature": "AA"},
        }
    },
    "patch /v1/uploads/{upload_id}": {"content": b"x", "headers": {"upload-offset": "0"}},
}


async def owned(house: House) -> dict[str, str]:
    """What the agent has: a job that waits for a person, a document, an upload; by the name of its path parameter."""
    await house.settle()
    assert (await house.declare(budget__cost_microusd=900_000_000)).status_code == 201
    await house.settle()
    stored = (await house.ask("POST", "/v1/artifacts", content=b"secret")).json()
    asked = {"digest": sha256_hex(b"more"), "size_bytes": 4}
    upload = (await house.ask("POST", "/v1/uploads", json=asked)).json()
    return {"job_id": "bell-1", "digest": stored["digest"], "upload_id": upload["upload_id"]}


async def routes(house: House) -> list[tuple[str, str]]:
    """Method and path of every operation about something that may be somebody's."""
    document = (await house.client.get("/v1/openapi.json")).json()
    return [
        (method, path)
        for path, operations in document["paths"].items()
        if "{" in path and path not in PUBLIC
        for method in operations
    ]


async def test_no_route_tells_another_agent_anything_of_an_agents_own(house: House) -> None:
    things = await owned(house)
    tried = await routes(house)
    assert len(tried) >= 10
    statuses = {}
    for method, path in tried:
        where = re.sub(r"{(\w+)}", lambda name: things[name[1]], path)
        more = BODIES.get(f"{method} {path}", {})
        statuses[f"{method} {path}"] = (await house.ask(method.upper(), where, STRANGER, **more)).status_code
    assert {route: status for route, status in statuses.items() if status not in {403, 404}} == {}


async def test_the_same_routes_tell_the_agent_itself(house: House) -> None:
    things = await owned(house)
    for method, path in await routes(house):
        if method == "get" and not path.endswith("/result"):
            where = re.sub(r"{(\w+)}", lambda name: things[name[1]], path)
            assert (await house.ask("GET", where)).status_code == 200, path


async def test_lists_hold_an_agents_own_only(house: House) -> None:
    await owned(house)
    assert (await house.ask("GET", "/v1/jobs", STRANGER)).json()["jobs"] == []
    assert (await house.ask("GET", "/v1/approvals", STRANGER)).json()["approvals"] == []
    assert (await house.ask("GET", "/v1/budget", STRANGER)).json()["yours"]["jobs"] == 0
    assert len((await house.ask("GET", "/v1/approvals")).json()["approvals"]) == 1


async def test_who_is_enrolled_to_read_the_site_and_people_see_every_job(house: House) -> None:
    await owned(house)
    for source in (READER, APPROVER, AUDITOR):
        assert (await house.ask("GET", "/v1/jobs/bell-1", source)).status_code == 200, source


async def test_naming_anothers_document_in_a_job_gives_no_right_to_read_it(house: House) -> None:
    digest = (await owned(house))["digest"]
    named = await house.declare(STRANGER, job_id="bell-2", artifacts={"a.json": digest})
    assert named.json()["code"] == "artifact_missing"
    assert (await house.ask("GET", f"/v1/artifacts/{digest}", STRANGER)).status_code == 404


async def test_events_about_an_agents_jobs_reach_nobody_else(house: House) -> None:
    await owned(house)
    told = (await house.ask("GET", "/v1/events?follow=false", STRANGER)).text
    assert "bell-1" not in told
    assert "event: DeviceSnapshotTaken" in told
    assert "KeyEnrolled" not in told
    assert "event: IntentDeclared" in (await house.ask("GET", "/v1/events?follow=false")).text
