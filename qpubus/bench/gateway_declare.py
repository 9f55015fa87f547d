"""How many intents a second one gateway process takes durably over HTTP, and what it does when ten times more come.

The process has gateway, views and HTTP door over the embedded log, as on a bus whose stages and devices run elsewhere.
The load comes from this process, over loopback, by 64 agents that sign their own intents; circuits are known by digest.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qpubus.bench.load import Load, Seen
from qpubus.founding import Founding, Member, enrolment, found
from qpubus.governing import govern, open_register
from qpubus.keyfile import read_key
from qpubus.place import Place
from qpubus.reading import open_desk
from schemas.events import IntentDeclared
from schemas.topics import Role
from streams.stage import Heard

SITE = "site-bench"
CLIENTS = 64
CAPACITY_S, STEADY_S, OVERLOAD_S, RECOVERY_S = 5.0, 10.0, 30.0, 10.0
STEADY_PER_S = 150.0
OVERLOAD_TIMES = 10
OVERLOAD_CONNECTIONS = 512
P99_MS = 100.0


def measure() -> list[dict[str, Any]]:
    """Capacity, latency at 150 a second, and what a tenfold load does: refusals, memory, losses, recovery."""
    with tempfile.TemporaryDirectory(prefix="qpubus-bench-") as folder:
        directory = Path(folder) / "site"
        agents = asyncio.run(_site(directory))
        with _served(directory) as (url, process):
            told = asyncio.run(_loads(Load(url, SITE, agents), process.pid))
        on_log = asyncio.run(_declared(directory))
    capacity, steady, overload, recovery = told["seen"]
    accepted = {job_id for seen in told["seen"] for job_id in seen.accepted}
    refused = sum(overload.statuses[status] for status in (429, 503))
    strange = sum(n for seen in told["seen"] for status, n in seen.statuses.items() if status not in {201, 429, 503})
    rate, p99_ms = len(capacity.accepted) / capacity.took_s, steady.p99_ms()
    recovered_s = _recovered_s(recovery, told["recovery_begun"])
    return [
        _figure("gateway.declare", rate, "intents/s", STEADY_PER_S, rate / STEADY_PER_S),
        _figure("gateway.declare_steady", len(steady.accepted) / steady.took_s, "intents/s", STEADY_PER_S),
        _figure("gateway.declare_p99", p99_ms, f"ms at {STEADY_PER_S:g}/s", P99_MS, P99_MS / p99_ms),
        _figure("gateway.overload_offered", sum(overload.statuses.values()) / overload.took_s, "requests/s"),
        _figure("gateway.overload_accepted", len(overload.accepted) / overload.took_s, "intents/s"),
        _figure("gateway.overload_refused", refused, "times 429 or 503"),
        _figure("gateway.overload_strange", strange + overload.without_retry_after, "answers of another kind", 0),
        _figure("gateway.overload_memory", told["memory_mib"], "MiB more at the most"),
        _figure("gateway.overload_lost", len(accepted - on_log), "accepted, not on the log", 0),
        _figure("gateway.recovery", recovered_s, f"s until p99 is below {P99_MS:g} ms", RECOVERY_S),
    ]


def _figure(
    name: str, value: float, unit: str, reference: float | None = None, ratio: float | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "reference": None if reference is None else "what is promised",
        "reference_value": reference,
        "ratio": ratio,
    }


async def _site(directory: Path) -> dict[str, Ed25519PrivateKey]:
    """A founded site with as many agents as there are clients; their keys."""
    now_us = time.time_ns() // 1_000
    found(Place(directory), Founding(SITE, "agent:first", "approver:first", "wall", now_us, 1, 10**15))
    agents = {f"agent:load-{number}": Ed25519PrivateKey.generate() for number in range(CLIENTS)}
    register = await open_register(directory)
    events = [(enrolment(Member(source, Role.AGENT, ""), key, "file"), ()) for source, key in agents.items()]
    await govern(directory, register, read_key(Place(directory).key("root")), events)
    return agents


@contextmanager
def _served(directory: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    command = [sys.executable, "-m", "qpubus.bench.gateway_served", str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 (ourselves)
        if process.stdout is None or process.stdin is None:
            raise RuntimeError("pipes were asked for")
        yield orjson.loads(process.stdout.readline())["url"], process
        process.stdin.close()
        process.wait()


async def _loads(load: Load, pid: int) -> dict[str, Any]:
    await load.sign_in()
    await load.closed(1, 0.5)
    capacity = await load.closed(CLIENTS, CAPACITY_S)
    steady = await load.paced(CLIENTS, STEADY_PER_S, STEADY_S)
    resident_mib = [_memory_mib(pid)]
    watching = asyncio.create_task(_watch(pid, resident_mib))
    per_s = OVERLOAD_TIMES * len(capacity.accepted) / capacity.took_s
    overload = await load.paced(OVERLOAD_CONNECTIONS, per_s, OVERLOAD_S)
    begun = time.monotonic()
    recovery = await load.paced(CLIENTS, STEADY_PER_S, RECOVERY_S)
    watching.cancel()
    return {
        "seen": (capacity, steady, overload, recovery),
        "memory_mib": max(resident_mib) - resident_mib[0],
        "recovery_begun": begun,
    }


async def _watch(pid: int, resident_mib: list[float]) -> None:
    while True:
        resident_mib.append(_memory_mib(pid))
        await asyncio.sleep(0.5)


def _memory_mib(pid: int) -> float:
    """The resident memory of a process; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * 4_096 / 2**20


def _recovered_s(recovery: Seen, begun: float) -> float:
    """So many seconds passed until no second came any more in which the 99th percentile took too long."""
    seconds: dict[int, Seen] = {}
    for due, latency in recovery.latencies:
        seconds.setdefault(int(due - begun), Seen()).latencies.append((due, latency))
    return max((second + 1.0 for second, seen in seconds.items() if seen.p99_ms() >= P99_MS), default=0.0)


async def _declared(directory: Path) -> set[str]:
    """The job ids on the log."""
    async with open_desk(directory) as desk:
        declared: set[str] = set()
        async for items in desk.events():
            if not items:
                return declared
            declared |= {
                each.event.job_id
                for each in items
                if isinstance(each, Heard) and isinstance(each.event, IntentDeclared)
            }
        return declared
