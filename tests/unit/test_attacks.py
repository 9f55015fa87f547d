"""Each cell of the table of attacks through the commands, and what a file of lines shows of itself."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from qpubus.keyfile import write_key
from replay import standalone
from schemas.admission import Stored
from streams.log.database import Settings
from streams.log.embedded import EmbeddedLog
from streams.log.lines import Export, closing_line, export_lines, header_line, record_line
from streams.log.making import new_log
from tests.support.attacked import LATER_US, kept, placed, policy, truth
from tests.support.attacks import ATTACKS, Attack, Cell, documented, table
from tests.support.bundled import HOME
from tests.support.commands import Done, qpubus
from tests.support.golden_log import GRANTED, golden_logs
from tests.support.signed import private_key

BY_NAME = {attack.name: attack for attack in ATTACKS}
OF_LINES = [attack for attack in ATTACKS if attack.needs == "the files" and not attack.name.startswith("roll back")]

IN_WORDS = {
    "the gateway seals another decision trace than the agent signed": (
        "that the decision trace is the one that the manifest names"
    ),
    "a grant that nobody signed, by gateway and policy together": "that what the approver signed is what was asked",
    "a grant that nobody signed, which policy rejects and obeys": "that what the approver signed is what was asked",
    "policy admits a job by a grant that is not there": "that policy admitted this intent, under which rules",
}
"""What lies in the words of events alone; a bundle without them says that it was not checked."""


class Bench:
    """A directory for all, with what auditors bring along; and the two accounts on which they audit."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.root, self.key = directory / "root.pub", directory / "auditor.pem"
        self._patch = patch
        self._made: dict[tuple[str, str], Path] = {}
        self.root.write_text(HOME[1].hex())
        (directory / "policy").write_bytes(policy())
        (directory / "kept").write_bytes(kept())
        write_key(self.key, private_key("auditor:main"))
        with golden_logs()[0].open("rb") as file:
            self.settings: Settings = Export(file).settings
        self.account("here")
        self._write(directory / "written", truth())
        asyncio.run(EmbeddedLog(directory / "written", lambda: LATER_US).close())

    def account(self, name: str) -> None:
        """Go on as another user of this machine."""
        self._patch.setenv("XDG_STATE_HOME", str(self.directory / "accounts" / name))

    def attacked(self, attack: Attack) -> Path:
        """The log of this account's directory after an attack, with hashes and a head that fit."""
        return self._once(attack, "here", self._write)

    def imported(self, attack: Attack) -> Path:
        """The same as a file of lines, brought to another account."""
        return self._once(attack, "elsewhere", self._import)

    def bundled(self, attack: Attack, *options: str) -> Path:
        """A bundle of the job out of that."""
        data = self.imported(attack)
        file = data.with_suffix(".redacted" if options else ".bundle")
        named: tuple[str | Path, ...] = ("--data", data, "--root", self.root, "--key", self.key, *options)
        made = qpubus("audit", "bundle", GRANTED, "-o", file, *named)
        withheld = options and attack.name in IN_WORDS
        assert made.code == (0 if withheld else BY_NAME[attack.name].bundle.code), made.err
        return file

    def verify(self, data: Path, *more: str | Path) -> Done:
        return qpubus("audit", "verify", "--data", data, "--root", self.root, "--json", *more)

    def _once(self, attack: Attack, account: str, make: Any) -> Path:
        self.account(account)
        named = attack.name, account
        if named not in self._made:
            self._made[named] = self.directory / f"{len(self._made)}"
            make(self._made[named], placed(list(attack.change(list(truth())))))
        return self._made[named]

    def _write(self, path: Path, records: Sequence[Stored]) -> None:
        with new_log(path, self.settings) as new:
            for stored in records:
                new.take(stored)

    def _import(self, path: Path, records: Sequence[Stored]) -> None:
        file = path.with_suffix(".jsonl")
        file.write_bytes(b"".join(export_lines(self.settings, records)))
        assert qpubus("log", "import", file, "--root", self.root, "--data", path).code == 0


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        yield Bench(tmp_path_factory.mktemp("attacks"), patch)


