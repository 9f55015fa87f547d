"""How fast `audit verify` goes, against one Ed25519 verification an event.

Audited are logs that differ in how many events share a batch: two thirds are chunks of shots that a device tells, one
third are decisions of a stage, each with a cause of its own; and the demo's log. All is as `qpubus audit verify` does
it: the copy of the data directory, row chains, statements, digests, trees, signatures, keys, roles, devices, sequences,
causes, journals. Audits and the reference run in turn; each rate is the median of its rounds.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.clock import VirtualClock
from agents.party import Membership
from agents.sealer import Sealer
from qpubus.bench.history import EPOCH_US, SITE
from qpubus.bench.story import AGENT, APPROVER, CHUNK_SHOTS, DEVICES
from qpubus.founding import default_policy, found_site, members
from replay.audit import verify
from replay.verdict import Verdict
from schemas.admission import ROOT_SOURCE
from schemas.codec import own_schemas
from schemas.envelope import Cause, Inputs
from schemas.events import BudgetHeld, ShotsMeasured
from schemas.keys import raw_public_key
from streams.author import Draft, Scribe, Written, seal_all
from streams.log.embedded import EmbeddedLog, create

EVENTS = {100: 48_000, 10: 12_000, 1: 1_800}
"""Events by how many share a batch."""
ROUNDS = 5
REFERENCE_CHECKS = 2_000
_DEVICE = f"device:{DEVICES[0]}"
_STAGE = "stage:policy"


def measure() -> list[dict[str, Any]]:
    """The figures `audit.verify` (batches of 100), `_10`, `_1` and `_demo`, in events a second."""
    with tempfile.TemporaryDirectory(prefix="qpubus-bench-") as name:
        logs = {f"audit.verify_{size}" if size < 100 else "audit.verify": size for size in EVENTS}
        counts = {
            figure: asyncio.run(write_log(Path(name) / figure, size, EVENTS[size])) for figure, size in logs.items()
        }
        counts["audit.verify_demo"] = _demo(Path(name) / "audit.verify_demo")
        ours: dict[str, list[float]] = {figure: [] for figure in counts}
        reference = []
        for _ in range(ROUNDS):
            for log, events in counts.items():
                reference.append(_reference())
                ours[log].append(_audit(Path(name) / log, events))
    return [figure(log, rates, reference) for log, rates in ours.items()]


def _demo(directory: Path) -> int:
    """Let the demo write a log; how many events it has."""
    command = [sys.executable, "-m", "qpubus", "demo", "--json", "--data", str(directory)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own command
    return int(orjson.loads(done.stdout)["audit"]["events"])


def figure(name: str, ours: list[float], reference: list[float]) -> dict[str, Any]:
    """A figure from the rates of its rounds."""
    value, reference_value = statistics.median(ours), statistics.median(reference)
    return {
        "name": name,
        "value": round(value),
        "unit": "events/s",
        "reference": "one Ed25519 verification an event",
        "reference_value": round(reference_value),
        "ratio": round(value / reference_value, 2),
    }


def _audit(directory: Path, events: int) -> float:
    began = time.perf_counter()
    audit = asyncio.run(verify(directory))
    took_s = time.perf_counter() - began
    if audit.verdict is not Verdict.SOUND or audit.events != events:
        raise RuntimeError(f"the log made for measuring is {audit.verdict.word}: {audit.first_divergence}")
    return events / took_s


def _reference() -> float:
    key = Ed25519PrivateKey.generate()
    messages = [number.to_bytes(32, "big") for number in range(REFERENCE_CHECKS)]
    signed = [(key.sign(message), message) for message in messages]
    public_key = key.public_key()
    began = time.perf_counter()
    for signature, message in signed:
        public_key.verify(signature, message)
    return REFERENCE_CHECKS / (time.perf_counter() - began)


async def write_log(directory: Path, size: int, events: int) -> int:
    """Write a log with about so many events in batches of `size`; how many events it has."""
    create(directory)
    log = EmbeddedLog(directory, lambda: EPOCH_US)
    try:
        people = members(DEVICES, AGENT, APPROVER)
        keys = {name: Ed25519PrivateKey.generate() for name in (ROOT_SOURCE, *(each.source for each in people))}
        await found_site(
            log, SITE, keys=keys, people=people, prices=(), policy=default_policy(DEVICES), budget_microusd=0,
            clock="virtual", now_us=EPOCH_US, seed=1,
        )  # fmt: skip
        (directory / "root.pub").write_text(raw_public_key(keys[ROOT_SOURCE]).hex())
        founded = (await log.ends(0))["governance"]
        member = Membership("sealer:main", SITE, keys["sealer:main"], raw_public_key(keys[ROOT_SOURCE]))
        sealer = Sealer(member, log, VirtualClock(EPOCH_US))
        for batches in _batches(size, founded, events):
            await log.append([record for source, batch in batches for record in seal_all(batch, keys[source])])
            await sealer.step()
        await sealer.finish()
        return sum((await log.ends(0)).values())
    finally:
        await log.close()


def _batches(size: int, founded: int, events: int) -> Iterator[list[tuple[str, list[Written]]]]:
    """For each append: two batches of a device, then one of a stage that had read them."""
    schemas = {schema.event_type: schema for schema in own_schemas()}
    device, stage = (Scribe(source, SITE, schemas) for source in (_DEVICE, _STAGE))
    decision = 0
    because: tuple[Cause, ...] = ()
    for number in range(events // (3 * size)):
        told = [
            [device.write(_chunk(number, half * size + chunk, because)) for chunk in range(size)] for half in range(2)
        ]
        decided: list[Written] = []
        for cause in [written.cause for batch in told for written in batch][::2]:
            decision += 1
            runs = (("results", 2 * size),) if not decided else ()
            if decision == 1:
                runs = (("governance", founded), *runs)
            held = BudgetHeld(job_id=f"job-{number:06}", amount_microusd=decision)
            inputs = Inputs(decision, 1, runs)
            decided.append(stage.write(Draft("approvals", held, held.job_id, EPOCH_US, (cause,), inputs=inputs)))
        because = (decided[-1].cause,)
        yield [(_DEVICE, told[0]), (_DEVICE, told[1]), (_STAGE, decided)]


def _chunk(step: int, chunk: int, because: tuple[Cause, ...]) -> Draft:
    measured = ShotsMeasured(
        job_id=f"job-{step:06}", step=step, circuit=chunk // 4, chunk=chunk % 4, device=DEVICES[0], shots=CHUNK_SHOTS,
        counts={"00": 91, "01": 4_000 + chunk, "10": 4_010 - chunk, "11": 91},
        started_us=EPOCH_US + chunk, ended_us=EPOCH_US + chunk + 1,
    )  # fmt: skip
    return Draft("results", measured, measured.job_id, EPOCH_US + step, because)
