"""Reading what strangers hand in: bytes go in, a manifest or all that is wrong with it comes out; nothing is run."""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import orjson
from pydantic import ValidationError

from agents.devices.approved import middle, parsed
from agents.devices.compiler import bind, compile_circuit
from agents.devices.qasm import CircuitInvalid
from agents.devices.snapshot import Snapshot
from agents.replies import MANIFEST_INVALID, Problem, Refused, refusal
from agents.sandbox import RESERVED_INPUTS
from schemas.admission import EnrolledKey
from schemas.manifest import MANIFEST_BYTES_MAX, CircuitTemplate, Manifest, Quantum, signed_payload
from schemas.proofs import PROOF_BYTES_MAX, TYPE_INTENT, ProofInvalid, jws_key_id, verify_jws
from schemas.topics import Role
from schemas.traces import TEXT_BYTES_MAX, SealedTrace

ARTIFACTS_MAX = 64
DEPTH_MAX = 16
SEED_BITS = 53
"""RFC 8785 numbers are doubles: of more bits, two integers would have one text."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def read_manifest(manifest_json: bytes) -> Manifest | Refused:
    """The manifest in a JSON text, strictly read: no unknown, repeated or mistyped member, every circuit parsed."""
    if len(manifest_json) > MANIFEST_BYTES_MAX:
        return _oversized(len(manifest_json))
    try:
        raw = orjson.loads(manifest_json)
    except orjson.JSONDecodeError as error:
        return Refused("manifest_malformed", f"the manifest is not JSON: {error}")
    if not isinstance(raw, dict):
        return Refused("manifest_malformed", "the manifest is no JSON object")
    members, depth = _members_and_depth(raw)
    if depth > DEPTH_MAX:
        return Refused("manifest_malformed", f"the manifest is nested deeper than {DEPTH_MAX} levels")
    if _STRING.sub(b"", manifest_json).count(b":") != members:
        return Refused("manifest_malformed", "an object of the manifest has a member twice: give each once")
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


def _oversized(size: int) -> Refused:
    message = f"the manifest has {size} bytes in RFC 8785 form, the limit is {MANIFEST_BYTES_MAX}"
    return Refused("manifest_oversized", f"{message}: move inputs to artefacts")


def check_agent(manifest: Manifest, agent_proof: str, keys: Mapping[str, EnrolledKey]) -> str | Refused:
    """The id of the key by which the initiator signed this very manifest, or why the proof does not hold."""
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
    return key.key_id


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


def completed(manifest: Manifest) -> Manifest:
    """The manifest with what the agent left open: the seed follows from what was declared, no chance is involved."""
    if manifest.seed is not None:
        return manifest
    seed = int.from_bytes(sha256(signed_payload(manifest)).digest()[:8]) >> (64 - SEED_BITS)
    return manifest.model_copy(update={"seed": seed})


def of_fit(manifest: Manifest, snapshots: Mapping[str, Snapshot]) -> list[Problem]:
    """Whether all circuits fit one device at least, among those allowed, and that one takes so many shots."""
    allowed = {
        device: snapshot
        for device, snapshot in snapshots.items()
        if not manifest.allowed_devices or device in manifest.allowed_devices
    }
    if not allowed:
        known = ", ".join(sorted(snapshots)) or "none yet, try again when a device has calibrated"
        return [Problem("allowed_devices", "device_unknown", f"no such device is known; known are: {known}")]
    misfits = {device: why for device, snapshot in allowed.items() if (why := _misfit(manifest, snapshot))}
    if len(misfits) == len(allowed):
        told = "; ".join(f"{device}: {why.message}" for device, why in sorted(misfits.items()))
        first = next(iter(misfits.values()))
        return [Problem(first.path, "circuit_fits_no_device", f"it fits no device: {told}")]
    most = max(snapshot.shots_max for device, snapshot in allowed.items() if device not in misfits)
    if manifest.quantum.shots > most:
        return [Problem("quantum.shots", "shots_out_of_range", f"the devices it fits take at most {most} shots")]
    return []


def _misfit(manifest: Manifest, snapshot: Snapshot) -> Problem | None:
    for path, template in _placed(manifest.quantum):
        try:
            compile_circuit(parsed(template.circuit), middle(template), snapshot)
        except CircuitInvalid as error:
            return Problem(f"{path}circuit", error.reason, str(error))
    return None


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
    for path, template in _placed(quantum):
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


def _placed(quantum: Quantum) -> Iterator[tuple[str, CircuitTemplate]]:
    main, *further = quantum.templates()
    yield "quantum.", main
    for place, template in enumerate(further):
        yield f"quantum.further_circuits.{place}.", template


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