def seen(code: int, report: dict[str, Any]) -> Cell:
    """Exit code and first reason of a report."""
    findings = report["findings"]
    return Cell(code, findings[0]["reason"] if findings else "")


@pytest.mark.parametrize("name", BY_NAME)
def test_the_account_that_wrote_the_log_finds_what_the_table_says(bench: Bench, name: str) -> None:
    done = bench.verify(bench.attacked(BY_NAME[name]))
    assert seen(done.code, done.json) == BY_NAME[name].here


@pytest.mark.parametrize("name", BY_NAME)
def test_an_auditor_of_an_imported_file_finds_what_the_table_says(bench: Bench, name: str) -> None:
    done = bench.verify(bench.imported(BY_NAME[name]))
    assert seen(done.code, done.json) == BY_NAME[name].elsewhere


@pytest.mark.parametrize("name", BY_NAME)
def test_a_stranger_with_a_bundle_finds_what_the_table_says(
    bench: Bench, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bench.bundled(BY_NAME[name])
    capsys.readouterr()
    code = standalone.main([str(file), "--root", str(bench.root), "--json"])
    assert seen(code, orjson.loads(capsys.readouterr().out)) == BY_NAME[name].bundle


@pytest.mark.parametrize("name", BY_NAME)
def test_a_stranger_whose_bundle_withholds_words_finds_all_that_needs_no_words(
    bench: Bench, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, inside = bench.bundled(BY_NAME[name], "--redact"), IN_WORDS.get(name)
    capsys.readouterr()
    code = standalone.main([str(file), "--root", str(bench.root), "--json"])
    assert code == (0 if inside else BY_NAME[name].bundle.code)
    assert inside is None or inside in orjson.loads(capsys.readouterr().out)["unchecked"]


@pytest.mark.parametrize("name", BY_NAME)
def test_an_auditor_with_a_witness_finds_what_the_table_says(bench: Bench, name: str) -> None:
    files = ("--witness", bench.directory / "policy", "--witness", bench.directory / "kept")
    done = bench.verify(bench.imported(BY_NAME[name]), *files)
    assert seen(done.code, done.json) == BY_NAME[name].witness


@pytest.mark.parametrize("attack", OF_LINES, ids=lambda attack: attack.name)
def test_a_file_of_lines_whose_hashes_are_left_as_they_were_is_not_imported(bench: Bench, attack: Attack) -> None:
    bench.account("elsewhere")
    file, data = bench.directory / "lines", bench.directory / "not-imported"
    file.write_bytes(b"".join(lines_left(bench.settings, placed(list(attack.change(list(truth())))))))
    done = qpubus("log", "import", file, "--data", data)
    assert done.code == 1
    assert "error: line " in done.err
    assert not (data / "log.sqlite").exists()


def lines_left(settings: Settings, records: Sequence[Stored]) -> Iterator[bytes]:
    """The lines of attacked records, each with the hash that stood at its place before; the last line as it was."""
    lines = list(export_lines(settings, truth()))
    hashes = {
        (stored.topic, stored.offset): bytes.fromhex(orjson.loads(line)["hash"])
        for stored, line in zip(truth(), lines[1:-1], strict=True)
    }
    yield header_line(settings)
    for stored in records:
        yield record_line(stored, hashes.get((stored.topic, stored.offset), bytes(32)))
    yield closing_line(len(records), orjson.loads(lines[-1])["hash"])


def test_a_bundle_and_an_audit_give_one_verdict_on_every_attack() -> None:
    assert [each.name for each in ATTACKS if each.bundle.code != each.elsewhere.code] == []


def test_the_documented_table_is_the_one_that_is_tested() -> None:
    assert documented() == table()
