"""Decision traces: sealed by what their agent signed, kept apart from the log, and gone when they are erased."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from agents.gateway import Gateway
from agents.replies import Receipt, Refused
from agents.vault import Vault, VaultError
from qpubus.place import VAULT, Place
from replay.audit import verify
from replay.explain import explain
from replay.verdict import Verdict
from schemas.admission import ROOT_SOURCE
from schemas.events import IntentDeclared, TraceSealed
from schemas.keys import raw_public_key
from schemas.manifest import signed_payload
from schemas.traces import DecisionTrace, SealedTrace, TraceOption, seal_trace, trace_digest
from tests.support.bell import bell_manifest
from tests.support.commands import qpubus, running_bus
from tests.support.leaks import exported, files_with, in_base64
from tests.support.town import AGENT, SITE, Town, new_town

Found = TypeVar("Found")
WISH = "Dr Quokka from ward 7 wants the xylophone result before her leave"
TRACE = DecisionTrace(
    goal=f"A quick look. {WISH}.",
    options=(TraceOption(name="trap", text="exact"), TraceOption(name="chip", text="fast, says Dr Quokka")),
    choice="trap",
    reason="Because Dr Quokka is patient.",
    evidence=("ab" * 32,),
)
PLAIN = (WISH, "Dr Quokka", "Because")
KEY = Ed25519PrivateKey.generate()


def sealed(job_id: str = "bell-1", said: str = "Exactness came first.", trace: DecisionTrace = TRACE) -> SealedTrace:
    return seal_trace(trace, said, AGENT, job_id, KEY)


def in_town(directory: Path, scenario: Callable[[Town, Gateway], Awaitable[Found]]) -> Found:
    """Run a scenario in a town whose devices have calibrated."""

    async def run() -> Found:
        town = await new_town(directory)
        await town.run(*(town.device(device) for device in town.fleet))
        return await scenario(town, town.gateway())

    return asyncio.run(run())


def test_the_same_agent_seals_the_same_trace_of_a_job_alike() -> None:
    assert sealed() == sealed()
    assert sealed().salt != sealed(job_id="bell-2").salt
    assert sealed().salt != seal_trace(TRACE, "", AGENT, "bell-1", Ed25519PrivateKey.generate()).salt


def test_the_digest_binds_summary_text_and_salt() -> None:
    base = sealed()
    others = [
        sealed(said="Speed came first."),
        sealed(trace=TRACE.model_copy(update={"reason": "None."})),
        base.model_copy(update={"salt": "00" * 32}),
    ]
    assert len({base.digest, *(each.digest for each in others)}) == 4
    assert base.digest == trace_digest(base.summary, base.text_digest)


def test_a_summary_holds_names_and_the_public_sentence_alone() -> None:
    assert not any(word in sealed().summary.model_dump_json() for word in PLAIN)


def test_a_choice_that_is_no_option_is_no_trace() -> None:
    with pytest.raises(ValidationError, match="the choice is none of the options"):
        DecisionTrace.model_validate(TRACE.model_dump() | {"choice": "abacus"})


def test_a_kept_text_comes_back_and_lies_there_in_no_plain_form(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.keep(sealed())

    assert vault.open(AGENT, sealed().text_digest) == sealed()
    for text in (*PLAIN, sealed().salt, AGENT):
        assert files_with(text.encode(), tmp_path) == []


def test_only_the_owner_reads_the_vault(tmp_path: Path) -> None:
    Vault(tmp_path / "vault").keep(sealed())
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "vault").rglob("*")}
    assert modes == {0}


def test_a_changed_text_is_not_shown(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.keep(sealed())
    (path,) = tmp_path.glob(f"*/{sealed().text_digest}")
    kept = bytearray(path.read_bytes())
    kept[20] ^= 1
    path.write_bytes(kept)
    with pytest.raises(VaultError, match="was changed"):
        vault.open(AGENT, sealed().text_digest)


def test_a_text_that_was_moved_to_another_name_is_not_shown(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.keep(sealed())
    (path,) = tmp_path.glob(f"*/{sealed().text_digest}")
    path.rename(path.with_name("ab" * 32))
    with pytest.raises(VaultError, match="was changed"):
        vault.open(AGENT, "ab" * 32)


def test_erasing_leaves_nothing_that_opens_a_copy_of_the_text(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.keep(sealed())
    (path,) = tmp_path.glob(f"*/{sealed().text_digest}")
    copy = path.read_bytes()
    vault.erase(AGENT)
    assert list(tmp_path.iterdir()) == []
    assert vault.open(AGENT, sealed().text_digest) is None

    vault.keep(sealed("bell-2"))
    (tmp_path / path.parent.name / path.name).write_bytes(copy)
    with pytest.raises(VaultError):
        vault.open(AGENT, sealed().text_digest)


def test_an_erasing_that_was_stopped_is_gone_on_with(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.keep(sealed())
    (key,) = tmp_path.glob("*/key")
    key.unlink()
    assert vault.open(AGENT, sealed().text_digest) is None
    vault.erase(AGENT)
    assert list(tmp_path.iterdir()) == []


def test_the_gateway_keeps_the_text_and_says_the_rest(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        receipt = await town.agent.submit(gateway, bell_manifest(), why=(TRACE, "Exactness came first."))
        assert isinstance(receipt, Receipt)
        (said,) = await town.events(TraceSealed)
        assert trace_digest(said.summary, said.text_digest) == receipt.manifest.decision_trace_digest
        kept = town.vault.open(said.subject, said.text_digest)
        assert kept is not None
        assert kept.trace == TRACE

    in_town(tmp_path, scenario)


def test_a_job_declared_again_brings_no_erased_text_back(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        first = await town.agent.submit(gateway, bell_manifest(), why=(TRACE, ""))
        town.vault.erase(AGENT)
        assert await town.agent.submit(gateway, bell_manifest(), why=(TRACE, "")) == first
        assert town.vault.digests(AGENT) == ()

    in_town(tmp_path, scenario)


@pytest.mark.parametrize(
    ("named", "handed_in", "code"),
    [
        (None, sealed(), "trace_unnamed"),
        (sealed().digest, sealed(said="Speed came first."), "trace_mismatch"),
        (sealed().digest, sealed().model_copy(update={"salt": "00" * 32}), "trace_mismatch"),
    ],
    ids=["unnamed", "summary", "salt"],
)
def test_a_trace_that_the_manifest_does_not_name_is_refused(
    tmp_path: Path, named: str | None, handed_in: SealedTrace, code: str
) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        manifest = bell_manifest().model_copy(update={"decision_trace_digest": named})
        answer = await gateway.declare(signed_payload(manifest), town.agent.sign(manifest), handed_in)
        assert isinstance(answer, Refused)
        assert answer.code == code
        assert await town.events(IntentDeclared) == []
        assert town.vault.digests(AGENT) == ()

    in_town(tmp_path, scenario)


def test_a_trace_that_is_too_long_is_refused(tmp_path: Path) -> None:
    option = TraceOption(name="a", text="x" * 16_000)
    options = tuple(option.model_copy(update={"name": f"o{number}"}) for number in range(5))
    long = sealed(trace=TRACE.model_copy(update={"options": options, "choice": "o1"}))

    async def scenario(town: Town, gateway: Gateway) -> None:
        manifest = bell_manifest().model_copy(update={"decision_trace_digest": long.digest})
        answer = await gateway.declare(signed_payload(manifest), town.agent.sign(manifest), long)
        assert isinstance(answer, Refused)
        assert answer.code == "trace_oversized"

    in_town(tmp_path, scenario)


def test_after_erasure_no_plain_text_is_left_anywhere_and_every_proof_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data, job = tmp_path / "data", "h2-vqe-1"
    assert qpubus("init", "--data", data, "--agent", "agent:anon").code == 0
    trace = tmp_path / "trace.json"
    trace.write_bytes(orjson.dumps(TRACE.model_dump() | {"said": "Exactness came first.", "subject": "person-4711"}))
    with running_bus(data):
        until = time.monotonic() + 60
        while len(qpubus("devices", "--json", "--data", data).json) < 4 and time.monotonic() < until:
            time.sleep(0.1)
        done = qpubus("submit", data / "examples" / "h2-vqe.json", "--trace", trace, "--data", data, "--json")
        assert done.code == 0, done.err
        manifest = done.json["manifest"]
        assert WISH in qpubus("vault", "show", job, "--data", data).out
        erased = qpubus("vault", "erase", "person-4711", "--why", "asked for", "--data", data, "--json")
        assert erased.code == 0, erased.err
    trace.unlink()
    shown: dict[str, Any] = qpubus("vault", "show", job, "--data", data, "--json").json
    out = tmp_path / "out"
    exported(data, job, out)

    for text in (*map(str.encode, PLAIN), *in_base64(WISH.encode())):
        assert files_with(text, data, out, tmp_path / "state") == []
    assert out / "ocsf" in files_with(shown["text_digest"].encode(), out)
    assert (shown["trace"], shown["erased"]) == (None, True)
    assert erased.json["text_digests"] == [shown["text_digest"]]
    summary = TraceSealed.model_validate({name: shown[name] for name in TraceSealed.model_fields}).summary
    assert trace_digest(summary, shown["text_digest"]) == manifest["decision_trace_digest"]
    assert asyncio.run(verify(data)).verdict is Verdict.SOUND
    explained = qpubus("audit", "explain", job, "--data", data, "--json").json
    proofs = [proof for line in explained["lines"] for proof in line["proofs"] if proof["kind"] == "trace"]
    assert [(proof["by"], proof["holds"]) for proof in proofs] == [("agent:anon", True)]


def test_a_summary_that_the_agent_did_not_sign_does_not_hold(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        await town.agent.submit(gateway, bell_manifest(), why=(TRACE, "Exactness came first."))
        (said,) = await town.events(TraceSealed)
        forged = said.model_copy(update={"summary": said.summary.model_copy(update={"said": "Speed came first."})})
        await town.say("gateway:main", forged)
        explained = await explain(town.log, {SITE: raw_public_key(town.keys[ROOT_SOURCE])}, "bell-1")
        assert explained is not None
        proofs = [proof for line in explained.lines for proof in line.proofs if proof.kind == "trace"]
        assert [proof.holds for proof in proofs] == [True, False]

    in_town(tmp_path, scenario)


def test_the_vault_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Place(tmp_path).vault == tmp_path / "vault"
    monkeypatch.setenv(VAULT, str(tmp_path / "elsewhere"))
    assert Place(tmp_path).vault == tmp_path / "elsewhere"


def test_erasing_somebody_who_is_not_there_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    qpubus("init", "--data", tmp_path / "data")
    done = qpubus("vault", "erase", "nobody", "--data", tmp_path / "data")
    assert (done.code, "nothing is kept under nobody" in done.err) == (1, True)
