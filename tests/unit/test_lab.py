"""A site under the policy `lab`: work is rehearsed on the twin of a device before it runs on the device."""

import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.bell import bell_document
from tests.support.commands import qpubus, running_bus

TWIN, GARNET = "emulator-garnet-1", "cloud-garnet-1"
WAIT_S = 90.0
AGENT = "agent:cowork:user-42"


def calibrated(data: Path) -> dict[str, str]:
    """The snapshot that each device told last."""
    devices = qpubus("devices", "--json", "--data", data).json
    return {each["device"]: each["snapshot"]["snapshot_digest"] for each in devices if each["snapshot"]}


def run(data: Path, job_id: str, device: str) -> dict[str, Any]:
    """A small job on one device, at its end."""
    names = {"job_id": job_id, "initiator": AGENT, "site": "site-a", "allowed_devices": [device]}
    manifest = bell_document(**names, budget={"cost_microusd": 19_000_000, "shots": 8_000})
    path = data / f"{job_id}.json"
    path.write_bytes(orjson.dumps(manifest))
    qpubus("submit", path, "--data", data)
    until = time.monotonic() + WAIT_S
    while True:
        job: dict[str, Any] = qpubus("job", job_id, "--json", "--data", data).json
        if job["state"] in {"refused", "completed", "failed", "cancelled"}:
            return job
        assert time.monotonic() < until, f"{job_id} is {job['state']}"
        time.sleep(0.1)


@pytest.mark.timeout(300)
def test_a_job_runs_on_a_real_device_once_it_has_run_on_the_twin_of_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert qpubus("init", "--policy", "lab", "--data", data).code == 0
    with running_bus(data):
        until = time.monotonic() + WAIT_S
        while TWIN not in calibrated(data):
            assert time.monotonic() < until, "the twin told no snapshot"
            time.sleep(0.1)
        told = calibrated(data)
        assert told[TWIN] == told[GARNET]
        assert run(data, "unrehearsed", GARNET)["state"] == "refused"
        assert run(data, "rehearsal", TWIN)["state"] == "completed"
        assert run(data, "performance", GARNET)["state"] == "completed"
    spent = {name: qpubus("job", name, "--json", "--data", data).json for name in ("rehearsal", "performance")}
    assert spent["rehearsal"]["cost_microusd"] == 0
    assert spent["performance"]["cost_microusd"] > 0


def test_a_site_begins_with_a_policy_that_there_is(tmp_path: Path) -> None:
    done = qpubus("init", "--policy", "nowhere", "--data", tmp_path / "data")
    assert (done.code, "bank, first-poc, lab" in done.err) == (1, True)
    assert not (tmp_path / "data").exists()
