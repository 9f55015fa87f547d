"""Identity: what stands in the Authorization header goes in, a caller comes out. An OAuth 2.1 resource server.

A token is checked once and remembered until it ends; that its key is still enrolled and not revoked is checked with
every request, so a revoked key's tokens die with it.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from qpubus.refusal import Refusal
from qpubus.web.caller import SCOPES_OF_ROLE, Assurance, Caller, Scope
from qpubus.web.desk import FrontDesk
from qpubus.web.issuer import TOKEN_S, Issuer
from qpubus.web.jwt import TOKEN_CHARS_MAX, TokenInvalid, peek, text_of
from qpubus.web.outside import Provider
from qpubus.web.workload import Rates
from schemas.admission import EnrolledKey
from schemas.topics import Role

RESOURCE_METADATA = "/.well-known/oauth-protected-resource"
MCP_PATH = "/mcp"
_REMEMBERED = 4_096


class _Shown(NamedTuple):
    """What a token says, once it was found to hold."""

    source: str
    key_id: str
    scopes: frozenset[str]
    ends_s: float


class Identity:
    """Who may come in, by access tokens of the built-in issuer and of those that are configured."""

    def __init__(self, desk: FrontDesk, issuer: Issuer, rates: Rates, providers: Sequence[Provider] = ()) -> None:
        self._desk = desk
        self._rates = rates
        self.issuer = issuer
        self._providers = {each.settings.issuer: each for each in providers}
        self._seen: OrderedDict[bytes, _Shown] = OrderedDict()

    @property
    def now_s(self) -> float:
        """The time by the clock of the bus."""
        return self._desk.machine.clock.now_us() / 1e6

    def resource(self, path: str = "") -> dict[str, Any]:
        """Protected resource metadata (RFC 9728): of the whole door, or of what is reached at a path of it."""
        return {
            "resource": self.issuer.base_url + path,
            "authorization_servers": [self.issuer.base_url, *self._providers],
            "scopes_supported": sorted(Scope),
            "bearer_methods_supported": ["header"],
            "resource_name": f"qpubus {self._desk.site}",
        }

    async def token(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Answer a request for an access token; an agent that a person halted gets none."""
        keys, gateway = await self._desk.keys(), self._desk.gateway
        living = {
            name: key for name, key in keys.items() if key.role != Role.AGENT or gateway.halted(key.source) is None
        }
        answer = self.issuer.token(form, living, self.now_s)
        self._rates.take(text_of(peek(form["client_assertion"])[1], "sub"))
        return answer

    async def caller(self, authorization: str | None) -> Caller:
        """Who a request is from; `Refusal` (`token_missing`, `token_invalid`) if nobody can be made out.

        The request counts towards what the caller may ask in a time (`rate_exceeded`).
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refusal("token_missing", f"send an access token of {self.issuer.base_url}: Authorization: Bearer …")
        try:
            shown = await self._shown(token.strip())
            caller = self._admitted(shown, await self._desk.keys())
        except TokenInvalid as error:
            raise Refusal("token_invalid", f"the access token does not hold: {error}") from None
        self._rates.take(caller.source)
        return caller

    async def still(self, authorization: str | None, caller: Caller) -> bool:
        """Whether what let a caller in still does: its token has not ended, its key counts, nobody has halted it."""
        token = (authorization or "").partition(" ")[2].strip()
        shown = self._seen.get(_digest(token))
        if shown is None or shown.ends_s <= self.now_s:
            return False
        try:
            return self._admitted(shown, await self._desk.keys()) == caller
        except (Refusal, TokenInvalid):
            return False

    def whose(self, authorization: bytes) -> str:
        """Whose share of the door a request counts towards, told at once; empty where its token does not tell.

        Only `caller` lets anybody in. A token of another issuer counts here once that has let it in.
        """
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or len(token) > TOKEN_CHARS_MAX:
            return ""
        token = token.strip()
        if (shown := self._seen.get(_digest(token))) is None:
            try:
                shown = self._remembered(token, self._own(token))
            except TokenInvalid:
                return ""
        return shown.source if shown.ends_s > self.now_s else ""

    def challenge(self, refusal: Refusal, path: str = "") -> str:
        """The WWW-Authenticate header that goes with a refusal (RFC 6750, RFC 9728) of what is at a path."""
        where = f'Bearer resource_metadata="{self.issuer.base_url}{RESOURCE_METADATA}{path}"'
        errors = {"token_invalid": "invalid_token", "scope_missing": "insufficient_scope"}
        error = errors.get(refusal.code)
        return f'{where}, error="{error}"' if error else where

    async def _shown(self, token: str) -> _Shown:
        if len(token) > TOKEN_CHARS_MAX:
            raise TokenInvalid(f"a token has at most {TOKEN_CHARS_MAX} characters")
        shown = self._seen.get(_digest(token))
        if shown is None or shown.ends_s <= self.now_s:
            self._seen.pop(_digest(token), None)
            shown = self._remembered(token, await self._verified(token))
        self._seen.move_to_end(_digest(token))
        return shown

    def _remembered(self, token: str, shown: _Shown) -> _Shown:
        self._seen[_digest(token)] = shown
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return shown

    def _own(self, token: str) -> _Shown:
        """What a token of the built-in issuer says."""
        claims = self.issuer.verified(token, self.now_s)
        return _Shown(claims["sub"], claims["key_id"], frozenset(claims["scope"].split()), claims["exp"])

    async def _verified(self, token: str) -> _Shown:
        header, peeked = peek(token)
        issuer = peeked.get("iss")
        if issuer == self.issuer.base_url:
            return self._own(token)
        provider = self._providers.get(issuer) if isinstance(issuer, str) else None
        if provider is None:
            raise TokenInvalid("its issuer is not one of those that are taken here")
        claims = await provider.claims(token, header, self.now_s)
        scopes = frozenset(str(each) for each in SCOPES_OF_ROLE[Role.AGENT])
        ends_s = min(float(claims["exp"]), self.now_s + TOKEN_S)
        return _Shown(provider.agent(claims), "", scopes, ends_s)

    def _admitted(self, shown: _Shown, keys: Mapping[str, EnrolledKey]) -> Caller:
        """The caller behind a token, as governance has it now."""
        held = [keys[shown.key_id]] if shown.key_id in keys else []
        if not shown.key_id:
            held = [key for key in keys.values() if key.source == shown.source and key.role == Role.AGENT]
        held = [key for key in held if not key.revoked and key.role in SCOPES_OF_ROLE]
        if not held:
            raise TokenInvalid(f"no key of {shown.source} counts any more")
        role = held[0].role
        if role == Role.AGENT and (halt := self._desk.gateway.halted(shown.source)):
            raise Refusal("halted", self._desk.machine.vault.told(halt.message))
        assurance: Assurance = "agent-held" if shown.key_id else "gateway-held"
        return Caller(
            self._desk.site,
            shown.source,
            role,
            shown.scopes & {str(each) for each in SCOPES_OF_ROLE[role]},
            key_id=shown.key_id,
            sees_site=role != Role.AGENT or any(key.reads == "site" for key in held),
            assurance=assurance,
        )


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()
