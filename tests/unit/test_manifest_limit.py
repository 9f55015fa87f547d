"""A manifest of exactly the size that is allowed goes the whole way; one byte more is refused, with the reason."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import rfc8785

from agents.replies import Receipt, Refused
from replay.explain import explain
from schemas.codec import encode
from schemas.envelope import VALUE_BYTES_MAX
from schemas.events import ApprovalRequested, IntentDeclared, IntentRefused
from schemas.manifest import MANIFEST_BYTES_MAX, Manifest, signed_payload
from schemas.proofs import PROOF_BYTES_MAX, TYPE_INTENT, ProofInvalid, jws_key_id, sign_jws, verify_jws
from streams.policy.stage import POLICY
from streams.worker import Site, Worker
from tests.support.bell import BELL_QASM, bell_document, encoded
from tests.support.signed import private_key
from tests.support.town import SITE, new_town

KEY = private_key("agent")


def by_circuits(size: int) -> Manifest:
    """A manifest of so many bytes, most of them comments in further circuits."""
    small = encoded(BELL_QASM + "//" + "c" * 60_000)
    ranges = bell_document()["quantum"]["parameters"]
    large = [{"name": f"further-{at}", "circuit": small, "parameters": ranges} for at in range(3)]
    document = bell_document(quantum__further_circuits=large)
    return filled(
        document,
        size,
        lambda left: document["quantum"].update(circuit=encoded(BELL_QASM + "//" + "c" * (left * 3 // 4 - 16))),
    )


def by_parameters(size: int) -> Manifest:
    """A manifest of so many bytes, most of them short names of numbers: what Avro takes the most room for."""
    names = (f"{at:x}" for at in range(1 << 20))
    document = bell_document(parameters={})

    def fill(left: int) -> None:
        while left > 40:
            name = next(names)
            document["parameters"][name] = 0
            left -= len(name) + 5

    return filled(document, size, fill)


def filled(document: dict[str, Any], size: int, fill: Callable[[int], None]) -> Manifest:
    """The document as a manifest of just so many bytes: filled roughly, then by its purpose."""

    def read() -> Manifest:
        return Manifest.model_validate_json(orjson.dumps(document))

    fill(size - len(signed_payload(read())))
    document["purpose"] += "p" * (size - len(signed_payload(read())))
    assert len(signed_payload(read())) == size
    return read()


@pytest.mark.parametrize("made", [by_circuits, by_parameters], ids=["circuits", "parameters"])
def test_a_manifest_at_the_limit_is_declared_judged_and_explained(
    tmp_path: Path, made: Callable[[int], Manifest]
) -> None:
    manifest = made(MANIFEST_BYTES_MAX)

    async def scenario() -> None:
        town = await new_town(tmp_path)
        await town.run(*(town.device(device) for device in town.fleet))
        gateway = town.gateway()
        receipt = await town.agent.submit(gateway, manifest)
        assert isinstance(receipt, Receipt), receipt
        assert receipt == await town.agent.submit(gateway, manifest)
        root = town.member("gateway:main").root_public_key
        worker = Worker(POLICY, town.log, 0, {SITE: Site(root, town.keys["stage:policy"])})
        while await worker.step():
            pass
        assert await town.events(IntentRefused) == []
        assert len(await town.events(ApprovalRequested)) == 1
        explained = await explain(town.log, {SITE: root}, manifest.job_id)
        assert explained is not None
        assert [proof.detail for line in explained.lines for proof in line.proofs if not proof.holds] == []
        kinds = {proof.kind for line in explained.lines for proof in line.proofs}
        assert {"agent", "gateway"} <= kinds
        (intent,) = await town.events(IntentDeclared)
        assert len(encode(intent)) < VALUE_BYTES_MAX * 4 // 5

    asyncio.run(scenario())


@pytest.mark.parametrize("made", [by_circuits, by_parameters], ids=["circuits", "parameters"])
def test_one_byte_more_is_refused_by_its_size(tmp_path: Path, made: Callable[[int], Manifest]) -> None:
    async def scenario() -> Refused:
        town = await new_town(tmp_path)
        answer = await town.agent.submit(town.gateway(), made(MANIFEST_BYTES_MAX + 1))
        assert isinstance(answer, Refused)
        return answer

    refused = asyncio.run(scenario())
    assert refused.code == "manifest_oversized"
    assert str(MANIFEST_BYTES_MAX + 1) in refused.message


def test_a_short_text_of_numbers_that_are_long_in_rfc_8785_form_is_measured_in_that_form(tmp_path: Path) -> None:
    document = bell_document(parameters={f"{at:x}": 1 for at in range(16_000)})
    short = orjson.dumps(document).replace(b":1,", b":1e20,")

    async def scenario() -> Refused:
        town = await new_town(tmp_path)
        assert len(short) < MANIFEST_BYTES_MAX
        answer = await town.gateway().declare(short, town.agent.sign(Manifest.model_validate_json(short)))
        assert isinstance(answer, Refused)
        return answer

    assert asyncio.run(scenario()).code == "manifest_oversized"


def test_a_proof_over_the_limit_is_told_from_one_that_is_no_jws() -> None:
    over = sign_jws(rfc8785.dumps({"a": "x" * MANIFEST_BYTES_MAX}) + b" " * 1_024, KEY, "k", TYPE_INTENT)
    assert len(over) > PROOF_BYTES_MAX
    for read in (jws_key_id, lambda token: verify_jws(token, KEY.public_key(), TYPE_INTENT)):
        with pytest.raises(ProofInvalid, match=f"the limit is {PROOF_BYTES_MAX}"):
            read(over)
