"""Reading what strangers hand in: bytes go in, a manifest or all that is wrong with it comes out; nothing is run."""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import orjson
from pydantic import ValidationError

from agents.devices.approved import parsed
from agents.devices.compiler import bind
from agents.devices.qasm import CircuitInvalid
from agents.fitting import templates_of
from agents.replies import MANIFEST_INVALID, Problem, Refused, refusal
from agents.sandbox import RESERVED_INPUTS
from schemas.admission import EnrolledKey
from schemas.manifest import MANIFEST_BYTES_MAX, Manifest, Quantum, signed_payload
from schemas.proofs import PROOF_BYTES_MAX, TYPE_INTENT, ProofInvalid, jws_key_id, verify_jws
from schemas.topics import Role
from schemas.traces import TEXT_BYTES_MAX, SealedTrace

ARTIFACTS_MAX = 64
DEPTH_MAX = 16
MEMBERS_MAX = 64
"""Of one object that is no map: each unknown one is a problem to be told."""
PROBLEMS_MAX = 500
_MAPS = frozenset({"parameters", "artifacts"})
SEED_BITS = 53
"""RFC 8785 numbers are doubles: of more bits, two integers would have one text."""
_STRING = re.compile(rb'"[^"]*"')


def read_manifest(manifest_json: bytes) -> Manifest | Refused:
    """The manifest in a JSON text, strictly read: no unknown, repeated or mistyped member, every circuit parsed."""
    if len(manifest_json) > MANIFEST_BYTES_MAX:
        return _oversized(len(manifest_json))
    try:
        raw = strict_json(manifest_json)
    except ValueError as error:
        return Refused("manifest_malformed", f"the manifest {error}")
    problems: list[Problem] = []
    manifest = None
    try:
        manifest = Manifest.model_validate_json(manifest_json, strict=True)
    except ValidationError as error:
        problems += _of_model(error)
    problems += _of_circuits(raw.get("quantum"))
    if manifest is not None:
        problems += _of_names(manifest)
    if problems or manifest is None:
        return refusal(problems)
    if (canonical := len(signed_payload(manifest))) > MANIFEST_BYTES_MAX:
        return _oversized(canonical)
    return manifest


def strict_json(text: bytes) -> dict[str, Any]:
    """A JSON object without repeated members, of a sane depth, none crowded but maps; `ValueError` says what it is."""
    try:
        raw = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004 (it is the text that is wrong)
    members, depth = _members_and_depth(raw)
    if depth > DEPTH_MAX:
        raise ValueError(f"is nested deeper than {DEPTH_MAX} levels")
    if _is_crowded(raw):
        raise ValueError(f"has an object with more than {MEMBERS_MAX} members")
    if _colons_between(text) != members:
        raise ValueError("has an object with a member twice: give each once")
    return raw


def _is_crowded(raw: dict[str, Any]) -> bool:
    """Whether an object that is no map has more members than any that we know."""
    left: list[Any] = [raw]
    while left:
        inner = left.pop()
        if isinstance(inner, dict):
            if len(inner) > MEMBERS_MAX:
                return True
            left += [each for name, each in inner.items() if name not in _MAPS]
        elif isinstance(inner, list):
            left += [each for each in inner if isinstance(each, dict | list)]
    return False


def _colons_between(text: bytes) -> int:
    """How many colons a JSON text has outside its strings: one for each member."""
    return _STRING.sub(b"", text.replace(rb"\\", b"").replace(rb"\"", b"")).count(b":")


def _oversized(size: int) -> Refused:
    message = f"the manifest has {size} bytes in RFC 8785 form, the limit is {MANIFEST_BYTES_MAX}"
    return Refused("manifest_oversized", f"{message}: move inputs to artefacts")


def check_agent(manifest: Manifest, agent_proof: str, keys: Mapping[str, EnrolledKey]) -> EnrolledKey | Refused:
    """The key by which the initiator signed this very manifest, or why the proof does not hold."""
    if len(agent_proof) > PROOF_BYTES_MAX:
        return Refused("proof_malformed", f"the proof is longer than {PROOF_BYTES_MAX} characters")
    key = signing_key(agent_proof, keys, Role.AGENT)
    if isinstance(key, Refused):
        return key
    if key.source != manifest.initiator:
        return Refused(
            "initiator_mismatch", f"the key {key.key_id} is of {key.source}, the initiator is {manifest.initiator}"
        )
    try:
        signed = Manifest.model_validate_json(verify_jws(agent_proof, key.public_key, TYPE_INTENT))
    except (ProofInvalid, ValidationError) as error:
        what = "what was signed is no manifest" if isinstance(error, ValidationError) else str(error)
        return Refused("proof_invalid", f"{what}: sign the manifest as it is handed in")
    if signed != manifest:
        return Refused("proof_mismatch", "the agent signed another manifest than the one handed in: sign this one")
    return key


