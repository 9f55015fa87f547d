"""An agent that holds no key: the gateway signs for it, and the events say so."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from mcp import Client

from qpubus.mcp.reading_matter import bell_arguments
from schemas.reasons_kept import pointed_at
from tests.support.commands import qpubus
from tests.support.everything import VISITOR, everything_at_mcp
from tests.support.mcp_site import refused, told

DEVICE = "onprem-iontrap-1"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    directory = tmp_path_factory.mktemp("held") / "data"
    assert qpubus("init", "--data", directory).code == 0
    assert qpubus("keys", "enrol", VISITOR, "agent", "--held", "--data", directory).code == 0
    with everything_at_mcp(directory) as url:
        yield directory, url


async def calibrated(client: Client) -> None:
    """Wait until the device has published its first calibration."""
    for _ in range(300):
        if not (await client.call_tool("device_snapshot", {"device": DEVICE})).is_error:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the device did not calibrate")


async def test_it_declares_follows_and_takes_back_a_job_without_a_proof(site: tuple[Path, str]) -> None:
    directory, url = site
    async with Client(url) as client:
        await calibrated(client)
        job = told(await client.call_tool("job_submit", bell_arguments("bell-held") | {"wait_s": 60}))
        dear = bell_arguments("bell-dear")
        dear["manifest"]["budget"] = {"cost_microusd": 90_000_000, "shots": 1_000}
        told(await client.call_tool("job_submit", dear))
        told(await client.call_tool("job_withdraw", {"job_id": "bell-dear", "reason": "a test"}))
        again = bell_arguments("bell-held")
        again["manifest"]["quantum"]["shots"] = 999
        assert refused(await client.call_tool("job_submit", again)) == "job_repeated"
    assert (job["state"], job["initiator"]) == ("completed", VISITOR)
    (declared,) = await events(directory, "--job", "bell-held", "--type", "IntentDeclared")
    assert declared["event"]["assurance"] == "gateway-held"


async def test_it_has_a_device_measured_anew(site: tuple[Path, str]) -> None:
    directory, url = site
    asked = {"device": DEVICE, "request_id": "fresh-1", "reason": "a test", "max_age_s": 0}
    async with Client(url) as client:
        await calibrated(client)
        first = told(await client.call_tool("calibration_request", asked))
        assert told(await client.call_tool("calibration_request", asked))["digest"] == first["digest"]
        other = asked | {"reason": "another reason"}
        assert refused(await client.call_tool("calibration_request", other)) == "request_repeated"
        answers: list[dict[str, Any]] = []
        for _ in range(100):
            answers = await events(directory, "--type", "CalibrationFinished")
            if answers:
                break
            await asyncio.sleep(0.1)
    assert answers[0]["event"]["request_digest"] == first["digest"]
    (requested,) = await events(directory, "--type", "CalibrationRequested")
    assert pointed_at(requested["event"]["reason"]) is not None, "the vault keeps what it said"


async def events(directory: Path, *wanted: str) -> list[dict[str, Any]]:
    """The verified events of the log."""
    told_all = await asyncio.to_thread(qpubus, "events", "--json", "--data", directory, *wanted)
    return [orjson.loads(line) for line in told_all.out.splitlines()]
