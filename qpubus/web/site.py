"""REST: devices, snapshots, approvals, the stream of events."""

import base64
import binascii
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from qpubus.refusal import Refusal
from qpubus.web.answers import (
    ApprovalsAnswer,
    ApprovalToSignAnswer,
    CalibrationAnswer,
    DevicesAnswer,
    SaidAnswer,
    SiteAnswer,
    SnapshotAnswer,
)
from qpubus.web.asked import (
    AnswerAsked,
    Answerer,
    CalibrationAsked,
    EventReader,
    JobReader,
    JobWriter,
    ProofAsked,
    SiteReader,
    StrictRoute,
    door_of,
)
from qpubus.web.jobs import JobId
from qpubus.web.replies import NOT_MODIFIED, PROBLEMS, EventStream, as_json, tagged
from qpubus.web.stream import Wanted
from schemas.events import HumanProof

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["site"])
_SERVER_SENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "the position to go on from"},
        "event": {"type": "string", "description": "the type of the event"},
        "data": {"type": "string", "description": "the event as JSON"},
    },
}
Device = Annotated[str, Path(max_length=128)]


@router.get(
    "/devices",
    summary="All devices, with status, figures and price.",
    responses={200: {"model": DevicesAnswer}, **NOT_MODIFIED, **PROBLEMS},
)
async def devices(request: Request, caller: SiteReader) -> Response:
    """Figures are what the latest calibration measured."""
    return tagged(request, await door_of(request).desk.devices(caller))


@router.get(
    "/devices/{device}/snapshot",
    summary="The latest calibration of a device, whole.",
    responses={200: {"model": SnapshotAnswer}, **NOT_MODIFIED, **PROBLEMS},
)
async def snapshot(request: Request, device: Device, caller: SiteReader) -> Response:
    """Estimates with standard errors, firmware and compiler."""
    return tagged(request, await door_of(request).desk.device_snapshot(caller, device))


@router.post(
    "/devices/{device}/calibrations",
    status_code=201,
    summary="Ask that a device be measured anew. It costs device time, not money.",
    responses={201: {"model": CalibrationAnswer}, **PROBLEMS},
)
async def calibrate(request: Request, device: Device, asked: CalibrationAsked, caller: JobWriter) -> Response:
    """A calibration that is young enough answers it; nothing is measured then. The same request id is one request."""
    said = await door_of(request).desk.request_calibration(
        caller,
        device=device,
        request_id=asked.request_id,
        max_age_s=asked.max_age_s,
        reason=asked.reason,
        agent_proof=asked.agent_proof,
    )
    return as_json(said, 201)


@router.get("/site", summary="Whose bus this is.", responses={200: {"model": SiteAnswer}, **PROBLEMS})
async def site(request: Request, caller: SiteReader) -> Response:
    """A manifest names the site that it is for."""
    return as_json({"site": door_of(request).desk.site, "you": caller.source})


@router.get(
    "/approvals",
    tags=["approvals"],
    summary="The jobs that wait for a person.",
    responses={200: {"model": ApprovalsAnswer}, **PROBLEMS},
)
async def approvals(request: Request, caller: JobReader) -> Response:
    """The longest waiting first; an agent sees its own."""
    return as_json(await door_of(request).desk.approvals(caller))


@router.get(
    "/approvals/{job_id}",
    tags=["approvals"],
    summary="What a person is asked, and the text that they sign.",
    responses={200: {"model": ApprovalToSignAnswer}, **PROBLEMS},
)
async def approval(
    request: Request,
    job_id: JobId,
    caller: JobReader,
    decision: Literal["grant", "deny"] = "grant",
    reason: Annotated[str, Query(max_length=1_000)] = "",
) -> Response:
    """Decision and reason are part of what is signed."""
    return as_json(await door_of(request).desk.approval(caller, job_id, decision, reason))


@router.post(
    "/approvals/{job_id}",
    tags=["approvals"],
    summary="Hand in a person's signed answer.",
    responses={200: {"model": SaidAnswer}, **PROBLEMS},
)
async def answer(request: Request, job_id: JobId, asked: AnswerAsked, caller: Answerer) -> Response:
    """No agent gets the scope for this: an approval is a person's."""
    said = await door_of(request).desk.answer(
        caller,
        job_id,
        asked.decision,
        intent_digest=asked.intent_digest,
        proof=_proof(asked.proof),
        reason=asked.reason,
    )
    return as_json(said)


@router.get(
    "/events",
    tags=["events"],
    summary="Verified events as they come (server-sent events).",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": _SERVER_SENT}}}, **PROBLEMS},
)
async def events(
    request: Request,
    caller: EventReader,
    *,
    since: Annotated[str, Query(max_length=512, description="a position, `now`, or empty for the start")] = "",
    job: Annotated[str, Query(max_length=128, description="only events about this job")] = "",
    type_: Annotated[tuple[str, ...], Query(alias="type", max_length=64, description="only these: ShotsMeasured")] = (),
    follow: Annotated[bool, Query(description="go on with what comes; else end where the log ends now")] = True,
) -> Response:
    """Each has its position as `id`; a reader that comes back sends it as Last-Event-ID and misses nothing.

    The stream ends with the access token, and at once when the key behind it is revoked or the agent is halted.
    """
    door, token = door_of(request), request.headers.get("authorization")
    place = await door.streams.begin(request.headers.get("last-event-id", since))
    wanted = Wanted(door.desk, caller, job, frozenset(type_))
    still = partial(door.identity.still, token, caller)
    return EventStream(door.streams.open(wanted, place, still, follow=follow))


def _proof(asked: ProofAsked) -> HumanProof:
    return HumanProof(
        proof_type=asked.proof_type,
        key_id=asked.key_id,
        signature=_bytes(asked.signature),
        client_data=_bytes(asked.client_data),
        authenticator_data=_bytes(asked.authenticator_data),
    )


def _bytes(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise Refusal("arguments_invalid", "proof: a part of it is not base64url") from None
