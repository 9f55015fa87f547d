"""What broker and registry are made of: Maven artefacts in a cache, each held to a SHA-256 that is committed."""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from qpubus.problem import Problem

CACHE = "QPUBUS_CACHE"
"""Names the directory for downloads where it is not `qpubus` in the user's cache directory."""
_IN_WHEEL, _IN_TREE = Path(__file__).parents[1] / "compose", Path(__file__).parents[2] / "compose"
COMPOSE = _IN_WHEEL if _IN_WHEEL.exists() else _IN_TREE
"""The compose files, the pom and the sums: a wheel carries them inside the package."""
JAVA_AT_LEAST = 17
NOT_INSTALLED = "not_installed"
"""The code of a `Problem` that a package of the system would solve."""
_MAVEN_TIMEOUT_S = 900


def kafka_libraries() -> Path:
    """The directory with the jars of Kafka, downloaded if they are not there yet."""
    return _fetch("kafka")


def registry_program() -> Path:
    """The jar of the schema registry, downloaded and unpacked if it is not there yet."""
    directory = _fetch("registry")
    home = directory / "unpacked"
    if not home.exists():
        with (
            tempfile.TemporaryDirectory(dir=directory) as aside,
            tarfile.open(next(directory.glob("*.tar.gz"))) as archive,
        ):
            archive.extractall(aside, filter="data")
            _put(Path(aside), home)
    return next(home.glob("*-runner.jar"))


def java() -> str:
    """The command that runs Java; `Problem` with what installs it if there is none that is new enough."""
    command = shutil.which("java")
    packages = (
        "apt-get install openjdk-17-jre-headless",
        "dnf install java-21-openjdk-headless",
        "brew install openjdk",
    )
    installs = f"Install it: {'    '.join(packages)}"
    if not command:
        raise Problem(
            f"Kafka needs Java {JAVA_AT_LEAST} or newer, and there is no `java` on the path",
            installs,
            code=NOT_INSTALLED,
        )
    told = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)  # noqa: S603 (from the path)
    version = _java_version(told.stderr + told.stdout)
    if version < JAVA_AT_LEAST:
        raise Problem(
            f"Kafka needs Java {JAVA_AT_LEAST} or newer; {command} is Java {version or 'of no known kind'}",
            installs,
            code=NOT_INSTALLED,
        )
    return command


def _java_version(told: str) -> int:
    """The major version in what `java -version` says, such as `openjdk version "17.0.15"`; 0 if there is none."""
    _, _, rest = told.partition('version "')
    major = rest.split('"')[0].split(".")[0].split("-")[0]
    return int(major) if major.isdigit() else 0


def _fetch(profile: str) -> Path:
    """The directory with the files of a profile of the pom, whose every byte is the one that SHA256SUMS tells."""
    sums = _sums(profile)
    named = hashlib.sha256("".join(f"{digest} {name}\n" for name, digest in sorted(sums.items())).encode())
    directory = _cache() / f"{profile}-{named.hexdigest()[:16]}"
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f"{profile}-") as aside:
            _download(profile, Path(aside))
            _put(Path(aside), directory, sums)
    _check(directory, sums)
    return directory


def _cache() -> Path:
    if named := os.environ.get(CACHE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qpubus"


def _sums(profile: str) -> dict[str, str]:
    """File → SHA-256 in hex, from the lines `DIGEST  PROFILE/FILE`."""
    lines = [line.split() for line in (COMPOSE / "SHA256SUMS").read_text().splitlines()]
    return {path.partition("/")[2]: digest for digest, path in lines if path.startswith(f"{profile}/")}


def _download(profile: str, into: Path) -> None:
    maven = shutil.which("mvn")
    if not maven:
        raise Problem(
            "Kafka is fetched by Maven, and there is no `mvn` on the path",
            "Install it: apt-get install maven    dnf install maven    brew install maven",
            code=NOT_INSTALLED,
        )
    command = [maven, "--batch-mode", "--quiet", "--strict-checksums", "--file", str(COMPOSE / "pom.xml")]
    goal = ["--activate-profiles", profile, "dependency:copy-dependencies", f"-DoutputDirectory={into}"]
    try:
        done = subprocess.run(  # noqa: S603 (our own words, and a path)
            [*command, *goal], capture_output=True, text=True, check=False, timeout=_MAVEN_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise Problem(
            "Maven did not finish the download in time", "See whether the network is there; then again."
        ) from None
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if "ERROR" in line]
        raise Problem(
            f"Maven could not download what {profile} needs: {said[0] if said else done.stderr.strip()}",
            "See whether the network is there, and whether Maven needs a mirror in its settings.xml.",
        )


def _check(directory: Path, sums: dict[str, str]) -> None:
    """`Problem` unless the directory has the very files that were committed to."""
    there = {path.name: path for path in directory.iterdir() if path.is_file()}
    if strange := sorted(there.keys() ^ sums.keys()):
        raise Problem(
            f"{directory} does not hold the files of compose/SHA256SUMS: {', '.join(strange[:3])}", _again(directory)
        )
    for name, path in there.items():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sums[name]:
                raise Problem(
                    f"{path} is not the file that compose/SHA256SUMS commits to; it is not run", _again(directory)
                )


def _again(directory: Path) -> str:
    return f"If it was damaged here, remove {directory} and try again; else look who changed it."


def _put(aside: Path, directory: Path, sums: dict[str, str] | None = None) -> None:
    """Put a finished directory in its place at once; who comes second finds it there and is content."""
    if sums is not None:
        _check(aside, sums)
    try:
        aside.rename(directory)
    except OSError:
        if not directory.exists():
            raise
