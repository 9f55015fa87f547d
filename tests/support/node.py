"""Judges from npm: pinned by the lock beside their package.json, installed once a lock into a cache."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "node"
NODE_MAJOR_MIN = 20
INSTALLS = "apt-get install nodejs npm    dnf install nodejs    brew install node"
RUN_S = 100


class Judges:
    """The installed packages: each runs as a process of its own with standard input and output."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(
        self, script: str, *arguments: str, given: str = "", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of our scripts, or a package's program by its path under `node_modules`."""
        with tempfile.TemporaryDirectory(prefix="qpubus-judge-") as home:  # what a judge keeps stays in none of ours
            return subprocess.run(
                ["node", "--import", "./node20.mjs", script, *arguments],
                cwd=self._folder,
                input=given,
                capture_output=True,
                text=True,
                check=False,
                timeout=RUN_S,
                env={"PATH": os.environ["PATH"], "HOME": home, **(environment or {})},
            )


class JudgesMissing(Exception):
    """They cannot be installed here; the message says by which command they could."""


def judges() -> Judges:
    """The judges of the lock. Where Node or the network is missing the test is skipped, in CI it fails."""
    try:
        return Judges(installed())
    except JudgesMissing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))


def installed() -> Path:
    """Where the packages of the lock lie, installed now if they are not; `JudgesMissing` if they cannot be."""
    lock = (FOLDER / "package-lock.json").read_bytes()
    folder = _cache() / sha256(lock).hexdigest()[:16]
    if _node_major() < NODE_MAJOR_MIN or shutil.which("npm") is None:
        raise JudgesMissing(f"there is no Node {NODE_MAJOR_MIN} with npm; one of these installs it: {INSTALLS}")
    if not (folder / "node_modules").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as making:
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(FOLDER / name, making)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
            done = subprocess.run(command, cwd=making, capture_output=True, text=True, check=False)
            if done.returncode:
                told = done.stderr.strip()[-300:]
                raise JudgesMissing(f"npm could not install the judges; with a network, `make judges` does: {told}")
            with contextlib.suppress(OSError):  # another process of this test run was first
                Path(making, "node_modules").rename(folder / "node_modules")
    for script in FOLDER.glob("*.mjs"):
        _put(script, folder / script.name)
    return folder


def _put(script: Path, place: Path) -> None:
    """Copy by rename, so that no other process reads half of it."""
    if not place.is_file() or place.read_bytes() != script.read_bytes():
        part = place.with_suffix(f".{os.getpid()}")
        shutil.copy(script, part)
        part.rename(place)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qpubus" / "judges"


def _node_major() -> int:
    if shutil.which("node") is None:
        return 0
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    return int(told.strip().removeprefix("v").partition(".")[0] or 0)


if __name__ == "__main__":
    try:
        sys.stdout.write(f"The judges are in {installed()}\n")
    except JudgesMissing as error:
        sys.exit(f"error: {error}")
