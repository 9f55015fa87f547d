"""The MCP door of a bus: Streamable HTTP, for every revision at one address, to the front desk of this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from qpubus.mcp.counter import Counter, Told
from qpubus.mcp.server import mcp_server
from qpubus.mcp.tasks import RequestContext
from qpubus.refusal import Refusal
from qpubus.web.caller import Caller
from qpubus.web.desk import FrontDesk
from qpubus.web.identity import MCP_PATH, Identity
from qpubus.web.replies import problem

BODY_BYTES_MAX = 4 << 20
CALLER = "qpubus.caller"


class DeskCounter:
    """A caller at the front desk in this process."""

    def __init__(self, desk: FrontDesk, caller: Caller) -> None:
        self._desk = desk
        self._caller = caller
        self.site = desk.site
        self.source = caller.source

    async def devices(self) -> Told:
        return await self._desk.devices(self._caller)

    async def device_snapshot(self, device: str) -> Told:
        return await self._desk.device_snapshot(self._caller, device)

    async def request_calibration(
        self, device: str, request_id: str, max_age_s: int, reason: str, agent_proof: str
    ) -> Told:
        return await self._desk.request_calibration(
            self._caller,
            device=device,
            request_id=request_id,
            max_age_s=max_age_s,
            reason=reason,
            agent_proof=agent_proof,
        )

    async def quote(self, manifest: bytes) -> Told:
        return await self._desk.quote(self._caller, manifest)

    async def artifact_put(self, content: bytes, media_type: str) -> Told:
        return await self._desk.artifact_put(self._caller, content, media_type)

    async def declare(self, manifest: bytes, agent_proof: str) -> Told:
        return await self._desk.declare(self._caller, manifest, agent_proof)

    async def job_get(self, job_id: str, wait_s: float) -> Told:
        return await self._desk.job_get(self._caller, job_id, wait_s=wait_s)

    async def job_list(self, cursor: str, limit: int, state: str) -> Told:
        return await self._desk.job_list(self._caller, cursor=cursor, limit=limit, state=state)

    async def withdraw(self, job_id: str, reason: str, agent_proof: str) -> Told:
        return await self._desk.withdraw(self._caller, job_id, agent_proof, reason)

    async def budget_left(self) -> Told:
        return await self._desk.budget_left(self._caller)

    async def kpis(self) -> Told:
        return await self._desk.kpis(self._caller)

    async def explain(self, job_id: str) -> Told:
        return await self._desk.explain(self._caller, job_id)

    def approval_link(self, job_id: str) -> str:
        return self._desk.approval_link(job_id)


class McpDoor:
    """Streamable HTTP behind the access tokens of the HTTP door. No session is kept: each request says who asks."""

    def __init__(self, desk: FrontDesk, identity: Identity) -> None:
        self._desk = desk
        self._identity = identity
        self.server = mcp_server(self._counter_of)
        open_to_all = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # the gate has looked at both
        self.server.streamable_http_app(
            stateless_http=True, max_request_body_size=BODY_BYTES_MAX, transport_security=open_to_all
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Answer requests for as long as the context lasts; once."""
        async with self.server.session_manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        try:
            caller = await self._identity.caller(Request(scope).headers.get("authorization"))
        except Refusal as refusal:
            headers = {"www-authenticate": self._identity.challenge(refusal, MCP_PATH)} if refusal.status == 401 else {}
            await problem(refusal, headers)(scope, receive, send)
            return
        await self.server.session_manager.handle_request({**scope, CALLER: caller}, receive, send)

    async def _counter_of(self, ctx: RequestContext) -> Counter:
        caller = ctx.request.scope.get(CALLER) if isinstance(ctx.request, Request) else None
        if not isinstance(caller, Caller):
            raise Refusal("token_missing", "nobody has authenticated for this request")
        return DeskCounter(self._desk, caller)
