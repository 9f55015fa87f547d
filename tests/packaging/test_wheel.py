"""The wheel, installed where nothing else of ours is: only what it declares and the lock holds is beside it."""

import os
import re
import shutil
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from zipfile import ZipFile

import orjson
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = {"schemas", "streams", "agents", "projections", "replay", "qpubus"}


def declared_closure(roots: list[Requirement]) -> dict[str, Distribution]:
    """All distributions that an installer would bring for these requirements, as this environment has them."""
    found: dict[str, Distribution] = {}
    waiting = roots
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        if (name := canonicalize_name(requirement.name)) not in found:
            found[name] = distribution(name)
            for text in found[name].requires or []:
                needed = Requirement(text)
                if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                    waiting.append(needed)
    return found


def locked() -> dict[str, set[str]]:
    """The versions that the lock of what runs has of each distribution; several where systems differ."""
    found: dict[str, set[str]] = {}
    lines = (ROOT / "requirements.lock").read_text()
    for name, version in re.findall(r"^([a-z0-9-]+)==([^\s;]+)", lines, re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def unlocked(needed: dict[str, Distribution], lock: dict[str, set[str]]) -> list[str]:
    """What is needed and not in the lock, or there in another version."""
    return sorted(name for name, each in needed.items() if each.version not in lock.get(name, set()))


def needed_to_run() -> dict[str, Distribution]:
    return declared_closure([Requirement(text) for text in distribution("qpubus").requires or []])


def put_into(site_packages: Path, installed: Distribution) -> None:
    """Have this distribution's files in another environment too, for real: a program in the sandbox follows no link."""
    for path in installed.files or []:
        if path.parts[0] not in {"..", "__pycache__"} and path.suffix != ".pyc":
            source, target = Path(str(installed.locate_file(path))), site_packages / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                link_or_copy(source, target)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name of the same file where the file system can, or else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(home, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python")]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", str(wheel)], check=True, capture_output=True)
    (site_packages,) = home.glob("lib/python*/site-packages")
    for name, dependency in needed_to_run().items():
        if name in locked():
            put_into(site_packages, dependency)
    return home / "bin" / "qpubus"


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_the_wheel_holds_every_schema(wheel: Path) -> None:
    in_tree = {path.relative_to(ROOT).as_posix() for path in (ROOT / "schemas").rglob("*.avsc")}
    assert in_tree <= set(ZipFile(wheel).namelist())


def test_the_installed_command_tells_its_version(command: Path, tmp_path: Path) -> None:
    told = subprocess.run([command, "--version"], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert told == f"qpubus {distribution('qpubus').version}\n"


def test_a_usage_error_exits_64(command: Path, tmp_path: Path) -> None:
    assert subprocess.run([command, "no-such"], check=False, capture_output=True, cwd=tmp_path).returncode == 64


def test_the_installed_command_runs_the_demo(command: Path, tmp_path: Path) -> None:
    demo = ("demo", "--json", "--data", str(tmp_path / "data"))
    done = subprocess.run([str(command), *demo], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr or done.stdout
    told = orjson.loads(done.stdout)
    assert (told["job"]["state"], told["audit"]["verdict"]) == ("completed", "sound")


def test_the_lock_holds_all_that_the_wheel_needs() -> None:
    assert unlocked(needed_to_run(), locked()) == []


def test_a_dependency_that_the_lock_lacks_is_noticed() -> None:
    lock = locked()
    del lock["apsw"]
    lock["botocore"] = {"0.1"}
    assert unlocked(needed_to_run(), lock) == ["apsw", "botocore"]


def test_nothing_is_beside_the_wheel_but_what_the_lock_holds(command: Path) -> None:
    (site_packages,) = command.parents[1].glob("lib/python*/site-packages")
    installed = {canonicalize_name(each.metadata["Name"]) for each in distributions(path=[str(site_packages)])}
    assert installed - set(locked()) == {"qpubus", "pip", "setuptools"} & installed
