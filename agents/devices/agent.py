"""A device agent: speaks for one device on the log. What it hears is in events, what it does is on the hardware.

It calibrates and publishes snapshots, offers placements, holds slots under a token that never leaves it, runs the
chunks of planned steps and stops between two of them when it must. The device's ledger makes slots and chunks happen
once; the log tells the agent what it has said, so after a crash it reads, asks the ledger again and goes on.
"""

from agents.artifacts import ArtifactError, ArtifactStore
from agents.devices.approved import StepRefused
from agents.devices.capabilities import SnapshotUnreadable
from agents.devices.fleet import EmulatedDevice
from agents.devices.ledger import RunRefused
from agents.devices.offers import Circumstances, offer
from agents.devices.original import Original
from agents.devices.published import snapshot_taken
from agents.devices.qasm import CircuitInvalid
from agents.devices.runs import KnownJob, Prepared, Run
from agents.devices.slots import Slots
from agents.devices.snapshot import Snapshot, read_snapshot
from agents.devices.wanted import WantedCalibrations
from agents.drafts import draft
from agents.party import Clock, Membership, Party
from schemas.events import (
    ArtifactStored,
    DevicePrice,
    DeviceSnapshotTaken,
    DeviceStatusChanged,
    IntentAdmitted,
    IntentDeclared,
    JobCancelled,
    JobCompleted,
    JobFailed,
    PlacementOffered,
    PolicyPublished,
    PriceListPublished,
    ReservationExpired,
    ReservationGranted,
    ReservationRefused,
    ReservationReleased,
    ReservationRequested,
    RunCancelDecided,
    RunCancelled,
    ShotsMeasured,
    StepCompleted,
    StepFailed,
    StepPlanned,
    StepStarted,
)
from schemas.reasons import Reason
from streams.author import Draft, EventOversized
from streams.halts import Halts
from streams.log.port import Log
from streams.pricing import price_of
from streams.stage import Heard

STATUS_EVERY_US = 600_000_000
"""A change of the queue is told at most this often."""
CALIBRATION_AGE_US_MAX = 4 * 3_600_000_000
"""A device calibrates at least this often; more often where policy or a job wants it fresher."""


