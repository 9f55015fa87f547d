"""Calls without I/O: each is a generator that yields what to ask or how long to wait, and returns what it is told.

So the sync and the async client share every line that matters; they differ in who waits.
"""

import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, NamedTuple, TypeVar

import orjson

from agents.client import Document, RequestingAgent
from qpubus.client.told import Failed, Job, Quote, Receipt, Result
from schemas.calibrations import CalibrationWish, sign_calibration
from schemas.manifest import Manifest, signed_payload
from schemas.traces import DecisionTrace, seal_trace
from schemas.words import Identifier

ATTEMPTS = 6
BACKOFF_S = 0.25
BACKOFF_S_MAX = 8.0
PAGE = 100
WAIT_S = 30.0
"""A wait is asked in pieces of this length, so no proxy on the way grows tired of it."""
_AGAIN = frozenset({429, 502, 503, 504})
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Ask:
    """One request. All that the client asks may be asked again: it changes nothing the second time."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    patience_s: float = 30.0


class Pause(NamedTuple):
    """Wait."""

    seconds: float


class Answered(NamedTuple):
    """What came back: status, headers by lower-case name, content. Status 0: nothing came, `content` says why."""

    status: int
    headers: Mapping[str, str]
    content: bytes


Told = TypeVar("Told")
Call = Generator[Ask | Pause, Answered, Told]


def asked(ask: Ask) -> Call[Answered]:
    """An answer below 400; asked again where the network or the bus was not up to it. `Failed` otherwise."""
    for attempt in range(ATTEMPTS):
        answer = yield ask
        if 0 < answer.status < 400:
            return answer
        failed = _failure(answer)
        if (answer.status and answer.status not in _AGAIN) or attempt == ATTEMPTS - 1:
            raise failed
        yield Pause(_pause_s(answer, attempt))
    raise AssertionError  # the last attempt has returned or raised


def document(ask: Ask) -> Call[dict[str, Any]]:
    """The JSON object in an answer."""
    answer = yield from asked(ask)
    try:
        told = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict):
        raise Failed("answer_unreadable", f"{ask.method} {ask.path} was not answered with JSON", answer.status)
    return told


def _failure(answer: Answered) -> Failed:
    if not answer.status:
        return Failed("unreachable", f"the bus cannot be reached: {answer.content.decode(errors='replace')}")
    try:
        told = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        told = None
    return Failed.of(answer.status, told)


def _pause_s(answer: Answered, attempt: int) -> float:
    told = answer.headers.get("retry-after", "")
    return min(float(told) if told.isdecimal() else BACKOFF_S * 2**attempt, BACKOFF_S_MAX)


class Calls:
    """Everything that an agent asks, at one bus."""

    def __init__(self, agent: RequestingAgent) -> None:
        self._agent = agent
        self._site = ""

    def get(self, path: str, **query: str) -> Call[dict[str, Any]]:
        """A document by its address."""
        return document(Ask("GET", path, query=query))

    def post(self, path: str, said: Mapping[str, Any], **headers: str) -> Call[dict[str, Any]]:
        """Say something, in JSON."""
        return document(Ask("POST", path, orjson.dumps(said), _JSON | headers))

    def devices(self) -> Call[list[dict[str, Any]]]:
        """All devices as they describe themselves, with their prices."""
        return list((yield from self.get("/v1/devices"))["devices"])

    def page(self, cursor: str, limit: int, state: str) -> Call[dict[str, Any]]:
        """One page of the agent's jobs, and the cursor of the next."""
        wanted = {"cursor": cursor, "limit": str(limit), "state": state}
        return self.get("/v1/jobs", **{name: value for name, value in wanted.items() if value})

    def jobs(self, state: str = "") -> Call[list[dict[str, Any]]]:
        """The agent's jobs in short, the latest first, all pages."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = yield from self.page(cursor, PAGE, state)
            found += page["jobs"]
            cursor = page["next_cursor"] or ""
            if not cursor:
                return found

    def site(self) -> Call[str]:
        """The site that answers."""
        if not self._site:
            self._site = str((yield from self.get("/v1/site"))["site"])
        return self._site

    def store(self, content: bytes, media_type: str) -> Call[str]:
        """Keep a document; its SHA-256."""
        told = yield from document(Ask("POST", "/v1/artifacts", content, {"content-type": media_type}))
        return str(told["digest"])

    def quote(self, manifest: Manifest, documents: Iterable[Document] = ()) -> Call[Quote]:
        """What would become of a manifest."""
        for each in documents:
            yield from self.store(each.content, each.media_type)
        told = yield from self.post("/v1/quotes", {"manifest": orjson.loads(signed_payload(manifest))})
        return Quote.model_validate(told)

    def submit(
        self,
        manifest: Manifest,
        documents: Iterable[Document] = (),
        why: tuple[DecisionTrace, str] | None = None,
    ) -> Call[Receipt]:
        """Store a job's documents, sign its manifest as it stands, declare it. Said again, the same receipt."""
        trace = seal_trace(*why, self._agent.source, manifest.job_id, self._agent.key) if why else None
        if trace:
            manifest = manifest.model_copy(update={"decision_trace_digest": trace.digest})
        for each in documents:
            yield from self.store(each.content, each.media_type)
        said: dict[str, Any] = {
            "manifest": orjson.loads(signed_payload(manifest)),
            "agent_proof": self._agent.sign(manifest),
        }
        if trace:
            said["trace"] = trace.model_dump(mode="json")
        told = yield from self.post(
            "/v1/jobs", said, **{"idempotency-key": manifest.idempotency_key or manifest.job_id}
        )
        return Receipt.model_validate(told)

    def job(self, job_id: str, wait_s: float = 0.0) -> Call[Job]:
        """Where a job stands; with `wait_s` (at most 60) at its end, or after that time."""
        query = {"wait_s": f"{wait_s:g}"} if wait_s else {}
        return Job.model_validate(
            (yield from document(Ask("GET", f"/v1/jobs/{job_id}", query=query, patience_s=30.0 + wait_s)))
        )

    def wait(self, job_id: str, timeout_s: float | None = None) -> Call[Job]:
        """The job at its end; `TimeoutError` if it is not over by then, and the job goes on."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = WAIT_S if until_s is None else min(WAIT_S, max(0.0, until_s - time.monotonic()))
            job = yield from self.job(job_id, left_s)
            if job.is_over:
                return job
            if until_s is not None and time.monotonic() >= until_s:
                raise TimeoutError(f"the job {job_id} is {job.state} after {timeout_s:g} s, and goes on")

    def result(self, job_id: str) -> Call[Result]:
        """What a job found; `Failed` (`result_absent`) while it has found nothing."""
        return Result.model_validate((yield from self.get(f"/v1/jobs/{job_id}/result")))

    def withdraw(self, job_id: str, reason: str) -> Call[dict[str, Any]]:
        """Take a job back, signed."""
        proof = self._agent.withdrawal(job_id, reason)
        return self.post(f"/v1/jobs/{job_id}/withdrawal", {"agent_proof": proof})

    def request_calibration(
        self, device: Identifier, reason: str, max_age_s: int = 3_600, request_id: str = ""
    ) -> Call[dict[str, Any]]:
        """Have a device measured anew, signed. It takes device time."""
        site = yield from self.site()
        wish = CalibrationWish(
            request_id=request_id or f"calibration-{token_hex(8)}",
            site=site,
            device=device,
            max_age_s=max_age_s,
            reason=reason,
        )
        said = {
            "request_id": wish.request_id,
            "max_age_s": wish.max_age_s,
            "reason": wish.reason,
            "agent_proof": sign_calibration(wish, self._agent.key),
        }
        return (yield from self.post(f"/v1/devices/{device}/calibrations", said))
