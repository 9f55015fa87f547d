"""A first job to try: the H2 eigensolver's manifest with its programs and inputs beside it, ready for `submit`."""

from pathlib import Path

import orjson

from agents.client import h2_documents, h2_manifest
from schemas.manifest import plain

H2_FILE = "h2-vqe.json"
H2_JOB = "h2-vqe-1"
H2_SEED = 1


def write_examples(folder: Path, site: str, agent: str) -> Path:
    """Write the example job and return the path of its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for document in h2_documents():
        (folder / document.name).write_bytes(document.content)
    path = folder / H2_FILE
    path.write_bytes(orjson.dumps(plain(h2_manifest(H2_JOB, agent, site, H2_SEED)), option=orjson.OPT_INDENT_2) + b"\n")
    return path
