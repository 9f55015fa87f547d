"""The HTTP door's application: REST, OAuth and whatever is mounted beside them, behind the gate."""

from collections.abc import Mapping
from importlib.metadata import version
from logging import getLogger
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from agents.replies import Problem
from qpubus.problem import problem_of
from qpubus.refusal import Refusal
from qpubus.web import artifacts, jobs, site, wellknown
from qpubus.web.answers import ProblemAnswer
from qpubus.web.asked import DeclarationAsked, Door, QuoteAsked
from qpubus.web.replies import problem
from schemas.manifest import Manifest

_log = getLogger("qpubus.http")
OPENAPI_PATH = "/v1/openapi.json"
_STATUS_CODES = {404: "route_unknown", 405: "method_refused"}


def rest_app(door: Door, mounts: Mapping[str, ASGIApp] = {}) -> FastAPI:
    """The application, not yet behind the gate; `mounts` are further ones, each at one path."""
    app = FastAPI(
        title="qpubus",
        version=version("qpubus"),
        summary="Declare quantum-classical jobs, follow them, and see why everything was decided.",
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},  # see qpubus.telemetry
        exception_handlers={
            Refusal: _refused,
            RequestValidationError: _invalid,
            HTTPException: _unrouted,
            Exception: _broken,
        },
    )
    app.state.door = door
    for router in (jobs.router, site.router, artifacts.router, wellknown.router):
        app.include_router(router)
    for path, mounted in mounts.items():
        app.router.routes.append(Route(path, mounted))
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's own way to extend its document
    return app


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    if error.status == 401 or error.code == "scope_missing":
        challenge = request.app.state.door.identity.challenge(error)
        return problem(error, {"www-authenticate": challenge})
    return problem(error)


async def _invalid(_: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    problems = [
        Problem(".".join(map(str, each["loc"])), "arguments_invalid", str(each["msg"]).removeprefix("Value error, "))
        for each in found[:100]
    ]
    told = "; ".join(f"{each.path}: {each.message}" for each in problems[:3])
    return problem(Refusal("arguments_invalid", told, problems))


async def _unrouted(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    code = _STATUS_CODES.get(status, "body_malformed")
    headers = error.headers if isinstance(error, HTTPException) else None
    return problem(Refusal(code, f"see {OPENAPI_PATH} for what can be asked"), headers or {})


async def _broken(_: Request, error: Exception) -> Response:
    """A defect, or an error of the log: told to the operator in full, to the caller without what it was."""
    known = problem_of(error)
    _log.error("a request was not answered: %s", known.what, exc_info=error)
    return problem(Refusal("defect", "the operator has been told; ask again, or ask them"))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the manifest's own schema and our problem documents in the place of FastAPI's."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, openapi_version="3.1.0", routes=app.routes
    )
    models = [(Manifest, "validation"), (ProblemAnswer, "serialization")]
    _, extra = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]  # its literals are inferred as text
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= extra["$defs"]
    for asked in (DeclarationAsked, QuoteAsked):
        schemas[asked.__name__]["properties"]["manifest"] = {"$ref": f"#/components/schemas/{Manifest.__name__}"}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    app.openapi_schema = document
    return document
