"""What a caller is told when something is not done: a stable code, its HTTP status, and what to change (RFC 9457)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from agents.replies import Problem

TYPE_PREFIX = "/v1/problems/"
"""Where a front door explains a code: the `type` of a problem document, relative to the door's own address."""


class Meaning(NamedTuple):
    """What a code stands for."""

    status: int
    title: str


CODES: dict[str, Meaning] = {
    "arguments_invalid": Meaning(400, "An argument of the request is missing or not in its form"),
    "body_malformed": Meaning(400, "The body is not JSON of the form that is asked for"),
    "cursor_unknown": Meaning(400, "The cursor was not given out by this gateway"),
    "header_invalid": Meaning(400, "A header of the request is not in its form"),
    "manifest_malformed": Meaning(400, "The manifest is not a JSON object"),
    "position_unknown": Meaning(400, "The position lies outside this log"),
    "proof_malformed": Meaning(400, "The proof is not in its form"),
    "grant_invalid": Meaning(400, "The grant type is not supported"),
    "scope_invalid": Meaning(400, "A scope that was asked for cannot be given"),
    "target_invalid": Meaning(400, "The resource that was asked for is not served here"),
    "client_invalid": Meaning(401, "The client assertion does not hold"),
    "token_invalid": Meaning(401, "The access token does not hold"),
    "token_missing": Meaning(401, "An access token is needed"),
    "halted": Meaning(403, "A person has halted it"),
    "initiator_mismatch": Meaning(403, "Only the agent that a job is of may do this"),
    "key_revoked": Meaning(403, "The key was revoked"),
    "key_unknown": Meaning(403, "The key is not enrolled at this site"),
    "origin_refused": Meaning(403, "Requests from other web origins are not taken"),
    "proof_invalid": Meaning(403, "The signature does not hold"),
    "proof_mismatch": Meaning(403, "The signature is over something else"),
    "proof_missing": Meaning(403, "The agent must sign its intent, and holds no key here"),
    "role_forbidden": Meaning(403, "This role may not do this"),
    "scope_missing": Meaning(403, "The access token was not given for this"),
    "approval_unknown": Meaning(404, "There is no such request for an approval"),
    "artifact_missing": Meaning(404, "There is no such document"),
    "device_absent": Meaning(404, "There is no such device"),
    "job_unknown": Meaning(404, "There is no such job"),
    "problem_unknown": Meaning(404, "There is no such code"),
    "result_absent": Meaning(404, "The job has no result"),
    "route_unknown": Meaning(404, "There is nothing at this address"),
    "upload_unknown": Meaning(404, "There is no such upload"),
    "method_refused": Meaning(405, "The address does not take this method"),
    "body_slow": Meaning(408, "The body did not come in time"),
    "approval_answered": Meaning(409, "The job has been answered already"),
    "approval_not_waiting": Meaning(409, "The job waits for no approval"),
    "idempotency_key_reused": Meaning(409, "The idempotency key was used for another manifest"),
    "job_ended": Meaning(409, "The job has ended already"),
    "request_repeated": Meaning(409, "The request id was used for another request"),
    "job_repeated": Meaning(409, "The job id was used for another manifest"),
    "upload_conflict": Meaning(409, "The part does not begin where the upload stands"),
    "artifact_oversized": Meaning(413, "The document is too large"),
    "body_oversized": Meaning(413, "The body is too large"),
    "manifest_oversized": Meaning(413, "The manifest is too large"),
    "request_oversized": Meaning(413, "The request is too large"),
    "encoding_refused": Meaning(415, "Compressed bodies are not taken"),
    "media_type_refused": Meaning(415, "The body is of another media type than is asked for"),
    "range_refused": Meaning(416, "The range lies outside the document"),
    "host_refused": Meaning(421, "The request names another host"),
    "circuit_fits_no_device": Meaning(422, "The circuit fits no device"),
    "circuit_invalid": Meaning(422, "A circuit cannot be read"),
    "calibrations_waiting": Meaning(429, "Enough requests wait for a calibration of the device"),
    "deadline_passed": Meaning(422, "The deadline lies in the past"),
    "device_unknown": Meaning(422, "No device that the manifest allows is known"),
    "digest_malformed": Meaning(422, "A document is named by a SHA-256 in lower-case hex"),
    "digest_mismatch": Meaning(422, "The document has another digest than was said"),
    "field_unknown": Meaning(422, "The manifest has a field that is not known"),
    "idempotency_key_mismatch": Meaning(422, "Header and manifest name different idempotency keys"),
    "manifest_invalid": Meaning(422, "The manifest cannot be run as it is"),
    "reason_missing": Meaning(422, "A reason is needed"),
    "shots_out_of_range": Meaning(422, "No device takes so many shots"),
    "site_unknown": Meaning(422, "The manifest is for another site"),
    "trace_mismatch": Meaning(422, "This is not the trace that the manifest names"),
    "trace_oversized": Meaning(422, "The trace is too large"),
    "trace_unnamed": Meaning(422, "The manifest names no trace"),
    "rate_exceeded": Meaning(429, "Too many requests"),
    "too_many_uploads": Meaning(429, "Too many uploads are open"),
    "too_many_streams": Meaning(429, "Too many event streams are open"),
    "artifact_damaged": Meaning(500, "The stored document has changed"),
    "defect": Meaning(500, "This should not have happened"),
    "gateway_stopped": Meaning(503, "The gateway says nothing more until a person has looked into it"),
    "issuer_unreachable": Meaning(503, "The keys of the token's issuer cannot be fetched"),
    "log_failed": Meaning(503, "The log cannot be written"),
    "outcome_unknown": Meaning(503, "Nobody can say whether it was done"),
    "overloaded": Meaning(503, "More is asked than can be done"),
    "storage_failed": Meaning(503, "The document store failed"),
    "storage_full": Meaning(503, "The document store is full"),
    "vault_failed": Meaning(503, "The vault failed"),
}
"""Every code that a front door gives, by status. One that is not here is a reason of policy's, and has status 422."""
OTHER = Meaning(422, "The request cannot be carried out as it is")


class Refusal(Exception):
    """Something that is not done. The code is stable, the message says what to change, `problems` lists all faults."""

    def __init__(
        self, code: str, message: str, problems: Sequence[Problem] = (), *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.problems = tuple(problems)
        self.retry_after_s = retry_after_s if retry_after_s or self.status != 503 else 1

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return CODES.get(self.code, OTHER).status

    def document(self) -> dict[str, Any]:
        """The problem document (RFC 9457), with the code and all faults, each with its place, as its own members."""
        shown: dict[str, Any] = {
            "type": f"{TYPE_PREFIX}{self.code}",
            "title": CODES.get(self.code, OTHER).title,
            "status": self.status,
            "detail": self.message,
            "code": self.code,
        }
        if self.problems:
            shown["problems"] = [each._asdict() for each in self.problems]
        return shown
