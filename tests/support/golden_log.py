"""`python -m tests.support.golden_log RELEASE` lets a small site live and writes its log to tests/golden/logs/RELEASE.

The site has five jobs, so that every stage decides: one that nobody is asked for, a loop that a person grants, one that
a person denies, one that policy refuses, and one that its agent withdraws while it runs, so that the guard stops it.
Keys and seeds follow from names. A log is written once for a release and then kept as it is.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson

from agents.approver import Approver
from agents.client import Document, RequestingAgent, sign_withdrawal
from agents.clock import VirtualClock
from agents.devices.profiles import PROFILES, device_price
from agents.replies import Refused
from projections.devices import DEVICES
from projections.job import Job
from projections.jobs import JOBS
from qpubus.bus import run_until_quiet, run_virtual
from qpubus.founding import default_policy, found_site, members
from qpubus.keyfile import write_key
from qpubus.place import Place
from qpubus.wiring import Machine, open_machine
from schemas.admission import ROOT_SOURCE, Stored
from schemas.digests import sha256_hex
from schemas.keys import raw_public_key
from schemas.manifest import Manifest
from schemas.traces import DecisionTrace, TraceOption
from streams.log.embedded import EmbeddedLog, create
from streams.log.lines import Export, export_lines
from streams.log.making import new_log
from streams.log.reading import EmbeddedReader
from tests.support.bell import bell_document
from tests.support.signed import private_key
from tests.support.town import AGENT, APPROVER, SITE

FOLDER = Path(__file__).parents[1] / "golden" / "logs"
EPOCH_US = 1_768_726_800_000_000
LOG_ID = sha256_hex(b"golden")[:32]
FREE, GRANTED, DENIED, REFUSED, STOPPED = "bell-free", "bell-granted", "bell-denied", "bell-refused", "bell-stopped"
JOBS_TOLD = (FREE, GRANTED, DENIED, REFUSED, STOPPED)
SEALED_TEXT = "because the reviewer of the third floor wants it"
"""Stands in the full text of a decision trace, and so nowhere else."""
STEP = b"""import json, sys
seen = len(json.load(sys.stdin)["history"])
more = [{"template": 0, "parameters": {"theta": 0.5 + seen / 4}, "shots": 200}]
found = {"name": "seen", "value": float(seen), "standard_error": 0.5}
json.dump({"circuits": [] if seen > 1 else more, "converged": seen > 1, "observables": [found]}, sys.stdout)
"""
_USD = 1_000_000


def root_public_key() -> bytes:
    """The trust anchor of every golden log."""
    return raw_public_key(private_key(ROOT_SOURCE))


def golden_logs() -> list[Path]:
    """The logs of releases, oldest first."""
    return sorted(FOLDER.glob("*.jsonl"))


Rewrite = Callable[[list[Stored]], list[Stored]]


def restore(export: Path, directory: Path, rewrite: Rewrite = list) -> Path:
    """A data directory with the log of a release, its trust anchor and the auditor's key.

    What `rewrite` makes of the records gets the places, hashes and head of a log that was never any other.
    """
    with export.open("rb") as file:
        lines = Export(file)
        records = rewrite(list(lines.records()))
    ends: Counter[str] = Counter()
    with new_log(directory, lines.settings) as new:
        for stored in records:
            new.take(stored._replace(offset=ends[stored.topic]))
            ends[stored.topic] += 1
    place = Place(directory)
    place.root_public_key.write_text(root_public_key().hex() + "\n")
    place.keys.mkdir(mode=0o700)
    write_key(place.key("auditor"), private_key("auditor:main"))
    return directory


async def live(directory: Path) -> None:
    """Found the site in `directory` and let its jobs run."""
    place = Place(directory)
    await _found(place)
    async with open_machine(place) as machine:
        site = _Site(machine)
        await site.until(lambda: len(machine.views[DEVICES].devices) == len(machine.fleet))
        await site.declare(FREE, 40)
        await site.until(lambda: site.job(FREE).is_over)
        await site.declare(REFUSED, 20_000)
        await site.until(lambda: site.job(REFUSED).is_over)
        for job_id, answers in ((GRANTED, True), (DENIED, False)):
            await site.declare(job_id, 60, loops=answers)
            await site.until(lambda job_id=job_id: site.job(job_id).approval is not None)  # type: ignore[misc]  # lambdas
            await site.answer(job_id, answers)
            await site.until(lambda job_id=job_id: site.job(job_id).is_over)  # type: ignore[misc]  # carry no types
        await site.declare(STOPPED, 45, shots=4_000)
        await site.until(lambda: site.job(STOPPED).shots_measured > 0)
        await site.withdraw(STOPPED)
        await site.until(lambda: site.job(STOPPED).is_over)
        await run_until_quiet(site.parts)


class _Site:
    """A machine, and those who ask it for something."""

    def __init__(self, machine: Machine) -> None:
        assert isinstance(machine.clock, VirtualClock)
        self._machine, self._clock = machine, machine.clock
        self.parts = [machine.part(name) for name in machine.names]
        self._agent = RequestingAgent(AGENT, private_key(AGENT))

    def job(self, job_id: str) -> Job:
        return self._machine.views[JOBS].jobs.get(job_id, Job(job_id))

    async def until(self, is_done: Callable[[], bool]) -> None:
        await run_virtual(self.parts, self._clock, is_done)

    async def declare(self, job_id: str, usd: int, *, loops: bool = False, shots: int = 500) -> None:
        document = bell_document(
            job_id=job_id, budget__cost_microusd=usd * _USD, budget__shots=8 * shots, quantum__shots=shots, seed=7
        )
        if loops:
            document |= {"loop": {"step": "python:step.py", "iterations_max": 5}}
            document |= {"artifacts": {"step.py": sha256_hex(STEP)}}
        options = (TraceOption(name="run", text="run it"), TraceOption(name="wait", text="do not"))
        why = DecisionTrace(goal="see two bits agree", options=options, choice="run", reason=SEALED_TEXT)
        manifest = Manifest.model_validate_json(orjson.dumps(document))
        documents = (Document("step.py", STEP, "text/x-python"),) if loops else ()
        reply = await self._agent.submit(self._machine.gateway, manifest, documents, (why, "two bits should agree"))
        assert not isinstance(reply, Refused), reply

    async def answer(self, job_id: str, is_granted: bool) -> None:
        approval = self.job(job_id).approval
        assert approval is not None
        approver = Approver(APPROVER, private_key(APPROVER))
        if is_granted:
            reply = await self._machine.gateway.grant(approver.grant(approval.statement))
        else:
            reply = await self._machine.gateway.deny(approver.deny(approval.statement, "not today"), "not today")
        assert not isinstance(reply, Refused), reply

    async def withdraw(self, job_id: str) -> None:
        reply = await self._machine.gateway.withdraw(sign_withdrawal(job_id, "no longer wanted", private_key(AGENT)))
        assert not isinstance(reply, Refused), reply


async def _found(place: Place) -> None:
    create(place.directory, log_id=LOG_ID)
    people = members(tuple(PROFILES), AGENT, APPROVER)
    keys = {source: private_key(source) for source in (ROOT_SOURCE, *(each.source for each in people))}
    place.keys.mkdir(mode=0o700)
    for each in people:
        write_key(place.keys / each.key_file, keys[each.source])
    log = EmbeddedLog(place.directory, lambda: EPOCH_US)
    try:
        await found_site(
            log,
            SITE,
            keys=keys,
            people=people,
            prices=[device_price(profile) for profile in PROFILES.values()],
            policy=default_policy(tuple(PROFILES)),
            budget_microusd=1_000 * _USD,
            clock="virtual",
            now_us=EPOCH_US,
            seed=7,
        )
    finally:
        await log.close()
    place.root_public_key.write_text(root_public_key().hex() + "\n")


def write(release: str) -> Path:
    """Write the log of a release; one that is there is left as it is."""
    path = FOLDER / f"{release}.jsonl"
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(live(Path(name)))
        log = EmbeddedReader(Path(name))
        records = (stored for topic in log.topics for stored in log.rows(topic, 0))
        FOLDER.mkdir(exist_ok=True)
        with path.open("xb") as file:
            file.writelines(export_lines(log.settings, records))
    return path


if __name__ == "__main__":
    write(sys.argv[1])
