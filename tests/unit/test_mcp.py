"""The MCP door, driven by the official Python client: over HTTP in both eras, and over stdio."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import orjson
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceTemplateReference

from agents.client import h2_manifest
from schemas.manifest import plain
from tests.support.commands import qpubus
from tests.support.mcp_site import TOOLS, Bus, Era, enrolled, finished, raw, refused, running_site, signed_h2, told

READS = {"device_list", "device_snapshot", "job_get", "job_list", "budget_left", "kpis", "explain"}
SPENDS = {"job_submit", "job_withdraw"}
TASKS = "io.modelcontextprotocol/tasks"
ERAS = ["auto", "legacy"]


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    with running_site(tmp_path_factory.mktemp("mcp") / "data") as running:
        yield running


@pytest.mark.parametrize("era", ERAS)
async def test_every_tool_says_what_it_does_and_what_comes_of_it(bus: Bus, era: Era) -> None:
    async with bus.over_http(era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == TOOLS  # and so none that approves
    for name, tool in tools.items():
        assert tool.description
        assert tool.output_schema
        assert tool.annotations
        assert tool.annotations.read_only_hint == (name in READS)
        assert tool.annotations.destructive_hint == (name in SPENDS)
        assert tool.annotations.idempotent_hint
    assert "COSTS MONEY" in (tools["job_submit"].description or "")


@pytest.mark.parametrize("era", ERAS)
async def test_an_agent_drives_a_whole_vqe_job_over_http(bus: Bus, era: Era) -> None:
    async with bus.over_http(era) as client:
        job = told(await client.call_tool("job_submit", signed_h2(bus, f"h2-http-{era}")))
        job = await finished(client, bus, job["job_id"])
        explained = told(await client.call_tool("explain", {"job_id": job["job_id"]}))
    assert job["state"] == "completed"
    energies = {each["name"]: each for each in job["result"]["observables"]}
    assert energies["energy_hartree"]["value"] == pytest.approx(-1.137, abs=0.01)
    assert explained["holds"]
    assert explained["lines"][-1]["sentence"]


async def test_an_agent_drives_a_whole_vqe_job_over_stdio(bus: Bus) -> None:
    job_id = "h2-stdio"
    async with bus.over_stdio() as client:
        (example,) = (await client.read_resource("qpubus://examples/h2-vqe")).contents
        arguments = orjson.loads(example.text)  # type: ignore[union-attr]  # a text, as every resource of ours
        arguments["manifest"]["job_id"] = job_id
        assert told(await client.call_tool("quote", arguments))["verdict"] == "ask"
        told(await client.call_tool("job_submit", arguments))
        job = await finished(client, bus, job_id)
    assert (job["state"], job["initiator"]) == ("completed", bus.agent.source)


async def test_a_bridge_without_a_bus_says_how_to_start_one(bus: Bus, tmp_path: Path) -> None:
    assert (await asyncio.to_thread(qpubus, "init", "--data", tmp_path / "data")).code == 0
    silent = replace(bus, directory=tmp_path / "data")
    async with silent.over_stdio("legacy") as client:
        answer = await client.call_tool("device_list", {})
    assert refused(answer) == "not_running"
    assert "qpubus up" in answer.content[0].text  # type: ignore[union-attr]  # a text, as every refusal


async def test_what_is_wrong_with_a_manifest_is_told_with_its_places(bus: Bus) -> None:
    async with bus.over_stdio() as client:
        answer = await client.call_tool("quote", {"manifest": {"job_id": "broken"}})
    assert answer.is_error
    document = orjson.loads(answer.content[0].text)  # type: ignore[union-attr]  # likewise
    assert document["code"] == "manifest_invalid"
    assert {each["path"] for each in document["problems"]} >= {"purpose", "quantum", "budget"}


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("job_get", {"job_id": "nobody-s"}, "job_unknown"),
        ("job_get", {}, "arguments_invalid"),
        ("job_get", {"job_id": "x", "wait_s": 1e9}, "arguments_invalid"),
        ("device_snapshot", {"device": "nowhere-1"}, "device_absent"),
        ("approve", {"job_id": "x"}, "arguments_invalid"),
    ],
    ids=["unknown job", "no job", "too long a wait", "unknown device", "no such tool"],
)
async def test_a_call_that_is_not_carried_out_has_a_stable_code(
    bus: Bus, tool: str, arguments: dict[str, object], code: str
) -> None:
    async with bus.over_http() as client:
        assert refused(await client.call_tool(tool, arguments)) == code


async def test_without_a_proof_an_agent_that_holds_its_own_key_is_told_to_sign(bus: Bus) -> None:
    unsigned = {name: value for name, value in signed_h2(bus, "h2-unsigned").items() if name != "agent_proof"}
    async with bus.over_http() as client:
        assert refused(await client.call_tool("job_submit", unsigned)) == "proof_missing"


async def test_submitting_twice_is_one_job(bus: Bus) -> None:
    async with bus.over_http() as client:
        first = told(await client.call_tool("job_submit", signed_h2(bus, "h2-twice")))
        again = told(await client.call_tool("job_submit", signed_h2(bus, "h2-twice")))
        listed = told(await client.call_tool("job_list", {"limit": 200}))
    assert first["declared_us"] == again["declared_us"]
    assert [each["job_id"] for each in listed["jobs"]].count("h2-twice") == 1


async def test_a_request_that_breaks_off_takes_no_job_back(bus: Bus) -> None:
    async with bus.over_http() as client:
        asked = asyncio.create_task(client.call_tool("job_submit", signed_h2(bus, "h2-broken") | {"wait_s": 60}))
        until_declared = 200
        async with bus.over_http() as other:
            while (await other.call_tool("job_get", {"job_id": "h2-broken"})).is_error and until_declared:
                await asyncio.sleep(0.05)
                until_declared -= 1
            asked.cancel()
            job = told(await other.call_tool("job_get", {"job_id": "h2-broken", "wait_s": 1}))
    assert not job["is_over"]


async def test_a_withdrawn_job_is_over(bus: Bus) -> None:
    async with bus.over_stdio() as client:
        arguments = {name: value for name, value in signed_h2(bus, "h2-withdrawn").items() if name != "agent_proof"}
        told(await client.call_tool("job_submit", arguments))
        told(await client.call_tool("job_withdraw", {"job_id": "h2-withdrawn", "reason": "a test"}))
        job = told(await client.call_tool("job_get", {"job_id": "h2-withdrawn", "wait_s": 30}))
    assert (job["state"], job["reason"]) == ("refused", "withdrawn")


async def test_a_client_that_knows_tasks_gets_one_and_its_result(bus: Bus) -> None:
    arguments = signed_h2(bus, "h2-task")
    task = await raw(bus, "tools/call", {"name": "job_submit", "arguments": arguments}, TASKS)
    assert (task["resultType"], task["taskId"], task["status"]) == ("task", "h2-task", "working")
    for _ in range(100):
        task = await raw(bus, "tasks/get", {"taskId": "h2-task"}, TASKS)
        if "awaiting_approval" in task["statusMessage"]:
            break
        await asyncio.sleep(0.1)
    assert "qpubus approve h2-task" in task["statusMessage"]
    await bus.approve("h2-task")
    for _ in range(300):
        task = await raw(bus, "tasks/get", {"taskId": "h2-task"}, TASKS)
        if task["status"] != "working":
            break
        await asyncio.sleep(0.2)
    assert task["status"] == "completed"
    assert task["result"]["structuredContent"]["result"]["converged"]


async def test_a_task_that_is_cancelled_takes_its_job_back_where_the_proof_can_be_made(bus: Bus) -> None:
    await raw(bus, "tools/call", {"name": "job_submit", "arguments": signed_h2(bus, "h2-cancel")}, TASKS)
    with pytest.raises(AssertionError, match="proof_missing"):  # over HTTP an agent signs for itself
        await raw(bus, "tasks/cancel", {"taskId": "h2-cancel"}, TASKS)
    async with bus.over_stdio() as client:
        told(await client.call_tool("job_withdraw", {"job_id": "h2-cancel", "reason": "a test"}))
        told(await client.call_tool("job_get", {"job_id": "h2-cancel", "wait_s": 30}))
    assert await raw(bus, "tasks/cancel", {"taskId": "h2-cancel"}, TASKS)  # it is over: nothing is left to take back


async def test_an_agent_that_holds_its_own_key_takes_its_job_back_by_a_proof(bus: Bus) -> None:
    wish = {"job_id": "h2-back", "reason": "a test"}
    async with bus.over_http() as client:
        told(await client.call_tool("job_submit", signed_h2(bus, "h2-back")))
        assert refused(await client.call_tool("job_withdraw", wish)) == "proof_missing"
        of_another = {"agent_proof": bus.agent.withdrawal("h2-other", "a test")}
        assert refused(await client.call_tool("job_withdraw", wish | of_another)) == "proof_mismatch"
        proof = {"agent_proof": bus.agent.withdrawal(**wish)}
        told(await client.call_tool("job_withdraw", wish | proof))
        job = told(await client.call_tool("job_get", {"job_id": "h2-back", "wait_s": 30}))
    assert (job["state"], job["reason"]) == ("refused", "withdrawn")


async def test_without_the_extension_there_are_no_tasks(bus: Bus) -> None:
    with pytest.raises(AssertionError, match="-32021"):
        await raw(bus, "tasks/get", {"taskId": "h2-task"})
    async with bus.over_http("legacy") as client:
        assert told(await client.call_tool("job_submit", signed_h2(bus, "h2-handle")))["job_id"] == "h2-handle"


async def test_nobody_comes_in_without_a_token_and_is_told_where_to_get_one(bus: Bus) -> None:
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"{bus.url}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        challenge = answer.headers["www-authenticate"]
        metadata = (await http.get(challenge.partition('resource_metadata="')[2].partition('"')[0])).json()
    assert answer.status_code == 401
    assert (metadata["resource"], metadata["authorization_servers"]) == (f"{bus.url}/mcp", [bus.url])


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}], ids=["origin", "host"]
)
async def test_web_pages_of_others_are_turned_away(bus: Bus, headers: dict[str, str]) -> None:
    async with httpx2.AsyncClient(auth=bus.auth) as http:
        answer = await http.post(f"{bus.url}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=headers)
    assert answer.status_code in {403, 421}


async def test_an_agent_sees_nothing_of_anothers_job(bus: Bus) -> None:
    other = replace(bus, agent=await enrolled(bus, "agent:other"))
    async with bus.over_http() as client:
        told(await client.call_tool("job_submit", signed_h2(bus, "h2-mine")))
    async with other.over_http() as client:
        assert refused(await client.call_tool("job_get", {"job_id": "h2-mine"})) == "job_unknown"
        assert refused(await client.call_tool("explain", {"job_id": "h2-mine"})) == "job_unknown"
        assert told(await client.call_tool("job_list", {}))["jobs"] == []
        with pytest.raises(MCPError, match="job_unknown"):
            await client.read_resource("qpubus://jobs/h2-mine/timeline")
        stolen = h2_manifest("h2-stolen", bus.agent.source, bus.site, 1)
        arguments = {"manifest": plain(stolen), "agent_proof": bus.agent.sign(stolen)}
        assert refused(await client.call_tool("job_submit", arguments)) == "initiator_mismatch"


async def test_names_are_completed_as_they_are_typed(bus: Bus) -> None:
    async with bus.over_http() as client:
        template = (await client.list_resource_templates()).resource_templates[0]
        found = await client.complete(
            ResourceTemplateReference(uri=template.uri_template), {"name": "device", "value": "onprem"}
        )
    assert found.completion.values == ["onprem-iontrap-1"]