def signing_key(token: str, keys: Mapping[str, EnrolledKey], role: Role) -> EnrolledKey | Refused:
    """The enrolled key that a JWS names, in this role and not revoked."""
    try:
        name = jws_key_id(token)
    except ProofInvalid as error:
        return Refused("proof_malformed", f"the proof cannot be read: {error}")
    return known_key(name, keys, role)


def known_key(name: str, keys: Mapping[str, EnrolledKey], role: Role) -> EnrolledKey | Refused:
    """An enrolled key in this role and not revoked."""
    key = keys.get(name)
    if key is None:
        return Refused("key_unknown", f"the key {name[:64]!r} is not enrolled at this site: ask an admin to enrol it")
    if key.revoked:
        return Refused("key_revoked", f"the key {name} was revoked: use another")
    if key.role != role:
        return Refused("role_forbidden", f"the key {name} is enrolled as {key.role}, needed is {role.value}")
    return key


def why_not_kept(manifest: Manifest, trace: SealedTrace) -> Refused | None:
    """Why a decision trace is not taken: it is not the one that the agent's signed manifest names, or too long."""
    if manifest.decision_trace_digest is None:
        return Refused("trace_unnamed", "name the trace in the manifest: decision_trace_digest")
    if trace.text_bytes > TEXT_BYTES_MAX:
        return Refused("trace_oversized", f"the trace has {trace.text_bytes} bytes, the limit is {TEXT_BYTES_MAX}")
    if trace.digest != manifest.decision_trace_digest:
        return Refused("trace_mismatch", "this is not the trace that the manifest names: hand in that one")
    return None


def completed(manifest: Manifest, idempotency_key: str = "") -> Manifest | Refused:
    """The manifest with what the agent left open: the seed follows from what was declared, no chance is involved.

    An idempotency key that came beside a manifest which has one already must be the same.
    """
    added: dict[str, object] = {}
    if manifest.seed is None:
        added["seed"] = int.from_bytes(sha256(signed_payload(manifest)).digest()[:8]) >> (64 - SEED_BITS)
    if idempotency_key and manifest.idempotency_key is None:
        added["idempotency_key"] = idempotency_key
    elif idempotency_key not in {"", manifest.idempotency_key}:
        message = "another key than the one beside the manifest: give one, or twice the same"
        return refusal([Problem("idempotency_key", "idempotency_key_mismatch", message)])
    return manifest.model_copy(update=added)


def _members_and_depth(value: Any) -> tuple[int, int]:
    """How many members all objects in a value have together, and how deep it is nested; strangers choose the depth."""
    members, depth, level = 0, 0, [value]
    while level:
        depth += 1
        members += sum(len(each) for each in level if isinstance(each, dict))
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [each for items in inner for each in items]
    return members, depth


def _of_model(error: ValidationError) -> Iterator[Problem]:
    if error.error_count() > PROBLEMS_MAX:
        yield Problem(
            "", MANIFEST_INVALID, f"it has {error.error_count()} faults, too many to list: see the JSON Schema"
        )
        return
    for each in error.errors(include_input=False, include_url=False):
        path = ".".join(map(str, each["loc"]))
        message = each["msg"].removeprefix("Value error, ")
        code = "field_unknown" if each["type"] == "extra_forbidden" else MANIFEST_INVALID
        yield Problem(path, code, "there is no such field: leave it out" if code == "field_unknown" else message)


def _of_circuits(raw: Any) -> Iterator[Problem]:
    """Parse every circuit, also where something else in the manifest is wrong."""
    try:
        quantum = Quantum.model_validate_json(orjson.dumps(raw), strict=True)
    except ValidationError:
        return
    for path, template in templates_of(quantum):
        try:
            inputs = parsed(template.circuit)
        except CircuitInvalid as error:
            yield Problem(f"{path}circuit", "circuit_invalid", str(error))
            continue
        if set(inputs.parameters) != set(template.parameters):
            yield Problem(
                f"{path}parameters",
                "circuit_invalid",
                f"the circuit's inputs are {sorted(inputs.parameters)}: give a range for each of them and no other",
            )
            continue
        try:
            bind(inputs, {name: range_.low for name, range_ in template.parameters.items()})
            bind(inputs, {name: range_.high for name, range_ in template.parameters.items()})
        except CircuitInvalid as error:
            yield Problem(f"{path}parameters", "circuit_invalid", str(error))


def _of_names(manifest: Manifest) -> Iterator[Problem]:
    if manifest.signature is not None:
        yield Problem("signature", MANIFEST_INVALID, "the gateway signs the manifest: leave the signature out")
    if len(manifest.artifacts) > ARTIFACTS_MAX:
        yield Problem("artifacts", MANIFEST_INVALID, f"a job has at most {ARTIFACTS_MAX} artefacts")
    for name in manifest.artifacts:
        if name.removesuffix(".json") in RESERVED_INPUTS:
            yield Problem(
                f"artifacts.{name}", MANIFEST_INVALID, "a program's input has this name already: choose another"
            )
