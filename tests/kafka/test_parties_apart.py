"""Parties on Kafka in processes of their own, each with the key and the access of its own and no other: one job."""

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from qpubus.kafka.broker import Broker
from qpubus.kafka.setup import set_up
from tests.kafka.ledgers import renew
from tests.support.bell import bell_document
from tests.support.commands import QPUBUS, environment, qpubus
from tests.support.worker_processes import Workforce

AGENT, DEVICE, JOB = "agent:cowork:user-42", "cloud-garnet-1", "bell-1"
STAGES = ("policy", "scheduler", "orchestrator", "guard")
GATEWAY = "gateway:main"
APART = {
    f"device:{DEVICE}": f"device-{DEVICE}",
    "sandbox:main": "sandbox",
    "clock:main": "clock",
    "sealer:main": "sealer",
}
"""Parties, and the names of their key files."""
ASKS_A_PERSON_MICROUSD = 600_000_000
WAIT_S = 90.0


@pytest.fixture
def data(own_broker: Broker, tmp_path: Path) -> Path:
    """A site on an empty ledger."""

    async def ready() -> None:
        await renew(own_broker, 1)
        await set_up(own_broker, 1)

    asyncio.run(ready())
    config = tmp_path / "site.toml"
    config.write_text(f'[kafka]\naccess = "{own_broker.directory / "access"}"\n')
    made = qpubus("init", "--data", tmp_path / "data", "--engine", "kafka", "--config", config)
    assert made.code == 0, made.err
    document = bell_document(
        job_id=JOB, initiator=AGENT, allowed_devices=[DEVICE], budget__cost_microusd=ASKS_A_PERSON_MICROUSD
    )
    (tmp_path / "data" / "bell.json").write_bytes(orjson.dumps(document))
    return tmp_path / "data"


@pytest.fixture
def ended() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def access_of(broker: Broker, directory: Path, *principals: str) -> Path:
    """A folder with what these principals need to reach the broker."""
    directory.mkdir(parents=True)
    for name in (*(f"{each}.properties" for each in principals), "ca.pem"):
        shutil.copy(broker.directory / "access" / name, directory / name)
    return directory


def home_of(data: Path, key_file: str, directory: Path) -> Path:
    """A data directory as a container of one party has it: where the log is, whom to trust, one key, the documents."""
    (directory / "keys").mkdir(parents=True)
    for name in ("kafka.toml", "root.pub", f"keys/{key_file}.pem"):
        shutil.copy(data / name, directory / name)
    (data / "artifacts").mkdir(exist_ok=True)
    (directory / "artifacts").symlink_to(data / "artifacts")
    return directory


def started(name: str, data: Path, access: Path, ended: ExitStack) -> subprocess.Popen[str]:
    command = [*QPUBUS, "up", "--part", name, "--data", str(data), "--access", str(access), "--http", "off"]
    process = subprocess.Popen(command, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ended.enter_context(process)
    ended.callback(process.kill)
    return process


def run_here(process: subprocess.Popen[str]) -> bool:
    """Wait until a process says that it runs."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return "Ctrl-C ends it" in line


def until_so(data: Path, *words: str) -> Iterator[Any]:
    """What a reading command says, again and again, until it took too long."""
    until = time.monotonic() + WAIT_S
    while True:
        done = qpubus(*words, "--json", "--data", data)
        yield done.json if done.out else None
        assert time.monotonic() < until, done
        time.sleep(0.2)


@pytest.mark.timeout(300)
def test_parties_in_processes_of_their_own_carry_a_job(
    own_broker: Broker, data: Path, tmp_path: Path, ended: ExitStack
) -> None:
    crew = ended.enter_context(Workforce(tmp_path / "work", own_broker.directory / "access", [data]))
    crew.hire("one", *STAGES)
    processes = [started(GATEWAY, data, access_of(own_broker, tmp_path / "a" / "gateway", "gateway", "views"), ended)]
    for name, key_file in APART.items():
        access = access_of(own_broker, tmp_path / "a" / key_file, name.partition(":")[0])
        processes.append(started(name, home_of(data, key_file, tmp_path / "h" / key_file), access, ended))
    assert all(map(run_here, processes))
    next(found for found in until_so(data, "devices") if any(each["device"] == DEVICE for each in found or ()))
    assert qpubus("submit", data / "bell.json", "--data", data).code == 0
    next(found for found in until_so(data, "job", JOB) if found and found["state"] == "awaiting_approval")
    assert qpubus("approve", JOB, "--key", data / "keys" / "approver.pem", "--yes", "--data", data).code == 0
    job = next(found for found in until_so(data, "job", JOB) if found and found["state"] == "completed")
    for process in processes:
        process.send_signal(signal.SIGINT)
    said = [process.communicate(timeout=WAIT_S)[1] for process in processes]

    assert job["device"] == DEVICE
    assert ([process.returncode for process in processes], said) == ([0] * len(processes), [""] * len(processes))
    audit = qpubus("audit", "verify", "--data", data, "--json").json
    assert (audit["verdict"], audit["refused"], audit["jobs"]) == ("sound", 0, 1)


def test_a_party_is_run_by_one_process_of_a_data_directory(
    own_broker: Broker, data: Path, tmp_path: Path, ended: ExitStack
) -> None:
    access = access_of(own_broker, tmp_path / "a", "clock")
    assert run_here(started("clock:main", data, access, ended))
    for words in (("--part", "clock:main"), ()):
        again = qpubus("up", *words, "--data", data, "--http", "off")
        assert (again.code, "only one process may" in again.err) == (1, True)
