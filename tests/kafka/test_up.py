"""`qpubus up` with the log on Kafka, by public commands alone: a whole job, told as the embedded engine tells it."""

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from qpubus.kafka.broker import Broker
from qpubus.kafka.setup import set_up
from qpubus.keyfile import read_key
from qpubus.web.issuer import ASSERTION_TYPE, GRANT_TYPE, client_assertion
from tests.kafka.ledgers import renew
from tests.support.bell import bell_document
from tests.support.commands import qpubus, running_bus

AGENT, DEVICE, JOB = "agent:cowork:user-42", "cloud-garnet-1", "bell-1"
ASKS_A_PERSON_MICROUSD = 600_000_000
WAIT_S = 40.0


@pytest.fixture
def config(own_broker: Broker, tmp_path: Path) -> Path:
    """Says how a broker is reached that has an empty ledger, with users and ACLs."""

    async def ready() -> None:
        await renew(own_broker, 1)
        await set_up(own_broker, 1)

    asyncio.run(ready())
    path = tmp_path / "site.toml"
    path.write_text(f'[kafka]\naccess = "{own_broker.directory / "access"}"\n')
    return path


def said(*words: str | Path) -> Any:
    done = qpubus(*words, "--json")
    assert done.code == 0, done.err
    return done.json


def founded(data: Path, *options: str | Path) -> Path:
    """A site with a manifest that asks a person, and that one device may run."""
    assert qpubus("init", "--data", data, *options).code == 0
    document = bell_document(
        job_id=JOB, initiator=AGENT, allowed_devices=[DEVICE], budget__cost_microusd=ASKS_A_PERSON_MICROUSD
    )
    (data / "bell.json").write_bytes(orjson.dumps(document))
    return data


def when_state(data: Path, state: str, *, is_paid: bool = False) -> dict[str, Any]:
    until = time.monotonic() + WAIT_S
    while True:
        job: dict[str, Any] = said("job", JOB, "--data", data)
        if job["state"] == state and bool(job["cost_microusd"]) == is_paid:
            return job
        assert time.monotonic() < until, f"{JOB} is {job['state']}, not {state}"
        time.sleep(0.1)


def when_calibrated(data: Path) -> None:
    until = time.monotonic() + WAIT_S
    while DEVICE not in {each["device"] for each in said("devices", "--data", data)}:
        assert time.monotonic() < until, f"{DEVICE} has not calibrated"
        time.sleep(0.1)


def explained_at_the_door(data: Path, url: str) -> dict[str, Any]:
    """The explanation that the job's agent gets over HTTP."""
    key = read_key(data / "keys" / "agent.pem")
    form = {
        "grant_type": GRANT_TYPE,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": client_assertion(key, AGENT, url, time.time()),
    }
    with httpx.Client(base_url=url, trust_env=False, timeout=WAIT_S) as client:
        token = client.post("/oauth/token", data=form).json()["access_token"]
        answer = client.get(f"/v1/jobs/{JOB}/explanation", headers={"authorization": f"Bearer {token}"})
    told: dict[str, Any] = answer.json()
    assert answer.status_code == 200, told
    return told


def run(data: Path, engine: str) -> dict[str, Any]:
    """The script: up, submit, approve, the result; what a stranger then finds."""
    with running_bus(data, "127.0.0.1:0", "--engine", engine) as bus:
        assert bus.stdout is not None
        bus.stdout.readline()
        url = bus.stdout.readline().removeprefix("The gateway listens on ").split(": ")[0]
        when_calibrated(data)
        said("submit", data / "bell.json", "--data", data)
        when_state(data, "awaiting_approval")
        assert qpubus("approve", JOB, "--key", data / "keys" / "approver.pem", "--yes", "--data", data).code == 0
        job = when_state(data, "completed", is_paid=True)
        explained = explained_at_the_door(data, url)
        bus.send_signal(signal.SIGINT)
        told = bus.communicate()[1]
    assert (bus.returncode, told.count("aiokafka")) == (0, 0), told
    assert explained["holds"]
    return {
        "job": {name: job[name] for name in ("state", "device", "cost_microusd")},
        "shots": job["result"]["shots"],
        "chain": Counter(line["event_type"] for line in explained["lines"]),
    }


def doubted(data: Path) -> dict[str, Any]:
    """What stays the same wherever a log is."""
    audit = said("audit", "verify", "--data", data)
    return {
        "verdict": {name: audit[name] for name in ("verdict", "events", "jobs", "refused", "rounds", "findings")},
        "decisions": said("audit", "redecide", "--data", data),
        "kpis": said("kpis", "--data", data),
    }


def numbers(kpis: Any) -> dict[str, tuple[int, bool]]:
    """Over how many cases each KPI is reckoned, and whether it has a value."""
    return {name: (each["n"], each["value"] is None) for name, each in kpis.items()}


def test_a_whole_job_runs_there_and_is_told_as_on_the_embedded_engine(config: Path, tmp_path: Path) -> None:
    kafka = founded(tmp_path / "kafka", "--engine", "kafka", "--config", config)
    embedded = founded(tmp_path / "embedded")
    there, here = run(kafka, "kafka"), run(embedded, "embedded")
    assert there == here
    doubt = doubted(kafka)
    assert doubt["verdict"]["verdict"] == "sound"
    assert doubt["decisions"]["same"]
    assert numbers(doubt["kpis"]) == numbers(said("kpis", "--data", embedded))

    said("log", "export", tmp_path / "log.jsonl", "--data", kafka)
    home = tmp_path / "home"
    said("log", "import", tmp_path / "log.jsonl", "--data", home, "--root", kafka / "root.pub")
    assert doubted(home) == doubt
