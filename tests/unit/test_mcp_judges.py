"""The MCP door, judged by others: the official conformance runner, the Inspector, the official TypeScript client."""

import re
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.support.commands import qpubus
from tests.support.everything import everything_at_mcp
from tests.support.mcp_site import Bus, running_site
from tests.support.node import Judges, judges

RUNNER = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
INSPECTOR = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
NOT_OFFERED = re.compile(r"logging|sampling|elicitation|subscribe|input-required")
"""Our server asks nothing of a client and pushes nothing to it: that a client said yes would prove no person did. So it
declares no such capability, and the scenarios that need one find nothing to judge."""
ALWAYS = {
    *("completion-complete", "tools-list", "tools-call-error", "tools-call-with-progress", "resources-list"),
    *("resources-read-binary", "resources-templates-read", "prompts-list", "prompts-get-with-args"),
    *("server-sse-multiple-streams", "dns-rebinding-protection"),
}
OF_ERA = {
    "2026-07-28": {"server-stateless", "caching", "sep-2164-resource-not-found"},
    "2025-11-25": {"server-initialize", "ping"},
}


@pytest.fixture(scope="module")
def node() -> Judges:
    return judges()


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    with running_site(tmp_path_factory.mktemp("judged") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("everything") / "data"
    assert qpubus("init", "--data", directory).code == 0
    with everything_at_mcp(directory) as url:
        yield url


@pytest.mark.parametrize("revision", OF_ERA)
def test_the_conformance_runner_passes_all_that_a_revision_requires(
    node: Judges, everything: str, revision: str, tmp_path: Path
) -> None:
    done = node.run(RUNNER, "server", "--url", everything, "--requirements", revision, "-o", str(tmp_path))
    summary, _, unscored = done.stdout.partition("=== SUMMARY ===")[2].partition("Not scored")
    verdicts = dict(
        re.findall(r"^(?:\x1b\[\d+m)?[✓✗](?:\x1b\[\d+m)? ([a-z0-9-]+): (\d+ passed, \d+ failed)", summary, re.MULTILINE)
    )
    failed = {name for name, verdict in verdicts.items() if not verdict.endswith(" 0 failed")}
    not_scored = set(re.findall(r"[✓✗](?:\x1b\[\d+m)? ([a-z0-9-]+) \(", unscored))
    assert {name for name in failed - not_scored if not NOT_OFFERED.search(name)} == set(), done.stdout[-3_000:]
    assert verdicts.keys() - failed >= ALWAYS | OF_ERA[revision]


def inspect(node: Judges, bus: Bus, era: str, *arguments: str) -> dict[str, object]:
    """What the Inspector's command line says of a method."""
    header = f"Authorization: Bearer {bus.token()}"
    done = node.run(
        INSPECTOR,
        "--cli",
        f"{bus.url}/mcp",
        "--transport",
        "http",
        "--header",
        header,
        "--protocol-era",
        era,
        *arguments,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = orjson.loads(done.stdout)
    return told


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector_finds_no_fault_with_the_tools(node: Judges, bus: Bus, era: str) -> None:
    told = inspect(node, bus, era, "--method", "tools/list", "--strict")
    assert isinstance(told["tools"], list)
    assert len(told["tools"]) == 11


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector_calls_a_tool_and_gets_structured_content(node: Judges, bus: Bus, era: str) -> None:
    told = inspect(node, bus, era, "--method", "tools/call", "--tool-name", "budget_left")
    assert isinstance(told["structuredContent"], dict)
    assert told["structuredContent"]["free_microusd"] > 0


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector_lists_the_templates(node: Judges, bus: Bus, era: str) -> None:
    told = inspect(node, bus, era, "--method", "resources/templates/list")
    assert isinstance(told["resourceTemplates"], list)
    assert {each["name"] for each in told["resourceTemplates"]} == {"device-snapshot", "job-timeline"}


def test_the_typescript_client_lists_calls_and_is_refused_in_words(node: Judges, bus: Bus) -> None:
    done = node.run("client.mjs", f"{bus.url}/mcp", bus.token())
    assert done.returncode == 0, done.stderr
    told = orjson.loads(done.stdout)
    assert (told["server"], len(told["tools"])) == ("qpubus", 11)
    assert told["unknown"]["isError"]
    assert orjson.loads(told["unknown"]["content"][0]["text"])["code"] == "job_unknown"
    assert {"bell_test", "vqe_h2", "choose_device"} <= set(told["prompts"])
