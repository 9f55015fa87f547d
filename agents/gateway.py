"""The gateway: what agents and people hand in goes in, signed events and receipts come out, or refusals with reasons.

It believes a proof, never a caller: each intent, grant, denial and withdrawal carries the signature of whoever wants
it, and what is appended carries that signature on. It answers only when the event is durable.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import orjson

from agents.artifacts import ArtifactError, ArtifactStore
from agents.docket import Case, Docket
from agents.drafts import draft
from agents.intake import check_agent, completed, known_key, of_fit, read_manifest, signing_key, why_not_kept
from agents.party import Clock, Membership, Party
from agents.rehearsal import Rehearsal, dry_run
from agents.replies import Answer, DryRun, Outcome, PendingApproval, Problem, Receipt, Refused, Said, Stored, refusal
from agents.vault import Vault, VaultError
from schemas.admission import EnrolledKey
from schemas.events import (
    ApprovalDenied,
    ApprovalGranted,
    ArtifactStored,
    HumanProof,
    IntentDeclared,
    IntentWithdrawn,
    TraceSealed,
)
from schemas.keys import key_id, raw_public_key
from schemas.manifest import Manifest
from schemas.proofs import TYPE_WITHDRAWAL, ProofInvalid, declared_manifest, sign_manifest, verify_jws
from schemas.topics import Role
from schemas.traces import SealedTrace
from streams.log.port import AppendUnknown, Log, LogError
from streams.policy.approval import why_not_counted
from streams.policy.state import Waiting
from streams.stage import Heard

REASON_LENGTH_MAX = 1_000
Reply = TypeVar("Reply")


class Gateway(Party):
    """The one way in. Calls are taken one after the other, each after all that the log says by then."""

    def __init__(self, membership: Membership, log: Log, clock: Clock, artifacts: ArtifactStore, vault: Vault) -> None:
        super().__init__(membership, log, clock)
        self._vault = vault
        self._key_id = key_id(raw_public_key(membership.key))
        self._artifacts = artifacts
        self._docket = Docket()
        self._rehearsal = Rehearsal(artifacts)
        self._stored: set[str] = set()
        self._turn = asyncio.Lock()
        self._hearing = asyncio.Lock()

    def hear(self, heard: Heard) -> None:
        """Take in one event, one's own among them."""
        self._docket.hear(heard)
        self._rehearsal.hear(heard)
        if isinstance(heard.event, ArtifactStored):
            self._stored.add(heard.event.digest)

    async def listen(self) -> bool:
        """Hear all there is to hear now; calls and turns may come at the same time."""
        async with self._hearing:
            return await super().listen()

    async def declare(
        self, manifest_json: bytes, agent_proof: str, trace: SealedTrace | None = None
    ) -> Receipt | Refused:
        """Take an agent's intent: check it whole, complete and sign it, append it. Said again, the same receipt.

        The decision trace that the manifest names may come beside it: its text goes into the vault.
        """
        return await self._call(lambda: self._declare(manifest_json, agent_proof, trace))

    async def dry_run(self, manifest_json: bytes) -> DryRun | Refused:
        """What would become of a manifest; nothing is appended or reserved."""
        return await self._call(lambda: self._dry_run(manifest_json))

    async def grant(self, answer: Answer) -> Said | Refused:
        """Take a person's yes, if their signature holds for what is asked of them."""
        return await self._call(lambda: self._answer(answer, None))

    async def deny(self, answer: Answer, reason: str) -> Said | Refused:
        """Take a person's no and its reason, which is signed too."""
        return await self._call(lambda: self._answer(answer, reason))

    async def withdraw(self, agent_proof: str) -> Said | Refused:
        """Take an agent's word that it no longer wants its job."""
        return await self._call(lambda: self._withdraw(agent_proof))

    async def store_artifact(self, content: bytes, media_type: str) -> Stored | Refused:
        """Keep a document for jobs to name by its digest."""
        return await self._call(lambda: self._store(content, media_type))

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

    async def _declare(self, manifest_json: bytes, agent_proof: str, trace: SealedTrace | None) -> Receipt | Refused:
        manifest = read_manifest(manifest_json)
        if isinstance(manifest, Refused):
            return manifest
        agent_key_id = check_agent(manifest, agent_proof, self._keys)
        if isinstance(agent_key_id, Refused):
            return agent_key_id
        earlier = self._docket.cases.get(manifest.job_id)
        if earlier is not None:
            return self._again(earlier, manifest)
        problems = await self._problems(manifest)
        if problems:
            return refusal(problems)
        signed = sign_manifest(completed(manifest), self._key, self._key_id)
        intent = IntentDeclared(
            job_id=manifest.job_id, agent_key_id=agent_key_id, agent_proof=agent_proof, manifest=signed
        )
        now_us = self.clock.now_us()
        said = [draft(intent, now_us)]
        if trace is not None:
            if refused := why_not_kept(manifest, trace):
                return refused
            await asyncio.to_thread(self._vault.keep, trace)
            said.append(draft(_sealed(manifest.job_id, trace), now_us))
        cause = (await self.say(*said))[0]
        return Receipt(manifest.job_id, cause.digest, signed, now_us)

    def _again(self, earlier: Case, manifest: Manifest) -> Receipt | Refused:
        """The earlier receipt if the very same was declared under this job id."""
        key = self._keys[earlier.declared.agent_key_id]
        if declared_manifest(earlier.declared, raw_public_key(key.public_key)) == manifest:
            return earlier.receipt
        message = f"the job id {manifest.job_id} was used for another manifest: choose a new one"
        return refusal([Problem("job_id", "job_repeated", message)])

    async def _problems(self, manifest: Manifest) -> list[Problem]:
        """What is wrong with a manifest at this site at this time, all of it."""
        problems = []
        if manifest.site != self.site:
            problems.append(Problem("site", "site_unknown", f"this is {self.site}, not {manifest.site}"))
        if manifest.deadline_us is not None and manifest.deadline_us <= self.clock.now_us():
            problems.append(Problem("deadline_us", "deadline_passed", "it lies in the past: give a later one or none"))
        problems += [
            Problem(f"artifacts.{name}", "artifact_missing", f"no document {digest} is stored: store it first")
            for name, digest in manifest.artifacts.items()
            if not self._artifacts.has(digest)
        ]
        return problems + await asyncio.to_thread(of_fit, manifest, self._rehearsal.standing().snapshots)

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
        if reason is not None and not 0 < len(reason.strip()) <= len(reason) <= REASON_LENGTH_MAX:
            return Refused("reason_missing", f"say why, in at most {REASON_LENGTH_MAX} characters: the agent reads it")
        key = known_key(answer.key_id, self._keys, Role.APPROVER)
        if isinstance(key, Refused):
            return key
        proof = HumanProof(proof_type="ed25519", key_id=answer.key_id, signature=answer.signature)
        event: ApprovalGranted | ApprovalDenied
        if reason is None:
            event = ApprovalGranted(
                job_id=answer.job_id, intent_digest=answer.intent_digest, approver=key.source, proof=proof
            )
        else:
            event = ApprovalDenied(
                job_id=answer.job_id,
                intent_digest=answer.intent_digest,
                approver=key.source,
                reason=reason,
                proof=proof,
            )
        if case.answer is not None and case.answer.event == event:
            return Said(answer.job_id, case.answer.digest, case.answer.time_us)
        return self._why_not_answered(case, event) or await self._say_answer(case, event)

    def _why_not_answered(self, case: Case, event: ApprovalGranted | ApprovalDenied) -> Refused | None:
        """What policy would say to an answer, asked before it is appended."""
        policy = self._rehearsal.policy
        waiting = policy.jobs.get(event.job_id)
        if not isinstance(waiting, Waiting) or case.requested is None:
            return Refused("approval_not_waiting", f"the job {event.job_id} waits for no approval, or no longer")
        if case.answer is not None:
            return Refused("approval_answered", f"the job {event.job_id} has been answered already")
        as_heard = case.requested._replace(event=event, source=self.source, time_us=self.clock.now_us())
        why = why_not_counted(policy, waiting, as_heard, event)
        return Refused(why.value, why.sentence) if why is not None else None

    async def _say_answer(self, case: Case, event: ApprovalGranted | ApprovalDenied) -> Said:
        now_us = self.clock.now_us()
        because = [case.requested] if case.requested else []
        cause = (await self.say(draft(event, now_us, *because)))[0]
        return Said(event.job_id, cause.digest, now_us)

    async def _withdraw(self, agent_proof: str) -> Said | Refused:
        key = signing_key(agent_proof, self._keys, Role.AGENT)
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
        withdrawn = IntentWithdrawn(
            job_id=case.declared.job_id, agent_key_id=key.key_id, agent_proof=agent_proof, reason=wish["reason"]
        )
        now_us = self.clock.now_us()
        cause = (await self.say(draft(withdrawn, now_us, case.heard)))[0]
        return Said(case.declared.job_id, cause.digest, now_us)

    async def _store(self, content: bytes, media_type: str) -> Stored:
        digest = self._artifacts.put(content)
        if digest not in self._stored:
            stored = ArtifactStored(digest=digest, media_type=media_type, size_bytes=len(content))
            await self.say(draft(stored, self.clock.now_us(), subject=self.site))
        return Stored(digest, len(content))

    @property
    def _keys(self) -> dict[str, EnrolledKey]:
        return self._reader.admission(self.site).keys


def _sealed(job_id: str, trace: SealedTrace) -> TraceSealed:
    return TraceSealed(job_id=job_id, subject=trace.subject, summary=trace.summary, text_digest=trace.text_digest)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= REASON_LENGTH_MAX
