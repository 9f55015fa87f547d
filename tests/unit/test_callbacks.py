"""Callbacks: who is told that a job ended, how often, and to which places nothing is ever brought."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
from aiohttp import web
from joserfc import jws
from joserfc.jwk import OKPKey

from agents.callbacks import PAUSES_US, CallbackSender
from agents.courier import Courier, Sent
from qpubus.kafka.tls import make_certificates
from schemas.events import CallbackDelivered, IntentDeclared, IntentRefused, JobFailed
from tests.support.bell import bell_manifest
from tests.support.town import Town, new_town

URL = "https://localhost:{}/told"


class Receiver:
    """An agent's own server: it answers with the statuses given, the last of them for ever."""

    def __init__(self, *statuses: int) -> None:
        self.notices: list[str] = []
        self.port = 0
        self._statuses = list(statuses)

    async def take(self, request: web.Request) -> web.Response:
        self.notices.append(await request.text())
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        return web.Response(status=status, headers={"Location": "https://localhost/elsewhere"})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    make_certificates(directory, ("localhost", "127.0.0.1"))
    return directory


@asynccontextmanager
async def listening(receiver: Receiver, certificates: Path) -> AsyncIterator[Courier]:
    """A receiver that can be reached, and a courier who may go there."""
    identity = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    identity.load_cert_chain(certificates / "broker.pem")
    app = web.Application()
    app.router.add_post("/told", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=identity)
    await site.start()
    receiver.port = runner.addresses[0][1]
    courier = Courier([f"localhost:{receiver.port}"], ssl.create_default_context(cafile=certificates / "ca.pem"))
    try:
        yield courier
    finally:
        await courier.close()
        await runner.cleanup()


async def sender_of(town: Town, courier: Courier) -> CallbackSender:
    return CallbackSender(town.member("callbacks:main"), town.log, town.clock, courier)


async def declared(town: Town, url: str | None, job_id: str = "bell-1") -> IntentDeclared:
    manifest = bell_manifest(job_id=job_id, callback=url) if url else bell_manifest(job_id=job_id)
    intent = IntentDeclared(job_id=job_id, agent_key_id="a" * 32, agent_proof="proof", manifest=manifest)
    await town.say("gateway:main", intent)
    return intent


async def failed(town: Town, job_id: str = "bell-1") -> None:
    await town.say("stage:orchestrator", JobFailed(job_id=job_id, reason="no_device", message="none fits"))


@pytest.fixture
async def town(tmp_path: Path) -> Town:
    return await new_town(tmp_path)


async def test_the_end_of_a_job_is_told_once_and_said_on_the_log(town: Town, certificates: Path) -> None:
    receiver = Receiver(204)
    async with listening(receiver, certificates) as courier:
        await declared(town, URL.format(receiver.port))
        await failed(town)
        await town.run(await sender_of(town, courier))
        await town.run(await sender_of(town, courier))  # another process, after a crash
    [delivered] = await town.events(CallbackDelivered)
    assert (delivered.is_delivered, delivered.status, delivered.attempts) == (True, 204, 1)
    assert len(receiver.notices) == 1


async def test_a_notice_is_signed_and_says_how_the_job_ended(town: Town, certificates: Path) -> None:
    receiver = Receiver(200)
    async with listening(receiver, certificates) as courier:
        await declared(town, URL.format(receiver.port))
        await failed(town)
        await town.run(await sender_of(town, courier))
    key = OKPKey.import_key(town.keys["callbacks:main"].public_key())
    told = jws.deserialize_compact(receiver.notices[0], key, algorithms=["Ed25519"])
    payload = orjson.loads(told.payload)
    assert (payload["job_id"], payload["outcome"], payload["reason"]) == ("bell-1", "failed", "no_device")


async def test_who_does_not_answer_well_is_asked_again_later(town: Town, certificates: Path) -> None:
    receiver = Receiver(503, 503, 200)
    async with listening(receiver, certificates) as courier:
        await declared(town, URL.format(receiver.port))
        await failed(town)
        await town.run(await sender_of(town, courier), until_us=town.clock.now_us() + sum(PAUSES_US))
    [delivered] = await town.events(CallbackDelivered)
    assert (delivered.is_delivered, delivered.attempts) == (True, 3)


