"""What the HTTP door takes: bodies as models, strictly read, and what every route needs of a request."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

from fastapi import Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import OAuth2, SecurityScopes
from pydantic import BaseModel, ConfigDict, Field, Strict

from agents.artifacts import ARTIFACT_BYTES_MAX
from agents.intake import strict_json
from qpubus.refusal import Refusal
from qpubus.web.caller import Caller, Scope
from qpubus.web.desk import FrontDesk
from qpubus.web.identity import Identity
from qpubus.web.issuer import TOKEN_PATH
from qpubus.web.stream import Streams
from qpubus.web.uploads import Uploads
from schemas.calibrations import MAX_AGE_S_MAX
from schemas.proofs import PROOF_BYTES_MAX
from schemas.traces import SealedTrace
from schemas.words import HexDigest, Identifier

Base64Url = Annotated[str, Field(max_length=16_384, pattern=r"^[A-Za-z0-9_-]*$")]
"""base64url without padding."""


class Door:
    """What stands behind the routes."""

    def __init__(self, desk: FrontDesk, identity: Identity, uploads: Uploads) -> None:
        self.desk = desk
        self.identity = identity
        self.uploads = uploads
        self.streams = Streams(desk)

    async def caller(self, request: Request, scopes: SecurityScopes) -> Caller:
        """Who asks, with every scope that the route needs."""
        caller = await self.identity.caller(request.headers.get("authorization"))
        for scope in scopes.scopes:
            caller.need(Scope(scope))
        return caller


class StrictRoute(APIRoute):
    """A route whose JSON body is read strictly: nothing twice, nothing deep, nothing but JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, with its body read before."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            if self.body_field is not None:
                media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                if media_type != "application/json":
                    raise Refusal("media_type_refused", "send the body as application/json")
                try:
                    request._json = strict_json(await request.body())  # noqa: SLF001 (where Starlette keeps what it read)
                except ValueError as error:
                    raise Refusal("body_malformed", f"the body {error}") from None
            return await handle(request)

        return handle_strictly


_scheme = OAuth2(
    flows={"clientCredentials": {"tokenUrl": TOKEN_PATH, "scopes": {each.value: "" for each in Scope}}},
    auto_error=False,
)


def door_of(request: Request) -> Door:
    """What stands behind the routes of the application that a request came to."""
    door: Door = request.app.state.door
    return door


async def _caller(request: Request, scopes: SecurityScopes, _: Annotated[str | None, Security(_scheme)]) -> Caller:
    return await door_of(request).caller(request, scopes)


JobReader = Annotated[Caller, Security(_caller, scopes=[Scope.JOBS_READ.value])]
JobWriter = Annotated[Caller, Security(_caller, scopes=[Scope.JOBS_WRITE.value])]
SiteReader = Annotated[Caller, Security(_caller, scopes=[Scope.SITE_READ.value])]
EventReader = Annotated[Caller, Security(_caller, scopes=[Scope.EVENTS_READ.value])]
Answerer = Annotated[Caller, Security(_caller, scopes=[Scope.APPROVALS_ANSWER.value])]


class Asked(BaseModel):
    """A body: nothing extra."""

    model_config = ConfigDict(extra="forbid")


class DeclarationAsked(Asked):
    """An intent: the manifest, and the agent's own proof of it unless the gateway holds the agent's key."""

    manifest: dict[str, Any]
    agent_proof: Annotated[str, Field(max_length=PROOF_BYTES_MAX)] = Field(
        default="", description="compact JWS, alg Ed25519, typ qpubus-intent+jws, payload: RFC 8785 of the manifest"
    )
    trace: SealedTrace | None = Field(
        default=None, description="the decision trace that the manifest names by its digest"
    )


class QuoteAsked(Asked):
    """A manifest that is only looked at."""

    manifest: dict[str, Any]


class WithdrawalAsked(Asked):
    """A job is taken back: by the agent's own proof, or by a reason where the gateway holds the agent's key."""

    agent_proof: Annotated[str, Field(max_length=PROOF_BYTES_MAX)] = Field(
        default="", description="compact JWS, typ qpubus-withdrawal+jws, payload: RFC 8785 of job_id and reason"
    )
    reason: Annotated[str, Field(max_length=1_000)] = ""


class CalibrationAsked(Asked):
    """A device is to be measured anew: by the agent's own proof, or by these where the gateway holds its key."""

    request_id: Identifier
    max_age_s: Annotated[int, Strict()] = Field(
        default=3_600, ge=0, le=MAX_AGE_S_MAX, description="a younger calibration answers; nothing is measured then"
    )
    reason: Annotated[str, Field(min_length=1, max_length=1_000)]
    agent_proof: Annotated[str, Field(max_length=PROOF_BYTES_MAX)] = Field(
        default="",
        description="compact JWS, typ qpubus-calibration+jws, payload: RFC 8785 of all of it with site, device",
    )


class UploadAsked(Asked):
    """A document that will come in parts."""

    digest: HexDigest
    size_bytes: Annotated[int, Strict()] = Field(ge=1, le=ARTIFACT_BYTES_MAX)
    media_type: Annotated[str, Field(max_length=100, pattern=r"^[a-z]+/[a-z0-9.+-]+$")] = "application/octet-stream"


class ProofAsked(Asked):
    """A person's signature over the payload that the approval gives."""

    proof_type: Literal["ed25519", "sshsig", "webauthn"]
    key_id: Identifier
    signature: Base64Url
    client_data: Base64Url = ""
    authenticator_data: Base64Url = ""


class AnswerAsked(Asked):
    """A person's answer to what a job asks them."""

    decision: Literal["grant", "deny"]
    intent_digest: HexDigest
    reason: Annotated[str, Field(max_length=1_000)] = Field(default="", description="needed to deny; it is signed too")
    proof: ProofAsked
