"""The main job, start to end, on an embedded log and a virtual clock: a seed goes in, the whole story comes out.

An agent declares a job that finds the ground-state energy of H2; policy asks for a human; an approver signs; the
scheduler places it; chunks run; the result is recorded, run again for comparison, and audited. A directory in which a
demo was killed is gone on with.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from agents.approver import Approver
from agents.client import RequestingAgent, h2_documents, h2_manifest, h2_why
from agents.clock import VirtualClock
from agents.devices.seeds import named_seed
from agents.party import Party
from agents.replies import Refused
from agents.workloads.vqe import exact_energy_hartree
from projections.devices import DEVICES
from projections.job import Job
from projections.jobs import JOBS
from projections.kpis import KPIS
from projections.scorecard import scorecard
from qpubus.bus import Part, run_until_quiet, run_virtual
from qpubus.founding import Founding, found, is_founded
from qpubus.keyfile import read_key
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.wiring import Machine, open_machine
from replay.audit import verify
from replay.reproduce import Predicted, last_program_in, predicted, reproduce
from replay.stored import StoredJob, stored_job
from replay.verdict import Audit
from schemas.events import Observable
from schemas.topics import TOPICS
from streams.author import Draft
from streams.reader import Reader
from streams.stage import Heard

SITE = "demo-lab"
AGENT = "agent:cowork:user-42"
APPROVER = "approver:demo"
AUDITOR = "auditor:main"
EPOCH_US = 1_768_726_800_000_000
"""2026-01-18 09:00 UTC: any fixed time will do, as long as every demo begins at the same."""
BUDGET_MICROUSD = 20_000_000_000
MICROUSD = 1_000_000
DENIED = "the person who was asked said no"

Consent = Callable[[Machine, Job], Awaitable[bool]]
"""Asked whether the approver's key signs yes or no to a job that waits; the demo itself says yes."""
Look = Callable[[Machine], Awaitable[None]]
"""Called once in each round of the parts; it may read and changes nothing."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A part that does nothing but call `look` once in each round, for a progress bar."""

    look: Look
    machine: Machine
    name: str = "watch"

    async def step(self) -> bool:
        """Look, and never claim to have worked."""
        await self.look(self.machine)
        return False

    def next_due_us(self) -> int | None:
        """Never."""
        return None


def demo_founding(seed: int) -> Founding:
    """What the site of a demo is made of."""
    return Founding(SITE, AGENT, APPROVER, "virtual", EPOCH_US, seed, BUDGET_MICROUSD)


async def run_demo(
    directory: Path, seed: int, consent: Consent | None = None, look: Look | None = None
) -> dict[str, Any]:
    """Run the main job in `directory` (made if missing) to its end; the object that `qpubus demo --json` prints.

    `consent` is asked before the approver signs; without it the demo's own approver signs at once.
    """
    place = Place(directory)
    if not is_founded(place):
        found(place, demo_founding(seed))
    async with open_machine(place) as machine:
        job = await _run_job(machine, seed, consent, look)
        await _reproduce(machine, job, seed)
        views = machine.views
        job, kpis = views[JOBS].jobs[job.job_id], scorecard(views[KPIS])
        assurance = views[JOBS].assurance(job)
    audit = await verify(directory)
    return {
        "job": _job_document(job),
        "result": _result_document(job),
        "approval": _approval_document(job, assurance),
        "kpis": {name: kpi.brief() for name, kpi in kpis.items()},
        "audit": _audit_document(audit),
        "data": str(directory),
    }


class JobAlone(NamedTuple):
    """A job, what the log holds of it, and what each of its circuits gives on the noise that its snapshot measured."""

    job: Job
    stored: StoredJob
    predicted: Predicted


async def run_job_alone(directory: Path, seed: int) -> JobAlone:
    """Run the main job in a new directory without running it again and without an audit, for whoever needs many."""
    place = Place(directory)
    found(place, demo_founding(seed))
    async with open_machine(place) as machine:
        job = await _run_job(machine, seed, None, None)
        stored = await _stored(machine, job)
        return JobAlone(job, stored, predicted(stored, machine.artifacts))


