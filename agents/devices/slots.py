"""Slots of one device: requests go in, grants come out. The token of a slot is made here and never leaves the agent."""

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.devices.fleet import EmulatedDevice
from agents.devices.ledger import Reservation, RunRefused
from agents.devices.runs import KnownJob
from schemas.events import ReservationGranted, ReservationRefused, ReservationRequested

SLACK = 5
"""A slot is a fifth longer than the run is reckoned to take, and …"""
PAUSES_US = 30 * 60 * 1_000_000
"""… this much longer for classical steps between the quantum ones; a price by the slot's hour is for all of it."""


def slot_length_us(run_us: int) -> int:
    """How long a slot is for a run that is reckoned to take so long."""
    return run_us + run_us // SLACK + PAUSES_US


@dataclass(frozen=True)
class Slots:
    """The slots of one device, kept in the hardware's ledger."""

    hardware: EmulatedDevice
    key: Ed25519PrivateKey

    def token(self, reservation_id: str) -> bytes:
        """The token of a reservation: an HMAC under the agent's own key, so that it need not be stored to survive."""
        return hmac.digest(self.key.private_bytes_raw(), b"qpubus reservation " + reservation_id.encode(), "sha256")

    def token_digest(self, reservation_id: str) -> str:
        """What the log and the ledger know of a token."""
        return hashlib.sha256(self.token(reservation_id)).hexdigest()

    def held(self, reservation_id: str) -> Reservation | None:
        """What the ledger holds for a reservation."""
        return self.hardware.ledger.reservation(self.token_digest(reservation_id))

    def answer(
        self, request: ReservationRequested, job: KnownJob | None, now_us: int
    ) -> ReservationGranted | ReservationRefused:
        """Hold a slot for a job that was admitted to this device, or say why not; asked again, the same slot."""
        queue = self.hardware.queue(now_us)
        reason = _why_not(request, job)
        if not reason:
            try:
                slot = self.held(request.reservation_id) or self._reserve(request, now_us + queue.wait_us, now_us)
            except RunRefused as refused:
                reason = refused.reason
            else:
                return ReservationGranted(
                    job_id=request.job_id,
                    reservation_id=request.reservation_id,
                    device=request.device,
                    token_digest=slot.token_sha256,
                    queue_position=queue.jobs_ahead,
                    starts_us=slot.slot_start_us,
                    expires_us=slot.expires_us,
                )
        return ReservationRefused(
            job_id=request.job_id, reservation_id=request.reservation_id, device=request.device, reason=reason
        )

    def release(self, reservation_id: str, now_us: int) -> None:
        """Give a slot back; one that is not held, or given back already, stays as it is."""
        slot = self.held(reservation_id)
        if slot is not None and slot.released_us is None:
            self.hardware.ledger.release(slot.token_sha256, now_us)

    def _reserve(self, request: ReservationRequested, not_before_us: int, now_us: int) -> Reservation:
        length_us = slot_length_us(request.duration_us)
        start_us = self.hardware.ledger.first_free_start_us(length_us, not_before_us, now_us)
        end_us = start_us + length_us
        digest = self.token_digest(request.reservation_id)
        wanted = Reservation(digest, request.job_id, request.shots, start_us, end_us, end_us)
        return self.hardware.reserve(wanted, now_us)


def _why_not(request: ReservationRequested, job: KnownJob | None) -> str:
    if job is None or job.admitted is None or request.device not in job.admitted.devices or job.ended:
        return "intent_not_admitted"
    if request.intent_digest != job.intent_digest:
        return "intent_mismatch"
    if request.shots > job.admitted.shots_ceiling:
        return "shots_over_ceiling"
    return ""
