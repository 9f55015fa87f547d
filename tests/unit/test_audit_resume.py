"""`audit verify --resume` goes on from the last sound audit an account remembers, and says what a full one does."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from replay import crew
from replay.remembered import memory_of
from schemas.admission import Stored
from schemas.envelope import Record
from streams.log.database import Settings
from streams.log.lines import Export
from streams.log.making import new_log
from tests.support.attacked import placed, rounds_of, truth
from tests.support.attacks import ATTACKS, admit, at, forge_rejected_grant, obey_rejected_grant, refuse_admitted
from tests.support.bundled import HOME
from tests.support.commands import Done, qpubus
from tests.support.golden_log import golden_logs
from tests.support.rows import Rows

SETTLED = "had been audited before"
SEEN_BY_ITSELF = [attack.name for attack in ATTACKS if attack.elsewhere.code]
ONLY_REMEMBERED = [attack.name for attack in ATTACKS if not attack.elsewhere.code and attack.witness.code in {2, 3}]
TOUCHES_WHAT_WAS_OLD = {
    "move to another topic",
    "revoked key: a device speaks after its key was revoked",
    "revoked key: one that had never spoken speaks after it was revoked",
}
CHANGES = {attack.name: attack.change for attack in ATTACKS}


def grown_to(rounds: int) -> list[Stored]:
    """The log as it was when so many rounds had been sealed and had come onto the log."""
    sealed = rounds_of(truth())[rounds - 1]
    sizes = {head.topic: head.size for head in sealed.heads} | {"checkpoints": rounds}
    return [each for each in truth() if each.offset < sizes.get(each.topic, 0)]


class House:
    """A data directory whose log is put there anew, and an account that never wrote it."""

    def __init__(self, directory: Path) -> None:
        self.data, self.root = directory / "data", directory / "root.pub"
        self.root.write_text(HOME[1].hex())
        with golden_logs()[0].open("rb") as file:
            self.settings: Settings = Export(file).settings

    def put(self, records: Sequence[Stored], settings: Settings | None = None) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        with new_log(self.data, settings or self.settings) as new:
            for stored in records:
                new.take(stored)

    def verify(self, *more: str) -> Done:
        return qpubus("audit", "verify", "--data", self.data, "--root", self.root, "--json", *more)

    @property
    def memory(self) -> Path:
        found = memory_of(self.data)
        assert found
        return found.path


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A log of four rounds was audited and is remembered."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = House(tmp_path)
    made.put(grown_to(4))
    assert made.verify().code == 0
    return made


def told(done: Done) -> tuple[int, dict[str, object]]:
    """Exit code and report, without the notes."""
    return done.code, {name: said for name, said in done.json.items() if name != "notes"}


def went_on(done: Done) -> bool:
    return any(SETTLED in note for note in done.json["notes"])


def anew(house: House, *more: str) -> Done:
    """A full audit by an account that remembers nothing."""
    aside = house.memory.with_suffix(".aside")
    house.memory.rename(aside)
    done = house.verify(*more)
    aside.replace(house.memory)
    return done


def test_of_a_sound_log_that_has_grown_the_report_is_that_of_a_full_audit(house: House) -> None:
    house.put(truth())
    resumed = house.verify("--resume")
    assert went_on(resumed)
    assert told(resumed) == told(anew(house))


def test_an_audit_may_go_on_from_one_that_went_on(house: House) -> None:
    house.put(grown_to(6))
    assert went_on(house.verify("--resume"))
    house.put(truth())
    resumed = house.verify("--resume")
    assert went_on(resumed)
    assert told(resumed) == told(anew(house))


def test_old_records_are_not_judged_again(house: House) -> None:
    house.put(truth())
    assert 0 < len(grown_to(4)) < len(truth())
    assert house.verify("--resume").json["notes"][0].startswith(f"{len(grown_to(4)):,} records {SETTLED}")


@pytest.mark.parametrize("name", SEEN_BY_ITSELF)
def test_an_attack_is_found_as_a_full_audit_finds_it(house: House, name: str) -> None:
    house.memory.unlink()
    house.put(grown_to(1))
    assert house.verify().code == 0
    house.put(placed(list(CHANGES[name](list(truth())))))
    full, resumed = anew(house), house.verify("--resume")
    assert full.code
    assert told(resumed) == told(full)
    assert went_on(resumed) == (name not in TOUCHES_WHAT_WAS_OLD)


@pytest.mark.parametrize("name", ONLY_REMEMBERED)
def test_what_only_a_witness_shows_to_others_is_shown_to_who_audited_before(house: House, name: str) -> None:
    house.put(truth())
    assert house.verify().code == 0
    house.put(placed(list(CHANGES[name](list(truth())))))
    assert anew(house).code == 0
    found = house.verify("--resume")
    assert found.code in {2, 3}
    assert found.json["findings"][0]["reason"] in {"record_missing", "record_changed"}
    assert house.verify().code == found.code


@pytest.mark.parametrize("forges", [False, True])
@pytest.mark.parametrize("change", ["flip", "drop", "leave_out", "cut"])
@pytest.mark.parametrize("is_old", [False, True])
def test_a_changed_file_is_found_as_a_full_audit_finds_it(
    house: House, change: str, *, forges: bool, is_old: bool
) -> None:
    house.put(truth())
    old = grown_to(4)
    rng, rows = Random(f"{change} {forges} {is_old}"), Rows(house.data, house.settings.log_id)  # noqa: S311 (seeded on purpose)
    at_hand = old if is_old else [each for each in truth() if each not in old]
    stored = rng.choice([each for each in at_hand if each.topic not in crew.ALONE])
    if change == "flip":
        rows.flip(stored, rng)
    else:
        getattr(rows, change)(stored)
    if forges:
        rows.forge()
    full, resumed = anew(house), house.verify("--resume")
    assert resumed.code in {2, 3, 4}
    if full.code:
        assert told(resumed) == told(full)


def test_another_log_in_its_place_is_found(house: House) -> None:
    house.put(truth(), house.settings._replace(log_id="f" * 32))
    done = house.verify("--resume")
    assert (done.code, done.json["findings"][0]["reason"]) == (2, "log_replaced")


def test_an_admission_may_rest_on_a_grant_that_was_audited_before(house: House) -> None:
    house.put(truth())
    assert house.verify().code == 0
    granted = truth()[at(list(truth()), "ApprovalGranted")].record
    assert isinstance(granted, Record)
    house.put(admit(list(truth()), granted))
    resumed = house.verify("--resume")
    assert (resumed.code, went_on(resumed)) == (0, True)


def test_what_was_rejected_before_excuses_no_admission_since(house: House) -> None:
    house.put(forge_rejected_grant(list(truth())))
    assert house.verify().code == 0
    house.put(obey_rejected_grant(list(truth())))
    resumed = house.verify("--resume")
    assert (resumed.json["findings"][0]["reason"], went_on(resumed)) == ("approval_proof_invalid", True)
    assert told(resumed) == told(anew(house))


def test_what_was_admitted_before_is_not_refused_since(house: House) -> None:
    house.put(truth())
    assert house.verify().code == 0
    house.put(refuse_admitted(list(truth())))
    resumed = house.verify("--resume")
    assert (resumed.json["findings"][0]["reason"], went_on(resumed)) == ("intent_refused", True)


def test_where_nothing_is_remembered_all_is_audited(house: House) -> None:
    house.memory.unlink()
    done = house.verify("--resume")
    assert done.code == 0
    assert "all of the log was audited" in done.json["notes"][0]


def test_a_memory_that_was_changed_is_none(house: House) -> None:
    data = house.memory.read_bytes()
    for place in Random(3).sample(range(len(data)), 20):  # noqa: S311 (seeded on purpose)
        house.memory.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert not went_on(house.verify("--resume"))
        house.memory.write_bytes(data)


def test_what_another_release_found_sound_is_audited_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.remembered.code_digest", lambda: "another")
    assert not went_on(house.verify("--resume"))


def test_a_log_that_is_not_sound_is_not_remembered(house: House) -> None:
    before = house.memory.read_bytes()
    house.put(CHANGES["edit: a byte of a grant is another"](list(truth())))
    assert house.verify().code == 2
    assert house.memory.read_bytes() == before


def test_nothing_is_written_into_the_directory(house: House) -> None:
    house.put(truth())
    before = {path.name: path.read_bytes() for path in house.data.iterdir()}
    house.verify("--resume")
    assert {path.name: path.read_bytes() for path in house.data.iterdir()} == before


def test_several_processes_go_on_as_one_does(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PIECE", 7)
    house.put(truth())
    memory = house.memory.read_bytes()
    alone = house.verify("--resume")
    house.memory.write_bytes(memory)
    assert house.verify("--resume", "--jobs", "2").json == alone.json


@pytest.mark.parametrize("name", ["edit: a byte of a grant is another", "delete: a grant is gone"])
def test_several_processes_and_a_list_of_all_come_to_the_same_by_the_command(
    house: House, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(crew, "PIECE", 7)
    house.put(placed(list(CHANGES[name](list(truth())))))
    alone, by_two = anew(house), anew(house, "--jobs", "2")
    everything, everything_by_two = anew(house, "--all"), anew(house, "--all", "--jobs", "2")
    assert alone.code in {2, 3}
    assert (by_two.json, everything_by_two.json) == (alone.json, everything.json)
    assert everything.json["findings"][0] == alone.json["findings"][0]


def test_a_log_on_kafka_is_not_gone_on_with(house: House) -> None:
    done = qpubus("audit", "verify", "--kafka", house.root, "--resume")
    assert done.code == 1
    assert "--resume" in done.err
