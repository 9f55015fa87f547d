"""A job that was declared, admitted and given a slot on the ion trap, for tests of what runs it."""

from dataclasses import dataclass
from typing import Any

from agents.devices.agent import DeviceAgent
from agents.replies import Receipt
from schemas.envelope import Cause
from schemas.events import (
    CircuitRun,
    IntentAdmitted,
    IntentDeclared,
    ReservationGranted,
    ReservationRequested,
    RunCancelDecided,
    StepPlanned,
)
from schemas.manifest import Manifest
from tests.support.bell import bell_manifest
from tests.support.town import TRAP, Town

SLOT = "slot-1"
JOB_SEED = 7


@dataclass
class Placed:
    """The job's town and agent, and what is known of it."""

    town: Town
    agent: DeviceAgent
    manifest: Manifest
    intent_digest: str
    admitted: Cause

    async def request(self, **changes: Any) -> None:
        """Let the scheduler ask for a slot."""
        request = ReservationRequested(
            job_id=self.manifest.job_id,
            reservation_id=SLOT,
            device=TRAP,
            intent_digest=self.intent_digest,
            shots=self.manifest.budget.shots,
            duration_us=120_000_000,
            price_ceiling_microusd=self.manifest.budget.cost_microusd,
        )
        await self.town.say("stage:scheduler", request.model_copy(update=changes))

    async def plan(self, *circuits: CircuitRun, step: int = 0, **changes: Any) -> Cause:
        """Let the orchestrator plan a quantum step; the Bell circuit with 1,000 shots if none is named."""
        (granted,) = await self.town.events(ReservationGranted)
        planned = StepPlanned(
            job_id=self.manifest.job_id,
            step=step,
            kind="quantum",
            iteration=1,
            device=TRAP,
            reservation_id=granted.reservation_id,
            token_digest=granted.token_digest,
            circuits=circuits or (bell_run(),),
            seed=JOB_SEED,
        )
        return await self.town.say("stage:orchestrator", planned.model_copy(update=changes))

    async def cancel(self, step: int = 0) -> None:
        """Let the guard stop a step."""
        decided = RunCancelDecided(
            job_id=self.manifest.job_id, step=step, reason="fidelity_drop", message="", rule="test"
        )
        await self.town.say("stage:guard", decided)

    async def run(self, hours: float = 24) -> None:
        """Let time pass for the device until it has nothing left to do."""
        await self.town.run(self.agent, until_us=self.town.clock.now_us() + int(hours * 3_600_000_000))


def bell_run(shots: int = 1_000, theta: float = 1.0, **changes: Any) -> CircuitRun:
    """The Bell circuit at an angle."""
    return CircuitRun(template=0, parameters={"theta": theta}, shots=shots).model_copy(update=changes)


async def admitted_job(
    town: Town,
    *,
    price_ceiling_microusd: int = 100_000_000,
    devices: tuple[str, ...] = (TRAP,),
    waits: bool = True,
    **changes: Any,
) -> Placed:
    """Declare and admit a Bell job; the device has calibrated and has not yet heard of it."""
    agent = town.device(waits=waits)
    await town.run(agent)
    manifest = bell_manifest(**changes)
    receipt = await town.agent.submit(town.gateway(), manifest)
    assert isinstance(receipt, Receipt), receipt
    (declared,) = [each.cause for each in await town.heard() if isinstance(each.event, IntentDeclared)]
    admitted = IntentAdmitted(
        job_id=manifest.job_id,
        intent_digest=receipt.intent_digest,
        price_ceiling_microusd=price_ceiling_microusd,
        shots_ceiling=manifest.budget.shots,
        devices=devices,
        policy_digest="0" * 64,
        rule="test",
    )
    cause = await town.say("stage:policy", admitted, declared)
    return Placed(town, agent, manifest, receipt.intent_digest, cause)


async def placed_job(town: Town, **changes: Any) -> Placed:
    """The same with a slot held for it."""
    job = await admitted_job(town, **changes)
    await job.request()
    await town.run(job.agent)
    return job
