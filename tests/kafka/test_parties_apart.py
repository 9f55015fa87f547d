"""The services of the compose file, each with the key and the access of its own and no other, carry a job together."""

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
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qpubus.kafka.broker import Broker
from qpubus.kafka.setup import set_up
from schemas.keys import raw_public_key
from schemas.note import Kind, NoteKey
from tests.kafka.ledgers import renew
from tests.support.bell import bell_document
from tests.support.commands import QPUBUS, environment, qpubus
from tests.support.composed import Composed

AGENT, DEVICE, JOB = "agent:cowork:user-42", "cloud-garnet-1", "bell-1"
GATEWAY = "gateway"
WORK = ("policy", "scheduler", "orchestrator", "guard", "views", "callbacks")
PARTIES = (GATEWAY, f"device-{DEVICE}", "sandbox", "clock", "sealer", "witness")
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


def started(name: str, data: Path, access: Path, ended: ExitStack) -> subprocess.Popen[str]:
    command = [*QPUBUS, "up", "--part", name, "--data", str(data), "--access", str(access), "--http", "off"]
    process = subprocess.Popen(command, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return ends(process, ended)


def ends(process: subprocess.Popen[str], ended: ExitStack) -> subprocess.Popen[str]:
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


def serves(process: subprocess.Popen[str], stage: str) -> bool:
    """Wait until a worker says that it has taken its partition number over."""
    assert process.stdout is not None
    return any(line.startswith(f"{stage}/0: taken over") for line in process.stdout)


@pytest.mark.timeout(300)
def test_the_services_of_the_compose_file_carry_a_job(
    own_broker: Broker, data: Path, tmp_path: Path, ended: ExitStack
) -> None:
    witnesses = tmp_path / "witnesses.policy"
    key = NoteKey("w1.example", Kind.COSIGNATURE, raw_public_key(Ed25519PrivateKey.generate())).text
    witnesses.write_text(f"witness W1 {key} http://127.0.0.1:1\nquorum W1\n")  # nobody is at home there
    more = {"QPUBUS_WITNESSES": str(witnesses), "QPUBUS_CALLBACK_HOSTS": "agent.example"}
    composed = Composed(data, own_broker.directory, tmp_path / "services", more)
    processes = {name: ends(composed.start(name), ended) for name in (*WORK, *PARTIES)}
    assert all(serves(processes[name], name) for name in WORK)
    assert all(run_here(processes[name]) for name in PARTIES)
    home = composed.home(GATEWAY)
    next(found for found in until_so(home, "devices") if any(each["device"] == DEVICE for each in found or ()))
    assert qpubus("submit", data / "bell.json", "--key", data / "keys" / "agent.pem", "--data", home).code == 0
    next(found for found in until_so(home, "job", JOB) if found and found["state"] == "awaiting_approval")
    assert qpubus("approve", JOB, "--key", data / "keys" / "approver.pem", "--yes", "--data", home).code == 0
    job = next(found for found in until_so(home, "job", JOB) if found and found["state"] == "completed")
    for process in processes.values():
        process.send_signal(signal.SIGINT)
    said = {name: process.communicate(timeout=WAIT_S)[1] for name, process in processes.items()}

    assert job["device"] == DEVICE
    assert {name: process.returncode for name, process in processes.items()} == dict.fromkeys(processes, 0), said
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
