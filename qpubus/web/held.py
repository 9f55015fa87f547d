"""Keys that the gateway holds for agents that can hold none: they sign here what such an agent says through a door.

Such a key is enrolled like any other, with the assurance `gateway-held`, and lies in DIR/keys as `held-AGENT.pem`.
What it signs says no more than that somebody had authenticated to this gateway as that agent; the event says so, and
policy can treat it as less.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

import orjson
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.client import sign_withdrawal
from qpubus.keyfile import read_key
from qpubus.problem import Problem
from qpubus.refusal import Refusal
from qpubus.web.caller import Caller
from schemas.admission import EnrolledKey
from schemas.calibrations import CalibrationWish, sign_calibration
from schemas.keys import KeyInvalid, key_id, raw_public_key
from schemas.proofs import TYPE_INTENT, sign_jws

GATEWAY_HELD = "gateway-held"


def held_key_file(keys: Path, source: str) -> Path:
    """Where the key lies that is held for an agent."""
    return keys / f"held-{source}.pem"


class HeldKeys:
    """The gateway-held keys on this machine."""

    def __init__(self, keys: Path) -> None:
        self._directory = keys

    def sign(self, caller: Caller, keys: Mapping[str, EnrolledKey], manifest: bytes) -> str:
        """An agent's proof of a manifest (JSON), by the key that is held for it; `Refusal` where there is none."""
        key = self._key_of(caller, keys)
        try:
            payload = rfc8785.dumps(orjson.loads(manifest))
        except (orjson.JSONDecodeError, rfc8785.CanonicalizationError, RecursionError):
            raise Refusal("manifest_malformed", "the manifest is not JSON that RFC 8785 can hold") from None
        return sign_jws(payload, key, key_id(raw_public_key(key)), TYPE_INTENT)

    def key_id(self, caller: Caller, keys: Mapping[str, EnrolledKey]) -> str:
        """The id of the key that is held for an agent; `Refusal` where there is none."""
        return key_id(raw_public_key(self._key_of(caller, keys)))

    def sign_withdrawal(self, caller: Caller, keys: Mapping[str, EnrolledKey], job_id: str, reason: str) -> str:
        """An agent's proof that it no longer wants a job."""
        return sign_withdrawal(job_id, reason, self._key_of(caller, keys))

    def sign_calibration(self, caller: Caller, keys: Mapping[str, EnrolledKey], wish: CalibrationWish) -> str:
        """An agent's proof that it wants a device measured anew."""
        return sign_calibration(wish, self._key_of(caller, keys))

    def _key_of(self, caller: Caller, keys: Mapping[str, EnrolledKey]) -> Ed25519PrivateKey:
        path = held_key_file(self._directory, caller.source)
        if path.is_file():
            try:
                key = read_key(path)
            except (KeyInvalid, Problem) as error:
                raise Refusal("proof_missing", f"the key that is held for you cannot be read: {error}") from None
            enrolled = keys.get(key_id(raw_public_key(key)))
            if enrolled and enrolled.assurance == GATEWAY_HELD and not enrolled.revoked:
                return key
        raise Refusal(
            "proof_missing",
            "sign it with your own enrolled key and hand in the proof; or let an admin enrol a key that the gateway "
            f"holds for you: qpubus keys enrol {caller.source} agent --held",
        )


def withdrawal_of(agent_proof: str) -> str:
    """The job that a withdrawal names, its signature not yet checked; empty if it is none."""
    try:
        body = agent_proof.split(".")[1]
        wish = orjson.loads(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
    except (IndexError, binascii.Error, ValueError):
        return ""
    return str(wish.get("job_id", "")) if isinstance(wish, dict) else ""
