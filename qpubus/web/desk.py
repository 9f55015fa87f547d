"""The front desk, which all doors share: a caller and plain values go in, plain documents come out.

REST, MCP and the local door say the same things in different forms; what a caller may ask and see is decided here.
Whatever is not done is raised as a `Refusal`. An agent sees its own jobs; a job of somebody else is answered like one
that does not exist.
"""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Mapping
from hashlib import sha256
from heapq import nlargest
from typing import Any, Literal, NamedTuple, TypeVar

import orjson
from pydantic import ValidationError

from agents import replies
from agents.artifacts import ArtifactError
from agents.gateway import Gateway
from agents.party import RecordRefused
from projections.budgets import BUDGETS
from projections.devices import DEVICES
from projections.job import Job
from projections.jobs import JOBS
from projections.kpis import KPIS
from projections.runner import Runner
from projections.scorecard import scorecard
from projections.views import Views
from qpubus.documents import (
    approval_brief,
    budget_document,
    device_document,
    job_brief,
    job_full,
    result_document,
    told,
    trial_document,
)
from qpubus.problem import validation_text
from qpubus.refusal import Refusal
from qpubus.web.caller import LOCAL, Caller, Scope
from qpubus.web.explaining import Explaining
from qpubus.web.held import HeldKeys, withdrawal_of
from qpubus.web.workload import Workload
from qpubus.wiring import VIEWS, Machine
from schemas.admission import EnrolledKey
from schemas.calibrations import CalibrationWish
from schemas.events import HumanProof
from schemas.manifest import plain
from schemas.petitions import Petition
from schemas.proofs import ProofInvalid, approval_payload, jws_key_id
from schemas.topics import Role
from schemas.traces import SealedTrace
from streams.log.port import LogError

WAIT_S_MAX = 60.0
PAGE_MAX = 200
Reply = TypeVar("Reply")
Document = dict[str, Any]


class StoredDocument(NamedTuple):
    """A document out of the artefact store."""

    content: bytes
    media_type: str


