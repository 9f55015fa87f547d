"""The wheel, installed where nothing else of ours is: only what it declares is beside it."""

import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

import orjson
import pytest
from packaging.requirements import Requirement

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
        if requirement.name not in found:
            found[requirement.name] = distribution(requirement.name)
            for text in found[requirement.name].requires or []:
                needed = Requirement(text)
                if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                    waiting.append(needed)
    return found


def link_into(site_packages: Path, installed: Distribution) -> None:
    """Show this distribution's files in another environment, without copying or downloading them."""
    for top in {path.parts[0] for path in installed.files or [] if path.parts[0] not in {"..", "__pycache__"}}:
        link = site_packages / top
        if not link.exists():
            link.symlink_to(Path(str(installed.locate_file(top))))


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
    for dependency in declared_closure([Requirement(text) for text in distribution("qpubus").requires or []]).values():
        link_into(site_packages, dependency)
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


@pytest.mark.long
def test_the_installed_command_runs_the_demo(command: Path, tmp_path: Path) -> None:
    told = subprocess.run([command, "demo", "--json"], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert orjson.loads(told)["audit"]["verdict"] == "sound"
