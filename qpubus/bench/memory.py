"""The most memory that a command had resident."""

import subprocess
import sys
from collections.abc import Sequence

_APART = (
    "import resource, subprocess, sys; "
    "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
    "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)
"""A process begins with the peak of the one it was forked from, so a small one stands between us and the command."""


def peak_mb(command: Sequence[str]) -> tuple[int, float]:
    """Run a command and throw away what it prints: its exit code, and its peak in megabytes."""
    asked = [sys.executable, "-c", _APART, *command]
    code, peak = subprocess.run(asked, stdout=subprocess.PIPE, check=True, text=True).stdout.split()  # noqa: S603 - our own program
    return int(code), int(peak) / 1e6 if sys.platform == "darwin" else int(peak) * 1024 / 1e6
