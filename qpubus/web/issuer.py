"""The built-in issuer: an enrolled key's signed assertion goes in, an access token for at most five minutes comes out.

OAuth 2.1 client credentials with `private_key_jwt` (RFC 7523); tokens are JWTs by RFC 9068, metadata by RFC 8414. The
key that signs tokens is made anew with each start and is never stored: a token dies with the process at the latest.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import OKPKey

from qpubus.refusal import Refusal
from qpubus.web.caller import SCOPES_OF_ROLE, Scope
from qpubus.web.jwt import TokenInvalid, check_audience, check_times, peek, text_of, verified
from qpubus.web.used import UsedAssertions
from schemas.admission import EnrolledKey
from schemas.keys import key_id, raw_public_key

TOKEN_PATH = "/oauth/token"  # noqa: S105 (a path)
JWKS_PATH = "/oauth/jwks"
TOKEN_S = 300
ASSERTION_S_MAX = 300
GRANT_TYPE = "client_credentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS = ("Ed25519", "EdDSA")


def client_assertion(key: Ed25519PrivateKey, source: str, audience: str, now_s: float) -> str:
    """What an enrolled agent or person shows the token endpoint: who it is, signed, for one minute and one use."""
    name = key_id(raw_public_key(key))
    claims = {
        "iss": source,
        "sub": source,
        "aud": audience,
        "iat": int(now_s),
        "exp": int(now_s) + 60,
        "jti": secrets.token_urlsafe(16),
    }
    header = {"alg": "Ed25519", "kid": name, "typ": "JWT"}
    return jwt.encode(header, claims, OKPKey.import_key(key), algorithms=["Ed25519"])


class Issuer:
    """Issues access tokens for one address, and knows its own."""

    def __init__(self, base_url: str, used: UsedAssertions) -> None:
        self.base_url = base_url
        self._used = used
        self._key = OKPKey.generate_key("Ed25519", {"kid": secrets.token_urlsafe(8), "use": "sig", "alg": "Ed25519"})

    def metadata(self) -> dict[str, Any]:
        """Authorization server metadata (RFC 8414)."""
        return {
            "issuer": self.base_url,
            "token_endpoint": self.base_url + TOKEN_PATH,
            "jwks_uri": self.base_url + JWKS_PATH,
            "grant_types_supported": [GRANT_TYPE],
            "response_types_supported": [],
            "scopes_supported": sorted(Scope),
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": list(_ALGORITHMS),
        }

    def jwks(self) -> dict[str, Any]:
        """The public key of the access tokens, for whoever wants to look into one."""
        return {"keys": [self._key.as_dict(private=False)]}

    def token(self, form: Mapping[str, str], keys: Mapping[str, EnrolledKey], now_s: float) -> dict[str, Any]:
        """Answer a token request (its form fields); `Refusal` says what is wrong with it."""
        if form.get("grant_type") != GRANT_TYPE:
            raise Refusal("grant_invalid", f"grant_type must be {GRANT_TYPE}")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise Refusal("arguments_invalid", f"client_assertion_type must be {ASSERTION_TYPE}")
        resource = form.get("resource", self.base_url)
        if resource.rstrip("/") != self.base_url and not resource.startswith(f"{self.base_url}/"):
            raise Refusal("target_invalid", f"tokens are issued for {self.base_url} alone")
        try:
            key = self._authenticated(form.get("client_assertion", ""), keys, now_s)
        except TokenInvalid as error:
            raise Refusal("client_invalid", f"client_assertion: {error}") from None
        if form.get("client_id", key.source) != key.source:
            raise Refusal("client_invalid", "client_id names somebody else than the assertion")
        scopes = _scopes(form.get("scope", ""), key)
        claims = {
            "iss": self.base_url,
            "aud": self.base_url,
            "sub": key.source,
            "client_id": key.source,
            "scope": " ".join(sorted(scopes)),
            "iat": int(now_s),
            "exp": int(now_s) + TOKEN_S,
            "jti": secrets.token_urlsafe(16),
            "key_id": key.key_id,
        }
        header = {"alg": "Ed25519", "kid": str(self._key.kid), "typ": "at+jwt"}
        token = jwt.encode(header, claims, self._key, algorithms=["Ed25519"])
        return {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_S, "scope": claims["scope"]}

    def verified(self, token: str, now_s: float) -> Mapping[str, Any]:
        """The claims of an access token of this issuer; `TokenInvalid` if it does not hold."""
        header, _ = peek(token)
        if header.get("kid") != self._key.kid or header.get("typ") != "at+jwt":
            raise TokenInvalid("it was not issued since this gateway started")
        claims = verified(token, self._key, ["Ed25519"])
        check_times(claims, now_s, TOKEN_S)
        check_audience(claims, {self.base_url})
        return claims

    def _authenticated(self, assertion: str, keys: Mapping[str, EnrolledKey], now_s: float) -> EnrolledKey:
        """The enrolled key behind a client assertion, which is used up by this."""
        header, claims = peek(assertion)
        key = keys.get(str(header.get("kid")))
        if key is None or key.revoked or key.role not in SCOPES_OF_ROLE or key.record_key is None:
            raise TokenInvalid("its kid names no enrolled key of an agent or person that counts")
        verified(assertion, OKPKey.import_key(key.public_key), _ALGORITHMS)
        if {text_of(claims, "iss"), text_of(claims, "sub")} != {key.source}:
            raise TokenInvalid(f"iss and sub must both be {key.source}")
        check_audience(claims, {self.base_url, self.base_url + TOKEN_PATH})
        ends_s = check_times(claims, now_s, ASSERTION_S_MAX)
        if not self._used.use(key.source, text_of(claims, "jti"), ends_s, now_s):
            raise TokenInvalid("it was used before: sign a new one for each request")
        return key


def _scopes(asked: str, key: EnrolledKey) -> frozenset[str]:
    most = frozenset(str(each) for each in SCOPES_OF_ROLE[key.role])
    wanted = frozenset(asked.split()) or most
    if wanted - most:
        raise Refusal("scope_invalid", f"{key.source} can have {' '.join(sorted(most))}, nothing else")
    return wanted
