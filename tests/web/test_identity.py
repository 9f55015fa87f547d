"""Identity: who gets a token, which tokens count, and that nothing else does."""

import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.registry import HeaderParameter

from agents.approver import PlainSigner
from qpubus.refusal import Refusal
from qpubus.web.identity import Identity
from qpubus.web.issuer import ASSERTION_TYPE, GRANT_TYPE, Issuer, client_assertion
from qpubus.web.outside import PAUSE_S, STALE_S, Provider
from qpubus.web.settings import OutsideIssuer
from qpubus.web.used import UsedAssertions
from qpubus.web.workload import Rates
from schemas.events import HaltLifted, KeyEnrolled
from schemas.keys import key_id, raw_public_key
from schemas.people import signed_words
from tests.support.bell import bell_document
from tests.support.jobs import halted, id_of, key_of, proof
from tests.support.town import AGENT, APPROVER, SITE, STRANGER
from tests.support.web_house import HELD, House, base64url

PROVIDER = "https://login.example.org"


async def refused_assertion(house: House, assertion: str) -> dict[str, Any]:
    answer = await house.ask_token(assertion)
    assert answer.status_code == 401, answer.text
    told: dict[str, Any] = answer.json()
    assert told["error"] == "invalid_client"
    return told


def assertion(house: House, *, header: dict[str, Any] | None = None, **changed: Any) -> str:
    """An agent's assertion with some claims or header parameters changed; None leaves one out."""
    key, now_s = house.keys[AGENT], int(time.time())
    name = key_id(raw_public_key(key))
    claims = {"iss": AGENT, "sub": AGENT, "aud": house.url, "iat": now_s, "exp": now_s + 60, "jti": f"{time.time_ns()}"}
    claims = {each: value for each, value in (claims | changed).items() if value is not None}
    raw_header = {"alg": "Ed25519", "kid": name, "typ": "JWT"} | (header or {})
    signed = f"{base64url(orjson.dumps(raw_header))}.{base64url(orjson.dumps(claims))}"
    return f"{signed}.{base64url(key.sign(signed.encode()))}"


async def test_an_enrolled_agent_gets_a_token_for_five_minutes_at_most(house: House) -> None:
    answer = await house.ask_token(house.assertion(AGENT))
    assert (answer.status_code, answer.json()["token_type"], answer.json()["expires_in"]) == (200, "Bearer", 300)


async def test_an_assertion_under_the_older_name_of_the_algorithm_is_taken(house: House) -> None:
    assert (await house.ask_token(assertion(house, header={"alg": "EdDSA"}))).status_code == 200


async def test_a_replayed_assertion_is_refused(house: House) -> None:
    once = house.assertion(AGENT)
    assert (await house.ask_token(once)).status_code == 200
    assert "used before" in (await refused_assertion(house, once))["error_description"]


def test_a_replayed_assertion_is_refused_by_the_next_gateway_too(tmp_path: Path) -> None:
    first = UsedAssertions(tmp_path / "used")
    assert first.use(AGENT, "jti-1", 100.0, 50.0)
    first.close()
    second = UsedAssertions(tmp_path / "used")
    assert not second.use(AGENT, "jti-1", 100.0, 60.0)
    assert second.use(STRANGER, "jti-1", 100.0, 60.0)
    second.close()


WRONG: tuple[dict[str, Any], ...] = (
    {"exp": 1},
    {"exp": 9_999_999_999},
    {"exp": None},
    {"exp": True},
    {"exp": "soon"},
    {"iat": 9_999_999_998, "exp": 9_999_999_999},
    {"nbf": 9_999_999_999},
    {"iat": None},
    {"aud": "https://elsewhere.example.org"},
    {"aud": None},
    {"aud": []},
    {"iss": STRANGER},
    {"sub": STRANGER},
    {"iss": None},
    {"jti": None},
    {"jti": 7},
    {"header": {"alg": "none"}},
    {"header": {"alg": "HS256"}},
    {"header": {"alg": "RS256"}},
    {"header": {"alg": "ed25519"}},
    {"header": {"alg": None}},
    {"header": {"crit": ["exp"], "exp": 1}},
    {"header": {"crit": ["b64"], "b64": False}},
    {"header": {"kid": "ed25519:unknown"}},
    {"header": {"kid": None}},
    {"header": {"kid": ["a"]}},
)


