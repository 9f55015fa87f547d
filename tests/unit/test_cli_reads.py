"""Commands without a bus: reads, bad input, exit codes, and how quickly they start."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from qpubus.cli import COMMANDS, load
from qpubus.commands import watch
from tests.support.commands import QPUBUS, environment, qpubus

HEAVY = {"apsw", "braket", "cryptography", "fastavro", "numpy", "pydantic", "rich"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as `init` leaves it; nothing was ever run on it."""
    directory = tmp_path_factory.mktemp("site") / "data"
    assert qpubus("init", "--data", directory).code == 0
    return directory


def test_init_says_what_to_do_next(tmp_path: Path) -> None:
    made = qpubus("init", "--data", tmp_path / "data")

    assert f"qpubus up --data {tmp_path}/data" in made.out
    assert f"qpubus submit {tmp_path}/data/examples/h2-vqe.json --wait" in made.out
    assert f"--key {tmp_path}/data/keys/approver.pem" in made.out


def test_init_says_which_keys_belong_elsewhere(tmp_path: Path) -> None:
    made = qpubus("init", "--data", tmp_path / "data")

    assert f"key {tmp_path}/data/keys/root.pem" in made.out
    assert "On a real site the root key and people's keys\nbelong on other machines" in made.out


def test_init_on_kafka_says_how_to_get_a_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    refused = qpubus("init", "--engine", "kafka", "--data", "data")

    assert refused.code == 1
    assert "qpubus kafka start; or name a file with a table [kafka]: --config FILE" in refused.err
    assert not Path("data").exists()


def test_init_leaves_private_keys_to_their_owner_alone(data: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in (data / "keys").iterdir()} == {0o600}


def test_a_site_is_founded_once(data: Path) -> None:
    root = (data / "root.pub").read_bytes()

    again = qpubus("init", "--data", data)

    assert again.code == 1
    assert f"there is a log in {data} already" in again.err
    assert (data / "root.pub").read_bytes() == root


@pytest.mark.parametrize("command", ["jobs", "devices", "approvals", "kpis"])
def test_a_read_of_a_new_site_has_nothing_to_show_and_says_so(data: Path, command: str) -> None:
    read = qpubus(command, "--data", data)

    assert (read.code, read.err) == (0, "")
    assert read.out


@pytest.mark.parametrize("command", ["jobs", "devices", "approvals"])
def test_with_json_nothing_is_an_empty_list(data: Path, command: str) -> None:
    assert qpubus(command, "--json", "--data", data).json == []


def test_kpis_are_null_with_a_reason_where_nothing_was_measured(data: Path) -> None:
    kpis = qpubus("kpis", "--json", "--data", data).json

    assert {(each["value"], each["n"]) for each in kpis.values()} == {(None, 0)}
    assert all(each["reason"] for each in kpis.values())


def test_events_are_one_object_a_line(data: Path) -> None:
    lines = qpubus("events", "--json", "--data", data).out.splitlines()

    events = [orjson.loads(line) for line in lines]
    assert [each["sequence"] for each in events] == list(range(1, len(events) + 1))
    assert {each["topic"] for each in events} == {"governance"}


def test_events_for_a_person_name_who_said_what(data: Path) -> None:
    lines = qpubus("events", "--type", "BudgetSet", "--data", data).out.splitlines()

    founding = ["BudgetSet", "root", "limit=$10,000.00", "reason=founding", "scope=site", "period=total"]
    assert [line.split()[2:] for line in lines] == [founding]


