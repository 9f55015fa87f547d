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
from schemas.codec import decode, own_schemas
from schemas.digests import sha256_hex
from schemas.envelope import Record, record_digest
from schemas.events import SchemaPublished
from schemas.keys import key_id, raw_public_key
from schemas.seal import pae, seal_batch
from streams.log.reading import open_copy
from tests.support.golden_log import golden_logs, restore, root_public_key
from tests.support.signed import private_key
from tests.support.town import SITE

HOME = (SITE, root_public_key())
Change = Callable[[dict[str, Any]], object]


@cache
def bundled(job_id: str, *, redacts: bool = False) -> bytes:
    """The bundle of a job on the golden log."""
    with TemporaryDirectory() as name:
        return bundle_from(restore(golden_logs()[0], Path(name) / "data"), job_id, redacts=redacts)


def bundle_from(
    directory: Path, job_id: str, artifacts: ArtifactStore | None = None, *, redacts: bool = False
) -> bytes:
    """The bundle of a job in a data directory, signed by the auditor."""

    async def made() -> bytes:
        with open_copy(directory) as log:
            return await bundle(log, HOME, job_id, private_key("auditor:main"), artifacts, redacts=redacts)

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


def resealed(said: dict[str, Any]) -> dict[str, Any]:
    """A bundle whose every record is sealed anew, over what it has now, by the key of its source."""
    schemas: dict[int, str] = {}
    for each in said["records"]:
        texts = each["record"]
        value = base64.b64decode(texts["value"])
        plain = {name: text for name, text in texts.items() if name not in {"seal", "value"}}
        record = Record(topic=each["topic"], value=value, seal=b"", **plain)
        number = int.from_bytes(value[1:5], "big")
        if record.type == "qpubus.SchemaPublished":
            said_id, text = published_in(value[5:])
            schemas[said_id] = sha256_hex(text.encode())
        digest = record_digest(record, schemas.get(number, ""))
        [sealed_record] = seal_batch([record], [digest], private_key(record.source))
        texts["seal"] = base64.b64encode(sealed_record.seal).decode()
    return said


def published_in(body: bytes) -> tuple[int, str]:
    """Number and text of the schema that a body publishes."""
    event = decode(body, next(own_schemas()))
    assert isinstance(event, SchemaPublished)
    return event.schema_id, event.text