class FrontDesk:
    """What a running machine answers, whoever asks and through whichever door."""

    def __init__(self, machine: Machine, public_url: str = "", workload: Workload | None = None) -> None:
        """`public_url` is where the HTTP door is reached; empty where there is none."""
        self.machine = machine
        self.workload = workload or Workload()
        self.site = machine.site
        self.public_url = public_url
        self._held = HeldKeys(machine.place.keys)
        self._explaining = Explaining(machine)

    @property
    def gateway(self) -> Gateway:
        """The gateway as it is now: after a failure it is another."""
        return self.machine.gateway

    @property
    def runner(self) -> Runner:
        """What keeps the views."""
        part = self.machine.part(VIEWS)
        if not isinstance(part, Runner):
            raise TypeError("the part that keeps the views is another")
        return part

    async def views(self) -> Views:
        """All views, up to what the log says now."""
        while await self.runner.step():
            pass
        return self.machine.views

    async def keys(self) -> Mapping[str, EnrolledKey]:
        """Every enrolled key by its id, revoked ones too, up to what the log says now."""
        try:
            await self.gateway.listen()
        except RecordRefused as refused:
            raise Refusal("gateway_stopped", str(refused), retry_after_s=60) from None
        except LogError as error:
            raise Refusal("log_failed", str(error)) from None
        return self.gateway.keys

    async def declare(
        self,
        caller: Caller,
        manifest: bytes,
        agent_proof: str = "",
        trace: SealedTrace | None = None,
        idempotency_key: str = "",
    ) -> Document:
        """Take an intent. Without a proof the gateway signs it with the key that it holds for the caller, if it does.

        Said again, under the same job id or idempotency key, the very same answer; another manifest is refused.
        """
        caller.need(Scope.JOBS_WRITE)
        if agent_proof:
            await self._check_own(caller, agent_proof)
        else:
            agent_proof = self._held.sign(caller, await self.keys(), manifest)
        receipt = _kept(await self._heard(self.gateway.declare(manifest, agent_proof, trace, idempotency_key)))
        return receipt._asdict() | {"manifest": plain(receipt.manifest)}

    async def quote(self, caller: Caller, manifest: bytes) -> Document:
        """What would become of a manifest: policy's verdict, likely device, price. Nothing is appended or reserved."""
        caller.need(Scope.JOBS_WRITE)
        trial = _kept(await self._heard(self.gateway.dry_run(manifest)))
        return trial_document(trial._replace(message=self.machine.vault.told(trial.message)))

    async def withdraw(self, caller: Caller, job_id: str, agent_proof: str = "", reason: str = "") -> Document:
        """Take a job back, by the agent's own proof, or by the key that the gateway holds for it and a reason."""
        caller.need(Scope.JOBS_WRITE)
        await self._job(caller, job_id)
        if not agent_proof:
            keys = await self.keys()
            pointer = await self.keep_reason(job_id, self._held.key_id(caller, keys), reason)
            agent_proof = self._held.sign_withdrawal(caller, keys, job_id, pointer)
        elif withdrawal_of(agent_proof) != job_id:
            raise Refusal("proof_mismatch", f"the proof is not over a withdrawal of {job_id}")
        return await self.take_back(caller, agent_proof)

    async def take_back(self, caller: Caller, agent_proof: str) -> Document:
        """Take back the job that an agent's proof names."""
        caller.need(Scope.JOBS_WRITE)
        await self._check_own(caller, agent_proof)
        return _kept(await self._heard(self.gateway.withdraw(agent_proof)))._asdict()

    async def job_list(self, caller: Caller, cursor: str = "", limit: int = 50, state: str = "") -> Document:
        """The jobs that a caller sees, the latest first; `next_cursor` leads on, and is null at the end."""
        caller.need(Scope.JOBS_READ)
        before = _read_cursor(cursor)
        shown: list[tuple[tuple[int, str], Job]] = []
        for job in (await self.views())[JOBS].jobs.values():
            declared = job.declaration
            if declared is None or not caller.owns(declared.initiator) or state not in {"", job.state}:
                continue
            place = (declared.time_us, job.job_id)
            if before is None or place < before:
                shown.append((place, job))
        limit = max(1, min(limit, PAGE_MAX))
        page = nlargest(limit + 1, shown, key=lambda each: each[0])
        return {
            "jobs": [job_brief(job) for _, job in page[:limit]],
            "next_cursor": _cursor(page[limit - 1][0]) if len(page) > limit else None,
        }

    async def job_get(self, caller: Caller, job_id: str, wait_s: float = 0.0, unlike: str = "") -> Document:
        """Where a job stands.

        With `wait_s` (at most 60) the answer waits until the job is over; or, where `unlike` is the entity tag of an
        earlier answer, until there is another. After that time the job is told as it is.
        """
        caller.need(Scope.JOBS_READ)
        loop, log, partition = asyncio.get_running_loop(), self.machine.log, self.machine.partition
        until = loop.time() + max(0.0, min(wait_s, WAIT_S_MAX))
        while True:
            ends = await log.ends(partition)
            views, job = await self._job(caller, job_id)
            document = job_full(views[JOBS], job)
            left = until - loop.time()
            if left <= 0 or job.is_over or (unlike and etag_of(document) != unlike):
                return document
            with self.workload.resting():
                await log.wait(partition, ends, left)

    async def result(self, caller: Caller, job_id: str) -> Document:
        """What a job found; refused with `result_absent` while it has found nothing."""
        caller.need(Scope.JOBS_READ)
        _, job = await self._job(caller, job_id)
        if job.result is None:
            raise Refusal("result_absent", f"the job {job_id} has no result: it is {job.state}")
        return {"job_id": job_id} | result_document(job.result)

    async def explain(self, caller: Caller, job_id: str) -> Document:
        """The chain of causes of a job, from its intent on, each signature checked."""
        caller.need(Scope.JOBS_READ)
        await self._job(caller, job_id)
        return await self._explaining.of(job_id, caller.source)

    async def devices(self, caller: Caller) -> Document:
        """All devices as they describe themselves, with their prices."""
        caller.need(Scope.SITE_READ)
        view = (await self.views())[DEVICES]
        return {"devices": [device_document(view, view.devices[name]) for name in sorted(view.devices)]}

    async def device_snapshot(self, caller: Caller, device: str) -> Document:
        """The latest calibration of a device: its summary, and the whole document that stands behind it."""
        caller.need(Scope.SITE_READ)
        known = (await self.views())[DEVICES].devices.get(device)
        if known is None or known.snapshot is None:
            raise Refusal("device_absent", f"there is no calibrated device {device} at {self.site}")
        content = await self._read(known.snapshot.snapshot_digest)
        return plain(known.snapshot) | {"document": orjson.loads(content)}

    async def budget_left(self, caller: Caller) -> Document:
        """What the site may still spend, and what the caller's own jobs have held and spent of it."""
        caller.need(Scope.SITE_READ)
        views = await self.views()
        mine = [job.job_id for job in views[JOBS].jobs.values() if _initiator(job) == caller.source]
        return budget_document(views[BUDGETS], mine)

    async def kpis(self, caller: Caller) -> Document:
        """The five KPIs of the site, each with its 95 % interval and the number of cases."""
        caller.need(Scope.SITE_READ)
        return {name: each.full() for name, each in scorecard((await self.views())[KPIS]).items()}

    async def artifact_put(self, caller: Caller, content: bytes, media_type: str) -> Document:
        """Keep a document for jobs to name by its digest."""
        caller.need(Scope.JOBS_WRITE)
        owner = "" if caller.role == LOCAL else caller.source
        return _kept(await self._heard(self.gateway.store_artifact(content, media_type, owner)))._asdict()

    async def artifact_get(self, caller: Caller, digest: str) -> StoredDocument:
        """A document that the caller handed in, that its jobs brought about, or that is for everybody."""
        caller.need(Scope.JOBS_READ)
        await self.keys()
        holdings = self.gateway.holdings
        if not (caller.sees_site or holdings.may_read(caller.source, digest)):
            raise Refusal("artifact_missing", f"no artefact {digest} is stored for you")
        return StoredDocument(await self._read(digest), holdings.media_type(digest) or "application/octet-stream")

    async def approvals(self, caller: Caller) -> Document:
        """The jobs that wait for a person, the longest waiting first; an agent sees its own."""
        caller.need(Scope.JOBS_READ)
        views = await self.views()
        waiting = await self._heard(self.gateway.approvals())
        return {
            "approvals": [
                self._approval(each) for each in waiting if caller.owns(_initiator(views[JOBS].jobs.get(each.job_id)))
            ]
        }

    async def approval(
        self, caller: Caller, job_id: str, decision: Literal["grant", "deny"] = "grant", reason: str = ""
    ) -> Document:
        """What a person is asked of a job, and the very bytes that they sign to answer so (`payload`, as text).

        A person's reason is kept in the vault: `reason` is what they sign and hand in, in its place.
        """
        caller.need(Scope.JOBS_READ)
        await self._job(caller, job_id)
        waiting = [each for each in await self._heard(self.gateway.approvals()) if each.job_id == job_id]
        if not waiting:
            raise Refusal("approval_unknown", f"the job {job_id} waits for no person, or no longer")
        if caller.role == Role.APPROVER and caller.key_id:
            await self.present(job_id, caller.key_id)
            reason = await self.keep_reason(job_id, caller.key_id, reason) if reason else ""
        payload = approval_payload(waiting[0].statement, decision, reason).decode()
        return self._approval(waiting[0]) | {"payload": payload, "reason": reason}

    async def answer(
        self,
        caller: Caller,
        job_id: str,
        decision: Literal["grant", "deny"],
        *,
        intent_digest: str,
        proof: HumanProof,
        reason: str = "",
    ) -> Document:
        """Take a person's signed answer. The signature counts, not who brings it; yet no agent may bring one."""
        caller.need(Scope.APPROVALS_ANSWER)
        await self._job(caller, job_id)
        answer = replies.Answer(job_id, intent_digest, proof)
        asked = self.gateway.grant(answer) if decision == "grant" else self.gateway.deny(answer, reason)
        return _kept(await self._heard(asked))._asdict()

    async def present(self, job_id: str, key_name: str) -> Document:
        """Note that what a job asks was shown to the person of this key."""
        return _kept(await self._heard(self.gateway.present(job_id, key_name)))._asdict()

    async def keep_reason(self, about: str, key_name: str, text: str) -> str:
        """Keep a reason in the vault; what is signed in its place, by this key, and handed in."""
        return _kept(await self._heard(self.gateway.keep_reason(about, key_name, text)))

    async def petition(self, petition: Petition) -> Document:
        """Take what a person says of their own accord: a mandate, a step of autonomy, a halt, or the end of one."""
        said = _kept(await self._heard(self.gateway.petition(petition)))
        return {"subject": said.job_id, "digest": said.digest, "time_us": said.time_us}

    def approval_link(self, job_id: str) -> str:
        """Where a person finds what they are asked."""
        return f"{self.public_url}/v1/approvals/{job_id}"

    async def request_calibration(
        self, caller: Caller, *, device: str, request_id: str, max_age_s: int, reason: str, agent_proof: str = ""
    ) -> Document:
        """Have a device measured anew, by the agent's own proof, or by the key that the gateway holds for it."""
        caller.need(Scope.JOBS_WRITE)
        if agent_proof:
            await self._check_own(caller, agent_proof)
        else:
            keys = await self.keys()
            reason = await self.keep_reason(request_id, self._held.key_id(caller, keys), reason)
            wish = calibration_wish(request_id, self.site, device, max_age_s, reason)
            agent_proof = self._held.sign_calibration(caller, keys, wish)
        said = _kept(await self._heard(self.gateway.request_calibration(agent_proof)))
        return {"request_id": said.job_id, "device": device, "digest": said.digest, "time_us": said.time_us}

    async def _check_own(self, caller: Caller, agent_proof: str) -> None:
        """`Refusal` unless a proof is by a key of the caller's: nobody hands in what another agent has signed."""
        try:
            key = (await self.keys()).get(jws_key_id(agent_proof))
        except ProofInvalid as error:
            raise Refusal("proof_malformed", f"the proof cannot be read: {error}") from None
        if caller.role != LOCAL and key is not None and key.source != caller.source:
            raise Refusal("initiator_mismatch", f"the proof is by a key of {key.source}, you are {caller.source}")

    async def _job(self, caller: Caller, job_id: str) -> tuple[Views, Job]:
        """A job that the caller may see; one of somebody else is as unknown as one that nobody declared."""
        views = await self.views()
        job = views[JOBS].jobs.get(job_id)
        if job is None or not caller.owns(_initiator(job)):
            raise Refusal("job_unknown", f"there is no job {job_id[:128]} of yours")
        return views, told(job, self.machine.vault)

    def _approval(self, pending: replies.PendingApproval) -> Document:
        return approval_brief(pending) | {"link": self.approval_link(pending.job_id)}

    async def _read(self, digest: str) -> bytes:
        try:
            return await asyncio.to_thread(self.machine.artifacts.get, digest)
        except ArtifactError as error:
            raise Refusal(error.reason, str(error)) from None

    async def _heard(self, answer: Awaitable[Reply]) -> Reply:
        """An answer of the gateway; that it has fallen silent is told."""
        try:
            return await answer
        except RecordRefused as refused:
            raise Refusal("gateway_stopped", str(refused), retry_after_s=60) from None
        except LogError as error:
            raise Refusal("log_failed", str(error)) from None


