"""`audit reproduce` on a site that really ran its jobs on the emulated fleet."""

import asyncio
import shutil
from pathlib import Path

import apsw
import pytest

from tests.support.commands import qpubus
from tests.support.golden_log import DENIED, FREE, GRANTED, live


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        directory = tmp_path_factory.mktemp("site") / "data"
        asyncio.run(live(directory))
    return directory


@pytest.fixture
def data(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Path(shutil.copytree(site, tmp_path / "data"))


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_job_runs_again_and_its_ledger_gives_the_very_counts(data: Path) -> None:
    before = contents(data)
    done = qpubus("audit", "reproduce", FREE, "--seed", "3", "--json", "--data", data)
    assert done.code == 0, done.err
    assert (done.json["job_id"], done.json["seed"], done.json["exact"]) == (FREE, 3, True)
    assert done.json["verdict"] in {"reproducible", "undecided"}
    assert done.json["index"]["low"] <= done.json["index"]["value"] <= done.json["index"]["high"]
    assert contents(data) == before


def test_the_same_seed_finds_the_same(data: Path) -> None:
    once, again = (qpubus("audit", "reproduce", FREE, "--seed", "4", "--json", "--data", data).json for _ in range(2))
    other = qpubus("audit", "reproduce", FREE, "--seed", "5", "--json", "--data", data).json
    assert once == again != other


def test_without_the_ledgers_nobody_can_say_whether_the_very_run_repeats(data: Path) -> None:
    shutil.rmtree(data / "devices")
    done = qpubus("audit", "reproduce", FREE, "--data", data)
    assert done.code == 0, done.err
    assert "not known: a ledger of the devices is not at hand" in done.out


def test_a_ledger_that_tells_other_counts_is_told(data: Path) -> None:
    [ledger] = data.glob("devices/cloud-bargain-1.ledger.sqlite")
    connection = apsw.Connection(str(ledger))
    connection.execute("UPDATE chunk SET seed = '1'")
    connection.close()
    done = qpubus("audit", "reproduce", FREE, "--data", data)
    assert done.code == 1
    assert "NO: the counts differ" in done.out


def test_numbers_that_a_program_gave_are_given_again(data: Path) -> None:
    done = qpubus("audit", "reproduce", GRANTED, "--json", "--data", data)
    assert done.code == 0, done.err
    assert done.json["shifts"] == {"seen": 0.0}


@pytest.mark.parametrize(
    ("job_id", "said"), [("nobody", "there is no job nobody"), (DENIED, "the job has run no circuit")]
)
def test_what_cannot_run_again_is_told_in_words(data: Path, job_id: str, said: str) -> None:
    done = qpubus("audit", "reproduce", job_id, "--data", data)
    assert done.code == 1
    assert said in done.err


def test_a_log_without_its_documents_cannot_run_again(data: Path) -> None:
    shutil.rmtree(data / "artifacts")
    done = qpubus("audit", "reproduce", FREE, "--data", data)
    assert done.code == 1
    assert "bring the artefacts" in done.err
    assert not (data / "artifacts").exists()
