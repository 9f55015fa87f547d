"""An audit of a long log: what a second process is worth, and how much memory a million events take."""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from qpubus.bench.audit_verify import write_log
from qpubus.bench.memory import peak_mb
from replay.audit import verify
from replay.verdict import Verdict

EVENTS = 240_000
LONG = 1_000_000
ROUNDS = 3
LIMIT_MB = 300
BATCH = 100


def measure() -> list[dict[str, Any]]:
    """The figures `audit.verify_2_processes`, in events a second, and `audit.memory`, in megabytes at the most."""
    with tempfile.TemporaryDirectory(prefix="qpubus-bench-") as name:
        log, long_log = Path(name) / "log", Path(name) / "long"
        events = asyncio.run(write_log(log, BATCH, EVENTS))
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(ROUNDS):
            for jobs, rate in rates.items():
                rate.append(_rate(log, events, jobs))
        asyncio.run(write_log(long_log, BATCH, LONG))
        megabytes = _megabytes(long_log)
    alone, both = (statistics.median(rates[jobs]) for jobs in (1, 2))
    return [
        {
            "name": "audit.verify_2_processes",
            "value": round(both),
            "unit": "events/s",
            "reference": "the same audit in one process",
            "reference_value": round(alone),
            "ratio": round(both / alone, 2),
        },
        {
            "name": "audit.memory",
            "value": round(megabytes),
            "unit": "MB",
            "reference": "the limit for 1,000,000 events",
            "reference_value": LIMIT_MB,
            "ratio": round(LIMIT_MB / megabytes, 2),
        },
    ]


def _rate(log: Path, events: int, jobs: int) -> float:
    began = time.perf_counter()
    audit = asyncio.run(verify(log, jobs=jobs))
    took_s = time.perf_counter() - began
    if audit.verdict is not Verdict.SOUND or audit.events != events:
        raise RuntimeError(f"the log made for measuring is {audit.verdict.word}: {audit.first_divergence}")
    return events / took_s


def _megabytes(log: Path) -> float:
    """The most memory that the command `audit verify` had resident."""
    code, megabytes = peak_mb([sys.executable, "-m", "qpubus", "audit", "verify", "--data", str(log)])
    if code != Verdict.SOUND:
        raise RuntimeError("the log made for measuring is not sound")
    return megabytes
