"""The tree's own rules."""

import ast
import importlib
import importlib.metadata
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from packaging.requirements import Requirement
from typer._click.exceptions import UsageError
from typer.core import TyperGroup

from qpubus.cli import load

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "streams", "agents", "projections", "replay", "qpubus")
STAGES = ("orchestrator", "policy", "scheduler", "guard")
STAGES_MAY_IMPORT = {
    *("__future__", "bisect", "collections", "dataclasses", "decimal", "enum", "fractions", "functools", "heapq"),
    *("itertools", "operator", "re", "types", "typing"),
    *("immutables", "pydantic", "schemas", "streams"),
    "cedarpy",  # rules: a function of its arguments, compiled; it reads no clock and no file
    "orjson",  # the JSON that it is asked in
}
STAGES_MAY_NOT_CALL = {"open", "print", "input", "eval", "exec", "compile", "__import__", "id", "hash"}
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
CARRIED_ALONE = "replay/standalone.py"
"""One file by intent, so that who trusts nobody has one file to read and to carry away."""


def tree_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for path in sorted({ROOT / line for line in listed.splitlines()}) if path.is_file()]


FILES = tree_files()
PYTHON = [path for path in FILES if path.suffix == ".py"]
PROGRAM = [path for path in PYTHON if path.relative_to(ROOT).parts[0] != "tests"]
LOCKS = [ROOT / "requirements.lock", ROOT / "requirements-dev.lock"]


def lines_matching(pattern: str, paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text(errors="ignore").splitlines(), 1)
        if re.search(pattern, line)
    ]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_too_long_to_read_in_one_sitting() -> None:
    long = [str(path.relative_to(ROOT)) for path in PROGRAM if len(path.read_text().splitlines()) > FILE_LINES_MAX]
    assert [name for name in long if name != CARRIED_ALONE] == []


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for path in PROGRAM
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_every_module_introduces_itself() -> None:
    mute = [str(path.relative_to(ROOT)) for path in PROGRAM if not ast.get_docstring(ast.parse(path.read_text()))]
    assert mute == []


def test_every_file_name_says_what_is_in_it() -> None:
    vague = [
        path.name for path in PYTHON if path.stem in {"util", "utils", "helper", "helpers", "common", "misc", "manager"}
    ]
    assert vague == []


def test_nothing_is_left_for_later_in_comments() -> None:
    assert lines_matching(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b", PYTHON) == []


def test_no_exception_is_swallowed() -> None:
    assert lines_matching(r"except( Exception| BaseException)?:\s*(pass|continue)?\s*$", PYTHON) == []


def test_every_exemption_states_its_reason() -> None:
    assert lines_matching(r"#\s*(type: ignore(\[[^\]]*\])?|noqa(:\s*[A-Z0-9, ]+)?)\s*$", PYTHON) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert lines_matching(r"(?<!\w)(/wor[k]/|/far[m]/|/roo[t]/|/hom[e]/[a-z]+/|/User[s]/[a-z]+/)", FILES) == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_holds_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert "://" not in text
    assert [
        entry
        for entry in entries
        if not re.fullmatch(r"[a-z0-9-]+==\S+[^\n]*(\\\n    --hash=sha256:[0-9a-f]{64}\s*)+", entry)
    ] == []


def test_the_lock_of_the_judges_holds_hashes_and_no_address() -> None:
    text = (ROOT / "tests" / "node" / "package-lock.json").read_text()
    packages = {name: each for name, each in orjson.loads(text)["packages"].items() if name}
    assert "://" not in text
    assert [name for name, each in packages.items() if not each.get("integrity", "").startswith("sha512-")] == []


def test_the_locks_answer_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for lock, wanted in zip(
        LOCKS, (project["project"]["dependencies"], project["dependency-groups"]["dev"]), strict=True
    ):
        locked: dict[str, list[str]] = {}
        for name, locked_version in re.findall(r"^([a-z0-9-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE):
            locked.setdefault(name, []).append(locked_version)
        for requirement in map(Requirement, wanted):
            assert locked.get(requirement.name), f"{requirement.name} is not in {lock.name}: run `make lock`"
            assert all(requirement.specifier.contains(each) for each in locked[requirement.name]), (
                f"run `make lock`: {requirement}"
            )


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_of_ours_is_ours(package: str) -> None:
    assert Path(importlib.import_module(package).__file__ or "").parent == ROOT / package


def test_no_other_distribution_brings_a_package_of_our_names() -> None:
    owners = importlib.metadata.packages_distributions()
    assert {name: owners[name] for name in PACKAGES if set(owners.get(name, [])) - {"qpubus"}} == {}


def test_stages_touch_nothing_outside_their_arguments() -> None:
    impure = []
    for stage in STAGES:
        for path in [ROOT / "streams" / f"{stage}.py", *sorted((ROOT / "streams" / stage).rglob("*.py"))]:
            if path.is_file():
                impure += [f"{path.relative_to(ROOT)}:{what}" for what in impurities(ast.parse(path.read_text()))]
    assert impure == []


def impurities(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                imported = [name.name for name in names]
            case ast.ImportFrom(module=str(module)):
                imported = [module]
            case ast.Call(func=ast.Name(id=name)) if name in STAGES_MAY_NOT_CALL:
                imported = []
                yield f"{node.lineno} calls {name}"
            case _:
                imported = []
        for module in imported:
            if module.split(".")[0] not in STAGES_MAY_IMPORT:
                yield f"{ast.unparse(node)}"


@pytest.mark.parametrize("source", ["import time", "from datetime import datetime", "import os.path", "x = hash('a')"])
def test_the_purity_check_sees(source: str) -> None:
    assert list(impurities(ast.parse(source)))


FIRST_HOUR = {
    *("demo", "init", "up", "devices", "submit", "approvals", "approve", "deny", "jobs", "job", "result", "events"),
    *("kpis", "audit verify", "audit explain", "audit redecide", "replay rebuild", "bench"),
}


def shown_in_readme() -> list[list[str]]:
    """The command lines that the README shows, in words, without their comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [words for line in "".join(blocks).splitlines() if (words := shlex.split(line, comments=True))]


def test_every_target_that_the_readme_shows_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[1] for words in shown_in_readme() if words[0] == "make"} - targets == set()


def command_of(words: list[str]) -> str:
    """The command that a line names, its subcommand included, once it is known to take these options."""
    command, path = load(words[1]), words[1]
    rest = words[2:]
    while isinstance(command, TyperGroup):
        command, path, rest = command.commands[rest[0]], f"{path} {rest[0]}", rest[1:]
    command.make_context(path, rest)
    return path


def test_every_command_that_the_readme_shows_takes_what_is_shown() -> None:
    assert {command_of(words) for words in shown_in_readme() if words[0] == "qpubus"} >= FIRST_HOUR


@pytest.mark.parametrize("line", ["nothing", "audit guess", "submit", "submit job.json --hurry", "job"])
def test_a_command_that_is_not_there_would_be_seen(line: str) -> None:
    with pytest.raises((KeyError, UsageError)):
        command_of(["qpubus", *line.split()])
