"""A manifest of exactly the size that is allowed: it goes the whole way, and one byte more is refused with the reason."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import rfc8785

from agents.replies import Receipt, Refused
from replay.explain import explain
from schemas.codec import VALUE_BYTES_MAX, encode
from schemas.envelope import Record
from schemas.events import ApprovalRequested, IntentDeclared, IntentRefused
from schemas.manifest import CIRCUIT_BYTES_MAX, MANIFEST_BYTES_MAX, Manifest, signed_payload
from schemas.proofs import PROOF_BYTES_MAX, TYPE_INTENT, ProofInvalid, jws_key_id, sign_jws, verify_jws
from streams.policy.stage import POLICY
from streams.worker import Site, Worker
from tests.support.bell import BELL_QASM, bell_document, encoded
from tests.support.signed import private_key
from tests.support.town import SITE, new_town

KEY = private_key("agent")


def by_circuits(size: int) -> Manifest:
    """A manifest of so many bytes, most of them comments in further circuits."""
    small = encoded(BELL_QASM + "//" + "c" * 59_000)
    large = [{"name": f"further-{at}", "circuit": small, "parameters": {}} for at in range(3)]
    for each in large:
        each["parameters"] = bell_document()["quantum"]["parameters"]
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
