"""What is no whole log, or was made to break whoever reads it, gets its verdict from the commands."""

import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from schemas.events import BudgetHeld
from streams.log.embedded import create
from streams.log.lines import Export
from streams.log.making import new_log
from streams.log.reading import open_copy
from tests.support.attacked import Records, placed, truth, with_said
from tests.support.attacks import add_header, author_edits_and_seals, next_inputs
from tests.support.bundled import HOME
from tests.support.commands import Done, qpubus
from tests.support.golden_log import golden_logs

SPARSE_BYTES = 10 << 30


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root.pub").write_text(HOME[1].hex())
    return tmp_path / "root.pub"


def log_of(directory: Path, records: Records) -> Path:
    """A data directory with these records, all hashes made to fit."""
    with golden_logs()[0].open("rb") as file:
        settings = Export(file).settings
    with new_log(directory, settings) as new:
        for stored in placed(records):
            new.take(stored)
    return directory


def verified(data: Path, root: Path, *more: str | Path) -> Done:
    return qpubus("audit", "verify", "--data", data, "--root", root, "--json", *more)


def spliced(records: Records) -> Records:
    """The rounds of another history stand among these, under the same keys."""
    own = [each for each in records if each.topic != "checkpoints"]
    return [*own, *(each for each in author_edits_and_seals(records) if each.topic == "checkpoints")]


