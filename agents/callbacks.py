"""Telling agents that their jobs have ended: a party that posts a signed notice to the callback of a manifest.

A notice is a compact JWS by this party's own key over what the log says of the end. Each is brought at least once: what
was brought stands on the log as CallbackDelivered, so nothing is brought again after that, by whatever process. One
that is brought again is the same, byte for byte, under the same Idempotency-Key: the digest of the event that ended
the job.
"""

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar
from urllib.parse import urlsplit

import rfc8785

from agents.courier import CONTENT_TYPE, Courier, Sent
from agents.drafts import draft
from agents.party import Clock, Membership, Party
from schemas.events import CallbackDelivered, IntentDeclared, IntentRefused, JobCancelled, JobCompleted, JobFailed
from schemas.keys import key_id, raw_public_key
from schemas.proofs import sign_jws
from streams.author import Draft
from streams.log.port import Log
from streams.stage import Heard

TYPE_NOTICE = "qpubus-notice+jws"
TOGETHER = 16
"""So many notices are on their way at a time."""
_SECOND_US = 1_000_000
PAUSES_US = tuple(seconds * _SECOND_US for seconds in (2, 10, 60, 300, 1_800, 7_200))
"""After the first attempt another follows after each of these; then the notice is given up."""
_ENDS = {JobCompleted: "completed", JobFailed: "failed", JobCancelled: "cancelled", IntentRefused: "refused"}


@dataclass
class _Owed:
    url: str
    end: Heard
    attempts: int = 0
    due_us: int = 0

    @property
    def host(self) -> str:
        """Whom it is brought to."""
        return urlsplit(self.url).netloc


class CallbackSender(Party):
    """Brings the notice of a job's end to the callback that its manifest names."""

    topics: ClassVar[tuple[str, ...]] = ("governance", "intents", "approvals", "results")
    ends: ClassVar[tuple[str, ...]] = ("intents", "approvals")
    """Where that stands which ends a job."""

    def __init__(self, membership: Membership, log: Log, clock: Clock, courier: Courier) -> None:
        super().__init__(membership, log, clock)
        self._courier = courier
        self._wanted: dict[str, tuple[str, str]] = {}
        self._owed: dict[str, _Owed] = {}
        self._done: set[str] = set()
        self._silent: set[str] = set()

    def hear(self, heard: Heard) -> None:
        """Note who wants to be told, what is to be told, and what has been told."""
        match heard.event:
            case IntentDeclared(job_id=job_id, manifest=manifest) if manifest.callback:
                self._wanted.setdefault(job_id, (manifest.callback, heard.digest))
            case JobCompleted(job_id=job_id) | JobFailed(job_id=job_id) | JobCancelled(job_id=job_id):
                self._owe(job_id, heard)
            case IntentRefused(job_id=job_id, intent_digest=digest) if digest == self._wanted.get(job_id, ("", ""))[1]:
                self._owe(job_id, heard)
            case CallbackDelivered(job_id=job_id) if heard.source == self.source:
                self._owed.pop(job_id, None)
                self._wanted.pop(job_id, None)
                self._done.add(job_id)
            case _:
                pass

    async def work(self) -> bool:
        """Bring what is due, the longest owed first; say of each that it was brought, or given up."""
        due = self._due()
        async with asyncio.TaskGroup() as group:
            attempts = [(owed, group.create_task(self._bring(job_id, owed))) for job_id, owed in due]
        settled = [said for owed, attempt in attempts if (said := self._judged(owed, *attempt.result()))]
        if settled:
            await self.say(*settled)
        return bool(due)

    def next_due_us(self) -> int | None:
        """When the next notice is to be brought."""
        return min((owed.due_us for owed in self._owed.values()), default=None)

    def _owe(self, job_id: str, end: Heard) -> None:
        if job_id in self._wanted and job_id not in self._owed and job_id not in self._done:
            self._owed[job_id] = _Owed(self._wanted[job_id][0], end)

    def _due(self) -> list[tuple[str, _Owed]]:
        """What is to be brought now. Who gave no answer last time is asked when nobody else is to be told."""
        now_us = self.clock.now_us()
        due = sorted((each for each in self._owed.items() if each[1].due_us <= now_us), key=lambda each: each[1].due_us)
        answering = [each for each in due if each[1].host not in self._silent]
        return (answering or due)[:TOGETHER]

    async def _bring(self, job_id: str, owed: _Owed) -> tuple[str, bytes, Sent]:
        notice = self._notice(job_id, owed)
        headers = {"Content-Type": CONTENT_TYPE, "Idempotency-Key": f'"{owed.end.digest}"'}
        return job_id, notice, await self._courier.post(owed.url, notice, headers)

    def _notice(self, job_id: str, owed: _Owed) -> bytes:
        end = owed.end
        told = {
            "job_id": job_id,
            "site": self.site,
            "outcome": _ENDS[type(end.event)],
            "reason": str(getattr(end.event, "reason", "")),
            "result_digest": getattr(end.event, "result_digest", ""),
            "event_digest": end.digest,
            "ended_us": end.time_us,
        }
        return sign_jws(rfc8785.dumps(told), self._key, key_id(raw_public_key(self._key)), TYPE_NOTICE).encode()

    def _judged(self, owed: _Owed, job_id: str, notice: bytes, sent: Sent) -> Draft | None:
        """What is to be said of an attempt; nothing if another follows."""
        owed.attempts += 1
        (self._silent.discard if sent.status else self._silent.add)(owed.host)
        now_us = self.clock.now_us()
        if not (sent.is_delivered or sent.is_lasting or owed.attempts > len(PAUSES_US)):
            owed.due_us = now_us + PAUSES_US[owed.attempts - 1]
            return None
        self._owed.pop(job_id, None)
        delivered = CallbackDelivered(
            job_id=job_id,
            notice_digest=sha256(notice).hexdigest(),
            is_delivered=sent.is_delivered,
            attempts=owed.attempts,
            status=sent.status,
            message=sent.message,
        )
        return draft(delivered, now_us, owed.end)