async def test_a_notice_that_nobody_takes_is_given_up(town: Town, certificates: Path) -> None:
    receiver = Receiver(503)
    async with listening(receiver, certificates) as courier:
        await declared(town, URL.format(receiver.port))
        await failed(town)
        await town.run(await sender_of(town, courier), until_us=town.clock.now_us() + sum(PAUSES_US))
    [delivered] = await town.events(CallbackDelivered)
    assert (delivered.is_delivered, delivered.attempts, delivered.status) == (False, len(PAUSES_US) + 1, 503)


async def test_a_redirect_is_not_followed(certificates: Path) -> None:
    receiver = Receiver(307)
    async with listening(receiver, certificates) as courier:
        sent = await courier.post(URL.format(receiver.port), b"notice")
    assert (sent.status, sent.is_delivered) == (307, False)


async def test_a_job_without_a_callback_is_told_to_nobody(town: Town) -> None:
    await declared(town, None)
    await failed(town)
    await town.run(await sender_of(town, Courier(["localhost"])))
    assert await town.events(CallbackDelivered) == []


async def test_the_refusal_of_a_second_job_of_the_same_name_ends_not_the_first(town: Town) -> None:
    await declared(town, URL.format(443))
    refused = IntentRefused(
        job_id="bell-1", intent_digest="0" * 64, reason="job_repeated", message="again", policy_digest="", rule="limits"
    )
    await town.say("stage:policy", refused)
    await town.run(await sender_of(town, Courier([])))
    assert await town.events(CallbackDelivered) == []


class Streets(Courier):
    """Notes where it was sent; at `away.example` nobody answers."""

    def __init__(self) -> None:
        super().__init__(["away.example", "home.example"])
        self.asked: list[str] = []

    async def post(self, url: str, notice: bytes, headers: Mapping[str, str]) -> Sent:  # type: ignore[override]  # notices always bring headers
        assert notice
        assert headers["Idempotency-Key"]
        host = urlsplit(url).netloc
        self.asked.append(host)
        return Sent(0, is_lasting=False, message="nobody") if host == "away.example" else Sent(204, False, "taken")


async def test_who_gave_no_answer_is_asked_when_nobody_else_is_to_be_told(town: Town) -> None:
    streets = Streets()
    sender = await sender_of(town, streets)
    for number, host in enumerate(("away", "home")):
        await declared(town, f"https://{host}.example/told", f"bell-{number}")
        await failed(town, f"bell-{number}")
    await sender.step()
    assert sorted(streets.asked) == ["away.example", "home.example"]
    await declared(town, "https://home.example/told", "bell-2")
    await failed(town, "bell-2")
    town.clock.advance_to(town.clock.now_us() + PAUSES_US[0])
    await sender.step()
    assert streets.asked[2:] == ["home.example"]
    await sender.step()
    assert streets.asked[2:] == ["home.example", "away.example"]


@pytest.mark.parametrize(
    "url",
    [
        "https://internal.example/x",
        "http://localhost/x",
        "https://user@localhost/x",
        "https://localhost:8443/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://localhost.evil.example/x",
        "https://localhost:port/x",
    ],
)
def test_places_that_the_operator_has_not_named_get_nothing(url: str) -> None:
    assert Courier(["localhost", "127.0.0.1", "::1"]).why_not(url)


async def test_a_name_that_leads_into_the_own_network_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object) -> list[dict[str, object]]:
        return [{"hostname": "agent.example", "host": "10.0.0.7", "port": 443, "family": 2, "proto": 6, "flags": 0}]

    monkeypatch.setattr("agents.courier.ThreadedResolver.resolve", resolve)
    courier = Courier(["agent.example"])
    sent = await courier.post("https://agent.example/x", b"notice")
    await courier.close()
    assert (sent.status, sent.is_lasting) == (0, True)
    assert "no public address" in sent.message
