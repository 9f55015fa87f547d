"""The Python client over HTTP: a real bus, a real agent's key, and a network that loses what it should carry."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from qpubus import AsyncClient, Client
from qpubus.client import Failed, calls
from schemas.manifest import Manifest
from tests.support.bell import bell_manifest
from tests.support.mcp_site import Bus, running_site

ADMITTED = {"budget__cost_microusd": 5_000_000, "budget__shots": 1_000, "quantum__shots": 100}
"""Below what policy asks a person for."""


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    with running_site(tmp_path_factory.mktemp("client") / "data") as running:
        yield running


@pytest.fixture
def client(bus: Bus) -> Iterator[Client]:
    with Client(bus.url, bus.agent.source, bus.agent.key) as connected:
        yield connected


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between attempts."""
    monkeypatch.setattr(calls, "BACKOFF_S", 0.0)


def bell(bus: Bus, job_id: str, **changes: Any) -> Manifest:
    whole = {"job_id": job_id, "initiator": bus.agent.source, "site": bus.site} | ADMITTED | changes
    return bell_manifest(**whole)


class Losing(httpx2.HTTPTransport):
    """A network that carries requests and loses so many answers to POST /v1/jobs."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        if self.losses and request.url.path == "/v1/jobs" and request.method == "POST":
            self.losses -= 1
            response.close()
            raise httpx2.ReadError("the connection broke off")
        return response


class Busy(httpx2.HTTPTransport):
    """A bus that turns the first requests away."""

    def __init__(self, refusals: int, status: int) -> None:
        super().__init__()
        self.refusals = refusals
        self._status = status

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.refusals and request.url.path == "/v1/budget":
            self.refusals -= 1
            return httpx2.Response(self._status, headers={"retry-after": "0"}, json={"code": "overloaded"})
        return super().handle_request(request)


def test_a_job_is_declared_waited_for_and_read(bus: Bus, client: Client) -> None:
    assert client.quote(bell(bus, "bell-sync")).verdict == "admit"
    receipt = client.submit(bell(bus, "bell-sync"))
    job = client.wait("bell-sync", 60)
    assert (receipt.job_id, job.state, job.is_over) == ("bell-sync", "completed", True)
    assert client.result("bell-sync").shots == 100
    assert client.explain("bell-sync")["holds"]
    assert "bell-sync" in {each["job_id"] for each in client.jobs()}


async def test_the_same_with_await(bus: Bus) -> None:
    async with AsyncClient(bus.url, bus.agent.source, bus.agent.key) as client:
        await client.submit(bell(bus, "bell-async"))
        job = await client.wait("bell-async", 60)
        both = await asyncio.gather(client.result("bell-async"), client.budget())
    assert job.result
    assert job.result.result_digest == both[0].result_digest
    assert both[1]["spent_microusd"] > 0


@pytest.mark.usefixtures("hurried")
def test_a_lost_answer_is_asked_for_again_and_makes_no_second_job(bus: Bus) -> None:
    with Client(bus.url, bus.agent.source, bus.agent.key, Losing(2)) as client:
        receipt = client.submit(bell(bus, "bell-lost"))
        assert client.submit(bell(bus, "bell-lost")) == receipt
        assert [each["job_id"] for each in client.jobs()].count("bell-lost") == 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.usefixtures("hurried")
def test_a_busy_bus_is_asked_again(bus: Bus, status: int) -> None:
    transport = Busy(3, status)
    with Client(bus.url, bus.agent.source, bus.agent.key, transport) as client:
        assert client.budget()["limit_microusd"] > 0
    assert transport.refusals == 0


@pytest.mark.usefixtures("hurried")
def test_a_bus_that_stays_busy_is_told_as_such(bus: Bus) -> None:
    with (
        Client(bus.url, bus.agent.source, bus.agent.key, Busy(99, 503)) as client,
        pytest.raises(Failed) as failed,
    ):
        client.budget()
    assert (failed.value.code, failed.value.status) == ("overloaded", 503)


def test_another_manifest_under_the_same_job_id_is_refused(bus: Bus, client: Client) -> None:
    client.submit(bell(bus, "bell-twice"))
    with pytest.raises(Failed) as failed:
        client.submit(bell(bus, "bell-twice", quantum__shots=99))
    assert failed.value.status == 409


def test_all_faults_of_a_manifest_come_with_their_places(bus: Bus, client: Client) -> None:
    with pytest.raises(Failed) as failed:
        client.submit(bell(bus, "bell-wrong", site="site-elsewhere", deadline_us=1))
    assert {each.path for each in failed.value.problems} == {"site", "deadline_us"}


def test_a_token_that_counts_no_longer_is_renewed(client: Client) -> None:
    client.budget()
    assert client._http.auth
    setattr(client._http.auth, "_token", "eyJ.of.yesterday")  # noqa: B010 (httpx2 knows it as Auth alone)
    assert client.budget()["limit_microusd"] > 0


def test_a_wait_that_is_too_short_ends_and_the_job_goes_on(bus: Bus, client: Client) -> None:
    client.submit(bell(bus, "bell-dear", budget__cost_microusd=90_000_000))
    with pytest.raises(TimeoutError, match="goes on"):
        client.wait("bell-dear", 0.2)
    assert client.withdraw("bell-dear", "a test")["job_id"] == "bell-dear"
    assert client.wait("bell-dear", 30).reason == "withdrawn"


def test_a_result_that_is_not_there_yet_has_its_code(bus: Bus, client: Client) -> None:
    client.submit(bell(bus, "bell-early", budget__cost_microusd=90_000_000))
    with pytest.raises(Failed) as failed:
        client.result("bell-early")
    assert failed.value.code == "result_absent"


def test_a_device_is_measured_anew_for_an_agent(bus: Bus, client: Client) -> None:
    asked = client.request_calibration("onprem-iontrap-1", "a test", request_id="fresh-1")
    assert client.request_calibration("onprem-iontrap-1", "a test", request_id="fresh-1") == asked
    assert client.snapshot("onprem-iontrap-1")["device"] == "onprem-iontrap-1"
    assert bus.site == client.site()


def test_tokens_are_asked_for_where_the_bus_says_it_is_and_nowhere_else(bus: Bus) -> None:
    other = bus.url.replace("127.0.0.1", "localhost")
    with Client(other, bus.agent.source, bus.agent.key) as client, pytest.raises(Failed) as failed:
        client.budget()
    assert failed.value.code == "issuer_other"


@pytest.mark.usefixtures("hurried")
def test_a_bus_that_is_not_there_is_told_in_words(bus: Bus) -> None:
    with Client("http://127.0.0.1:9", bus.agent.source, bus.agent.key) as client, pytest.raises(Failed) as failed:
        client.budget()
    assert failed.value.code == "unreachable"


def test_a_key_that_is_not_enrolled_gets_no_token(bus: Bus) -> None:
    with Client(bus.url, "agent:nobody", bus.agent.key) as client, pytest.raises(Failed) as failed:
        client.budget()
    assert failed.value.status == 401
