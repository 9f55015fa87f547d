from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import orjson
import pytest
import rfc8785

from schemas.events import ApprovalStatement, HumanProof, IntentDeclared
from schemas.keys import key_id, raw_public_key
from schemas.manifest import JobBudget, Manifest, Quantum, plain
from schemas.people import PersonKey
from schemas.proofs import (
    TYPE_INTENT,
    TYPE_MANIFEST,
    TYPE_WITHDRAWAL,
    ProofInvalid,
    approval_holds,
    approval_payload,
    completes,
    declared_manifest,
    is_as_declared,
    jws_key_id,
    sign_jws,
    sign_manifest,
    verify_jws,
    verify_manifest,
)
from tests.support.signed import private_key

KEY = private_key("agent")
OTHER = private_key("another")
KEY_ID = key_id(raw_public_key(KEY))
MANIFEST = Manifest(
    job_id="job-1",
    initiator="agent:tester",
    purpose="test",
    site="site-a",
    quantum=Quantum(circuit="T1BFTlFBU00gMzs=", shots=10),
    budget=JobBudget(cost_microusd=1, shots=10),
)
PAYLOAD = rfc8785.dumps(plain(MANIFEST))
STATEMENT = ApprovalStatement(
    site="site-a",
    job_id="job-1",
    purpose="test",
    intent_digest="a" * 64,
    template_digests=("b" * 64,),
    program_digests=(),
    shots=10,
    price_ceiling_microusd=1,
    policy_digest="c" * 64,
    expires_us=1,
    nonce="d" * 64,
)


def token(header: dict[str, Any], payload: bytes = PAYLOAD) -> str:
    """A compact JWS by the right key with another header, made by hand."""
    signed = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (orjson.dumps(header), payload))
    return b".".join((signed, urlsafe_b64encode(KEY.sign(signed)).rstrip(b"="))).decode()


def test_a_proof_gives_its_payload_back() -> None:
    proof = sign_jws(PAYLOAD, KEY, KEY_ID, TYPE_INTENT)
    assert verify_jws(proof, KEY.public_key(), TYPE_INTENT) == PAYLOAD
    assert jws_key_id(proof) == KEY_ID


def test_a_proof_is_a_jws_as_rfc_7515_and_9864_have_it() -> None:
    head, body, signature = sign_jws(PAYLOAD, KEY, KEY_ID, TYPE_INTENT).split(".")
    assert orjson.loads(urlsafe_b64decode(head + "==")) == {"alg": "Ed25519", "kid": KEY_ID, "typ": TYPE_INTENT}
    KEY.public_key().verify(urlsafe_b64decode(signature + "=="), f"{head}.{body}".encode())


@pytest.mark.parametrize(
    "proof",
    [
        pytest.param(sign_jws(PAYLOAD, OTHER, KEY_ID, TYPE_INTENT), id="by another key"),
        pytest.param(sign_jws(PAYLOAD, KEY, KEY_ID, TYPE_WITHDRAWAL), id="of another type"),
        pytest.param(sign_jws(b'{"b":1,"a":2}', KEY, KEY_ID, TYPE_INTENT), id="members out of order"),
        pytest.param(sign_jws(b'{"a": 1}', KEY, KEY_ID, TYPE_INTENT), id="white space"),
        pytest.param(sign_jws(b'{"a":1,"a":1}', KEY, KEY_ID, TYPE_INTENT), id="a member twice"),
        pytest.param(sign_jws(b"no json", KEY, KEY_ID, TYPE_INTENT), id="no JSON"),
        pytest.param(token({"alg": "EdDSA", "kid": KEY_ID, "typ": TYPE_INTENT}), id="algorithm EdDSA"),
        pytest.param(token({"alg": "Ed25519", "kid": KEY_ID, "typ": TYPE_INTENT, "x": 1}), id="a header more"),
        pytest.param(token({"alg": "Ed25519", "typ": TYPE_INTENT}), id="no key named"),
        pytest.param("e30." + sign_jws(PAYLOAD, KEY, KEY_ID, TYPE_INTENT).split(".", 1)[1], id="another header"),
        pytest.param("", id="nothing"),
        pytest.param("a.b.c", id="no JWS"),
        pytest.param("é.é.é", id="no ASCII"),
    ],
)
def test_a_proof_that_is_not_in_its_one_form_does_not_hold(proof: str) -> None:
    with pytest.raises(ProofInvalid):
        verify_jws(proof, KEY.public_key(), TYPE_INTENT)


def test_an_unsigned_proof_does_not_hold() -> None:
    head = urlsafe_b64encode(orjson.dumps({"alg": "none", "kid": KEY_ID, "typ": TYPE_INTENT})).rstrip(b"=").decode()
    body = urlsafe_b64encode(PAYLOAD).rstrip(b"=").decode()
    with pytest.raises(ProofInvalid):
        verify_jws(f"{head}.{body}.", KEY.public_key(), TYPE_INTENT)


def test_a_manifest_is_signed_without_its_payload_and_verifies() -> None:
    signed = sign_manifest(MANIFEST, KEY, KEY_ID)
    assert signed.signature is not None
    assert signed.signature.split(".")[1] == ""
    verify_manifest(signed, KEY.public_key())


@pytest.mark.parametrize("change", [{"job_id": "job-2"}, {"seed": 1}, {"signature": None}, {"signature": "a..b"}])
def test_a_changed_manifest_does_not_verify(change: dict[str, Any]) -> None:
    changed = sign_manifest(MANIFEST, KEY, KEY_ID).model_copy(update=change)
    with pytest.raises(ProofInvalid):
        verify_manifest(changed, KEY.public_key())