PARTS: dict[str, tuple[Callable[[Records], Records], int, str]] = {
    "nothing": (lambda _: [], 3, "founding_absent"),
    "only a tail": (lambda records: [each for each in records if each.offset >= 3], 2, "sequence_gap"),
    "no governance": (lambda records: [each for each in records if each.topic != "governance"], 2, "key_unknown"),
    "spliced": (spliced, 2, "sealed_record_changed"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_log_or_parts_of_two_are_not_sound(part: str, tmp_path: Path, root: Path) -> None:
    change, code, reason = PARTS[part]
    done = verified(log_of(tmp_path / "data", change(list(truth()))), root)
    assert (done.code, done.json["findings"][0]["reason"]) == (code, reason)


def test_a_refused_record_that_no_stage_rejected_is_not_told_as_rejected(tmp_path: Path, root: Path) -> None:
    data = log_of(tmp_path / "data", add_header(list(truth())))
    done = qpubus("audit", "verify", "--data", data, "--root", root)
    assert "no stage has rejected it" in done.out
    assert "rejected on the log" not in done.out


def test_a_log_that_was_made_and_never_founded_is_not_sound(tmp_path: Path, root: Path) -> None:
    create(tmp_path / "data")
    assert verified(tmp_path / "data", root).code == 3


def sparse(path: Path) -> Path:
    """Make a file of ten gigabytes that takes no room, or make it so long."""
    with path.open("ab") as file:
        file.truncate(SPARSE_BYTES)
    return path


@pytest.mark.parametrize(("name", "code"), [("log.sqlite", 0), ("head", 4)])
def test_a_file_of_a_log_that_was_made_ten_gigabytes_long_gets_its_verdict(
    name: str, code: int, tmp_path: Path, root: Path
) -> None:
    data = log_of(tmp_path / "data", list(truth()))
    sparse(data / name)
    assert verified(data, root).code == code


def test_a_wal_that_was_made_ten_gigabytes_long_is_copied_for_what_it_holds(tmp_path: Path, root: Path) -> None:
    data = log_of(tmp_path / "data", list(truth()))
    wal = sparse(data / "log.sqlite-wal")
    with open_copy(data) as log:
        copied = log.files / wal.name
        assert (copied.stat().st_size, copied.stat().st_blocks) == (SPARSE_BYTES, 0)
    assert verified(data, root).code == 0


def test_what_stands_between_holes_is_copied(tmp_path: Path, root: Path) -> None:
    data = log_of(tmp_path / "data", list(truth()))
    content = bytes(1 << 20) + b"after" + bytes(3 << 20) + b"end"
    with (data / "log.sqlite-wal").open("wb") as file:
        file.truncate(len(content))
        file.seek(1 << 20)
        file.write(b"after")
        file.seek(len(content) - 3)
        file.write(b"end")
    with open_copy(data) as log:
        assert (log.files / "log.sqlite-wal").read_bytes() == content
    assert verified(data, root).code == 0


@pytest.mark.parametrize("name", ["log.sqlite", "head"])
def test_ten_gigabytes_of_nothing_are_unreadable(name: str, tmp_path: Path, root: Path) -> None:
    data = log_of(tmp_path / "data", list(truth()))
    (data / name).unlink()
    sparse(data / name)
    assert verified(data, root).code == 4


@pytest.mark.parametrize("option", ["--root", "--witness"])
def test_what_an_auditor_names_may_be_ten_gigabytes_long(option: str, tmp_path: Path, root: Path) -> None:
    data = log_of(tmp_path / "data", list(truth()))
    done = verified(data, root, option, sparse(tmp_path / "long"))
    assert done.code == 1
    assert "File too large" in done.err


def test_an_export_of_ten_gigabytes_of_nothing_is_no_export(tmp_path: Path) -> None:
    done = qpubus("log", "import", sparse(tmp_path / "long"), "--data", tmp_path / "data")
    assert done.code == 1
    assert "line 1: the line is too long" in done.err


SENTENCES = {"log.sqlite": "no plain file", "head": "no plain file", "root.pub": "does not hold the root public key"}


@pytest.mark.parametrize("name", [*SENTENCES, "log.sqlite-wal", "log.sqlite-journal"])
def test_a_pipe_in_the_place_of_a_file_is_unreadable(name: str, tmp_path: Path) -> None:
    data = log_of(tmp_path / "data", list(truth()))
    (data / "root.pub").write_text(HOME[1].hex())
    (data / name).unlink(missing_ok=True)
    os.mkfifo(data / name)
    done = qpubus("audit", "verify", "--data", data)
    assert done.code == 4
    assert SENTENCES.get(name, "no plain file") in done.out + done.err


def test_a_pipe_in_the_place_of_the_lock_keeps_no_audit_waiting(tmp_path: Path, root: Path) -> None:
    data = log_of(tmp_path / "data", list(truth()))
    (data / "lock").unlink(missing_ok=True)
    os.mkfifo(data / "lock")
    assert verified(data, root).code == 0


ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT"
CHANGES = {
    "records are a view without end": f"ALTER TABLE records RENAME TO kept; CREATE VIEW records AS {ENDLESS} "
    "n AS position, 0 AS append_time_us, '' AS texts, x'00' AS value, x'00' AS seal, x'00' AS chain FROM t",
    "settings are a view without end": f"ALTER TABLE log RENAME TO kept; CREATE VIEW log AS {ENDLESS} n, n FROM t",
    "topics are a view without end": f"ALTER TABLE topics RENAME TO kept; CREATE VIEW topics AS {ENDLESS} n, n FROM t",
    "a table more": "CREATE TABLE more(n)",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON log BEGIN SELECT 1; END",
    "a column more": "ALTER TABLE records ADD COLUMN more",
    "partitions past counting": "UPDATE log SET value = 1000000000 WHERE name = 'partitions'",
    "no partition": "UPDATE log SET value = 0 WHERE name = 'partitions'",
    "fewer than no partitions": "UPDATE log SET value = -1 WHERE name = 'partitions'",
    "no topic": "DELETE FROM topics",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_database_that_is_not_built_as_a_log_is_unreadable(change: str, tmp_path: Path, root: Path) -> None:
    data = log_of(tmp_path / "data", list(truth()))
    connection = apsw.Connection(str(data / "log.sqlite"))
    connection.execute(CHANGES[change])
    connection.close()
    done = qpubus("audit", "verify", "--data", data, "--root", root)
    assert done.code == 4
    assert "restore it from a copy" in done.out + done.err


@pytest.mark.parametrize(("ahead", "off", "said"), [(-1, -1, "it is there twice: "), (1, 0, "it is missing before ")])
def test_a_decision_out_of_turn_is_told_with_its_number_and_places(
    ahead: int, off: int, said: str, tmp_path: Path, root: Path
) -> None:
    records = list(truth())
    inputs = next_inputs(records, "stage:policy")
    budget = BudgetHeld(job_id="other", amount_microusd=1)
    told = with_said(records, "stage:policy", budget, inputs=inputs._replace(decision=inputs.decision + ahead))
    done = qpubus("audit", "redecide", "--data", log_of(tmp_path / "data", told), "--root", root)
    [line] = [line for line in done.out.splitlines() if line.startswith("otherwise: ")]
    assert line.startswith(f"otherwise: stage:policy at {HOME[0]}, decision {inputs.decision + off}: {said}approvals ")
    assert "Cause(" not in line
    assert done.code == 1