@pytest.mark.parametrize(
    "arguments",
    [["job", "nope"], ["result", "nope"], ["events", "--job", "nope"], ["audit", "explain", "nope"]],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_job_is_named(data: Path, arguments: list[str]) -> None:
    read = qpubus(*arguments, "--data", data)

    assert read.code == 1
    assert read.err.splitlines() == [
        f"error: there is no job nope in {data}",
        f"  next: List them: qpubus jobs --data {data}",
    ]


@pytest.mark.parametrize("command", ["jobs", "devices", "events", "kpis", "approvals", "up"])
def test_a_directory_without_a_site_is_told_how_to_get_one(tmp_path: Path, command: str) -> None:
    read = qpubus(command, "--data", tmp_path / "none")

    assert read.code == 1
    assert f"qpubus init --data {tmp_path / 'none'}" in read.err
    assert not (tmp_path / "none").exists()


def test_an_audit_of_nothing_is_unreadable(tmp_path: Path) -> None:
    audit = qpubus("audit", "verify", "--json", "--data", tmp_path)

    assert (audit.code, audit.json["verdict"]) == (4, "unreadable")


def test_an_audit_of_a_new_site_is_sound(data: Path) -> None:
    audit = qpubus("audit", "verify", "--data", data)

    assert audit.code == 0
    assert audit.out.splitlines()[0].split() == ["verdict", "sound"]


def test_what_was_never_decided_is_decided_again_to_the_same(data: Path) -> None:
    again = qpubus("audit", "redecide", "--json", "--data", data)

    assert (again.code, again.json["same"], sum(again.json["decisions"].values())) == (0, True, 0)


def test_states_and_views_are_rebuilt(data: Path) -> None:
    rebuilt = qpubus("replay", "rebuild", "--json", "--data", data)

    assert rebuilt.code == 0
    assert {each["name"] for each in rebuilt.json} >= {"policy", "jobs", "kpis"}


def test_a_command_that_writes_says_how_to_start_a_bus(data: Path) -> None:
    sent = qpubus("submit", data / "examples" / "h2-vqe.json", "--data", data)

    assert sent.code == 1
    assert sent.err.splitlines() == [
        f"error: no bus is running on {data}",
        f"  next: Start one: qpubus up --data {data}",
    ]


def test_a_key_that_others_can_read_is_not_used(data: Path, tmp_path: Path) -> None:
    key = tmp_path / "agent.pem"
    key.write_bytes((data / "keys" / "agent.pem").read_bytes())
    key.chmod(0o644)

    sent = qpubus("submit", data / "examples" / "h2-vqe.json", "--key", key, "--data", data)

    assert sent.code == 1
    assert f"chmod 600 {key}" in sent.err


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (None, "No such file"),
        (b"\xff\xfe", "not a text in UTF-8"),
        (b"{", "invalid JSON"),
        (b"[]", "the document"),
        (b'{"job_id": "a b"}', "job_id: string should match pattern"),
        (b"{" + b" " * 300_000 + b"}", "larger than 262,144 bytes"),
    ],
    ids=["absent", "binary", "cut", "list", "fields", "large"],
)
def test_a_bad_manifest_is_told_in_two_lines(data: Path, tmp_path: Path, content: bytes | None, shown: str) -> None:
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_bytes(content)

    sent = qpubus("submit", path, "--data", data)

    assert sent.code == 1
    assert len(sent.err.splitlines()) <= 2
    assert shown in sent.err
    assert str(path) in sent.err


def test_an_unknown_field_is_named(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    manifest = orjson.loads((data / "examples" / "h2-vqe.json").read_bytes())
    path.write_bytes(orjson.dumps(manifest | {"prioritty": 1}))

    assert "prioritty: there is no such field" in qpubus("submit", path, "--data", data).err


def test_a_program_that_is_not_the_one_named_is_not_sent(data: Path, tmp_path: Path) -> None:
    for path in (data / "examples").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "step_vqe.py").write_text("print('another')")

    sent = qpubus("submit", tmp_path / "h2-vqe.json", "--data", data)

    assert sent.code == 1
    assert f"{tmp_path / 'step_vqe.py'} has the SHA-256" in sent.err


def test_a_root_key_that_is_lost_is_missed(data: Path, tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_bytes((data / "log.sqlite").read_bytes())
    (tmp_path / "root.pub").write_text("not hex")

    assert "root.pub does not hold the root public key" in qpubus("jobs", "--data", tmp_path).err


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["submit"],
        ["jobs", "--colour"],
        ["approve", "a-job"],
        ["deny", "a-job", "--key", "k", "--why", " "],
        ["events", "--type", "Nothing"],
        ["result", "a-job", "-o", "xml"],
        ["demo", "--approve", "--json"],
        ["demo", "--seed", "-1"],
        [],
    ],
    ids=lambda arguments: "-".join(arguments[:2]) or "nothing",
)
def test_wrong_usage_exits_64(arguments: list[str]) -> None:
    assert qpubus(*arguments).code == 64


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_explains_itself(name: str) -> None:
    assert load(name).help


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_lists_how_to_complete_it(name: str) -> None:
    assert not {parameter.name for parameter in load(name).params} & {"install_completion", "show_completion"}


def test_a_defect_is_told_in_words(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise ZeroDivisionError("no such number")

    monkeypatch.delenv("QPUBUS_DEBUG", raising=False)
    monkeypatch.setattr(watch, "open_desk", fail)

    failed = qpubus("devices", "--data", data)

    assert failed.code == 1
    assert failed.err.splitlines() == [
        "error: this should not have happened: ZeroDivisionError: no such number",
        "  next: For the details run the command again with QPUBUS_DEBUG=1.",
    ]


def test_a_defect_shows_its_details_when_asked(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise ZeroDivisionError("no such number")

    monkeypatch.setenv("QPUBUS_DEBUG", "1")
    monkeypatch.setattr(watch, "open_desk", fail)

    assert "Traceback" in qpubus("devices", "--data", data).err


def test_help_imports_nothing_heavy() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "import sys, qpubus.cli; print(*sys.modules)"],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )

    assert HEAVY & set(shown.stdout.split()) == set()


def test_a_reader_that_goes_away_early_causes_no_traceback(data: Path) -> None:
    piped = subprocess.run(
        ["sh", "-c", '"$@" | head -1', "sh", *QPUBUS, "events", "--json", "--data", str(data)],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )

    assert piped.stdout.count("\n") == 1
    assert "Traceback" not in piped.stderr
