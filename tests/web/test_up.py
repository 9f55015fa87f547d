"""The door as a user opens it: `qpubus up` says where it listens, an agent declares there, and after a restart."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qpubus.door_client import ask
from qpubus.keyfile import read_key
from qpubus.requests import Nothing
from qpubus.web.issuer import ASSERTION_TYPE, GRANT_TYPE, client_assertion
from schemas.keys import key_id, raw_public_key
from tests.support.bell import bell_document
from tests.support.commands import qpubus, running_bus
from tests.support.web_house import signed

WAIT_S = 60.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site") / "data"
    assert qpubus("init", "--data", directory).code == 0
    return directory


def agent_of(data: Path) -> tuple[str, Ed25519PrivateKey]:
    """The agent that `init` has enrolled, and its key."""
    key = read_key(data / "keys" / "agent.pem")
    name = key_id(raw_public_key(key))
    enrolled = qpubus("keys", "list", "--json", "--data", data).json
    return next(each["source"] for each in enrolled if each["key_id"] == name), key


@contextmanager
def client_of(data: Path) -> Iterator[httpx.Client]:
    """A client with a token of the agent's, at the door that the bus tells of."""
    source, key = agent_of(data)
    url = _where(data)
    form = {
        "grant_type": GRANT_TYPE,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": client_assertion(key, source, url, time.time()),
    }
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        token = client.post("/oauth/token", data=form).json()["access_token"]
        client.headers["authorization"] = f"Bearer {token}"
        yield client


def declaration(source: str, key: Ed25519PrivateKey, job_id: str) -> bytes:
    manifest = bell_document(initiator=source, job_id=job_id)
    return orjson.dumps({"manifest": manifest, "agent_proof": signed(key, manifest)})


def _where(data: Path) -> str:
    return str(ask(data, "status", Nothing())["http"])


def test_an_intent_that_was_taken_before_a_restart_is_known_after_it(data: Path) -> None:
    source, key = agent_of(data)
    body = declaration(source, key, "bell-1")
    asked = {"content-type": "application/json", "idempotency-key": "once"}
    with running_bus(data, "127.0.0.1:0"), client_of(data) as client:
        until = time.monotonic() + WAIT_S
        while (first := client.post("/v1/jobs", content=body, headers=asked)).status_code == 422:
            assert time.monotonic() < until, first.text  # no device has calibrated yet
            time.sleep(0.2)
        assert first.status_code == 201, first.text
    with running_bus(data, "127.0.0.1:0"), client_of(data) as client:
        again = client.post("/v1/jobs", content=body, headers=asked)
        assert (again.status_code, again.content) == (201, first.content)
        other = declaration(source, key, "bell-2")
        assert client.post("/v1/jobs", content=other, headers=asked).status_code == 409


def test_the_bus_says_where_its_gateway_listens(data: Path) -> None:
    with running_bus(data, "127.0.0.1:0") as bus:
        url = _where(data)
        bus.terminate()
        assert bus.stdout is not None
        assert f"The gateway listens on {url}" in bus.stdout.read()


def test_a_key_that_the_gateway_holds_is_enrolled_as_one(data: Path) -> None:
    done = qpubus("keys", "enrol", "agent:desktop", "agent", "--held", "--data", data)
    assert done.code == 0, done.err
    listed = qpubus("keys", "list", "--json", "--data", data).json
    entry = next(each for each in listed if each["source"] == "agent:desktop")
    assert entry["assurance"] == "gateway-held"
    assert key_id(raw_public_key(read_key(data / "keys" / "held-agent:desktop.pem"))) == entry["key_id"]
    rotated = qpubus("keys", "rotate", entry["key_id"], "--data", data)
    assert rotated.code == 0, rotated.err
    assert key_id(raw_public_key(read_key(data / "keys" / "held-agent:desktop.pem"))) != entry["key_id"]


def test_who_may_read_the_site_is_said_when_they_are_enrolled(data: Path, tmp_path: Path) -> None:
    for option, reads in ((["--reads-site"], "site"), ([], "own")):
        source = f"agent:reads-{reads}"
        new = tmp_path / f"{reads}.pem"
        assert qpubus("keys", "enrol", source, "agent", "--new", new, *option, "--data", data).code == 0
        listed = qpubus("keys", "list", "--json", "--data", data).json
        assert next(each["reads"] for each in listed if each["source"] == source) == reads
    refused = qpubus("keys", "enrol", "approver:x", "approver", "--held", "--data", data)
    assert refused.code == 1
