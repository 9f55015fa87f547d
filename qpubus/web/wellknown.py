"""What the HTTP door says of itself: health, OAuth metadata and tokens, schemas, the meaning of problem codes."""

from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response

from qpubus.refusal import CODES, Refusal
from qpubus.web.answers import CodeAnswer, HealthAnswer, OAuthErrorAnswer, TokenAnswer
from qpubus.web.asked import door_of
from qpubus.web.identity import MCP_PATH, RESOURCE_METADATA
from qpubus.web.issuer import JWKS_PATH, TOKEN_PATH
from qpubus.web.replies import PROBLEMS, as_json
from schemas.manifest import Manifest

router = APIRouter(tags=["about"])
_OAUTH_ERRORS = {
    "client_invalid": "invalid_client",
    "grant_invalid": "unsupported_grant_type",
    "scope_invalid": "invalid_scope",
    "target_invalid": "invalid_target",
}
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type", "client_assertion_type", "client_assertion"],
                    "properties": {
                        name: {"type": "string"}
                        for name in (
                            *("grant_type", "client_assertion_type", "client_assertion"),
                            *("client_id", "scope", "resource"),
                        )
                    },
                }
            }
        },
    }
}


@router.get("/healthz", summary="Whether the process answers.", responses={200: {"model": HealthAnswer}, **PROBLEMS})
async def health() -> Response:
    """It does if this comes back."""
    return as_json({"status": "ok", "detail": ""})


@router.get(
    "/readyz",
    summary="Whether jobs can be declared and read.",
    responses={200: {"model": HealthAnswer}, 503: {"model": HealthAnswer}, **PROBLEMS},
)
async def ready(request: Request) -> Response:
    """The gateway and the views have read all that the log says, and the log can be written."""
    desk = door_of(request).desk
    try:
        await desk.keys()
        await desk.views()
    except Refusal as refusal:
        return as_json({"status": "not ready", "detail": refusal.message}, 503)
    return as_json({"status": "ok", "detail": ""})


@router.get(RESOURCE_METADATA, summary="Protected resource metadata (RFC 9728).", responses={200: {}, **PROBLEMS})
async def resource(request: Request) -> Response:
    """Which issuers' tokens are taken, and for what."""
    return as_json(door_of(request).identity.resource())


@router.get(RESOURCE_METADATA + MCP_PATH, include_in_schema=False)
async def mcp_resource(request: Request) -> Response:
    """The same of the MCP door: a client wants the very address that it asked for (RFC 9728, 3.3)."""
    return as_json(door_of(request).identity.resource(MCP_PATH))


@router.get(
    "/.well-known/oauth-authorization-server",
    summary="Authorization server metadata (RFC 8414).",
    responses={200: {}, **PROBLEMS},
)
async def authorization_server(request: Request) -> Response:
    """Of the built-in issuer."""
    return as_json(door_of(request).identity.issuer.metadata())


@router.get(JWKS_PATH, summary="The key of the built-in issuer.", responses={200: {}, **PROBLEMS})
async def jwks(request: Request) -> Response:
    """Another with each start."""
    return as_json(door_of(request).identity.issuer.jwks())


@router.post(
    TOKEN_PATH,
    summary="Get an access token by a signed assertion (RFC 7523).",
    responses={
        200: {"model": TokenAnswer},
        400: {"model": OAuthErrorAnswer},
        401: {"model": OAuthErrorAnswer},
        **PROBLEMS,
    },
    openapi_extra=_FORM,
)
async def token(request: Request) -> Response:
    """`client_credentials` with `private_key_jwt`; the token holds for five minutes."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise Refusal("media_type_refused", "send the fields as application/x-www-form-urlencoded")
    try:
        return as_json(await door_of(request).identity.token(_form(await request.body())))
    except Refusal as refused:
        if refused.status not in {400, 401}:
            raise
        refusal = refused
    error = _OAUTH_ERRORS.get(refusal.code, "invalid_request")
    return as_json({"error": error, "error_description": refusal.message}, refusal.status)


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise Refusal("arguments_invalid", "the body is no form") from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise Refusal("arguments_invalid", "a field is given twice")
    return dict(pairs)


@router.get("/v1/schemas/manifest", summary="The JSON Schema of a manifest.", responses={200: {}, **PROBLEMS})
async def manifest_schema() -> Response:
    """What can be said in a schema; the rest is checked when a job is declared or quoted."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return as_json(dialect | Manifest.model_json_schema(), headers={"cache-control": "public, max-age=3600"})


@router.get(
    "/v1/problems/{code}", summary="What a code stands for.", responses={200: {"model": CodeAnswer}, **PROBLEMS}
)
async def problem_code(code: str) -> Response:
    """The `type` of a problem document leads here."""
    meaning = CODES.get(code)
    if meaning is None:
        raise Refusal("problem_unknown", "it may be a reason of policy's: docs/gateway.md lists these")
    return as_json({"code": code, "status": meaning.status, "title": meaning.title})
