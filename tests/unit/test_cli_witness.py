"""`witness`, `audit logs`, `audit tiles`, `audit verify --witness`, as operator, witness and auditor run them."""

import asyncio
import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.witness.submission import Submission
from schemas.keys import raw_public_key
from schemas.note import Kind, NoteKey
from schemas.quorum import parse_policy
from streams.log.embedded import EmbeddedLog
from tests.support.commands import QPUBUS, environment, qpubus
from tests.support.sealing import Sealing, on_disk


@pytest.fixture(autouse=True)
def _memory_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A site with one round."""
    asyncio.run(sealed(tmp_path / "data"))
    return tmp_path / "data"


async def sealed(directory: Path) -> Sealing:
    town = await on_disk(directory)
    await town.alarm(3)
    await town.pass_time(town.sealer())
    await town.log.close()
    return town


async def submit(directory: Path, town: Sealing, policy: bytes) -> None:
    """Bring the latest round to the witnesses of a policy, over HTTP."""
    town.scene.log = EmbeddedLog(directory, town.clock.now_us)
    witnesses = list(parse_policy(policy).witnesses.values())
    submission = Submission(town.member("witness:main"), town.log, town.clock, witnesses)
    assert await submission.step()
    await submission.close()
    await town.log.close()


def test_a_log_is_witnessed_and_verified_over_real_processes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    town = asyncio.run(sealed(data))
    (tmp_path / "logs").write_text(qpubus("audit", "logs", "--data", data).out)
    arguments = ["--logs", str(tmp_path / "logs"), "--name", "w.example", "--port", "0", "--data", str(tmp_path / "w")]
    with subprocess.Popen(
        [*QPUBUS, "witness", *arguments], env=environment(), text=True, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        line = process.stdout.readline()
        policy = tmp_path / "policy"
        policy.write_text(f"{line}quorum W1\n")
        try:
            assert qpubus("audit", "verify", "--witness", policy, "--data", data).code == 5
            asyncio.run(submit(data, town, policy.read_bytes()))
            with urlopen(f"{line.split()[3]}/checkpoints") as answer:  # noqa: S310 (the witness started above)
                (tmp_path / "kept").write_bytes(answer.read())
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    done = qpubus("audit", "verify", "--witness", policy, "--witness", tmp_path / "kept", "--data", data, "--json")
    assert (done.code, done.json["verdict"], done.json["uncovered"]) == (0, "sound", [])


def test_a_policy_that_asks_for_no_witness_is_met_by_the_log_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "policy").write_text("quorum none\n")
    assert qpubus("audit", "verify", "--witness", tmp_path / "policy", "--data", data).code == 0


def test_a_policy_that_is_none_is_told_with_its_line(data: Path, tmp_path: Path) -> None:
    (tmp_path / "policy").write_text("quorum W1\n")
    done = qpubus("audit", "verify", "--witness", tmp_path / "policy", "--data", data)
    assert done.code == 1
    assert "line 1" in done.err


def test_a_witness_without_logs_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("# none\n")
    done = qpubus("witness", "--logs", tmp_path / "logs", "--name", "w.example", "--data", tmp_path / "w")
    assert done.code == 1
    assert "names no log" in done.err


def test_tiles_are_published_and_told_by_tree(data: Path, tmp_path: Path) -> None:
    done = qpubus("audit", "tiles", "--out", tmp_path / "public", "--data", data, "--json")
    published = {origin.split("/")[2]: count for origin, count in done.json["published"].items()}
    assert (done.code, published["alarms"], published["results"]) == (0, 3, 0)


def test_tiles_wait_for_the_witnesses_of_a_policy(data: Path, tmp_path: Path) -> None:
    key = NoteKey("w.example", Kind.COSIGNATURE, raw_public_key(Ed25519PrivateKey.generate())).text
    (tmp_path / "policy").write_text(f"witness W1 {key}\nquorum W1\n")
    done = qpubus("audit", "tiles", "--out", tmp_path / "public", "--witness", tmp_path / "policy", "--data", data)
    assert done.code == 1
    assert "no round on this log has the cosignatures" in done.err


def test_tiles_of_a_log_without_rounds_are_none(tmp_path: Path) -> None:
    async def founded() -> None:
        await (await on_disk(tmp_path / "data")).log.close()

    asyncio.run(founded())
    done = qpubus("audit", "tiles", "--out", tmp_path / "public", "--data", tmp_path / "data")
    assert done.code == 1
    assert "no round of checkpoints" in done.err


def test_what_cannot_be_published_is_told_in_words(data: Path, tmp_path: Path) -> None:
    qpubus("audit", "tiles", "--out", tmp_path / "public", "--data", data)
    for note in (tmp_path / "public").rglob("checkpoint"):
        note.write_bytes(b"nonsense")
    done = qpubus("audit", "tiles", "--out", tmp_path / "public", "--data", data)
    assert done.code == 1
    assert "no checkpoint of ours" in done.err
