"""REST: documents that jobs name by their digest, whole or in parts."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response

from qpubus.web.answers import StoredAnswer, UploadAnswer
from qpubus.web.asked import Door, JobReader, JobWriter, StrictRoute, UploadAsked, door_of
from qpubus.web.caller import Caller
from qpubus.web.replies import NOT_MODIFIED, PROBLEMS, as_json, downloaded
from qpubus.web.uploads import Upload

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["artifacts"])
Digest = Annotated[str, Path(max_length=128, description="SHA-256 in lower-case hex")]
UploadId = Annotated[str, Path(max_length=64)]
_BYTES: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
}
_MEDIA_TYPE_CHARS = 100


@router.post(
    "/artifacts",
    status_code=201,
    summary="Keep a document.",
    responses={201: {"model": StoredAnswer}, **PROBLEMS},
    openapi_extra=_BYTES,
)
async def store(request: Request, caller: JobWriter) -> Response:
    """At most 16 MiB in the body, as it is. Storing it again gives the same answer."""
    media_type = request.headers.get("content-type", "application/octet-stream")[:_MEDIA_TYPE_CHARS]
    stored = await door_of(request).desk.artifact_put(caller, await request.body(), media_type)
    return as_json(stored, 201, {"location": f"/v1/artifacts/{stored['digest']}"})


@router.get(
    "/artifacts/{digest}",
    summary="Fetch a document, or a range of it.",
    response_class=Response,
    responses={
        200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "The range that was asked for"},
        **NOT_MODIFIED,
        **PROBLEMS,
    },
)
async def fetch(request: Request, digest: Digest, caller: JobReader) -> Response:
    """What the caller handed in, what its jobs brought about, and calibrations."""
    return downloaded(request, digest, await door_of(request).desk.artifact_get(caller, digest))


@router.post(
    "/uploads",
    status_code=201,
    summary="Begin a document that comes in parts, or find it as it stands.",
    responses={201: {"model": UploadAnswer}, **PROBLEMS},
)
async def begin(request: Request, asked: UploadAsked, caller: JobWriter) -> Response:
    """The same document of the same caller is the same upload, also after a restart."""
    uploads = door_of(request).uploads
    upload = uploads.begin(caller.source, asked.digest, asked.size_bytes, asked.media_type)
    if upload.is_whole:  # its last part came, and then the gateway stopped
        await _complete(door_of(request), caller, upload)
    return as_json(_shown(upload), 201, {"location": f"/v1/uploads/{upload.upload_id}"})


@router.get(
    "/uploads/{upload_id}",
    summary="How far an upload is.",
    responses={200: {"model": UploadAnswer}, **PROBLEMS},
)
async def find(request: Request, upload_id: UploadId, caller: JobWriter) -> Response:
    """The next part begins at `offset`."""
    return as_json(_shown(door_of(request).uploads.find(caller.source, upload_id)))


@router.patch(
    "/uploads/{upload_id}",
    summary="Add a part.",
    responses={200: {"model": UploadAnswer}, **PROBLEMS},
    openapi_extra=_BYTES,
)
async def add(
    request: Request, upload_id: UploadId, caller: JobWriter, upload_offset: Annotated[int, Header(ge=0, lt=1 << 40)]
) -> Response:
    """With the last part the document is stored, if its digest is the one that was said."""
    door, part = door_of(request), await request.body()
    upload = door.uploads.find(caller.source, upload_id)
    upload = await asyncio.to_thread(door.uploads.add, upload, upload_offset, part)
    if upload.is_whole:
        await _complete(door, caller, upload)
    return as_json(_shown(upload))


@router.delete(
    "/uploads/{upload_id}", status_code=204, summary="Drop an upload.", responses={204: {"model": None}, **PROBLEMS}
)
async def drop(request: Request, upload_id: UploadId, caller: JobWriter) -> Response:
    """Its parts are forgotten."""
    uploads = door_of(request).uploads
    uploads.drop(uploads.find(caller.source, upload_id))
    return Response(status_code=204)


async def _complete(door: Door, caller: Caller, upload: Upload) -> None:
    content = await asyncio.to_thread(door.uploads.content, upload)
    await door.desk.artifact_put(caller, content, upload.media_type)
    door.uploads.drop(upload)


def _shown(upload: Upload) -> dict[str, Any]:
    return {
        "upload_id": upload.upload_id,
        "offset": upload.offset,
        "size_bytes": upload.size_bytes,
        "digest": upload.digest,
        "is_complete": upload.is_whole,
    }
