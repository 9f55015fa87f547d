"""What docs/agents.md tells people to paste: each is tried, with the official client in the place of the host."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from mcp import Client, StdioServerParameters

from tests.support.commands import ROOT, environment
from tests.support.mcp_site import TOOLS, Bus, running_site, told

DOCUMENT = (ROOT / "docs" / "agents.md").read_text()
HOSTS = ["Claude Code", "Claude Cowork", "Qwen Code"]


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    with running_site(tmp_path_factory.mktemp("recipes") / "data") as running:
        yield running


def section(title: str) -> str:
    return DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def filled_in(text: str, bus: Bus) -> str:
    """A recipe with the paths and the address of this bus."""
    return (
        text.replace("/path/to/qpubus-data", str(bus.directory))
        .replace("http://127.0.0.1:8080", bus.url)
        .replace('"qpubus-data/', f'"{bus.directory}/')
    )


def servers(title: str, bus: Bus) -> list[dict[str, Any]]:
    blocks = re.findall(r"```json\n(.*?)```", section(title), re.DOTALL)
    return [orjson.loads(filled_in(block, bus))["mcpServers"]["qpubus"] for block in blocks]


@pytest.mark.parametrize("host", HOSTS)
async def test_the_server_of_a_recipe_starts_and_answers(bus: Bus, host: str) -> None:
    (server,) = servers(host, bus)
    assert Path(server["command"]).name == "qpubus"
    arguments = ["-c", "from qpubus.cli import main; main()", *server["args"]]
    async with Client(StdioServerParameters(command=sys.executable, args=arguments, env=environment())) as client:
        assert len(told(await client.call_tool("device_list", {}))["devices"]) == 4


@pytest.mark.parametrize("host", ["Claude Code", "Qwen Code"])
def test_the_command_of_a_recipe_names_the_same_server(bus: Bus, host: str) -> None:
    (line,) = re.findall(r"```sh\n(.*?)\n```", section(host), re.DOTALL)
    (server,) = servers(host, bus)
    assert filled_in(line, bus).endswith(" ".join([server["command"], *server["args"]]))


def test_every_tool_that_the_document_shows_is_one(bus: Bus) -> None:
    shown = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", section("The tools").partition("\nAmounts")[0]))
    assert bus.site
    assert shown - {"agent_proof", "max_age_s", "wait_s"} == TOOLS


def test_the_python_of_the_document_runs_up_to_the_persons_part(bus: Bus) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", section("Python"), re.DOTALL)
    kept = filled_in(program.partition("    job = bus.wait")[0], bus)
    exec(compile(kept, "docs/agents.md", "exec"), {})  # noqa: S102 (it is our own document)
