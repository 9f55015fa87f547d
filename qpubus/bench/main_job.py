"""What the demo takes on this machine: time, and memory of all its processes summed, beside what it may take."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = 3
LIMIT_S = 60.0
LIMIT_MB = 600.0
_LOOK_EVERY_S = 0.02
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def measure() -> list[dict[str, Any]]:
    """Figures `demo.wall` and `demo.memory`; the reference is the limit, the ratio how often the demo fits into it."""
    measured = [_demo() for _ in range(ROUNDS)]
    wall_s = statistics.median(each[0] for each in measured)
    memory_mb = statistics.median(each[1] for each in measured)
    return [
        _figure("demo.wall", wall_s, "s", LIMIT_S),
        _figure("demo.memory", memory_mb, "MB", LIMIT_MB),
    ]


def _figure(name: str, value: float, unit: str, limit: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "reference": "the limit",
        "reference_value": limit,
        "ratio": limit / value,
    }


def _demo() -> tuple[float, float]:
    """Seconds and megabytes of one demo from its command to its end; memory is resident, summed at each look."""
    with tempfile.TemporaryDirectory(prefix="qpubus-bench-") as directory:
        command = [sys.executable, "-m", "qpubus", "demo", "--json", "--data", str(Path(directory) / "data")]
        started_s = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as demo:  # noqa: S603 - our own command
            peak = 0
            while demo.poll() is None:
                peak = max(peak, _resident_bytes(demo.pid))
                time.sleep(_LOOK_EVERY_S)
        wall_s = time.perf_counter() - started_s
        if demo.returncode:
            raise RuntimeError(f"the demo ended with exit code {demo.returncode}")
    return wall_s, peak / 1e6


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process and all that it started; those that have just ended count nothing."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    return pages * _PAGE_BYTES + sum(_resident_bytes(int(child)) for child in children)
