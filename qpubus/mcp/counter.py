"""What the tools ask: the front desk of a bus in this process, or of one that is reached over HTTP."""

from typing import Any, Protocol

Told = dict[str, Any]


class Counter(Protocol):
    """One agent at the counter. Whatever is not done is raised as a `Refusal`."""

    @property
    def site(self) -> str:
        """The site that answers."""
        ...

    @property
    def source(self) -> str:
        """Who asks, as events name it."""
        ...

    async def devices(self) -> Told:
        """All devices with their prices."""
        ...

    async def device_snapshot(self, device: str) -> Told:
        """The latest calibration of a device."""
        ...

    async def request_calibration(
        self, device: str, request_id: str, max_age_s: int, reason: str, agent_proof: str
    ) -> Told:
        """Have a device measured anew."""
        ...

    async def quote(self, manifest: bytes) -> Told:
        """What would become of a manifest."""
        ...

    async def artifact_put(self, content: bytes, media_type: str) -> Told:
        """Keep a document."""
        ...

    async def declare(self, manifest: bytes, agent_proof: str) -> Told:
        """Declare a job; without a proof it is signed with the key that this counter holds for the agent."""
        ...

    async def job_get(self, job_id: str, wait_s: float) -> Told:
        """Where a job stands."""
        ...

    async def job_list(self, cursor: str, limit: int, state: str) -> Told:
        """The agent's jobs."""
        ...

    async def withdraw(self, job_id: str, reason: str, agent_proof: str) -> Told:
        """Take a job back; without a proof it is signed like a declaration."""
        ...

    async def budget_left(self) -> Told:
        """What may still be spent."""
        ...

    async def kpis(self) -> Told:
        """The KPIs of the site."""
        ...

    async def explain(self, job_id: str) -> Told:
        """The chain of causes of a job."""
        ...

    def approval_link(self, job_id: str) -> str:
        """Where a person sees what they are asked."""
        ...
