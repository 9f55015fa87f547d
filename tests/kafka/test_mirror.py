"""A real registry mirrors the log's schemas, and a stock reader that knows nothing else of us reads the values."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from qpubus.kafka.registry import Registry
from qpubus.mirror import Mirror
from qpubus.problem import Problem
from schemas.codec import encode, frame, own_schemas
from schemas.events import AlarmRang, SchemaPublished
from schemas.keys import raw_public_key
from streams.author import Draft, Scribe, seal_all
from tests.kafka.conftest import needed
from tests.support.memory_log import MemoryLog
from tests.support.signed import NOW_US, SCHEMAS, SITE, private_key

DOCS = Path(__file__).parents[2] / "docs" / "kafka.md"
ROOTS = {SITE: raw_public_key(private_key("root"))}
RANG = AlarmRang(alarm_id="deadline-1", rings_us=NOW_US)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that knows nothing yet."""
    running = Registry(tmp_path_factory.mktemp("registry"))
    with needed():
        running.start(port=0)
    yield running
    running.stop()


async def founded(*texts: SchemaPublished) -> MemoryLog:
    log = MemoryLog(lambda: NOW_US)
    own = [SchemaPublished(schema_id=e.schema_id, event_type=e.event_type, text=e.text) for e in own_schemas()]
    scribe = Scribe("root", SITE, SCHEMAS)
    written = [scribe.write(Draft("governance", each, SITE, NOW_US)) for each in texts or own]
    await log.append(seal_all(written, private_key("root")))
    return log


async def mirrored(log: MemoryLog, url: str) -> Mirror:
    mirror = Mirror(log, 0, ROOTS, url)
    while await mirror.step():
        pass
    return mirror


async def test_a_stock_reader_reads_a_value_by_the_number_in_its_frame(empty: Registry) -> None:
    await mirrored(await founded(), empty.url)
    value = frame(SCHEMAS["qpubus.AlarmRang"].schema_id, encode(RANG))
    with SchemaRegistryClient({"url": empty.url}) as client:
        read = AvroDeserializer(client)
        found = read(value, SerializationContext("alarms", MessageField.VALUE))
    assert found == {"alarm_id": "deadline-1", "rings_us": NOW_US}


async def test_a_mirror_that_begins_anew_registers_nothing_twice(empty: Registry) -> None:
    log = await founded()
    await mirrored(log, empty.url)
    assert (await mirrored(log, empty.url)).registered == 0


async def test_a_registry_that_numbers_otherwise_is_filled_and_its_numbers_are_told(registry: Registry) -> None:
    with SchemaRegistryClient({"url": registry.url}) as client:
        for number in range(3):  # others were here before
            client.register_schema(
                f"other-{number}", Schema(f'{{"type": "fixed", "name": "F", "size": {number + 1}}}', "AVRO")
            )
    mirror = await mirrored(await founded(), registry.url)
    assert set(mirror.differing) == set(mirror.ids) == {each.schema_id for each in own_schemas()}

    again = await mirrored(await founded(), registry.url)
    assert (again.registered, again.ids) == (0, mirror.ids)

    value = frame(SCHEMAS["qpubus.AlarmRang"].schema_id, encode(RANG))
    ids = {str(number): there for number, there in mirror.ids.items()}
    with SchemaRegistryClient({"url": registry.url}) as client:
        found = AvroDeserializer(client)(_renumbered(value, ids), SerializationContext("alarms", MessageField.VALUE))
    assert found == {"alarm_id": "deadline-1", "rings_us": NOW_US}


def _renumbered(value: bytes, ids: dict[str, int]) -> bytes:
    """As the docs say."""
    [program] = [
        each for each in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "renumbered" in each
    ]
    docs: dict[str, Any] = {}
    exec(program, docs)  # noqa: S102 (what our own docs show)
    shown: bytes = docs["renumbered"](value, ids)
    return shown


async def test_a_schema_that_the_registry_does_not_take_is_named(registry: Registry) -> None:
    with SchemaRegistryClient({"url": registry.url}) as client:
        client.register_schema("qpubus.Other", Schema('{"type": "fixed", "name": "Other", "size": 2}', "AVRO"))
        client.set_compatibility("qpubus.Other", "FULL")
    first, second, *_ = own_schemas()
    other = second.text.replace(f'"{second.event_type.removeprefix("qpubus.")}"', '"Other"', 1)
    own = SchemaPublished(schema_id=1, event_type=first.event_type, text=first.text)
    log = await founded(own, SchemaPublished(schema_id=2, event_type="qpubus.Other", text=other))
    with pytest.raises(Problem, match=r"is qpubus\.Other, and the registry at .* does not take it"):
        await mirrored(log, registry.url)


async def test_what_is_no_registry_is_named() -> None:
    with pytest.raises(Problem, match="does not answer as one"):
        await mirrored(await founded(), "http://127.0.0.1:1/apis/ccompat/v7")