async def test_an_assertion_that_is_not_as_it_must_be_is_refused(house: House) -> None:
    answers = {str(changed): await house.ask_token(assertion(house, **changed)) for changed in WRONG}
    assert {changed: answer.status_code for changed, answer in answers.items() if answer.status_code != 401} == {}


async def test_an_assertion_signed_by_another_key_is_refused(house: House) -> None:
    house.keys[AGENT], true = Ed25519PrivateKey.generate(), house.keys[AGENT]
    forged = assertion(house, header={"kid": key_id(raw_public_key(true))})
    await refused_assertion(house, forged)


async def test_an_unsigned_assertion_is_refused(house: House) -> None:
    head, claims, _ = assertion(house, header={"alg": "none"}).split(".")
    await refused_assertion(house, f"{head}.{claims}.")


async def test_an_assertion_signed_with_the_public_key_as_a_secret_is_refused(house: House) -> None:
    public = OctKey.import_key(raw_public_key(house.keys[AGENT]))
    name = key_id(raw_public_key(house.keys[AGENT]))
    now_s = int(time.time())
    claims = {"iss": AGENT, "sub": AGENT, "aud": house.url, "iat": now_s, "exp": now_s + 60, "jti": "x"}
    await refused_assertion(house, jwt.encode({"alg": "HS256", "kid": name}, claims, public))


NOT_GIVEN = (
    ({"grant_type": "password"}, "unsupported_grant_type"),
    ({"client_assertion_type": "saml"}, "invalid_request"),
    ({"scope": "approvals:answer"}, "invalid_scope"),
    ({"scope": "everything"}, "invalid_scope"),
    ({"resource": "https://elsewhere.example.org"}, "invalid_target"),
    ({"client_id": STRANGER}, "invalid_client"),
)


async def test_a_token_request_that_asks_for_what_is_not_given_is_told_so(house: House) -> None:
    for form, error in NOT_GIVEN:
        assert (await house.ask_token(house.assertion(AGENT), **form)).json()["error"] == error


async def test_no_agent_can_answer_an_approval_and_no_person_can_declare(house: House) -> None:
    answered = await house.ask("POST", "/v1/approvals/bell-1", json={})
    assert (answered.status_code, answered.json()["code"]) == (403, "scope_missing")
    body = house.declaration(AGENT)
    assert (await house.ask("POST", "/v1/jobs", APPROVER, json=body)).status_code == 403


async def test_a_narrow_token_does_no_more_than_it_was_given_for(house: House) -> None:
    house.tokens[AGENT] = await house.token(AGENT, scope="jobs:read")
    assert (await house.ask("GET", "/v1/jobs")).status_code == 200
    refused = await house.ask("GET", "/v1/devices")
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]


