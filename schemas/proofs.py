"""Signatures that people and agents make with their own keys, carried inside events: JWS over intents, approvals."""

from base64 import urlsafe_b64encode

import orjson
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import ValidationError

from schemas.events.approvals import ApprovalStatement
from schemas.events.intents import IntentDeclared
from schemas.keys import KeyInvalid, check_public_key
from schemas.manifest import MANIFEST_BYTES_MAX, Manifest, plain, signed_payload

ALGORITHM = "Ed25519"
"""RFC 9864; the polymorphic `EdDSA` is not written and not read."""
TYPE_INTENT = "qpubus-intent+jws"
TYPE_WITHDRAWAL = "qpubus-withdrawal+jws"
TYPE_MANIFEST = "qpubus-manifest+jws"


PROOF_BYTES_MAX = MANIFEST_BYTES_MAX * 4 // 3 + 1_024
"""The longest proof: a manifest in base64, what the gateway completes in it, JWS header and signature."""


class ProofInvalid(ValueError):
    """A proof that does not hold, or is not in its form."""


class _Registry(jws.JWSRegistry):
    """The one algorithm, and our own limit on size: joserfc's would be that of a payload of 96,000 bytes."""

    max_payload_length = PROOF_BYTES_MAX


_REGISTRY = _Registry(algorithms=[ALGORITHM])


def sign_jws(payload: bytes, key: Ed25519PrivateKey, key_id: str, type_: str) -> str:
    """A compact JWS (RFC 7515) with `alg`, `kid` and `typ` in its protected header, over RFC 8785 JSON."""
    header = {"alg": ALGORITHM, "kid": key_id, "typ": type_}
    return jws.serialize_compact(header, payload, OKPKey.import_key(key), registry=_REGISTRY)


def jws_key_id(token: str) -> str:
    """The key id that a compact JWS names, not yet verified; `ProofInvalid` if it is no JWS."""
    _check_size(token)
    try:
        key_id = jws.extract_compact(token.encode(), registry=_REGISTRY).headers().get("kid")
    except (JoseError, ValueError, UnicodeEncodeError):
        raise ProofInvalid("not a compact JWS") from None
    if not isinstance(key_id, str):
        raise ProofInvalid("the JWS header names no key (kid)")
    return key_id


def _check_size(token: str) -> None:
    if len(token) > PROOF_BYTES_MAX:
        raise ProofInvalid(f"the proof has {len(token)} characters, the limit is {PROOF_BYTES_MAX}")


def verify_jws(token: str, key: Ed25519PublicKey, type_: str) -> bytes:
    """The payload of a compact JWS whose signature holds; `ProofInvalid` for another algorithm, type or signature.

    Header parameters other than `alg`, `kid` and `typ` (`crit` among them) are refused, and so is a payload that is not
    in RFC 8785 form: two texts of one meaning would have two digests.
    """
    _check_size(token)
    try:
        verified = jws.deserialize_compact(token, OKPKey.import_key(key), registry=_REGISTRY)
        header = verified.headers()
    except (JoseError, ValueError, TypeError, RecursionError):  # joserfc lets the last two through on odd headers
        raise ProofInvalid("the JWS does not hold under this key with algorithm Ed25519") from None
    if set(header) != {"alg", "kid", "typ"} or header["typ"] != type_:
        raise ProofInvalid(f"the JWS header must have alg, kid and typ {type_}, nothing else")
    payload: bytes = verified.payload
    try:
        canonical = rfc8785.dumps(orjson.loads(payload))
    except (orjson.JSONDecodeError, rfc8785.CanonicalizationError, RecursionError):
        raise ProofInvalid("the JWS payload is not JSON that RFC 8785 can hold") from None
    if canonical != payload:
        raise ProofInvalid("the JWS payload is not in RFC 8785 form")
    return payload


def sign_manifest(manifest: Manifest, key: Ed25519PrivateKey, key_id: str) -> Manifest:
    """The manifest with its gateway signature: a compact JWS whose payload, the manifest itself, is left out."""
    head, _, signature = sign_jws(signed_payload(manifest), key, key_id, TYPE_MANIFEST).split(".")
    return manifest.model_copy(update={"signature": f"{head}..{signature}"})


def verify_manifest(manifest: Manifest, key: Ed25519PublicKey) -> None:
    """Check the gateway's signature; `ProofInvalid` if it does not hold for this very manifest."""
    head, _, signature = (manifest.signature or "").partition("..")
    body = urlsafe_b64encode(signed_payload(manifest)).rstrip(b"=").decode()
    verify_jws(f"{head}.{body}.{signature}", key, TYPE_MANIFEST)


def approval_payload(statement: ApprovalStatement, decision: str, reason: str = "") -> bytes:
    """What an approver signs: the statement, their decision (`grant` or `deny`) and the reason, as RFC 8785 JSON."""
    return rfc8785.dumps({"decision": decision, "reason": reason, "statement": plain(statement)})


def approval_holds(
    statement: ApprovalStatement, decision: str, reason: str, signature: bytes, public_key: bytes
) -> bool:
    """Whether an approver's signature holds for this very statement, decision and reason."""
    try:
        check_public_key(public_key).verify(signature, approval_payload(statement, decision, reason))
    except (InvalidSignature, KeyInvalid, rfc8785.CanonicalizationError):
        return False
    return True


def declared_manifest(intent: IntentDeclared, public_key: bytes) -> Manifest:
    """The manifest that the agent signed; `ProofInvalid` if the agent's proof does not hold under its key."""
    try:
        key = check_public_key(public_key)
    except KeyInvalid as error:
        raise ProofInvalid(str(error)) from None
    if jws_key_id(intent.agent_proof) != intent.agent_key_id:
        raise ProofInvalid("the agent's proof names another key than the intent")
    payload = verify_jws(intent.agent_proof, key, TYPE_INTENT)
    try:
        return Manifest.model_validate_json(payload)
    except ValidationError:
        raise ProofInvalid("what the agent signed is no manifest") from None


def completes(manifest: Manifest, declared: Manifest) -> bool:
    """Whether a manifest is what an agent declared, with nothing added but what the gateway completes and signs."""
    completed = ("seed", "idempotency_key", "signature")
    added = {name: getattr(manifest, name) for name in completed if getattr(declared, name) is None}
    return manifest == declared.model_copy(update=added)
