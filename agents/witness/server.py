"""A witness behind HTTP: requests become calls of its rules, refusals become status codes."""

from collections.abc import Callable

from aiohttp import web

from agents.witness.store import StoreBroken
from agents.witness.witness import (
    REQUEST_BYTES_MAX,
    OriginUnknown,
    ProofBroken,
    Refusal,
    RequestMalformed,
    SignatureMissing,
    SizeConflict,
    Witness,
)

_STATUS: dict[type[Refusal], int] = {
    RequestMalformed: 400,
    SignatureMissing: 403,
    OriginUnknown: 404,
    SizeConflict: 409,
    ProofBroken: 422,
}


def witness_app(witness: Witness, said: Callable[[str], None]) -> web.Application:
    """`POST /add-checkpoint` as C2SP has it, and `GET /checkpoints`: all that was cosigned last, for auditors.

    `said` is told in a line what keeps the witness from its work.
    """

    async def add_checkpoint(request: web.Request) -> web.Response:
        data = await request.read()
        try:
            return web.Response(text=witness.add_checkpoint(data))
        except SizeConflict as conflict:
            return web.Response(status=409, body=f"{conflict.size}\n".encode(), content_type="text/x.tlog.size")
        except Refusal as refusal:
            return web.Response(status=_STATUS[type(refusal)], text=f"{refusal}\n")
        except (StoreBroken, OSError) as error:
            said(f"nothing is cosigned: {error}")
            return web.Response(status=500, text="the witness cannot remember what it cosigns\n")

    async def checkpoints(_: web.Request) -> web.Response:
        return web.Response(body=witness.store.all(), content_type="text/plain", charset="utf-8")

    app = web.Application(client_max_size=REQUEST_BYTES_MAX)
    app.router.add_post("/add-checkpoint", add_checkpoint)
    app.router.add_get("/checkpoints", checkpoints)
    return app
