"""Bundles of the golden log, and ways to change them."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import rfc8785

from agents.artifacts import ArtifactStore
from replay.bundle import bundle
from replay.provenance import PAYLOAD_TYPE
from schemas.digests import sha256_hex
from schemas.keys import key_id, raw_public_key
from schemas.seal import pae
from streams.log.reading import open_copy
from tests.support.golden_log import golden_logs, restore, root_public_key
from tests.support.signed import private_key
from tests.support.town import SITE

HOME = (SITE, root_public_key())
Change = Callable[[dict[str, Any]], object]


@cache
def bundled(job_id: str) -> bytes:
    """The bundle of a job on the golden log."""
    with TemporaryDirectory() as name:
        return bundle_from(restore(golden_logs()[0], Path(name) / "data"), job_id)


def bundle_from(directory: Path, job_id: str, artifacts: ArtifactStore | None = None) -> bytes:
    """The bundle of a job in a data directory, signed by the auditor."""

    async def made() -> bytes:
        with open_copy(directory) as log:
            return await bundle(log, HOME, job_id, private_key("auditor:main"), artifacts)

    return asyncio.run(made())


def changed(data: bytes, change: Change, *, signs: bool = True) -> bytes:
    """A bundle after a change, in canonical form; an auditor who helps with it signs it once more."""
    said = orjson.loads(data)
    change(said)
    return sealed(said) if signs else rfc8785.dumps(said) + b"\n"


def sealed(said: dict[str, Any]) -> bytes:
    """A bundle whose provenance names the content as it is now."""
    content = {name: member for name, member in said.items() if name != "dsse"}
    statement = orjson.loads(base64.b64decode(said["dsse"]["payload"]))
    [byproduct] = statement["predicate"]["runDetails"]["byproducts"]
    byproduct["digest"]["sha256"] = sha256_hex(rfc8785.dumps(content))
    return rfc8785.dumps(content | {"dsse": said["dsse"] | signed(statement)}) + b"\n"


def signed(statement: Mapping[str, Any]) -> dict[str, Any]:
    """Payload and signature of a statement, by the auditor."""
    payload = rfc8785.dumps(dict(statement))
    signature = private_key("auditor:main").sign(pae(PAYLOAD_TYPE.encode(), payload))
    keyid = key_id(raw_public_key(private_key("auditor:main")))
    signatures = [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}]
    return {"payload": base64.b64encode(payload).decode(), "signatures": signatures}


def records_of(said: Mapping[str, Any], type_: str) -> list[dict[str, Any]]:
    """The records of a type in a bundle."""
    return [each for each in said["records"] if each["record"]["type"] == f"qpubus.{type_}"]
