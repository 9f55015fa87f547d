"""Bringing notices to where a manifest says, and nowhere else: a URL and bytes go in, how it went comes out.

A manifest comes from a stranger, so its URL must not make this machine talk to what only this machine can reach. Hosts
are those that the operator has named; names must resolve to public addresses, unless the operator named a loopback one;
the connection goes to the very address that was checked; redirects are not followed; answers are not read.
"""

import ipaddress
import socket
import ssl
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

TIMEOUT_S = 10.0
CONNECTIONS_MAX = 16
CONTENT_TYPE = "application/jose"
_JOSE = {"Content-Type": CONTENT_TYPE}
_HTTPS_PORT = 443
_LASTING = frozenset({400, 401, 403, 404, 405, 410, 413, 414, 415, 422, 451})


class Sent(NamedTuple):
    """How an attempt went: the HTTP status (0 without an answer), whether another makes sense, and a sentence."""

    status: int
    is_lasting: bool
    message: str

    @property
    def is_delivered(self) -> bool:
        """Whether the notice was taken."""
        return 200 <= self.status < 300


class AddressForbidden(OSError):
    """A name that leads to an address that is not public."""


class _PublicAddresses(AbstractResolver):
    """Resolves names to public addresses only, but for the hosts that may be on this machine."""

    def __init__(self, local: Collection[str]) -> None:
        self._local = local
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name, if all of them may be talked to."""
        found = await self._resolver.resolve(host, port, family)
        for each in found:
            address = ipaddress.ip_address(each["host"])
            if not (address.is_global or (address.is_loopback and host in self._local)):
                raise AddressForbidden(f"{host} leads to {address}, which is no public address")
        return found

    async def close(self) -> None:
        """Give everything back."""
        await self._resolver.close()


class Courier:
    """Posts notices to hosts that the operator allows, each given as `host` (port 443) or `host:port`."""

    def __init__(
        self, allowed: Collection[str], trust: ssl.SSLContext | None = None, *, takes_plain_local: bool = False
    ) -> None:
        """`trust` replaces the machine's own certificate authorities. `localhost` is brought to only if it is named.

        With `takes_plain_local` that may be by http too, for who chose the URL and not a stranger.
        """
        self._takes_plain_local = takes_plain_local
        self._allowed = {each if ":" in each else f"{each}:{_HTTPS_PORT}" for each in allowed}
        self._local = {"localhost"} & {each.rpartition(":")[0] for each in self._allowed}
        self._trust = trust or ssl.create_default_context()
        self._session: aiohttp.ClientSession | None = None

    def why_not(self, url: str) -> str:
        """Why a URL is none to which notices are brought; empty if it is one."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or _HTTPS_PORT
        except ValueError:
            return "the callback is no URL"
        is_plain_local = self._takes_plain_local and parts.scheme == "http" and host in self._local
        if not (parts.scheme == "https" or is_plain_local) or parts.username is not None:
            return "the callback is not an https URL without a user"
        if f"{host}:{port}" not in self._allowed:
            return f"the operator does not allow callbacks to {host}:{port}"
        if _is_address(host):
            return "the callback names an address: name a host"
        return ""

    async def post(self, url: str, notice: bytes, headers: Mapping[str, str] = _JOSE) -> Sent:
        """Send a notice once."""
        if why := self.why_not(url):
            return Sent(0, is_lasting=True, message=why)
        try:
            async with self._opened().post(
                url, data=notice, headers=headers, allow_redirects=False, ssl=self._trust
            ) as answer:
                return Sent(answer.status, answer.status in _LASTING, f"answered with {answer.status}")
        except AddressForbidden as error:
            return Sent(0, is_lasting=True, message=str(error))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error.__cause__, AddressForbidden):
                return Sent(0, is_lasting=True, message=str(error.__cause__))
            return Sent(0, is_lasting=False, message=f"no answer ({type(error).__name__})")

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = _PublicAddresses(self._local)
            connector = aiohttp.TCPConnector(resolver=resolver, limit=CONNECTIONS_MAX, ttl_dns_cache=0)
            arguments: dict[str, Any] = {"connector": connector, "timeout": aiohttp.ClientTimeout(total=TIMEOUT_S)}
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), **arguments)
        return self._session


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
