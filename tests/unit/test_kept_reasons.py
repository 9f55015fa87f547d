"""Reasons of people and agents: signed by a salted digest, read out of the vault, and gone when they are erased."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import orjson
import pytest

from agents.vault import ERASED, Vault
from qpubus.petitioning import UNKEPT
from qpubus.place import VAULT
from replay.audit import verify
from replay.verdict import Verdict
from schemas.reasons_kept import pointed_at, with_texts
from tests.support.commands import qpubus, running_bus
from tests.support.leaks import exported, files_with, in_base64

ALICE, AGENT = "approver:alice", "agent:anon"
NO = "Dr Quokka is on sick leave and cannot supervise it"
BACK = "Dr Quokka asked me not to spend her ward's money"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "vault")


def test_the_same_reason_has_the_same_pointer_until_it_is_erased(vault: Vault) -> None:
    pointer = vault.keep_reason(NO, ALICE, "job-1")
    assert vault.keep_reason(NO, ALICE, "job-1") == pointer

    vault.erase(ALICE)
    assert vault.keep_reason(NO, ALICE, "job-1") != pointer


def test_one_reason_given_twice_is_not_seen_to_be_one(vault: Vault) -> None:
    pointers = {vault.keep_reason(NO, *of) for of in ((ALICE, "job-1"), (ALICE, "job-2"), ("approver:bob", "job-1"))}
    assert len(pointers) == 3


def test_a_pointer_within_a_sentence_is_told(vault: Vault) -> None:
    pointer = vault.keep_reason(NO, ALICE, "job-1")
    assert vault.told(f"denied: {pointer}.") == f"denied: {NO}."
    vault.erase(ALICE)
    assert vault.told(f"denied: {pointer}.") == f"denied: {ERASED}."


def test_a_pointer_stays_where_there_is_no_vault(tmp_path: Path, vault: Vault) -> None:
    pointer = vault.keep_reason(NO, ALICE, "job-1")
    assert Vault(tmp_path / "elsewhere").told(pointer) == pointer


def test_what_only_looks_like_a_pointer_is_a_text() -> None:
    almost = f"vault:{ALICE}/{'ab' * 31}", f"see vault:{ALICE}/{'ab' * 32}", f"vault:{ALICE}/{'ab' * 32}0"
    assert [pointed_at(each) for each in almost] == [None, None, None]
    assert with_texts(almost[2], lambda *_: "text") == almost[2]


def test_after_erasure_no_reason_is_left_anywhere_and_every_proof_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data = tmp_path / "data"
    assert qpubus("init", "--data", data, "--agent", AGENT, "--approver", ALICE).code == 0
    with running_bus(data):
        declared(data, "denied")
        declared(data, "taken-back")
        key = data / "keys" / "approver.pem"
        assert qpubus("deny", "denied", "--why", NO, "--yes", "--key", key, "--data", data).code == 0
        assert qpubus("withdraw", "taken-back", "--why", BACK, "--data", data).code == 0
        job = qpubus("job", "denied", "--json", "--data", data).json
        assert (job["message"], job["approval"]["reason"]) == (NO, NO)
        assert NO in qpubus("job", "denied", "--data", data).out
        assert NO in qpubus("audit", "explain", "denied", "--data", data).out
        assert BACK in qpubus("audit", "explain", "taken-back", "--data", data).out
        for subject in (ALICE, AGENT):
            erased = qpubus("vault", "erase", subject, "--why", "asked for", "--data", data)
            assert erased.code == 0, erased.err
        assert qpubus("job", "denied", "--json", "--data", data).json["message"] == ERASED

    assert f"{ALICE} says no: {ERASED}" in qpubus("audit", "explain", "denied", "--data", data).out
    for name in ("denied", "taken-back"):
        exported(data, name, tmp_path / name)
    for text in (NO, BACK, "Quokka"):
        for form in (text.encode(), *(in_base64(text.encode()) if len(text) > 6 else ())):
            assert files_with(form, data, tmp_path / "denied", tmp_path / "taken-back", tmp_path / "state") == []
    audit = asyncio.run(verify(data))
    assert (audit.verdict, audit.findings) == (Verdict.SOUND, [])
    for name in ("denied", "taken-back"):
        assert qpubus("audit", "explain", name, "--json", "--data", data).json["holds"] is True


def declared(data: Path, job_id: str) -> None:
    """Have a job declared that waits for a person."""
    path = data / "examples" / f"{job_id}.json"
    path.write_bytes(orjson.dumps(orjson.loads((data / "examples" / "h2-vqe.json").read_bytes()) | {"job_id": job_id}))
    until = time.monotonic() + 60
    while len(qpubus("devices", "--json", "--data", data).json) < 4 and time.monotonic() < until:
        time.sleep(0.1)
    assert qpubus("submit", path, "--data", data).code == 0
    while qpubus("job", job_id, "--json", "--data", data).json["state"] != "awaiting_approval":
        assert time.monotonic() < until
        time.sleep(0.05)


ADA, BEN = "operator:ada", "approver:ben"
STOP = "Dr Quokka dropped a magnet into cryostat 3"
LIFT = "Dr Quokka has fished the magnet out again"
LEAVE = "Dr Quokka has left us for a circus"


def test_what_people_say_of_their_own_accord_is_erasable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data, ada, ben = tmp_path / "data", tmp_path / "ada.pem", tmp_path / "ben.pem"
    named = ("--data", data)
    assert qpubus("init", "--agent", AGENT, "--approver", ALICE, *named).code == 0
    for file, name in ((ada, ADA), (ben, BEN)):
        done = qpubus("keys", "enrol", name, name.partition(":")[0], "--new", file, *named)
        assert done.code == 0, done.err
    with running_bus(data):
        assert qpubus("halt", "--site", "--id", "h1", "--why", STOP, "--key", ada, *named).code == 0
        assert [each["reason"] for each in qpubus("halts", "--json", *named).json] == [STOP]
        refused(data, "halted-1", STOP)
        assert qpubus("resume", "h1", "--why", LIFT, "--key", ben, *named).code == 0
        mandate_ended(data, ben)
        assert qpubus("budget", "set", "900", "--why", LEAVE, *named).code == 0
        assert qpubus("agent", "disable", AGENT, "--why", LEAVE, *named).code == 0
        assert LEAVE in qpubus("keys", "list", *named).out
        assert STOP in qpubus("job", "halted-1", *named).out
        for subject in (ADA, BEN, "root"):
            erased = qpubus("vault", "erase", subject, "--why", f"{LEAVE}, says {subject}", *named)
            assert erased.code == 0, erased.err
        assert [each["reason"] for each in qpubus("halts", "--all", "--json", *named).json] == [ERASED]
        assert ERASED in qpubus("job", "halted-1", *named).out
        assert ERASED in qpubus("keys", "list", *named).out
    exported(data, "halted-1", tmp_path / "out")
    for text in (STOP, LIFT, LEAVE, "Quokka"):
        for form in (text.encode(), *(in_base64(text.encode()) if len(text) > 6 else ())):
            assert files_with(form, data, tmp_path / "out", tmp_path / "state") == []
    audit = asyncio.run(verify(data))
    assert (audit.verdict, audit.findings) == (Verdict.SOUND, [])


def test_a_halt_does_not_wait_for_a_vault_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv(VAULT, str(tmp_path / "no directory"))
    (tmp_path / "no directory").write_text("")
    data = tmp_path / "data"
    assert qpubus("init", "--data", data).code == 0
    by_operator = ("--key", data / "keys" / "operator.pem", "--data", data)
    with running_bus(data):
        done = qpubus("halt", "--site", "--id", "h1", "--why", STOP, *by_operator)
        assert done.code == 0, done.err
        assert [each["reason"] for each in qpubus("halts", "--json", "--data", data).json] == [UNKEPT]
        lifted = qpubus("resume", "h1", "--why", LIFT, "--key", data / "keys" / "approver.pem", "--data", data)
        assert lifted.code == 1
        assert "the text could not be kept" in lifted.err
    assert files_with(b"Quokka", data, tmp_path / "state") == []


def refused(data: Path, job_id: str, why: str) -> None:
    """Have a job declared that a halt refuses; its agent is told why."""
    path = data / "examples" / f"{job_id}.json"
    path.write_bytes(orjson.dumps(orjson.loads((data / "examples" / "h2-vqe.json").read_bytes()) | {"job_id": job_id}))
    assert why in qpubus("submit", path, "--dry-run", "--data", data).out
    assert qpubus("submit", path, "--wait", "--data", data).code == 1


def mandate_ended(data: Path, key: Path) -> None:
    """Have a mandate granted and ended, for a reason."""
    bounds = ("--purpose", "VQE", "--device", "onprem-iontrap-1", "--per-job", "1", "--total", "1", "--expires", "1d")
    options = ("--agent", AGENT, "--id", "m1", *bounds, "--key", key, "--yes", "--data", data)
    granted = qpubus("mandate", "grant", *options)
    assert granted.code == 0, granted.err
    assert qpubus("mandate", "revoke", "m1", "--why", LEAVE, "--key", key, "--data", data).code == 0


def test_who_keeps_a_subjects_first_texts_at_once_keeps_them_under_one_key(tmp_path: Path) -> None:
    texts = [f"reason {number}" for number in range(8)]
    for round_ in range(10):
        subject, start = f"{ALICE}-{round_}", Barrier(len(texts))

        def kept(text: str, subject: str = subject, start: Barrier = start) -> str:
            start.wait()
            return Vault(tmp_path).keep_reason(text, subject, "job-1")

        with ThreadPoolExecutor(len(texts)) as writers:
            pointers = list(writers.map(kept, texts))
        assert [Vault(tmp_path).told(pointer) for pointer in pointers] == texts