class DeviceAgent(Party):
    """The agent of one emulated device.

    With `waits` (virtual clock) a chunk is told when the clock has reached its end. Without (wall clock) the emulated
    device time is recorded and not waited out, and the agent keeps its snapshot fresh by itself.
    """

    def __init__(
        self,
        membership: Membership,
        log: Log,
        clock: Clock,
        hardware: EmulatedDevice,
        artifacts: ArtifactStore,
        *,
        waits: bool,
    ) -> None:
        super().__init__(membership, log, clock)
        self.device = hardware.profile.device_id
        self._hardware = hardware
        self._artifacts = artifacts
        self._slots = Slots(hardware, membership.key)
        self._waits = waits
        self._price_lists: list[tuple[int, PriceListPublished]] = []
        self._age_us_max = CALIBRATION_AGE_US_MAX
        self._snapshots: dict[str, Snapshot] = {}
        self._latest: tuple[DeviceSnapshotTaken, Heard] | None = None
        self._original = Original(self.device, hardware.profile.emulates)
        self._status: DeviceStatusChanged | None = None
        self._status_due_us = 0
        self._stored: set[str] = set()
        self._jobs: dict[str, KnownJob] = {}
        self._admissions: dict[str, Heard] = {}
        self._requests: dict[str, tuple[ReservationRequested, Heard]] = {}
        self._granted: dict[str, ReservationGranted] = {}
        self._unused: dict[str, Heard] = {}
        self._used: set[str] = set()
        self._to_release: dict[str, None] = {}
        self._runs: dict[tuple[str, int], Run] = {}
        self._wanted = WantedCalibrations(self.device)
        self._halts = Halts()

    def hear(self, heard: Heard) -> None:
        """Take in what others say of jobs, prices and slots, and what this agent has said itself."""
        self._wanted.hear(heard)
        self._original.hear(heard)
        if heard.source == self.source:
            self._hear_own(heard)
            return
        match heard.event:
            case PriceListPublished() as prices:
                self._price_lists.append((heard.time_us, prices))
            case PolicyPublished(max_snapshot_age_us=age_us):
                self._age_us_max = min(CALIBRATION_AGE_US_MAX, age_us // 2)
            case IntentDeclared(job_id=job_id, manifest=manifest):
                self._jobs.setdefault(job_id, KnownJob(manifest, heard.digest))
            case IntentAdmitted(job_id=job_id, devices=devices) as admitted if job_id in self._jobs:
                self._jobs[job_id].admitted, self._jobs[job_id].admitted_us = admitted, heard.time_us
                if self.device in devices:
                    self._admissions[job_id] = heard
            case ReservationRequested(device=self.device, reservation_id=reservation_id) as request:
                self._requests[reservation_id] = (request, heard)
            case ReservationReleased(device=self.device, reservation_id=reservation_id):
                self._requests.pop(reservation_id, None)
                self._close(reservation_id)
            case StepPlanned(kind="quantum", device=self.device, reservation_id=reservation_id) as planned:
                self._used.add(reservation_id)
                self._unused.pop(reservation_id, None)
                self._runs[planned.job_id, planned.step] = Run(heard, planned)
                self._heed_halts(heard)
            case RunCancelDecided(job_id=job_id, step=step) as decided if (job_id, step) in self._runs:
                self._runs[job_id, step].cancel(decided.reason, heard)
            case JobCompleted(job_id=job_id) | JobFailed(job_id=job_id) | JobCancelled(job_id=job_id):
                self._end(job_id, heard)
            case _:
                self._heed_halts(heard)

    def _heed_halts(self, heard: Heard) -> None:
        """Stop before the next chunk of whatever a halt covers, without waiting for the guard to say so."""
        self._halts = self._halts.after(heard)
        for (job_id, _), run in self._runs.items():
            job = self._jobs.get(job_id)
            if self._halts.covering(job.manifest.initiator if job else "", self.device):
                run.cancel(Reason.HALTED, heard)

    def _hear_own(self, heard: Heard) -> None:
        match heard.event:
            case DeviceSnapshotTaken() as taken:
                self._latest = (taken, heard)
            case DeviceStatusChanged() as status:
                self._status, self._status_due_us = status, heard.time_us + STATUS_EVERY_US
            case ArtifactStored(digest=digest):
                self._stored.add(digest)
            case PlacementOffered(job_id=job_id) as offered:
                self._admissions.pop(job_id, None)
                self._jobs[job_id].offered = offered
            case ReservationGranted(reservation_id=reservation_id) as granted:
                self._requests.pop(reservation_id, None)
                self._granted[reservation_id] = granted
                if reservation_id not in self._used:
                    self._unused[reservation_id] = heard
            case ReservationRefused(reservation_id=reservation_id):
                self._requests.pop(reservation_id, None)
            case ReservationExpired(reservation_id=reservation_id):
                self._close(reservation_id)
            case StepStarted(job_id=job_id, step=step):
                self._runs[job_id, step].started = heard
            case ShotsMeasured(job_id=job_id, step=step) as measured:
                self._runs[job_id, step].hear_chunk(heard)
                self._jobs[job_id].count(measured)
            case StepCompleted() | StepFailed() | RunCancelled() as ended:
                self._runs.pop((ended.job_id, ended.step), None)
            case _:
                pass

    def _close(self, reservation_id: str) -> None:
        self._unused.pop(reservation_id, None)
        self._to_release[reservation_id] = None

    def _end(self, job_id: str, heard: Heard) -> None:
        if job_id in self._jobs:
            self._jobs[job_id].ended = True
        self._admissions.pop(job_id, None)
        for run in self._runs.values():
            if run.planned.job_id == job_id:
                run.cancel("job_ended", heard)

    async def work(self) -> bool:
        """Do what is owed: a calibration, offers, slots, and for each running step the next chunk."""
        drafts = [
            *self._calibrate_if_stale(),
            *self._calibration_answers(),
            *self._report_status(),
            *self._offers(),
            *self._answers(),
            *self._expiries(),
        ]
        self._release_slots()
        dues = self._dues()
        advances = {place: self._advance(run) for place, run in self._runs.items()}
        said = await self._say_all(drafts, advances)
        return said or self._dues() != dues

    async def _say_all(self, drafts: list[Draft], advances: dict[tuple[str, int], list[Draft]]) -> bool:
        """Say all at once; a step of which something is too large to be told ends there. True if anything was said."""
        while True:
            every = [*drafts, *(each for advance in advances.values() for each in advance)]
            try:
                await self.say(*every)
            except EventOversized as error:
                place = next((place for place, advance in advances.items() if error.draft in advance), None)
                if place is None:
                    raise
                run = self._runs[place]
                failed = run.failed("output_oversized", str(error))
                advances[place] = [draft(failed, self.clock.now_us(), *run.ending())]
            else:
                return bool(every)

    def next_due_us(self) -> int | None:
        """When a chunk ends, an unused slot expires or (on the wall) the snapshot is too old."""
        dues = [*self._dues(), *(self._granted[reservation_id].expires_us for reservation_id in self._unused)]
        if self._latest and not self._waits and not self._hardware.profile.emulates:
            dues.append(self._latest[0].taken_us + self._age_us_max)
        return min(dues, default=None)

    def _dues(self) -> list[int]:
        return [run.due_us for run in self._runs.values() if run.due_us is not None]

    def _calibrate_if_stale(self) -> list[Draft]:
        """Calibrate where there is no snapshot, it is too old, or somebody wants a fresher one.

        An agent that asks for one waits until no step runs; a job to be offered for does not.
        """
        if self._hardware.profile.emulates:
            return self._follow_original()
        now_us = self.clock.now_us()
        if self._latest is not None:
            taken = self._latest[0]
            wanted = (self._is_fresh_enough(taken, job_id, heard) for job_id, heard in self._admissions.items())
            asked = self._runs or self._wanted.are_met(taken, self._halts)
            if now_us - taken.taken_us <= self._age_us_max and self._is_readable(taken) and all(wanted) and asked:
                return []
        snapshot = self._hardware.calibrate(now_us)
        digest, stored = self._store(snapshot.to_json(), "application/json", "")
        self._snapshots[digest] = snapshot
        return [*stored, draft(snapshot_taken(snapshot), now_us)]

    def _follow_original(self) -> list[Draft]:
        """A twin measures nothing: its snapshot is the latest that the device told which it emulates."""
        news = self._original.news(self._latest[0] if self._latest else None)
        return [draft(news[0], self.clock.now_us(), news[1])] if news and self._is_readable(news[0]) else []

    def _calibration_answers(self) -> list[Draft]:
        """Answers to the agents that asked for a calibration, each with the snapshot that was said."""
        if self._latest is None or not self._is_readable(self._latest[0]):
            return []
        taken, snapshot_heard = self._latest
        answers = self._wanted.answers(taken, self._snapshot(taken.snapshot_digest))
        return [draft(finished, self.clock.now_us(), asked, snapshot_heard) for finished, asked in answers]

    def _is_fresh_enough(self, taken: DeviceSnapshotTaken, job_id: str, admission: Heard) -> bool:
        """Whether a snapshot is as young as a job wants it; one taken after the admission is as young as can be."""
        age_s = self._jobs[job_id].manifest.max_calibration_age_s
        return (
            age_s is None
            or taken.taken_us >= admission.time_us
            or self.clock.now_us() - taken.taken_us <= age_s * 1_000_000
        )

    def _is_readable(self, taken: DeviceSnapshotTaken) -> bool:
        try:
            self._snapshot(taken.snapshot_digest)
        except (ArtifactError, SnapshotUnreadable):
            return False
        return True

    def _report_status(self) -> list[Draft]:
        """Say how long the queue is, where that has changed; not again too soon, since a log is no telemetry."""
        now_us = self.clock.now_us()
        if now_us < self._status_due_us:
            return []
        queue = self._hardware.queue(now_us)
        if self._status is not None and self._status.queue_jobs == queue.jobs_ahead:
            return []
        status = DeviceStatusChanged(
            device=self.device, status="online", queue_jobs=queue.jobs_ahead, queue_wait_us=queue.wait_us
        )
        return [draft(status, now_us)]

    def _offers(self) -> list[Draft]:
        """Offers to the jobs that were admitted, each by the latest snapshot that was said."""
        if self._latest is None or not self._is_readable(self._latest[0]):
            return []
        taken, snapshot_heard = self._latest
        now_us = self.clock.now_us()
        drafts = []
        for job_id, heard in self._admissions.items():
            if self._is_fresh_enough(taken, job_id, heard):
                job, snapshot = self._jobs[job_id], self._snapshot(taken.snapshot_digest)
                queue = self._hardware.queue(now_us)
                wait_us = self._hardware.ledger.first_free_start_us(1, now_us + queue.wait_us, now_us) - now_us
                circumstances = Circumstances(self._price_of(job), queue.jobs_ahead, wait_us)
                offered = offer(job.manifest, job.intent_digest, snapshot, circumstances)
                offered = offered.model_copy(update={"device": self.device})  # a twin's snapshot names the original
                drafts.append(draft(offered, now_us, heard, snapshot_heard))
        return drafts

    def _answers(self) -> list[Draft]:
        now_us = self.clock.now_us()
        return [
            draft(self._slots.answer(request, self._jobs.get(request.job_id), now_us), now_us, heard)
            for request, heard in self._requests.values()
        ]

    def _expiries(self) -> list[Draft]:
        """Slots that nobody used in time."""
        now_us = self.clock.now_us()
        drafts = []
        for reservation_id, heard in self._unused.items():
            granted = self._granted[reservation_id]
            if granted.expires_us <= now_us:
                expired = ReservationExpired(job_id=granted.job_id, reservation_id=reservation_id, device=self.device)
                drafts.append(draft(expired, now_us, heard))
        return drafts

    def _release_slots(self) -> None:
        for reservation_id in self._to_release:
            self._slots.release(reservation_id, self.clock.now_us())
        self._to_release.clear()

    def _advance(self, run: Run) -> list[Draft]:
        """The next thing to be said of a step: that it began, a chunk, its end; nothing while a chunk is running."""
        try:
            if run.started is None and run.cancelled is not None:
                return [draft(run.cancelled_event(), self.clock.now_us(), run.cancelled[1], *run.ending())]
            prepared = run.prepared or self._prepare(run)
            return self._continue(run, prepared) if run.started else self._start(run, prepared)
        except (StepRefused, RunRefused, CircuitInvalid, ArtifactError) as error:
            return [draft(run.failed(error.reason, str(error)), self.clock.now_us(), *run.ending())]

    def _prepare(self, run: Run) -> Prepared:
        """Check that a slot is held for this very job, and compile the step against the snapshot that was offered."""
        planned = run.planned
        job, granted = self._jobs.get(planned.job_id), self._granted.get(planned.reservation_id)
        if granted is None or granted.job_id != planned.job_id or granted.token_digest != planned.token_digest:
            raise StepRefused("reservation_unknown", f"no slot {planned.reservation_id} is held for this job")
        if job is None or job.admitted is None or job.offered is None:
            raise StepRefused("intent_not_admitted", "the job was not admitted to this device")
        snapshot = self._snapshot(job.offered.snapshot_digest)
        price = self._price_of(job)
        shots_max = min(snapshot.shots_max, price.shots_max) if price else snapshot.shots_max
        return run.compile(job.manifest, snapshot, shots_max)

    def _start(self, run: Run, prepared: Prepared) -> list[Draft]:
        planned, now_us = run.planned, self.clock.now_us()
        drafts = []
        for circuit in dict.fromkeys(prepared.circuits):
            drafts += self._store(circuit.text.encode(), "application/openqasm", planned.job_id)[1]
        starts_us = max(now_us, self._granted[planned.reservation_id].starts_us)
        return [*drafts, draft(run.start(prepared, starts_us), now_us, *run.because())]

    def _continue(self, run: Run, prepared: Prepared) -> list[Draft]:
        now_us = self.clock.now_us()
        if len(run.measured) == len(prepared.chunks):
            return [draft(run.complete(prepared), now_us, *run.ending())]
        chunk = prepared.chunks[len(run.measured)]
        order = prepared.order(run.planned, chunk, self._slots.token(run.planned.reservation_id))
        record = self._hardware.ledger.chunk(order.chunk_id)
        if record is None:
            if run.cancelled is not None:
                return [draft(run.cancelled_event(), now_us, run.cancelled[1], *run.ending())]
            job = self._jobs[run.planned.job_id]
            job.check_ceilings(chunk.shots, prepared.duration_us(chunk), self._price_of(job), run.planned.slot_us)
            record = self._hardware.run(order, prepared.circuits[chunk.circuit], prepared.snapshot, now_us)
        if self._waits and record.ended_us > now_us:
            run.due_us = record.ended_us
            return []
        return [draft(run.measure(chunk, record), now_us, *run.because())]

    def _price_of(self, job: KnownJob) -> DevicePrice | None:
        """What this device costs a job: by the prices of when it was admitted, whatever is published later."""
        then = [(time_us, place) for place, (time_us, _) in enumerate(self._price_lists) if time_us <= job.admitted_us]
        return price_of(self._price_lists[max(then)[1]][1], self.device) if then else None

    def _snapshot(self, digest: str) -> Snapshot:
        if digest not in self._snapshots:
            self._snapshots[digest] = read_snapshot(self._artifacts.get(digest))
        return self._snapshots[digest]

    def _store(self, content: bytes, media_type: str, job_id: str) -> tuple[str, list[Draft]]:
        """Store a document; where this agent has not said so yet, with the event that does."""
        digest = self._artifacts.put(content)
        if digest in self._stored:
            return digest, []
        stored = ArtifactStored(digest=digest, media_type=media_type, size_bytes=len(content), job_id=job_id)
        return digest, [draft(stored, self.clock.now_us(), subject=job_id or self.device)]
