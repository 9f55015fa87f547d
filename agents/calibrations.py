"""Requests for calibrations as the gateway takes them: an agent's proof goes in, the event to append comes out."""

from collections.abc import Mapping

from agents.intake import signing_key
from agents.replies import Refused
from schemas.admission import EnrolledKey
from schemas.calibrations import signed_calibration
from schemas.events import CalibrationFinished, CalibrationRequested, DeviceSnapshotTaken
from schemas.proofs import ProofInvalid
from schemas.topics import Role
from streams.halts import Halts
from streams.speakers import speaks_for_device
from streams.stage import Heard

WAITING_MAX = 8
"""So many requests of one device may wait for an answer; more would only be answered by the same calibration."""


class Calibrations:
    """What was asked of which device, folded from events."""

    def __init__(self) -> None:
        self.first: dict[tuple[str, str], tuple[CalibrationRequested, Heard]] = {}
        """By agent and request id, the first request under it."""
        self._waiting: dict[str, set[str]] = {}

    def hear(self, heard: Heard) -> None:
        """Take in an event; of a device only what its own agent says."""
        match heard.event:
            case CalibrationRequested(device=device, initiator=initiator, request_id=request_id) as requested:
                if (initiator, request_id) not in self.first:
                    self.first[initiator, request_id] = requested, heard
                    self._waiting.setdefault(device, set()).add(heard.digest)
            case CalibrationFinished(device=device, request_digest=digest) if speaks_for_device(heard, device):
                self._waiting.setdefault(device, set()).discard(digest)
            case DeviceSnapshotTaken(device=device) if speaks_for_device(heard, device):
                self._waiting.setdefault(device, set())
            case _:
                pass

    def why_not(self, requested: CalibrationRequested, halts: Halts) -> Refused | None:
        """Why a new request is not taken."""
        if halt := halts.covering(requested.initiator, requested.device):
            return Refused("halted", halt.message)
        earlier = self.first.get((requested.initiator, requested.request_id))
        if earlier is not None:
            message = f"the request id {requested.request_id} was used for another request: choose a new one"
            return Refused("request_repeated", message)
        if requested.device not in self._waiting:
            known = ", ".join(sorted(self._waiting)) or "none yet"
            return Refused("device_unknown", f"no device {requested.device} is known here; known are: {known}")
        if len(self._waiting[requested.device]) >= WAITING_MAX:
            message = f"{WAITING_MAX} requests wait for {requested.device}: wait for their answers, see device_snapshot"
            return Refused("calibrations_waiting", message)
        return None


def read_request(proof: str, keys: Mapping[str, EnrolledKey], site: str) -> CalibrationRequested | Refused:
    """The event behind an agent's proof, or why the proof does not hold."""
    key = signing_key(proof, keys, Role.AGENT)
    if isinstance(key, Refused):
        return key
    try:
        wish = signed_calibration(proof, key.public_key)
    except ProofInvalid as error:
        return Refused("proof_invalid", f"{error}: sign request_id, site, device, max_age_s and reason")
    if wish.site != site:
        return Refused("site_unknown", f"this is {site}, not {wish.site}")
    return CalibrationRequested(
        request_id=wish.request_id,
        device=wish.device,
        initiator=key.source,
        max_age_s=wish.max_age_s,
        reason=wish.reason,
        agent_key_id=key.key_id,
        agent_proof=proof,
        assurance="gateway-held" if key.assurance == "gateway-held" else "agent-held",
    )