def calibration_wish(request_id: str, site: str, device: str, max_age_s: int, reason: str) -> CalibrationWish:
    """A request for a calibration; `Refusal` if it is not in its form."""
    try:
        return CalibrationWish(request_id=request_id, site=site, device=device, max_age_s=max_age_s, reason=reason)
    except ValidationError as error:
        raise Refusal("arguments_invalid", validation_text(error)) from None


def etag_of(document: Mapping[str, Any]) -> str:
    """The entity tag of a document: it changes with anything that is in it."""
    return f'"{sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]}"'


def _kept(reply: Reply | replies.Refused) -> Reply:
    """A reply that is no refusal."""
    if isinstance(reply, replies.Refused):
        raise Refusal(reply.code, reply.message, reply.problems)
    return reply


def _initiator(job: Job | None) -> str:
    return job.declaration.initiator if job and job.declaration else ""


def _cursor(place: tuple[int, str]) -> str:
    return base64.urlsafe_b64encode(f"{place[0]}:{place[1]}".encode()).rstrip(b"=").decode()


def _read_cursor(cursor: str) -> tuple[int, str] | None:
    if not cursor:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        time_us, job_id = text.split(":", 1)
        return int(time_us[:20]), job_id
    except (binascii.Error, UnicodeError, ValueError):
        raise Refusal("cursor_unknown", "use the next_cursor of the page before, as it is") from None
