"""Telling agents that their jobs have ended: a party that posts a signed notice to the callback of a manifest.

A notice is a compact JWS by this party's own key over what the log says of the end. Each is brought at least once: what
was brought stands on the log as CallbackDelivered, so nothing is brought again after that, by whatever process.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

import rfc8785

from agents.courier import Courier, Sent
from agents.drafts import draft
from agents.party import Clock, Membership, Party
from schemas.events import CallbackDelivered, IntentDeclared, IntentRefused, JobCancelled, JobCompleted, JobFailed
from schemas.keys import key_id, raw_public_key
from schemas.proofs import sign_jws
from streams.log.port import Log
from streams.stage import Heard

TYPE_NOTICE = "qpubus-notice+jws"
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


class CallbackSender(Party):
    """Brings the notice of a job's end to the callback that its manifest names."""

    topics: ClassVar[tuple[str, ...]] = ("governance", "intents", "approvals", "results")

    def __init__(self, membership: Membership, log: Log, clock: Clock, courier: Courier) -> None:
        super().__init__(membership, log, clock)
        self._courier = courier
        self._wanted: dict[str, tuple[str, str]] = {}
        self._owed: dict[str, _Owed] = {}
        self._done: set[str] = set()

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
        now_us = self.clock.now_us()
        due = [(job_id, owed) for job_id, owed in self._owed.items() if owed.due_us <= now_us]
        for job_id, owed in due:
            notice = self._notice(job_id, owed)
            sent = await self._courier.post(owed.url, notice)
            owed.attempts += 1
            if sent.is_delivered or sent.is_lasting or owed.attempts > len(PAUSES_US):
                await self._settle(job_id, owed, notice, sent)
            else:
                owed.due_us = now_us + PAUSES_US[owed.attempts - 1]
        return bool(due)

    def next_due_us(self) -> int | None:
        """When the next notice is to be brought."""
        return min((owed.due_us for owed in self._owed.values()), default=None)

    def _owe(self, job_id: str, end: Heard) -> None:
        if job_id in self._wanted and job_id not in self._owed and job_id not in self._done:
            self._owed[job_id] = _Owed(self._wanted[job_id][0], end)

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

    async def _settle(self, job_id: str, owed: _Owed, notice: bytes, sent: Sent) -> None:
        event = CallbackDelivered(
            job_id=job_id,
            notice_digest=sha256(notice).hexdigest(),
            is_delivered=sent.is_delivered,
            attempts=owed.attempts,
            status=sent.status,
            message=sent.message,
        )
        await self.say(draft(event, self.clock.now_us(), owed.end))
        self._owed.pop(job_id, None)
