"""The gateway: what agents and people hand in goes in, signed events and receipts come out, or refusals with reasons.

It believes a proof, never a caller: each intent, grant, denial and withdrawal carries the signature of whoever wants
it, and what is appended carries that signature on. It answers only when the event is durable.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import orjson

from agents.answers import REASON_LENGTH_MAX, answered, kept_reason, why_no_reason, why_not_answered
from agents.artifacts import ArtifactError, ArtifactStore
from agents.calibrations import Calibrations, read_request
from agents.docket import Case, Docket
from agents.drafts import draft
from agents.fitting import Fits
from agents.holdings import Holdings
from agents.intake import check_agent, completed, known_key, read_manifest, signing_key, why_not_kept
from agents.party import Clock, Membership, Party
from agents.petitions import Petitions, subject_of, why_not
from agents.rehearsal import Rehearsal, dry_run
from agents.replies import Answer, DryRun, Outcome, PendingApproval, Problem, Receipt, Refused, Said, Stored, refusal
from agents.together import Together
from agents.tracing import current_traceparent
from agents.vault import Vault, VaultError
from schemas.admission import EnrolledKey
from schemas.envelope import Cause
from schemas.events import ApprovalPresented, ArtifactStored, IntentDeclared, IntentWithdrawn, TraceSealed
from schemas.keys import key_id, raw_public_key
from schemas.manifest import Manifest
from schemas.petitions import Petition
from schemas.proofs import TYPE_WITHDRAWAL, ProofInvalid, sign_manifest, verify_jws
from schemas.topics import Role
from schemas.traces import SealedTrace
from streams.author import Draft
from streams.halts import Halt
from streams.log.port import AppendUnknown, Log, LogError
from streams.stage import Heard

DECLARED_TOGETHER_MAX = 32
Reply = TypeVar("Reply")


class _Declaration(NamedTuple):
    """What an agent hands in to declare a job, and the trace that its call belongs to."""

    manifest_json: bytes
    agent_proof: str
    trace: SealedTrace | None
    idempotency_key: str
    traceparent: str


class Gateway(Party):
    """The one way in. Calls are taken one after the other, each after all that the log says by then."""

    def __init__(self, membership: Membership, log: Log, clock: Clock, artifacts: ArtifactStore, vault: Vault) -> None:
        super().__init__(membership, log, clock)
        self._vault = vault
        self._key_id = key_id(raw_public_key(membership.key))
        self._artifacts = artifacts
        self._docket = Docket()
        self._calibrations = Calibrations()
        self._petitions = Petitions()
        self._rehearsal = Rehearsal(artifacts)
        self._holdings = Holdings()
        self._fits = Fits()
        self._declarations = Together(self._declare_all, DECLARED_TOGETHER_MAX)
        self._turn = asyncio.Lock()
        self._hearing = asyncio.Lock()

    def hear(self, heard: Heard) -> None:
        """Take in one event, one's own among them."""
        self._docket.hear(heard)
        self._rehearsal.hear(heard)
        self._calibrations.hear(heard)
        self._petitions.hear(heard)
        self._holdings.hear(heard)

    async def listen(self) -> bool:
        """Hear all there is to hear now; calls and turns may come at the same time."""
        async with self._hearing:
            return await super().listen()

    async def declare(
        self, manifest_json: bytes, agent_proof: str, trace: SealedTrace | None = None, idempotency_key: str = ""
    ) -> Receipt | Refused:
        """Take an agent's intent: check it whole, complete and sign it, append it. Said again, the same receipt.

        The decision trace that the manifest names may come beside it: its text goes into the vault. So may an
        idempotency key, which completes the manifest: under one key an agent has one job, whatever it says again.
        """
        asked = _Declaration(manifest_json, agent_proof, trace, idempotency_key, current_traceparent())
        return await self._declarations.ask(asked)

    async def dry_run(self, manifest_json: bytes) -> DryRun | Refused:
        """What would become of a manifest; nothing is appended or reserved."""
        return await self._call(lambda: self._dry_run(manifest_json))

    async def grant(self, answer: Answer) -> Said | Refused:
        """Take a person's yes, if their signature holds for what is asked of them."""
        return await self._call(lambda: self._answer(answer, None))

    async def deny(self, answer: Answer, reason: str) -> Said | Refused:
        """Take a person's no and its reason, which is signed too."""
        return await self._call(lambda: self._answer(answer, reason))

    async def present(self, job_id: str, key_name: str) -> Said | Refused:
        """Note that what a job asks was shown to the person of this key, once for each request."""
        return await self._call(lambda: self._present(job_id, key_name))

    async def keep_reason(self, about: str, key_name: str, text: str) -> str | Refused:
        """Keep why somebody is about to say no or to withdraw; they sign the pointer, and their text can be erased."""
        return await self._call(lambda: self._keep_reason(about, key_name, text))

    async def petition(self, petition: Petition) -> Said | Refused:
        """Take what a person says of their own accord, by their proof. Said again, the same answer."""
        return await self._call(lambda: self._petition(petition))

    def halted(self, agent: str) -> Halt | None:
        """A halt that stops all that an agent does, as far as this party has heard."""
        return self._rehearsal.policy.halts.covering(agent)

    async def withdraw(self, agent_proof: str) -> Said | Refused:
        """Take an agent's word that it no longer wants its job."""
        return await self._call(lambda: self._withdraw(agent_proof))

    async def request_calibration(self, agent_proof: str) -> Said | Refused:
        """Take an agent's wish to have a device measured anew. Said again, the same answer."""
        return await self._call(lambda: self._request_calibration(agent_proof))

    async def store_artifact(self, content: bytes, media_type: str, owner: str = "") -> Stored | Refused:
        """Keep a document for jobs to name by its digest; `owner` is the agent that may read it again."""
        return await self._call(lambda: self._store(content, media_type, owner))

    @property
    def keys(self) -> Mapping[str, EnrolledKey]:
        """Every key that was ever enrolled at the site, by its id, as far as this party has heard."""
        return self._reader.admission(self.site).keys

    @property
    def holdings(self) -> Holdings:
        """Who may read which document, as far as this party has heard."""
        return self._holdings

    async def approvals(self) -> list[PendingApproval]:
        """The jobs that wait for a person, the longest waiting first."""
        await self.listen()
        waiting = (case.pending for case in self._docket.cases.values())
        return sorted((each for each in waiting if each), key=lambda each: each.requested_us)

    async def outcome(self, job_id: str) -> Outcome | None:
        """How a job ended; None while it has not, or if it is not known."""
        await self.listen()
        case = self._docket.cases.get(job_id)
        return case.outcome if case else None

    async def say(self, *drafts: Draft) -> list[Cause]:
        """Say it within the caller's trace, unless it belongs to that of its causes."""
        here = current_traceparent()
        return await super().say(*(each if each.traceparent else each._replace(traceparent=here) for each in drafts))

    async def _call(self, answer: Callable[[], Awaitable[Reply | Refused]]) -> Reply | Refused:
        async with self._turn:
            try:
                await self.listen()
                return await answer()
            except ArtifactError as error:
                return Refused(error.reason, str(error))
            except VaultError as error:
                return Refused("vault_failed", f"nothing was appended: {error}")
            except AppendUnknown as error:
                return Refused("outcome_unknown", f"{error}; nobody can say whether it was appended: hand it in again")
            except LogError as error:
                return Refused("log_failed", f"nothing was appended: {error}")

    async def _declare_all(self, asked: Sequence[_Declaration]) -> list[Receipt | Refused]:
        """Answer declarations that came together. Two of one job are not answered in one round: the second finds it."""
        replies: dict[int, Receipt | Refused] = {}  # by the place in `asked`
        while len(replies) < len(asked):
            refused = await self._call(partial(self._declare_round, asked, replies))
            if isinstance(refused, Refused):
                replies |= {at: refused for at in range(len(asked)) if at not in replies}
        return [replies[at] for at in range(len(asked))]

    async def _declare_round(self, asked: Sequence[_Declaration], replies: dict[int, Receipt | Refused]) -> None:
        """Append what holds of the declarations without a reply, all in one batch, and reply."""
        said: dict[int, tuple[int, IntentDeclared]] = {}
        drafts: list[Draft] = []
        claimed: set[object] = set()
        for at, each in enumerate(asked):
            if at in replies:
                continue
            found = await self._prepared(each)
            await asyncio.sleep(0)  # others of this process get their turn
            if isinstance(found, Receipt | Refused):
                replies[at] = found
                continue
            intent, now_us = found
            names = _names(intent)
            if names.isdisjoint(claimed):
                claimed |= names
                said[at] = (len(drafts), intent)
                told = [intent, *([_sealed(intent.job_id, each.trace)] if each.trace else [])]
                drafts += [draft(event, now_us)._replace(traceparent=each.traceparent) for event in told]
        causes = await self.say(*drafts) if drafts else []
        for at, (place, intent) in said.items():
            replies[at] = Receipt(intent.job_id, causes[place].digest, intent.manifest, drafts[place].time_us)

    async def _prepared(self, asked: _Declaration) -> tuple[IntentDeclared, int] | Receipt | Refused:
        """The intent of a declaration that holds, and its time; or the earlier receipt, or why it is refused."""
        manifest = read_manifest(asked.manifest_json)
        if isinstance(manifest, Refused):
            return manifest
        agent_key = check_agent(manifest, asked.agent_proof, self.keys)
        if isinstance(agent_key, Refused):
            return agent_key
        whole = completed(manifest, asked.idempotency_key)
        if isinstance(whole, Refused):
            return whole
        if earlier := self._earlier(whole):
            return self._again(earlier, whole)
        if problems := await self._problems(manifest):
            return refusal(problems)
        intent = IntentDeclared(
            job_id=manifest.job_id,
            agent_key_id=agent_key.key_id,
            agent_proof=asked.agent_proof,
            manifest=sign_manifest(whole, self._key, self._key_id),
            assurance="gateway-held" if agent_key.assurance == "gateway-held" else "agent-held",
        )
        if asked.trace is not None:
            if refused := why_not_kept(manifest, asked.trace):
                return refused
            try:
                await asyncio.to_thread(self._vault.keep, asked.trace)
            except VaultError as error:
                return Refused("vault_failed", f"nothing was appended: {error}")
        return intent, self.clock.now_us()

    def _earlier(self, manifest: Manifest) -> Case | None:
        """The job that was declared under the idempotency key of a manifest, or else under its job id."""
        job_id = self._docket.job_ids.get((manifest.initiator, manifest.idempotency_key or ""), manifest.job_id)
        return self._docket.cases.get(job_id)

    @staticmethod
    def _again(earlier: Case, manifest: Manifest) -> Receipt | Refused:
        """The earlier receipt if the very same was declared; what the gateway completes follows from what is said."""
        said = earlier.declared.manifest
        same = {"signature": said.signature, "idempotency_key": manifest.idempotency_key or said.idempotency_key}
        if manifest.model_copy(update=same) == said:
            return earlier.receipt
        if said.job_id == manifest.job_id:
            message = f"the job id {manifest.job_id} was used for another manifest: choose a new one"
            return refusal([Problem("job_id", "job_repeated", message)])
        message = f"this key was used for another manifest, that of the job {said.job_id}: choose a new one"
        return refusal([Problem("idempotency_key", "idempotency_key_reused", message)])

    async def _problems(self, manifest: Manifest) -> list[Problem]:
        """What is wrong with a manifest at this site at this time, all of it."""
        problems = []
        if manifest.site != self.site:
            problems.append(Problem("site", "site_unknown", f"this is {self.site}, not {manifest.site}"))
        if manifest.deadline_us is not None and manifest.deadline_us <= self.clock.now_us():
            problems.append(Problem("deadline_us", "deadline_passed", "it lies in the past: give a later one or none"))
        problems += [
            Problem(f"artifacts.{name}", "artifact_missing", f"no document {digest} is stored for you: store it first")
            for name, digest in manifest.artifacts.items()
            if not self._artifacts.holds(digest) or self._holdings.is_others(manifest.initiator, digest)
        ]
        snapshots = self._rehearsal.standing().snapshots
        if self._fits.knows(manifest, snapshots):
            return problems + self._fits.problems(manifest, snapshots)
        return problems + await asyncio.to_thread(self._fits.problems, manifest, snapshots)

    async def _dry_run(self, manifest_json: bytes) -> DryRun | Refused:
        manifest = read_manifest(manifest_json)
        if isinstance(manifest, Refused):
            return manifest
        problems = await self._problems(manifest)
        if manifest.job_id in self._docket.cases:
            problems.append(Problem("job_id", "job_repeated", "the job id was used before: choose a new one"))
        if problems:
            return refusal(problems)
        return await asyncio.to_thread(dry_run, manifest, self._rehearsal.standing(), self.clock.now_us())

    async def _answer(self, answer: Answer, reason: str | None) -> Said | Refused:
        case = self._docket.cases.get(answer.job_id)
        if case is None:
            return Refused("job_unknown", f"there is no job {answer.job_id} here")
        event = answered(answer, reason, self.keys)
        if isinstance(event, Refused):
            return event
        for each in case.answers:
            if each.event == event:
                return Said(answer.job_id, each.digest, each.time_us)
        if reason and (refused := why_no_reason(reason, event.approver, self._vault)):
            return refused
        now_us = self.clock.now_us()
        if refused := why_not_answered(self._rehearsal.policy, case, event, self.source, now_us):
            return refused
        cause = (await self.say(draft(event, now_us, *([case.requested] if case.requested else []))))[0]
        return Said(event.job_id, cause.digest, now_us)

    async def _present(self, job_id: str, key_name: str) -> Said | Refused:
        case = self._docket.cases.get(job_id)
        key = known_key(key_name, self.keys, Role.APPROVER)
        if isinstance(key, Refused):
            return key
        if case is None or case.requested is None:
            return Refused("approval_not_waiting", f"the job {job_id} waits for no approval, or no longer")
        if key.source in case.presented:
            shown = case.presented[key.source]
            return Said(job_id, shown.digest, shown.time_us)
        presented = ApprovalPresented(job_id=job_id, intent_digest=case.heard.digest, approver=key.source)
        now_us = self.clock.now_us()
        cause = (await self.say(draft(presented, now_us, case.requested)))[0]
        return Said(job_id, cause.digest, now_us)

    async def _petition(self, petition: Petition) -> Said | Refused:
        policy, subject = self._rehearsal.policy, subject_of(petition)
        if earlier := self._petitions.earlier(petition, policy):
            return Said(subject, earlier.digest, earlier.time_us)
        now_us = self.clock.now_us()
        if refused := why_not(petition, policy, self.keys, self.site, now_us):
            return refused
        if refused := why_no_reason(getattr(petition, "reason", ""), petition.person, self._vault):
            return refused
        cause = (await self.say(draft(petition, now_us, *self._petitions.because(petition), subject=subject)))[0]
        return Said(subject, cause.digest, now_us)

    async def _withdraw(self, agent_proof: str) -> Said | Refused:
        key = signing_key(agent_proof, self.keys, Role.AGENT)
        if isinstance(key, Refused):
            return key
        try:
            wish = orjson.loads(verify_jws(agent_proof, key.public_key, TYPE_WITHDRAWAL))
        except ProofInvalid as error:
            return Refused("proof_invalid", f"{error}: sign the job id and the reason")
        if not isinstance(wish, dict) or set(wish) != {"job_id", "reason"} or not all(map(_is_text, wish.values())):
            return Refused("proof_invalid", "a withdrawal signs a job_id and a reason, both texts, nothing else")
        case = self._docket.cases.get(wish["job_id"])
        if case is None:
            return Refused("job_unknown", f"there is no job {wish['job_id'][:128]} here")
        if key.source != case.declared.manifest.initiator:
            return Refused("initiator_mismatch", "only the agent that declared a job may withdraw it")
        if case.withdrawn is not None:
            return Said(case.declared.job_id, case.withdrawn.digest, case.withdrawn.time_us)
        if case.outcome is not None:
            return Refused("job_ended", f"the job has ended already: it is {case.outcome.state}")
        if refused := why_no_reason(wish["reason"], key.source, self._vault):
            return refused
        withdrawn = IntentWithdrawn(
            job_id=case.declared.job_id, agent_key_id=key.key_id, agent_proof=agent_proof, reason=wish["reason"]
        )
        now_us = self.clock.now_us()
        cause = (await self.say(draft(withdrawn, now_us, case.heard)))[0]
        return Said(case.declared.job_id, cause.digest, now_us)

    async def _keep_reason(self, about: str, key_name: str, text: str) -> str | Refused:
        return kept_reason(text, about, self.keys.get(key_name), self._vault)

    async def _request_calibration(self, agent_proof: str) -> Said | Refused:
        requested = read_request(agent_proof, self.keys, self.site)
        if isinstance(requested, Refused):
            return requested
        first, heard = self._calibrations.first.get((requested.initiator, requested.request_id), (None, None))
        if heard is not None and first == requested:
            return Said(requested.request_id, heard.digest, heard.time_us)
        refused = why_no_reason(requested.reason, requested.initiator, self._vault)
        if refused := refused or self._calibrations.why_not(requested, self._rehearsal.policy.halts):
            return refused._replace(message=self._vault.told(refused.message))
        now_us = self.clock.now_us()
        cause = (await self.say(draft(requested, now_us)))[0]
        return Said(requested.request_id, cause.digest, now_us)

    async def _store(self, content: bytes, media_type: str, owner: str) -> Stored:
        digest = self._artifacts.put(content)
        if not self._holdings.is_stored_for(digest, owner):
            stored = ArtifactStored(digest=digest, media_type=media_type, size_bytes=len(content), owner=owner)
            await self.say(draft(stored, self.clock.now_us(), subject=self.site))
        return Stored(digest, len(content))


def _names(intent: IntentDeclared) -> set[object]:
    """What an intent takes for itself: the job id, and the agent's idempotency key."""
    manifest = intent.manifest
    key = manifest.idempotency_key
    return {manifest.job_id, *([(manifest.initiator, key)] if key else [])}


def _sealed(job_id: str, trace: SealedTrace) -> TraceSealed:
    return TraceSealed(job_id=job_id, subject=trace.subject, summary=trace.summary, text_digest=trace.text_digest)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= REASON_LENGTH_MAX
