"""Outside issuers: an OpenID Connect provider's token goes in, the enrolled agent that it stands for comes out.

Keys come from the configured address alone, never from one that a token names. They are fetched at most twice a minute,
whatever tokens say, and older ones serve for an hour while the provider cannot be reached.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey

from qpubus.refusal import Refusal
from qpubus.web.jwt import TokenInvalid, check_audience, check_times, text_of, verified
from qpubus.web.settings import OutsideIssuer

FRESH_S = 600.0
STALE_S = 3_600.0
PAUSE_S = 30.0
FETCH_S = 5.0
JWKS_BYTES_MAX = 65_536
RSA_BITS_MIN = 2_048
Fetch = Callable[[str], Awaitable[bytes]]


async def fetch_jwks(uri: str) -> bytes:
    """A key set's text: in time, of a sane size, without following anybody elsewhere."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_S)) as session,
        session.get(uri, allow_redirects=False) as response,
    ):
        if response.status != 200:
            raise OSError(f"status {response.status}")
        text = await response.content.read(JWKS_BYTES_MAX + 1)
        while len(text) <= JWKS_BYTES_MAX and (more := await response.content.read(JWKS_BYTES_MAX)):
            text += more
        if len(text) > JWKS_BYTES_MAX:
            raise OSError(f"more than {JWKS_BYTES_MAX} bytes")
        return text


class Provider:
    """One outside issuer and its keys."""

    def __init__(
        self, settings: OutsideIssuer, fetch: Fetch = fetch_jwks, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self._fetch = fetch
        self._now_s = now_s
        self._keys: dict[str, Key] = {}
        self._fetched_s: float | None = None
        self._tried_s: float | None = None
        self._turn = asyncio.Lock()

    async def claims(self, token: str, header: Mapping[str, Any], wall_s: float) -> Mapping[str, Any]:
        """The claims of a token of this issuer; `TokenInvalid` if it does not hold."""
        key = await self._key(str(header.get("kid", "")))
        claims = verified(token, key, self.settings.algorithms)
        check_times(claims, wall_s, self.settings.lifetime_s_max)
        check_audience(claims, {self.settings.audience})
        return claims

    def agent(self, claims: Mapping[str, Any]) -> str:
        """The enrolled agent that verified claims stand for."""
        agent = self.settings.agents.get(text_of(claims, self.settings.claim))
        if agent is None:
            raise TokenInvalid(f"its {self.settings.claim} stands for no agent of this site")
        return agent

    async def _key(self, name: str) -> Key:
        async with self._turn:
            now_s = self._now_s()
            is_fresh = self._fetched_s is not None and now_s - self._fetched_s < FRESH_S
            may_try = self._tried_s is None or now_s - self._tried_s >= PAUSE_S
            if may_try and not (is_fresh and name in self._keys):
                await self._refresh(now_s)
            if self._fetched_s is None or now_s - self._fetched_s > STALE_S:
                raise Refusal("issuer_unreachable", f"{self.settings.jwks_uri} gives no keys", retry_after_s=30)
        if name not in self._keys:
            raise TokenInvalid("its kid names no key of its issuer")
        return self._keys[name]

    async def _refresh(self, now_s: float) -> None:
        self._tried_s = now_s
        try:
            found = KeySet.import_key_set(orjson.loads(await self._fetch(self.settings.jwks_uri)))
        except (OSError, TimeoutError, aiohttp.ClientError, JoseError, ValueError, TypeError, KeyError):
            return  # the keys that were fetched before serve on, for a while
        self._keys = {str(key.kid): key for key in found.keys if key.kid and _is_public(key)}
        self._fetched_s = now_s


def _is_public(key: Key) -> bool:
    """Whether a key can only check signatures: a shared secret in a public key set would let anybody sign."""
    if isinstance(key, RSAKey):
        return key.raw_value.key_size >= RSA_BITS_MIN
    return isinstance(key, ECKey | OKPKey)
