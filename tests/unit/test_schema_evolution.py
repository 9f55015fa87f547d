"""Readers and writers one version apart: each golden version of an event is read by the next one's schema, and back."""

import io
from itertools import groupby, pairwise
from typing import Any

import fastavro
import orjson
import pytest

from schemas.codec import FRAME_BYTES, own_schemas
from tests.support.golden import Golden, goldens

VERSIONS = {
    name: sorted(each, key=lambda golden: int(golden.path.suffixes[0].removeprefix(".")))
    for name, each in groupby(goldens(), key=lambda golden: golden.schema.event_type)
}
NEIGHBOURS = [pair for versions in VERSIONS.values() for pair in pairwise(versions)]


def read(written: Golden, reader: Golden) -> dict[str, Any]:
    """What a reader makes of a value that another version wrote."""
    writers, readers = (fastavro.parse_schema(orjson.loads(each.schema.text)) for each in (written, reader))
    found = fastavro.schemaless_reader(io.BytesIO(written.record.value[FRAME_BYTES:]), writers, readers)
    assert isinstance(found, dict)
    return found


def test_each_event_of_this_release_is_the_last_golden_version() -> None:
    assert {name: versions[-1].schema.text for name, versions in VERSIONS.items()} == {
        schema.event_type: schema.text for schema in own_schemas()
    }


@pytest.mark.parametrize(("older", "newer"), NEIGHBOURS, ids=lambda golden: golden.path.stem)
def test_a_newer_reader_reads_what_an_older_writer_wrote(older: Golden, newer: Golden) -> None:
    names = {field["name"] for field in orjson.loads(newer.schema.text)["fields"]}
    assert read(older, newer).keys() == names


@pytest.mark.parametrize(("older", "newer"), NEIGHBOURS, ids=lambda golden: golden.path.stem)
def test_an_older_reader_reads_what_a_newer_writer_wrote(older: Golden, newer: Golden) -> None:
    names = {field["name"] for field in orjson.loads(older.schema.text)["fields"]}
    assert read(newer, older).keys() == names
