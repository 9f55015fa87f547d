"""Access tokens: a key goes in, each request goes out with a token that holds for at least another half minute.

OAuth 2.1 client credentials with `private_key_jwt`, at the token endpoint that the bus names. The key never leaves.
"""

import time
from collections.abc import Generator
from urllib.parse import urlsplit

import httpx2
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qpubus.client.told import Failed
from qpubus.web.issuer import ASSERTION_TYPE, GRANT_TYPE, client_assertion

METADATA = "/.well-known/oauth-authorization-server"
SPARE_S = 30.0
_TIMEOUT = {"timeout": httpx2.Timeout(10.0).as_dict()}
_Flow = Generator[httpx2.Request, httpx2.Response, None]


class Tokens(httpx2.Auth):
    """Fetches a token when one is needed, and once more where the bus takes the one at hand no longer."""

    requires_response_body = True

    def __init__(self, url: str, source: str, key: Ed25519PrivateKey) -> None:
        self._url = url
        self._source = source
        self._key = key
        self._endpoint = ""
        self._issuer = ""
        self._token = ""
        self._ends_s = 0.0

    def auth_flow(self, request: httpx2.Request) -> _Flow:
        """Send the request with a token."""
        if time.monotonic() > self._ends_s - SPARE_S:
            yield from self._renew()
        request.headers["Authorization"] = f"Bearer {self._token}"
        response = yield request
        if response.status_code == 401:
            yield from self._renew()
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request

    def _renew(self) -> _Flow:
        if not self._endpoint:
            yield from self._discover()
        form = {
            "grant_type": GRANT_TYPE,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": client_assertion(self._key, self._source, self._issuer, time.time()),
        }
        asked_s = time.monotonic()
        document = _document((yield httpx2.Request("POST", self._endpoint, data=form, extensions=_TIMEOUT)))
        try:
            self._token, lasts_s = str(document["access_token"]), float(str(document["expires_in"]))
        except (KeyError, ValueError):
            raise Failed("answer_unreadable", f"{self._endpoint} did not answer with a token") from None
        self._ends_s = asked_s + lasts_s

    def _discover(self) -> _Flow:
        """Find the token endpoint. It must be where the bus itself is: an assertion goes nowhere else."""
        document = _document((yield httpx2.Request("GET", self._url + METADATA, extensions=_TIMEOUT)))
        issuer, endpoint = str(document.get("issuer", "")), str(document.get("token_endpoint", ""))
        if issuer.rstrip("/") != self._url or urlsplit(endpoint)[:2] != urlsplit(self._url)[:2]:
            raise Failed("issuer_other", f"the bus at {self._url} calls itself {issuer!r}: use that address")
        self._issuer, self._endpoint = issuer, endpoint


def _document(response: httpx2.Response) -> dict[str, object]:
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        document = None
    if response.status_code != 200 or not isinstance(document, dict):
        raise Failed.of(response.status_code, document)
    return document
