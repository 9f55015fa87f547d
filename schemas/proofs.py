"""Signatures that people and agents make with their own keys, carried inside events: JWS over intents, approvals."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import ValidationError

from schemas.canonical import canonical
from schemas.events.approvals import ApprovalStatement, HumanProof
from schemas.events.intents import IntentDeclared
from schemas.keys import KeyInvalid, check_public_key
from schemas.manifest import MANIFEST_BYTES_MAX, Manifest, signed_payload
from schemas.people import PersonKey, person_signed

ALGORITHM = "Ed25519"
"""RFC 9864; the polymorphic `EdDSA` is not written and not read."""
TYPE_INTENT = "qpubus-intent+jws"
TYPE_WITHDRAWAL = "qpubus-withdrawal+jws"
TYPE_CALIBRATION = "qpubus-calibration+jws"
TYPE_MANIFEST = "qpubus-manifest+jws"


_PROOFS_KEPT = 64
"""Gateway, policy and its rehearsal see an intent one after the other: a proof that held is checked once for all."""
_HEADERS_KEPT = 1_024
"""A signer writes the same header again and again: that of so many stays taken apart."""
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
    header, _ = _taken_apart(token)
    key_id = header.get("kid")
    if not isinstance(key_id, str):
        raise ProofInvalid("the JWS header names no key (kid)")
    return key_id


def verify_jws(token: str, key: Ed25519PublicKey, type_: str) -> bytes:
    """The payload of a compact JWS whose signature holds; `ProofInvalid` for another algorithm, type or signature.

    Header parameters other than `alg`, `kid` and `typ` (`crit` among them) are refused, and so is a payload that is not
    in RFC 8785 form: two texts of one meaning would have two digests.
    """
    header, payload = _taken_apart(token)
    if header.keys() != {"alg", "kid", "typ"} or header["typ"] != type_ or not isinstance(header["kid"], str):
        raise ProofInvalid(f"the JWS header must have alg, kid and typ {type_}, nothing else")
    if header["alg"] != ALGORITHM:
        raise ProofInvalid(f"the JWS is by another algorithm than {ALGORITHM}")
    signed, _, signature = token.rpartition(".")
    try:
        key.verify(_from_base64(signature), signed.encode())
    except (InvalidSignature, ValueError):
        raise ProofInvalid(f"the JWS does not hold under this key with algorithm {ALGORITHM}") from None
    try:
        is_canonical = canonical(orjson.loads(payload)) == payload
    except (orjson.JSONDecodeError, rfc8785.CanonicalizationError, RecursionError):
        raise ProofInvalid("the JWS payload is not JSON that RFC 8785 can hold") from None
    if not is_canonical:
        raise ProofInvalid("the JWS payload is not in RFC 8785 form")
    return payload


def _taken_apart(token: str) -> tuple[Mapping[str, Any], bytes]:
    """Protected header and payload of a compact JWS, not yet verified."""
    if len(token) > PROOF_BYTES_MAX:
        raise ProofInvalid(f"the proof has {len(token)} characters, the limit is {PROOF_BYTES_MAX}")
    try:
        head, body, _ = token.split(".")
        return _header(head), _from_base64(body)
    except (JoseError, ValueError, RecursionError):  # joserfc lets the last through on odd headers
        raise ProofInvalid("not a compact JWS") from None


@lru_cache(_HEADERS_KEPT)
def _header(head: str) -> Mapping[str, Any]:
    """The protected header in the first part of a compact JWS, of 512 characters at most."""
    header: Mapping[str, Any] = jws.extract_compact(f"{head}..".encode(), registry=_REGISTRY).headers()
    return header


def _from_base64(text: str) -> bytes:
    """The bytes in base64url without padding; `ValueError` unless the text is the one that stands for them."""
    said = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if urlsafe_b64encode(said).rstrip(b"=") != text.encode():
        raise ValueError("not in base64url's one form")
    return said


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
    """What an approver signs: the statement, their decision (`grant` or `deny`) and the reason, as RFC 8785 JSON.

    What is at its default is left out of the statement, so that those of earlier releases keep their bytes.
    """
    stated = statement.model_dump(mode="json", exclude_defaults=True)
    return rfc8785.dumps({"decision": decision, "reason": reason, "statement": stated})


def approval_holds(statement: ApprovalStatement, decision: str, reason: str, proof: HumanProof, key: PersonKey) -> bool:
    """Whether an approver's signature holds for this very statement, decision and reason."""
    try:
        payload = approval_payload(statement, decision, reason)
    except rfc8785.CanonicalizationError:
        return False
    return person_signed(payload, proof, key)


def declared_manifest(intent: IntentDeclared, public_key: bytes) -> Manifest:
    """The manifest that the agent signed; `ProofInvalid` if the agent's proof does not hold under its key."""
    return _manifest_signed(intent.agent_proof, intent.agent_key_id, public_key)


@lru_cache(_PROOFS_KEPT)
def _manifest_signed(agent_proof: str, agent_key_id: str, public_key: bytes) -> Manifest:
    try:
        key = check_public_key(public_key)
    except KeyInvalid as error:
        raise ProofInvalid(str(error)) from None
    if jws_key_id(agent_proof) != agent_key_id:
        raise ProofInvalid("the agent's proof names another key than the intent")
    payload = verify_jws(agent_proof, key, TYPE_INTENT)
    try:
        return Manifest.model_validate_json(payload)
    except ValidationError:
        raise ProofInvalid("what the agent signed is no manifest") from None


def forget_proofs() -> None:
    """Check every proof anew from here on; for whoever measures what that takes."""
    _manifest_signed.cache_clear()


def completes(manifest: Manifest, declared: Manifest) -> bool:
    """Whether a manifest is what an agent declared, with nothing added but what the gateway completes and signs."""
    completed = ("seed", "idempotency_key", "signature")
    added = {name: getattr(manifest, name) for name in completed if getattr(declared, name) is None}
    return manifest == declared.model_copy(update=added)
