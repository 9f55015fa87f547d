"""A small job that fits every device: a Bell-like circuit with one angle, in the words of a manifest."""

from base64 import b64encode
from typing import Any

import orjson

from schemas.manifest import Manifest
from tests.support.town import AGENT, SITE

BELL_QASM = """OPENQASM 3.0;
include "stdgates.inc";
input float theta;
qubit[2] q;
bit[2] c;
ry(theta) q[0];
cx q[0], q[1];
c = measure q;
"""


def encoded(source: str) -> str:
    """A circuit as a manifest carries it."""
    return b64encode(source.encode()).decode()


def bell_document(**changes: Any) -> dict[str, Any]:
    """The manifest as JSON; `changes` replace members by name, those of inner objects by `quantum__shots`."""
    document: dict[str, Any] = {
        "job_id": "bell-1",
        "initiator": AGENT,
        "purpose": "test:bell",
        "site": SITE,
        "quantum": {
            "circuit": encoded(BELL_QASM),
            "parameters": {"theta": {"low": 0.0, "high": 3.0}},
            "shots": 1_000,
        },
        "budget": {"cost_microusd": 100_000_000, "shots": 8_000},
    }
    for name, value in changes.items():
        *path, last = name.split("__")
        inner = document
        for step in path:
            inner = inner.setdefault(step, {})
        inner[last] = value
    return document


def bell_manifest(**changes: Any) -> Manifest:
    """The same, read."""
    return Manifest.model_validate_json(orjson.dumps(bell_document(**changes)))
