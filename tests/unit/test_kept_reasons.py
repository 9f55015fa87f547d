"""Reasons of people and agents: signed by a salted digest, read out of the vault, and gone when they are erased."""

import asyncio
import time
from pathlib import Path

import orjson
import pytest

from agents.vault import ERASED, Vault
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
