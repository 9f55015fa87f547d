"""JSON Web Tokens, read strictly: a token, its key and what must hold go in, claims come out, or the reason why not."""

import math
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import orjson
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import Key

TOKEN_CHARS_MAX = 8_192
LEEWAY_S = 5.0
"""How far ahead of ours the clock of whoever signed may be."""
_REGISTRY = jws.JWSRegistry(algorithms=["Ed25519", "EdDSA", "ES256", "PS256", "RS256"], strict_check_header=False)
"""Header parameters that are not known are passed over, as RFC 7515 asks; one that is critical is refused (`peek`)."""


class TokenInvalid(ValueError):
    """A token that does not hold."""


def peek(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims of a token, not yet verified: only to learn by which key it should be."""
    if len(token) > TOKEN_CHARS_MAX:
        raise TokenInvalid(f"a token has at most {TOKEN_CHARS_MAX} characters")
    try:
        found = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY)
        header, claims = found.headers(), orjson.loads(found.payload)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise TokenInvalid("it is not a signed token in compact form") from None
    if not isinstance(claims, dict):
        raise TokenInvalid("its claims are no object")
    if "crit" in header:
        raise TokenInvalid("its header has critical parameters, and none is known here")
    return header, claims


def verified(token: str, key: Key, algorithms: Collection[str]) -> Mapping[str, Any]:
    """The claims of a token whose signature holds under this key, by one of these algorithms."""
    header, claims = peek(token)
    if header.get("alg") not in algorithms:
        raise TokenInvalid(f"its algorithm is none of {', '.join(sorted(algorithms))}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # RFC 9864 retires EdDSA, most clients say it
            jws.deserialize_compact(token, key, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise TokenInvalid("its signature does not hold") from None
    return claims


def check_times(claims: Mapping[str, Any], now_s: float, lifetime_s_max: float) -> float:
    """When a token ends; `TokenInvalid` unless it holds now and does not hold longer than it may."""
    ends, begun = _time(claims, "exp"), _time(claims, "iat")
    if ends <= now_s:
        raise TokenInvalid("it has expired")
    if max(begun, _time(claims, "nbf", begun)) > now_s + LEEWAY_S:
        raise TokenInvalid("it does not hold yet")
    if ends - begun > lifetime_s_max:
        raise TokenInvalid(f"it holds longer than {lifetime_s_max:g} s")
    return ends


def check_audience(claims: Mapping[str, Any], audiences: Collection[str]) -> None:
    """`TokenInvalid` unless a token is meant for one of these audiences."""
    named = claims.get("aud")
    for each in named if isinstance(named, list) else [named]:
        if isinstance(each, str) and each in audiences:
            return
    raise TokenInvalid("it is meant for another audience")


def text_of(claims: Mapping[str, Any], name: str) -> str:
    """A claim that must be there and be a text of a sane length."""
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 512:
        raise TokenInvalid(f"its claim {name} is missing or no text")
    return value


def _time(claims: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TokenInvalid(f"its claim {name} is missing or no time")
    return float(value)
