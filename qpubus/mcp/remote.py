"""The counter of a bus that is reached over HTTP: what the stdio bridge asks, signed with the agent's own key."""

from collections.abc import Awaitable
from typing import TypeVar

from pydantic import ValidationError

from agents.replies import Problem
from qpubus.client import AsyncClient, Failed
from qpubus.mcp.counter import Told
from qpubus.problem import validation_text
from qpubus.refusal import Refusal
from schemas.manifest import Manifest

Answer = TypeVar("Answer")


class RemoteCounter:
    """One agent at a bus elsewhere. Its key stays in this process."""

    def __init__(self, client: AsyncClient, url: str, site: str, source: str) -> None:
        self._client = client
        self._url = url
        self.site = site
        self.source = source

    async def devices(self) -> Told:
        return {"devices": await _kept(self._client.devices())}

    async def device_snapshot(self, device: str) -> Told:
        return await _kept(self._client.snapshot(device))

    async def request_calibration(
        self, device: str, request_id: str, max_age_s: int, reason: str, agent_proof: str
    ) -> Told:
        _check_unsigned(agent_proof)
        return await _kept(self._client.request_calibration(device, reason, max_age_s, request_id))

    async def quote(self, manifest: bytes) -> Told:
        return (await _kept(self._client.quote(_read(manifest)))).model_dump(mode="json")

    async def artifact_put(self, content: bytes, media_type: str) -> Told:
        return {"digest": await _kept(self._client.store(content, media_type)), "size_bytes": len(content)}

    async def declare(self, manifest: bytes, agent_proof: str) -> Told:
        _check_unsigned(agent_proof)
        return (await _kept(self._client.submit(_read(manifest)))).model_dump(mode="json")

    async def job_get(self, job_id: str, wait_s: float) -> Told:
        return (await _kept(self._client.job(job_id, wait_s))).model_dump(mode="json")

    async def job_list(self, cursor: str, limit: int, state: str) -> Told:
        return await _kept(self._client.page(cursor, limit, state))

    async def withdraw(self, job_id: str, reason: str, agent_proof: str) -> Told:
        _check_unsigned(agent_proof)
        return await _kept(self._client.withdraw(job_id, reason))

    async def budget_left(self) -> Told:
        return await _kept(self._client.budget())

    async def kpis(self) -> Told:
        return await _kept(self._client.kpis())

    async def explain(self, job_id: str) -> Told:
        return await _kept(self._client.explain(job_id))

    def approval_link(self, job_id: str) -> str:
        return f"{self._url}/v1/approvals/{job_id}"


def _check_unsigned(agent_proof: str) -> None:
    if agent_proof:
        raise Refusal("arguments_invalid", "agent_proof: leave it out, this bridge signs with the agent's key")


async def _kept(answer: Awaitable[Answer]) -> Answer:
    """An answer; what the bus refused is refused here in the same words."""
    try:
        return await answer
    except Failed as failed:
        raise Refusal(failed.code, failed.message, failed.problems) from None


def _read(manifest: bytes) -> Manifest:
    """The manifest that is about to be signed, checked as the gateway would."""
    try:
        return Manifest.model_validate_json(manifest, strict=True)
    except ValidationError as error:
        problems = [
            Problem(".".join(map(str, each["loc"])), "manifest_invalid", each["msg"])
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise Refusal("manifest_invalid", validation_text(error), problems) from None