async def _run_job(machine: Machine, seed: int, consent: Consent | None, look: Look | None) -> Job:
    if not isinstance(machine.clock, VirtualClock):
        raise Problem(f"{machine.place.directory} is no demo's", "Name another directory: qpubus demo --data DIR")
    parts: list[Part] = [machine.part(name) for name in machine.names]
    if look:
        parts.append(Watch(look, machine))
    clock = machine.clock
    manifest = h2_manifest(f"h2-vqe-{seed}", AGENT, SITE, seed)
    await run_virtual(parts, machine.clock, lambda: len(machine.views[DEVICES].devices) == len(machine.fleet))
    agent = RequestingAgent(AGENT, read_key(machine.place.key("agent")))
    _held(await agent.submit(machine.gateway, manifest, h2_documents(), h2_why(manifest)))

    def job() -> Job:
        return machine.views[JOBS].jobs.get(manifest.job_id, Job(manifest.job_id))

    await run_virtual(parts, clock, lambda: job().is_over or job().state == "awaiting_approval")
    approval = job().approval
    if approval and not job().is_over and not approval.presented:
        approver = Approver(APPROVER, read_key(machine.place.key("approver")))
        if consent is None or await consent(machine, job()):
            _held(await machine.gateway.grant(approver.grant(approval.statement)))
        else:
            _held(await machine.gateway.deny(approver.deny(approval.statement, DENIED), DENIED))
    await run_virtual(parts, clock, lambda: job().is_over)
    await run_until_quiet(parts)
    return job()


def _held(reply: object) -> None:
    """Stop at a refusal: the demo's own requests are right, unless the directory is another demo's."""
    if isinstance(reply, Refused):
        raise Problem(f"the gateway refused: {reply.message} ({reply.code})", "Name another directory with --data.")


async def _reproduce(machine: Machine, job: Job, seed: int) -> None:
    """Let the auditor run a finished job again and put down what came of it, once."""
    if job.result is None or job.job_id in machine.views[KPIS].reproductions:
        return
    stored = await _stored(machine, job)
    program = last_program_in(machine.enclosure, stored, machine.artifacts)
    fresh_seed = named_seed(seed, "reproduction") >> 2  # a seed on the log has 62 bits
    measured = (await reproduce(stored, machine.artifacts, fresh_seed, program)).event(job.job_id)
    auditor = Party(machine.membership(AUDITOR), machine.log_as(AUDITOR), machine.clock)
    await auditor.say(Draft("results", measured, job.job_id, machine.clock.now_us()))
    views = machine.part("views")
    while await views.step():
        pass


async def _stored(machine: Machine, job: Job) -> StoredJob:
    """What the log holds of a job."""
    reader = Reader(machine.log, machine.partition, TOPICS, {machine.site: machine.root_public_key})
    heard: list[Heard] = []
    while items := await reader.read():
        heard += (item for item in items if isinstance(item, Heard))
    return stored_job(job.job_id, heard)


def _job_document(job: Job) -> dict[str, Any]:
    result = job.result
    return {
        "job_id": job.job_id,
        "state": job.state,
        "initiator": job.declaration.initiator if job.declaration else None,
        "device": job.device,
        "snapshot": job.snapshot_digest,
        "shots_total": result.shots if result else job.shots_measured,
        "iterations": result.iterations if result else job.iteration,
        "cost_usd": job.cost_microusd / MICROUSD,
    }


def _result_document(job: Job) -> dict[str, Any]:
    """The energies that the job recorded, beside the exact one, which the job has never seen."""
    found_: dict[str, Observable] = {each.name: each for each in (job.result.observables if job.result else ())}
    energy, raw = found_.get("energy_hartree"), found_.get("energy_raw_hartree")
    exact = exact_energy_hartree()
    return {
        "molecule": "H2",
        "energy_hartree": energy.value if energy else None,
        "energy_raw_hartree": raw.value if raw else None,
        "standard_error_hartree": energy.standard_error if energy else None,
        "exact_hartree": exact,
        "error_millihartree": (energy.value - exact) * 1_000 if energy else None,
    }


def _approval_document(job: Job, assurance: str) -> dict[str, Any]:
    answer = job.approval.answer if job.approval else None
    return {
        "approver": answer.approver if answer else None,
        "proof_type": answer.proof_type if answer else None,
        "assurance": assurance,
        "intent_digest": job.admission.intent_digest if job.admission else None,
    }


def _audit_document(audit: Audit) -> dict[str, Any]:
    return {"verdict": audit.verdict.word, "events": audit.events, "signatures": audit.signatures, "jobs": audit.jobs}