def test_a_signature_over_an_intent_is_none_over_a_manifest() -> None:
    head, _, signature = sign_jws(PAYLOAD, KEY, KEY_ID, TYPE_INTENT).split(".")
    with pytest.raises(ProofInvalid):
        verify_manifest(MANIFEST.model_copy(update={"signature": f"{head}..{signature}"}), KEY.public_key())
    assert TYPE_INTENT != TYPE_MANIFEST


def test_what_an_agent_declared_is_read_from_its_own_proof() -> None:
    proof = sign_jws(PAYLOAD, KEY, KEY_ID, TYPE_INTENT)
    completed = MANIFEST.model_copy(update={"seed": 7, "signature": "s"})
    intent = IntentDeclared(job_id="job-1", agent_key_id=KEY_ID, agent_proof=proof, manifest=completed)
    assert declared_manifest(intent, raw_public_key(KEY)) == MANIFEST
    assert completes(completed, MANIFEST)
    assert not completes(completed.model_copy(update={"purpose": "other"}), MANIFEST)


@pytest.mark.parametrize("left_out", [(), ("objective", "data_class")], ids=["as_our_clients_sign", "without_defaults"])
def test_an_intent_is_as_declared_with_what_the_gateway_completes_and_nothing_else(left_out: tuple[str, ...]) -> None:
    payload = rfc8785.dumps({name: value for name, value in plain(MANIFEST).items() if name not in left_out})
    proof = sign_jws(payload, KEY, KEY_ID, TYPE_INTENT)
    completed = MANIFEST.model_copy(update={"seed": 7, "idempotency_key": "once", "signature": "s"})
    intent = IntentDeclared(job_id="job-1", agent_key_id=KEY_ID, agent_proof=proof, manifest=completed)
    assert is_as_declared(intent, raw_public_key(KEY))
    altered = completed.model_copy(update={"purpose": "other"})
    assert not is_as_declared(intent.model_copy(update={"manifest": altered}), raw_public_key(KEY))


def test_a_seed_that_the_agent_declared_is_not_for_the_gateway_to_change() -> None:
    declared = MANIFEST.model_copy(update={"seed": 7})
    proof = sign_jws(rfc8785.dumps(plain(declared)), KEY, KEY_ID, TYPE_INTENT)
    intent = IntentDeclared(job_id="job-1", agent_key_id=KEY_ID, agent_proof=proof, manifest=declared)
    assert is_as_declared(intent, raw_public_key(KEY))
    changed = intent.model_copy(update={"manifest": declared.model_copy(update={"seed": 8})})
    assert not is_as_declared(changed, raw_public_key(KEY))


def test_a_proof_that_is_no_canonical_json_is_refused_though_it_says_the_same() -> None:
    proof = sign_jws(orjson.dumps(plain(MANIFEST)), KEY, KEY_ID, TYPE_INTENT)
    intent = IntentDeclared(job_id="job-1", agent_key_id=KEY_ID, agent_proof=proof, manifest=MANIFEST)
    with pytest.raises(ProofInvalid, match="RFC 8785"):
        is_as_declared(intent, raw_public_key(KEY))


def test_a_signature_that_held_under_one_key_is_not_believed_under_another() -> None:
    proof = sign_jws(PAYLOAD, KEY, KEY_ID, TYPE_INTENT)
    assert verify_jws(proof, KEY.public_key(), TYPE_INTENT) == PAYLOAD
    with pytest.raises(ProofInvalid, match="does not hold"):
        verify_jws(proof, OTHER.public_key(), TYPE_INTENT)
    with pytest.raises(ProofInvalid, match="typ"):
        verify_jws(proof, KEY.public_key(), TYPE_WITHDRAWAL)


def test_a_signature_that_failed_fails_again() -> None:
    head, body, _ = sign_jws(PAYLOAD, KEY, KEY_ID, TYPE_INTENT).split(".")
    forged = f"{head}.{body}.{urlsafe_b64encode(bytes(64)).rstrip(b'=').decode()}"
    for _ in range(2):
        with pytest.raises(ProofInvalid, match="does not hold"):
            verify_jws(forged, KEY.public_key(), TYPE_INTENT)


def test_an_intent_that_names_another_key_than_its_proof_does_not_hold() -> None:
    proof = sign_jws(PAYLOAD, KEY, KEY_ID, TYPE_INTENT)
    intent = IntentDeclared(job_id="job-1", agent_key_id="0" * 32, agent_proof=proof, manifest=MANIFEST)
    with pytest.raises(ProofInvalid, match="another key"):
        declared_manifest(intent, raw_public_key(KEY))


def test_an_approval_holds_for_its_statement_decision_and_reason_alone() -> None:
    signature = KEY.sign(approval_payload(STATEMENT, "deny", "too dear"))
    proof = HumanProof(proof_type="ed25519", key_id="0" * 32, signature=signature)
    key = PersonKey(raw_public_key(KEY))
    assert approval_holds(STATEMENT, "deny", "too dear", proof, key)
    assert not approval_holds(STATEMENT, "grant", "too dear", proof, key)
    assert not approval_holds(STATEMENT, "deny", "other", proof, key)
    assert not approval_holds(STATEMENT.model_copy(update={"shots": 11}), "deny", "too dear", proof, key)
    assert not approval_holds(STATEMENT, "deny", "too dear", proof, PersonKey(raw_public_key(OTHER)))
    assert not approval_holds(STATEMENT, "deny", "too dear", proof, PersonKey(bytes(32)))


def test_what_an_approver_signs_is_rfc_8785_json() -> None:
    signed = approval_payload(STATEMENT, "grant")
    assert signed == rfc8785.dumps(orjson.loads(signed))
    assert orjson.loads(signed)["statement"] == STATEMENT.model_dump(mode="json", exclude_defaults=True)
