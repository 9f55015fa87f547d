"""`audit export --format intoto`: a job as in-toto statement, judged by another's code."""

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key  # type: ignore[attr-defined]  # exported, but not by __all__

from qpubus.keyfile import write_key
from schemas.keys import key_id, raw_public_key
from tests.support.commands import qpubus
from tests.support.golden_log import GRANTED, golden_logs, restore
from tests.support.signed import private_key


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return restore(golden_logs()[0], tmp_path / "data")


def exported(data: Path) -> dict[str, Any]:
    file = data.with_name("statement.json")
    done = qpubus("audit", "export", "--format", "intoto", "--job", GRANTED, "-o", file, "--data", data)
    assert (done.code, done.err) == (0, "")
    document: dict[str, Any] = orjson.loads(file.read_bytes())
    return document


def judge(source: str) -> Any:
    """The public key of a member, as the library has it."""
    public_key = raw_public_key(private_key(source))
    value = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public_key.hex()}}
    return Key.from_dict(key_id(public_key), value)


def test_the_envelope_is_verified_by_the_auditors_key_and_by_no_other(data: Path) -> None:
    envelope = Envelope.from_dict(exported(data))
    assert envelope.verify([judge("auditor:main")], 1)
    with pytest.raises(VerificationError):
        envelope.verify([judge("gateway:main")], 1)


def test_the_statement_is_that_of_the_jobs_bundle(data: Path, tmp_path: Path) -> None:
    statement = orjson.loads(base64.b64decode(exported(data)["payload"]))
    assert qpubus("audit", "bundle", GRANTED, "-o", tmp_path / "bundle", "--data", data).code == 0
    bundled = orjson.loads((tmp_path / "bundle").read_bytes())["dsse"]["payload"]
    theirs = orjson.loads(base64.b64decode(bundled))
    theirs["predicate"]["runDetails"]["byproducts"] = []
    assert statement == theirs
    assert statement["_type"] == "https://in-toto.io/Statement/v1"


def test_it_is_of_one_job(data: Path) -> None:
    assert qpubus("audit", "export", "--format", "intoto", "--data", data).code == 64
    done = qpubus("audit", "export", "--format", "intoto", "--job", "nobody", "--data", data)
    assert done.code == 1
    assert "there is no job nobody" in done.err


def test_without_an_auditors_key_nothing_is_signed(data: Path) -> None:
    (data / "keys" / "auditor.pem").unlink()
    done = qpubus("audit", "export", "--format", "intoto", "--job", GRANTED, "--data", data)
    assert done.code == 1
    assert "auditor.pem" in done.err


def test_a_key_that_is_no_auditors_signs_no_statement(data: Path, tmp_path: Path) -> None:
    write_key(tmp_path / "key.pem", private_key("gateway:main"))
    named = ("--key", tmp_path / "key.pem", "-o", tmp_path / "out", "--data", data)
    done = qpubus("audit", "export", "--format", "intoto", "--job", GRANTED, *named)
    assert (done.code, (tmp_path / "out").exists()) == (1, False)
    assert "is no auditor's on this log" in done.err