async def test_without_a_token_the_answer_says_where_one_is_had(house: House) -> None:
    answer = await house.client.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
    where = answer.headers["www-authenticate"].partition('resource_metadata="')[2].partition('"')[0]
    metadata = (await house.client.get(where)).json()
    server = (await house.client.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["authorization_servers"][0] == server["issuer"] == metadata["resource"]
    assert server["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]


async def test_a_revoked_keys_tokens_die_at_once(house: House) -> None:
    assert (await house.ask("GET", "/v1/jobs")).status_code == 200
    await house.revoke(AGENT)
    refused = await house.ask("GET", "/v1/jobs")
    assert (refused.status_code, refused.json()["code"]) == (401, "token_invalid")
    await refused_assertion(house, house.assertion(AGENT))


async def test_a_halted_agents_tokens_die_at_once_and_live_again_when_it_is_lifted(house: House) -> None:
    ada = "operator:ada"
    public = raw_public_key(key_of(ada))
    await house.say(KeyEnrolled(key_id=id_of(ada), public_key=public, source=ada, role="operator"))
    assert (await house.ask("GET", "/v1/jobs")).status_code == 200
    await house.desk.petition(halted("h1", "agent", AGENT, ada))
    refused = await house.ask("GET", "/v1/jobs")
    assert (refused.status_code, refused.json()["code"]) == (403, "halted")
    await refused_assertion(house, house.assertion(AGENT))
    assert (await house.ask("GET", "/v1/jobs", source=APPROVER)).status_code == 200
    end = HaltLifted(halt_id="h1", person=APPROVER, reason="toast", proof=proof(ada, b""))
    signer = PlainSigner(house.keys[APPROVER])
    await house.desk.petition(end.model_copy(update={"proof": signer.sign(signed_words(end, SITE))}))
    assert (await house.ask("GET", "/v1/jobs")).status_code == 200


async def with_token(house: House, token: str) -> int:
    return (await house.client.get("/v1/jobs", headers={"authorization": f"Bearer {token}"})).status_code


async def test_a_token_that_was_changed_is_refused(house: House) -> None:
    head, claims, seal = (await house.token(AGENT)).split(".")
    other = base64url(orjson.dumps({"sub": STRANGER}))
    assert await with_token(house, f"{head}.{other}.{seal}") == 401
    assert await with_token(house, f"{head}.{claims}.{seal[:-4]}AAAA") == 401
    unsigned = base64url(orjson.dumps({"alg": "none"}))
    assert await with_token(house, f"{unsigned}.{claims}.") == 401
    assert await with_token(house, "x" * 20_000) == 401
    assert await with_token(house, "a.b.c") == 401


async def test_an_assertion_is_no_access_token(house: House) -> None:
    assert await with_token(house, house.assertion(AGENT)) == 401


async def test_a_token_of_another_gateway_is_refused(house: House, tmp_path: Path) -> None:
    used = UsedAssertions(tmp_path / "used")
    other = Issuer(house.url, used)
    keys = await house.desk.keys()
    now_s = time.time()
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": client_assertion(house.keys[AGENT], AGENT, house.url, now_s),
    }
    assert await with_token(house, other.token(form, keys, now_s)["access_token"]) == 401
    used.close()


# An outside issuer


class Outside:
    """An OpenID provider with one key of each kind, as far as its tokens and its key set go."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "r1"})
        self.key_set = orjson.dumps(KeySet([self.key]).as_dict(private=False))
        self.now_s = 1_000.0
        self.asked = 0
        self.is_away = False

    async def fetch(self, _: str) -> bytes:
        self.asked += 1
        if self.is_away:
            raise OSError("away")
        return self.key_set

    def provider(self, **settings: Any) -> Provider:
        told = {"issuer": PROVIDER, "audience": "qpubus", "jwks_uri": f"{PROVIDER}/jwks", "agents": {"u-1": HELD}}
        return Provider(OutsideIssuer.model_validate(told | settings), self.fetch, lambda: self.now_s)

    def token(self, key: Any = None, *, header: dict[str, Any] | None = None, **changed: Any) -> str:
        now_s = int(time.time())
        claims = {"iss": PROVIDER, "aud": "qpubus", "sub": "u-1", "iat": now_s, "exp": now_s + 200} | changed
        registry = JWSRegistry(algorithms=["RS256", "ES256", "HS256"], strict_check_header=False)
        registry.header_registry["x"] = HeaderParameter("an extension", "int")
        return jwt.encode({"alg": "RS256", "kid": "r1"} | (header or {}), claims, key or self.key, registry=registry)


def identity_with(house: House, provider: Provider, used: UsedAssertions) -> Identity:
    return Identity(house.desk, Issuer(house.url, used), Rates(1e6, 1_000_000, time.monotonic), [provider])


async def refused_code(identity: Identity, token: str) -> str:
    """Why a token is refused; empty if it is not."""
    try:
        await identity.caller(f"Bearer {token}")
    except Refusal as refused:
        return refused.code
    return ""


async def test_an_outside_issuers_subject_is_the_agent_that_configuration_says(house: House, tmp_path: Path) -> None:
    outside, used = Outside(), UsedAssertions(tmp_path / "used")
    identity = identity_with(house, outside.provider(), used)
    caller = await identity.caller(f"Bearer {outside.token()}")
    assert (caller.source, caller.assurance, caller.key_id) == (HELD, "gateway-held", "")
    receipt = await house.desk.declare(caller, orjson.dumps(bell_document(initiator=HELD)))
    assert receipt["job_id"] == "bell-1"
    used.close()


async def test_an_outside_token_that_holds_longer_than_ours_is_looked_at_again_and_goes_on_to_count(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, used = Outside(), UsedAssertions(tmp_path / "used")
    identity = identity_with(house, outside.provider(lifetime_s_max=3_600), used)
    begun_s = time.time()
    token = outside.token(exp=int(begun_s) + 3_000)
    for passed_s, counts in ((0, True), (1_000, True), (2_900, True), (3_001, False)):
        monkeypatch.setattr(Identity, "now_s", begun_s + passed_s)
        assert (await refused_code(identity, token) == "") is counts, passed_s
    used.close()


async def test_tokens_are_asked_for_at_the_rate_of_other_requests(house: House, tmp_path: Path) -> None:
    used = UsedAssertions(tmp_path / "used")
    identity = Identity(house.desk, Issuer(house.url, used), Rates(1.0, 1, lambda: 0.0))
    form = {"grant_type": GRANT_TYPE, "client_assertion_type": ASSERTION_TYPE}
    await identity.token(form | {"client_assertion": house.assertion(AGENT)})
    with pytest.raises(Refusal) as refused:
        await identity.token(form | {"client_assertion": house.assertion(AGENT)})
    assert refused.value.code == "rate_exceeded"
    await identity.token(form | {"client_assertion": house.assertion(STRANGER)})
    used.close()


NOT_FOR_HERE: tuple[dict[str, Any], ...] = (
    {"aud": "another"},
    {"exp": 1},
    {"nbf": 9_999_999_999},
    {"exp": int(time.time()) + 86_400},
    {"sub": "u-2"},
    {"iss": "https://evil.example.org"},
    {"header": {"kid": "unknown"}},
    {"header": {"crit": ["x"], "x": 1}},
)


async def test_an_outside_token_that_is_not_for_here_is_refused(house: House, tmp_path: Path) -> None:
    outside, used = Outside(), UsedAssertions(tmp_path / "used")
    identity = identity_with(house, outside.provider(), used)
    for changed in NOT_FOR_HERE:
        assert await refused_code(identity, outside.token(**changed)) == "token_invalid", changed
    used.close()


async def test_a_shared_secret_in_an_outside_key_set_signs_nothing(house: House, tmp_path: Path) -> None:
    outside, used = Outside(), UsedAssertions(tmp_path / "used")
    secret = OctKey.generate_key(256, {"kid": "o1"})
    outside.key_set = orjson.dumps({"keys": [secret.as_dict()]})
    token = outside.token(secret, header={"alg": "HS256", "kid": "o1"})
    assert await refused_code(identity_with(house, outside.provider(), used), token) == "token_invalid"
    used.close()


async def test_a_key_of_another_kind_than_the_algorithm_is_refused(house: House, tmp_path: Path) -> None:
    outside, used = Outside(), UsedAssertions(tmp_path / "used")
    other = ECKey.generate_key("P-256", {"kid": "r1"})
    token = outside.token(other, header={"alg": "ES256"})
    assert await refused_code(identity_with(house, outside.provider(), used), token) == "token_invalid"
    used.close()


async def test_keys_are_fetched_seldom_and_serve_on_while_their_issuer_is_away(house: House, tmp_path: Path) -> None:
    outside, used = Outside(), UsedAssertions(tmp_path / "used")
    identity = identity_with(house, outside.provider(), used)
    for _ in range(5):
        await refused_code(identity, outside.token(header={"kid": "made-up"}))
    assert outside.asked == 1
    outside.is_away, outside.now_s = True, outside.now_s + PAUSE_S
    await refused_code(identity, outside.token(header={"kid": "made-up"}))
    assert outside.asked == 2
    await identity.caller(f"Bearer {outside.token()}")
    outside.now_s += STALE_S
    assert await refused_code(identity, outside.token(jti="new")) == "issuer_unreachable"
    used.close()


@pytest.mark.parametrize("uri", ["http://login.example.org/jwks", "file:///etc/passwd", "ftp://localhost/x"])
def test_keys_are_fetched_by_https_only(uri: str) -> None:
    with pytest.raises(ValueError, match="https"):
        OutsideIssuer(issuer="a", audience="b", jwks_uri=uri, agents={})


def test_a_key_of_the_issuer_is_shown_without_its_private_half(tmp_path: Path) -> None:
    used = UsedAssertions(tmp_path / "used")
    shown = Issuer("http://127.0.0.1:1", used).jwks()["keys"][0]
    assert "d" not in shown
    assert OKPKey.import_key(shown).kid
    used.close()
