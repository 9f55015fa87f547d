"""Declaring an intent: the receipt, and every way in which bad input is refused."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.client import RequestingAgent
from agents.gateway import Gateway
from agents.replies import Receipt, Refused, Stored
from schemas.events import ArtifactStored, IntentDeclared, KeyRevoked
from schemas.keys import key_id, raw_public_key
from schemas.manifest import MANIFEST_BYTES_MAX, Manifest, signed_payload
from schemas.proofs import TYPE_WITHDRAWAL, completes, declared_manifest, sign_jws, verify_manifest
from streams.log.port import AppendUnknown, LogError
from tests.support.bell import bell_document, bell_manifest, encoded
from tests.support.town import AGENT, STRANGER, Town, new_town

Found = TypeVar("Found")
NINE_QUBITS = "OPENQASM 3.0;\nqubit[9] q;\nbit[9] c;\nh q;\nc = measure q;\n"


def at_gateway(directory: Path, scenario: Callable[[Town, Gateway], Awaitable[Found]]) -> Found:
    """Run a scenario in a town whose devices have calibrated."""

    async def run() -> Found:
        town = await new_town(directory)
        await town.run(*(town.device(device) for device in town.fleet))
        return await scenario(town, town.gateway())

    return asyncio.run(run())


def declare(directory: Path, document: dict[str, Any]) -> Receipt:
    """The receipt for a manifest at a town of its own."""

    async def scenario(town: Town, gateway: Gateway) -> Receipt:
        answer = await town.agent.submit(gateway, Manifest.model_validate_json(orjson.dumps(document)))
        assert isinstance(answer, Receipt)
        return answer

    return at_gateway(directory, scenario)


@dataclass
class Counter:
    """One gateway for all that is refused, for a refusal leaves no trace."""

    runner: asyncio.Runner
    town: Town
    gateway: Gateway

    def refusal(self, content: bytes, proof: str) -> Refused:
        """The refusal of what is handed in; nothing of it may reach the log."""
        answer = self.runner.run(self.gateway.declare(content, proof))
        assert isinstance(answer, Refused)
        assert self.runner.run(self.town.events(IntentDeclared)) == []
        return answer

    def refusal_of(self, document: dict[str, Any] | bytes) -> Refused:
        """The refusal of a manifest that its agent has signed, as far as it can be signed."""
        content = document if isinstance(document, bytes) else orjson.dumps(document)
        try:
            proof = self.town.agent.sign(Manifest.model_validate_json(content))
        except ValueError:
            proof = self.town.agent.sign(bell_manifest())
        return self.refusal(content, proof)


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    with asyncio.Runner() as runner:
        town = runner.run(new_town(tmp_path_factory.mktemp("town")))
        runner.run(town.run(*(town.device(device) for device in town.fleet)))
        yield Counter(runner, town, town.gateway())


def test_a_receipt_is_given_when_the_intent_is_on_the_log(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        receipt = await town.agent.submit(gateway, bell_manifest())
        assert isinstance(receipt, Receipt)
        (digest,) = [each.digest for each in await town.heard() if isinstance(each.event, IntentDeclared)]
        assert digest == receipt.intent_digest

    at_gateway(tmp_path, scenario)


def test_the_manifest_is_completed_and_signed_by_the_gateway(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        receipt = await town.agent.submit(gateway, bell_manifest())
        assert isinstance(receipt, Receipt)
        verify_manifest(receipt.manifest, town.keys["gateway:main"].public_key())
        assert receipt.manifest.seed is not None
        assert completes(receipt.manifest, bell_manifest())

    at_gateway(tmp_path, scenario)


def test_the_agents_own_proof_travels_with_the_intent(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        await town.agent.submit(gateway, bell_manifest())
        (intent,) = await town.events(IntentDeclared)
        assert declared_manifest(intent, raw_public_key(town.keys[AGENT])) == bell_manifest()

    at_gateway(tmp_path, scenario)


def test_the_seed_follows_from_what_was_declared(tmp_path: Path) -> None:
    first = declare(tmp_path / "first", bell_document())
    second = declare(tmp_path / "second", bell_document())
    other = declare(tmp_path / "other", bell_document(job_id="bell-2"))
    assert first.manifest.seed == second.manifest.seed != other.manifest.seed


def test_a_seed_that_is_given_is_kept(tmp_path: Path) -> None:
    assert declare(tmp_path, bell_document(seed=42)).manifest.seed == 42


def test_the_same_job_again_gets_the_same_receipt(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        first = await town.agent.submit(gateway, bell_manifest())
        again = await town.agent.submit(gateway, bell_manifest())
        restarted = await town.agent.submit(town.gateway(), bell_manifest())
        assert first == again == restarted
        assert len(await town.events(IntentDeclared)) == 1

    at_gateway(tmp_path, scenario)


def test_a_job_id_with_another_content_is_refused(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        await town.agent.submit(gateway, bell_manifest())
        answer = await town.agent.submit(gateway, bell_manifest(quantum__shots=2_000))
        assert isinstance(answer, Refused)
        assert answer.code == "job_repeated"
        assert len(await town.events(IntentDeclared)) == 1

    at_gateway(tmp_path, scenario)


def test_two_that_declare_one_job_at_once_get_one_intent(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        calls = (town.agent.submit(gateway, bell_manifest(purpose=f"try {each}")) for each in range(4))
        answers = await asyncio.gather(*calls)
        assert [isinstance(answer, Receipt) for answer in answers].count(True) == 1
        assert len(await town.events(IntentDeclared)) == 1

    at_gateway(tmp_path, scenario)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"a": NaN}', b"[" * 2_000, b'{"a":' * 100 + b"1" + b"}" * 100],
    ids=["empty", "cut", "list", "text", "not_utf8", "nan", "deep", "nested"],
)
def test_a_malformed_manifest_is_refused(counter: Counter, content: bytes) -> None:
    assert counter.refusal_of(content).code == "manifest_malformed"


def test_an_oversized_manifest_is_refused_before_it_is_read(counter: Counter) -> None:
    assert counter.refusal_of(b"{" + b" " * MANIFEST_BYTES_MAX).code == "manifest_oversized"


def test_a_member_given_twice_is_refused(counter: Counter) -> None:
    content = orjson.dumps(bell_document()).replace(b'"purpose":', b'"purpose":"other","purpose":')
    answer = counter.refusal_of(content)
    assert answer.code == "manifest_malformed"
    assert "twice" in answer.message


def test_colons_and_quotes_in_texts_are_no_members(tmp_path: Path) -> None:
    purpose = 'a:b \\" "c": d \\\\'
    assert declare(tmp_path, bell_document(purpose=purpose)).manifest.purpose == purpose


@pytest.mark.parametrize(
    ("change", "path", "code"),
    [
        ({"colour": "blue"}, "colour", "field_unknown"),
        ({"quantum__pulses": 1}, "quantum.pulses", "field_unknown"),
        ({"quantum__circuit": "no base64!"}, "quantum.circuit", "manifest_invalid"),
        ({"quantum__circuit": "/////w=="}, "quantum.circuit", "manifest_invalid"),
        ({"quantum__circuit": encoded("OPENQASM 3.0;\nqubit q;\nfly q;\n")}, "quantum.circuit", "circuit_invalid"),
        ({"quantum__shots": 0}, "quantum.shots", "manifest_invalid"),
        ({"quantum__shots": -5}, "quantum.shots", "manifest_invalid"),
        ({"quantum__shots": "1000"}, "quantum.shots", "manifest_invalid"),
        ({"quantum__shots": 60_000, "budget__shots": 60_000}, "quantum.shots", "shots_out_of_range"),
        ({"quantum__parameters": {}}, "quantum.parameters", "circuit_invalid"),
        ({"quantum__parameters__phi": {"low": 0.0, "high": 1.0}}, "quantum.parameters", "circuit_invalid"),
        ({"quantum__parameters__theta": {"low": 1.0, "high": 0.0}}, "quantum.parameters.theta", "manifest_invalid"),
        ({"quantum__parameters__theta": {"low": 0.0, "high": 1e9}}, "quantum.parameters", "circuit_invalid"),
        ({"site": "elsewhere"}, "site", "site_unknown"),
        ({"deadline_us": 1}, "deadline_us", "deadline_passed"),
        ({"allowed_devices": ["quantum-toaster"]}, "allowed_devices", "device_unknown"),
        ({"artifacts": {"input.json": "0" * 64}}, "artifacts.input.json", "artifact_missing"),
        ({"artifacts": {"history.json": "0" * 64}}, "artifacts.history.json", "manifest_invalid"),
        ({"classical": {"post": "python:fit.py"}}, "", "manifest_invalid"),
        ({"classical": {"post": "bash:fit.sh"}}, "classical.post", "manifest_invalid"),
        ({"signature": "eyJ..abc"}, "signature", "manifest_invalid"),
        ({"seed": 2**60}, "seed", "manifest_invalid"),
        ({"callback": "file:///etc/passwd"}, "callback", "manifest_invalid"),
    ],
    ids=[
        "field",
        "inner_field",
        "base64",
        "utf8",
        "gate",
        "zero_shots",
        "negative_shots",
        "text_shots",
        "many_shots",
        "no_range",
        "strange_range",
        "turned_range",
        "wide_range",
        "site",
        "deadline",
        "device",
        "artifact",
        "reserved",
        "program",
        "language",
        "signature",
        "seed",
        "callback",
    ],
)
def test_what_is_wrong_is_named_with_its_place(counter: Counter, change: dict[str, Any], path: str, code: str) -> None:
    answer = counter.refusal_of(bell_document(**change))
    assert [(problem.path, problem.code) for problem in answer.problems] == [(path, code)]
    assert answer.code == code


def test_a_circuit_that_fits_no_device_is_refused_with_each_devices_reason(counter: Counter) -> None:
    answer = counter.refusal_of(bell_document(quantum__circuit=encoded(NINE_QUBITS), quantum__parameters={}))
    assert answer.code == "circuit_fits_no_device"
    assert all(device in answer.message for device in ("onprem-iontrap-1", "cloud-garnet-1", "cloud-bargain-1"))


def test_all_problems_are_told_at_once(counter: Counter) -> None:
    bad = bell_document(
        colour="blue",
        purpose="",
        quantum__further_circuits=[{"name": "second", "circuit": encoded("OPENQASM 3.0;\nfly;\n")}],
    )
    paths = {problem.path for problem in counter.refusal_of(bad).problems}
    assert paths == {"colour", "purpose", "quantum.further_circuits.0.circuit"}


def test_without_a_calibrated_device_nothing_can_be_judged(tmp_path: Path) -> None:
    async def scenario() -> Receipt | Refused:
        town = await new_town(tmp_path)
        return await town.agent.submit(town.gateway(), bell_manifest())

    answer = asyncio.run(scenario())
    assert isinstance(answer, Refused)
    assert answer.code == "device_unknown"


BELL_JSON = signed_payload(bell_manifest())


def _flipped(token: str) -> str:
    """The same token with one bit of its signature changed."""
    head, _, last = token.rpartition(".")
    return f"{head}.{'B' if last[0] == 'A' else 'A'}{last[1:]}"


@pytest.mark.parametrize(
    ("code", "make"),
    [
        ("proof_malformed", lambda _: (BELL_JSON, "")),
        ("proof_malformed", lambda _: (BELL_JSON, "three.little.pigs")),
        ("proof_malformed", lambda _: (BELL_JSON, "x" * 1_000_000)),
        ("proof_invalid", lambda town: (BELL_JSON, _flipped(town.agent.sign(bell_manifest())))),
        ("proof_mismatch", lambda town: (BELL_JSON, town.agent.sign(bell_manifest(quantum__shots=2_000)))),
        (
            "proof_invalid",
            lambda town: (
                BELL_JSON,
                sign_jws(BELL_JSON, town.keys[AGENT], key_id(raw_public_key(town.keys[AGENT])), TYPE_WITHDRAWAL),
            ),
        ),
        (
            "key_unknown",
            lambda _: (BELL_JSON, RequestingAgent(AGENT, Ed25519PrivateKey.generate()).sign(bell_manifest())),
        ),
        (
            "role_forbidden",
            lambda town: (BELL_JSON, RequestingAgent(AGENT, town.keys["approver:tester"]).sign(bell_manifest())),
        ),
        (
            "initiator_mismatch",
            lambda town: (BELL_JSON, RequestingAgent(STRANGER, town.keys[STRANGER]).sign(bell_manifest())),
        ),
    ],
    ids=["none", "nonsense", "long", "signature", "content", "kind", "unknown", "role", "stranger"],
)
def test_a_proof_that_does_not_hold_is_refused(
    counter: Counter, code: str, make: Callable[[Town], tuple[bytes, str]]
) -> None:
    assert counter.refusal(*make(counter.town)).code == code


def test_a_revoked_key_declares_nothing(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        revoked = KeyRevoked(key_id=key_id(raw_public_key(town.keys[AGENT])), reason="lost")
        await town.say("root", revoked)
        answer = await town.agent.submit(gateway, bell_manifest())
        assert isinstance(answer, Refused)
        assert answer.code == "key_revoked"

    at_gateway(tmp_path, scenario)


def test_a_document_is_stored_and_said_once(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        first = await gateway.store_artifact(b"print()", "text/x-python")
        assert first == await gateway.store_artifact(b"print()", "text/x-python")
        said = await town.events(ArtifactStored, "gateway:main")
        assert first == Stored(said[0].digest, said[0].size_bytes)
        assert len(said) == 1

    at_gateway(tmp_path, scenario)


@pytest.mark.parametrize(
    ("failure", "code"),
    [(LogError("the disk is full: free some"), "log_failed"), (AppendUnknown("it went away"), "outcome_unknown")],
    ids=["full", "unknown"],
)
def test_after_a_log_error_nothing_is_lost_and_the_same_call_succeeds(
    tmp_path: Path, failure: LogError, code: str
) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        town.log.failure = failure
        answer = await town.agent.submit(gateway, bell_manifest())
        assert isinstance(answer, Refused)
        assert answer.code == code
        assert isinstance(await town.agent.submit(gateway, bell_manifest()), Receipt)
        assert len(await town.events(IntentDeclared)) == 1

    at_gateway(tmp_path, scenario)
