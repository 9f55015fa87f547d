"""A manifest as a model writes it goes in, one that can be signed comes out: circuits as text, names left out."""

from base64 import b64encode
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from agents.client import Document
from qpubus.refusal import Refusal
from schemas.digests import sha256_hex

DOCUMENTS_MAX = 16
_MEDIA_TYPES = {"py": "text/x-python", "json": "application/json", "qasm": "text/x-qasm"}


class InlineDocument(BaseModel):
    """A program or an input of a job, with the job."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(description="as `artifacts` and `python:NAME` name it, as in step_vqe.py", max_length=128)
    text: str = Field(description="its content, UTF-8", max_length=1 << 20)

    def document(self) -> Document:
        """As it is stored."""
        media_type = _MEDIA_TYPES.get(self.name.rpartition(".")[2], "text/plain")
        return Document(self.name, self.text.encode(), media_type)


def completed(manifest: dict[str, Any], documents: list[Document], site: str, initiator: str) -> bytes:
    """The manifest in JSON: site, initiator and digests of documents filled in, circuits in base64."""
    whole = {"site": site, "initiator": initiator} | manifest
    quantum = whole.get("quantum")
    if isinstance(quantum, dict):
        whole["quantum"] = _encoded(quantum)
        further = quantum.get("further_circuits")
        if isinstance(further, list):
            whole["quantum"]["further_circuits"] = [
                _encoded(each) if isinstance(each, dict) else each for each in further
            ]
    named = whole.get("artifacts") or {}
    if not isinstance(named, dict):
        raise Refusal("manifest_invalid", "artifacts: give an object of names and SHA-256 digests, or leave it out")
    digests = {each.name: sha256_hex(each.content) for each in documents}
    for name in digests.keys() & named.keys():
        if named[name] != digests[name]:
            raise Refusal("digest_mismatch", f"the document {name} has the digest {digests[name]}: leave it out")
    if digests:
        whole["artifacts"] = named | digests
    try:
        return orjson.dumps(whole)
    except orjson.JSONEncodeError as error:  # a number beyond 64 bits, or text that is no Unicode
        raise Refusal("manifest_malformed", f"the manifest cannot be written as JSON: {error}") from None


def _encoded(part: dict[str, Any]) -> dict[str, Any]:
    circuit = part.get("circuit")
    if isinstance(circuit, str) and circuit.lstrip().startswith(("OPENQASM", "//", "/*")):
        return part | {"circuit": b64encode(circuit.encode()).decode()}
    return dict(part)
