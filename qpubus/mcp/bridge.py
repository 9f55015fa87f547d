"""The way of the stdio bridge to its bus: where it is, under which name its key is enrolled, and the counter there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qpubus.client import AsyncClient, Failed
from qpubus.door_client import ask
from qpubus.mcp.remote import RemoteCounter
from qpubus.problem import Problem
from qpubus.reading import open_desk
from qpubus.refusal import Refusal
from schemas.events import KeyEnrolled
from schemas.keys import key_id, raw_public_key
from streams.stage import Heard

_MENDING = "Is it the right address, is the key enrolled for this agent (qpubus keys list), and not revoked?"


@asynccontextmanager
async def counter_at(
    url: str | None, agent: str | None, key: Ed25519PrivateKey, data: Path
) -> AsyncIterator[RemoteCounter]:
    """The counter of a bus for the agent of a key; where no URL or name is given, as the data directory has it."""
    try:
        where = (url or _url_of(data)).rstrip("/")
        who = agent or await _enrolled_as(key, data)
    except Problem as problem:
        raise Refusal(problem.code, f"{problem.what}. {problem.next_step}") from None
    async with AsyncClient(where, who, key) as client:
        try:
            site = await client.site()
        except Failed as failed:
            raise Refusal(failed.code, f"{url or data}: {failed.message}. {_MENDING}") from None
        yield RemoteCounter(client, where, site, who)


def _url_of(data: Path) -> str:
    url = str(ask(data, "status").get("http") or "")
    if not url:
        raise Problem(f"the bus on {data} has no HTTP door", "Start it without --http off, or name another: --url URL")
    return url


async def _enrolled_as(key: Ed25519PrivateKey, data: Path) -> str:
    """The name under which a key is enrolled at the site in a data directory."""
    name = key_id(raw_public_key(key))
    async with open_desk(data) as desk:
        async for items in desk.events(("governance",)):
            for item in items:
                if isinstance(item, Heard) and isinstance(item.event, KeyEnrolled) and item.event.key_id == name:
                    return item.event.source
            if not items:
                break
    raise Problem(f"the key {name} is not enrolled in {data}", "Enrol it, or name the agent: --agent NAME")
