"""A founded site behind its real HTTP door: a socket, a server, enrolled agents and people, and a client for them."""

import asyncio
import shutil
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.client import RequestingAgent
from qpubus.bus import run_until_quiet
from qpubus.founding import Founding, Member, enrolment, found
from qpubus.governing import govern, open_register
from qpubus.keyfile import read_key, write_key
from qpubus.place import Place
from qpubus.web.desk import FrontDesk
from qpubus.web.held import held_key_file
from qpubus.web.issuer import ASSERTION_TYPE, GRANT_TYPE, client_assertion
from qpubus.web.opening import open_http
from qpubus.web.server import Address
from qpubus.web.settings import Settings
from qpubus.wiring import Machine, open_machine
from schemas.admission import ROOT_SOURCE
from schemas.events import KeyEnrolled, KeyRevoked
from schemas.keys import key_id, raw_public_key
from schemas.manifest import Manifest
from schemas.proofs import TYPE_INTENT, sign_jws
from schemas.topics import Role
from schemas.words import Event
from streams.author import Draft, Scribe, seal_all
from tests.support.bell import bell_document
from tests.support.town import AGENT, APPROVER, SITE, STRANGER

READER, HELD, AUDITOR = "agent:reader", "agent:held", "auditor:tester"
FAST = Settings(rate_per_s=1_000_000, burst=1_000_000)
"""For tests that are not about rates."""


def site_with_agents(directory: Path, more: Sequence[str] = (), site: str = SITE) -> dict[str, Ed25519PrivateKey]:
    """Found a site and enrol its agents, `more` of them too; their keys by source."""
    place = Place(directory)
    found(place, Founding(site, AGENT, APPROVER, "wall", time.time_ns() // 1_000, 1, 10**13))
    keys = {AGENT: read_key(place.key("agent")), APPROVER: read_key(place.key("approver"))}
    keys |= {source: Ed25519PrivateKey.generate() for source in (STRANGER, READER, AUDITOR, *more)}
    held = Ed25519PrivateKey.generate()
    write_key(held_key_file(place.keys, HELD), held)
    enrolled = [
        enrolment(Member(source, Role.AUDITOR if source == AUDITOR else Role.AGENT, ""), keys[source], "file")
        for source in (STRANGER, READER, AUDITOR, *more)
    ]
    enrolled = [each.model_copy(update={"reads": "site"}) if each.source == READER else each for each in enrolled]
    enrolled.append(
        enrolment(Member(HELD, Role.AGENT, ""), held, "file").model_copy(update={"assurance": "gateway-held"})
    )
    govern_now(directory, enrolled)
    return keys


def govern_now(directory: Path, events: Sequence[KeyEnrolled]) -> None:
    """Let the root say something while no bus runs."""

    async def said() -> None:
        register = await open_register(directory)
        root = read_key(Place(directory).key("root"))
        for at in range(0, len(events), 32):
            await govern(directory, register, root, [(each, ()) for each in events[at : at + 32]])

    asyncio.run(said())


@dataclass
class House:
    """A machine, its door, and who may come in."""

    machine: Machine
    desk: FrontDesk
    keys: dict[str, Ed25519PrivateKey]
    client: httpx.AsyncClient
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the door is."""
        return self.desk.public_url

    def assertion(self, source: str, now_s: float | None = None) -> str:
        """A client assertion of somebody's."""
        return client_assertion(self.keys[source], source, self.url, time.time() if now_s is None else now_s)

    async def ask_token(self, assertion: str, **more: str) -> httpx.Response:
        """A request for an access token."""
        form = {"grant_type": GRANT_TYPE, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        return await self.client.post("/oauth/token", data=form | more)

    async def token(self, source: str, **more: str) -> str:
        """An access token of somebody's, asked for once."""
        if more or source not in self.tokens:
            answer = await self.ask_token(self.assertion(source), **more)
            assert answer.status_code == 200, answer.text
            if more:
                return str(answer.json()["access_token"])
            self.tokens[source] = answer.json()["access_token"]
        return self.tokens[source]

    async def ask(self, method: str, path: str, source: str = AGENT, **more: Any) -> httpx.Response:
        """A request by somebody."""
        headers = {"authorization": f"Bearer {await self.token(source)}"} | more.pop("headers", {})
        return await self.client.request(method, path, headers=headers, **more)

    def declaration(self, source: str = AGENT, **changes: Any) -> dict[str, Any]:
        """The body of a declaration, signed by the agent itself."""
        document = bell_document(initiator=source, **changes)
        return {"manifest": document, "agent_proof": signed(self.keys[source], document)}

    async def declare(self, source: str = AGENT, *, key: str = "", **changes: Any) -> httpx.Response:
        """A declaration by an agent."""
        headers = {"idempotency-key": key} if key else {}
        return await self.ask("POST", "/v1/jobs", source, json=self.declaration(source, **changes), headers=headers)

    async def settle(self, *left_out: str) -> None:
        """Let all parts do what is at hand."""
        await run_until_quiet([self.machine.part(name) for name in self.machine.names if name not in left_out])

    async def say(self, event: Event) -> None:
        """Let the root say something while the bus runs."""
        await say_as_root(self.machine, event)

    async def revoke(self, source: str) -> None:
        """End the key of somebody."""
        await self.say(KeyRevoked(key_id=key_id(raw_public_key(self.keys[source])), reason="lost"))


async def say_as_root(machine: Machine, event: Event) -> None:
    """Append an event of governance."""
    register = await open_register(machine.place.directory)
    sequences = {topic: used for (source, topic), used in register.admission.sequences.items() if source == ROOT_SOURCE}
    scribe = Scribe(ROOT_SOURCE, machine.site, register.admission.writable, sequences)
    written = scribe.write(Draft("governance", event, machine.site, machine.clock.now_us()))
    await machine.log_as("root").append(seal_all([written], read_key(machine.place.key("root"))))


@asynccontextmanager
async def open_house(
    directory: Path, keys: dict[str, Ed25519PrivateKey], settings: Settings = FAST
) -> AsyncIterator[House]:
    """The site in a directory, its devices calibrated, behind its door on a free port."""
    async with open_machine(Place(directory)) as machine:
        await run_until_quiet([machine.part(name) for name in machine.names if name.startswith("device:")])
        async with (
            open_http(machine, Address("127.0.0.1", 0), settings) as desk,
            httpx.AsyncClient(base_url=desk.public_url, timeout=30, trust_env=False) as client,
        ):
            yield House(machine, desk, keys, client)


def copy_of(site: Path, directory: Path) -> Path:
    """A copy of a site that was made once for many tests."""
    return Path(shutil.copytree(site, directory))


def signed(key: Ed25519PrivateKey, document: dict[str, Any]) -> str:
    """An agent's proof of a manifest as it stands, sound or not."""
    try:
        manifest = Manifest.model_validate_json(orjson.dumps(document))
    except ValueError:
        return sign_jws(rfc8785.dumps(document), key, key_id(raw_public_key(key)), TYPE_INTENT)
    return RequestingAgent(str(document["initiator"]), key).sign(manifest)


def base64url(content: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()
