"""Signatures that people and agents make with their own keys, carried inside events: JWS over intents, approvals."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
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


_HELD_KEPT = 4_096
"""Gateway, policy and its rehearsal see an intent one after the other: what held is checked once for all."""
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
_COMPLETED = {"seed": b'"seed":', "idempotency_key": b'"idempotency_key":', "signature": b'"signature":'}
"""What the gateway adds to a manifest, where the agent has left it out; and how its member begins in JSON."""
_held: dict[bytes, None] = {}
"""SHA-256 of a key and a token whose signature has held under it, the oldest first."""


def sign_jws(payload: bytes, key: Ed25519PrivateKey, key_id: str, type_: str) -> str:
    """A compact JWS (RFC 7515) with `alg`, `kid` and `typ` in its protected header, over RFC 8785 JSON."""
    header = {"alg": ALGORITHM, "kid": key_id, "typ": type_}
    return jws.serialize_compact(header, payload, OKPKey.import_key(key), registry=_REGISTRY)


def jws_key_id(token: str) -> str:
    """The key id that a compact JWS names, not yet verified; `ProofInvalid` if it is no JWS."""
    return _key_id(_taken_apart(token)[0])


def _key_id(header: Mapping[str, Any]) -> str:
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
    _check_signature(token, header, key, type_)
    _check_canonical(payload)
    return payload


def _check_signature(token: str, header: Mapping[str, Any], key: Ed25519PublicKey, type_: str) -> None:
    if header.keys() != {"alg", "kid", "typ"} or header["typ"] != type_ or not isinstance(header["kid"], str):
        raise ProofInvalid(f"the JWS header must have alg, kid and typ {type_}, nothing else")
    if header["alg"] != ALGORITHM:
        raise ProofInvalid(f"the JWS is by another algorithm than {ALGORITHM}")
    signed, _, signature = token.rpartition(".")
    try:
        name = sha256(key.public_bytes_raw() + token.encode()).digest()
        if name in _held:
            return
        key.verify(_from_base64(signature), signed.encode())
    except (InvalidSignature, ValueError):
        raise ProofInvalid(f"the JWS does not hold under this key with algorithm {ALGORITHM}") from None
    _held[name] = None
    if len(_held) > _HELD_KEPT:
        del _held[next(iter(_held))]


def _check_canonical(payload: bytes) -> None:
    try:
        is_canonical = canonical(orjson.loads(payload)) == payload
    except (orjson.JSONDecodeError, rfc8785.CanonicalizationError, RecursionError):
        raise ProofInvalid("the JWS payload is not JSON that RFC 8785 can hold") from None
    if not is_canonical:
        raise ProofInvalid("the JWS payload is not in RFC 8785 form")


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
    payload = _signed_by_agent(intent, public_key)
    _check_canonical(payload)
    try:
        return Manifest.model_validate_json(payload)
    except ValidationError:
        raise ProofInvalid("what the agent signed is no manifest") from None


def is_as_declared(intent: IntentDeclared, public_key: bytes) -> bool:
    """Whether the manifest of an intent `completes` the one that its agent signed; `ProofInvalid` as above.

    Agents sign what `signed_payload` gives. Where those very bytes follow from the manifest, nobody need read them.
    """
    payload, manifest = _signed_by_agent(intent, public_key), intent.manifest
    absent = {name for name, member in _COMPLETED.items() if member not in payload}
    if canonical(manifest.model_dump(mode="json", exclude_none=True, exclude=absent)) == payload:
        return True
    return completes(manifest, declared_manifest(intent, public_key))


def _signed_by_agent(intent: IntentDeclared, public_key: bytes) -> bytes:
    """What an agent's proof says, in whatever form it is."""
    try:
        key = check_public_key(public_key)
    except KeyInvalid as error:
        raise ProofInvalid(str(error)) from None
    header, payload = _taken_apart(intent.agent_proof)
    if _key_id(header) != intent.agent_key_id:
        raise ProofInvalid("the agent's proof names another key than the intent")
    _check_signature(intent.agent_proof, header, key, TYPE_INTENT)
    return payload


def forget_proofs() -> None:
    """Check every signature anew from here on; for whoever measures what that takes."""
    _held.clear()


def completes(manifest: Manifest, declared: Manifest) -> bool:
    """Whether a manifest is what an agent declared, with nothing added but what the gateway completes and signs."""
    added = {name: getattr(manifest, name) for name in _COMPLETED if getattr(declared, name) is None}
    return manifest == declared.model_copy(update=added)
