from pathlib import Path

import pytest

import schemas
from schemas.admission import Admission, Admitted, EnrolledKey, Stored
from schemas.avro_text import avro_text
from schemas.codec import devices_of, own_schemas
from schemas.keys import check_public_key, key_id
from schemas.words import Event
from tests.support.golden import Golden, goldens, shown
from tests.support.signed import NOW_US, SITE

GOLDENS = list(goldens())
AVRO = Path(schemas.__file__).parent / "avro"


def admitted(golden: Golden) -> Admitted:
    """What today's code makes of a record from the log of another day."""
    source = golden.record.source
    key = EnrolledKey(key_id(golden.public_key), check_public_key(golden.public_key), source, golden.role, (), "file")
    known = {golden.schema.schema_id: golden.schema}
    reader = Admission(golden.public_key, SITE, frozenset(), {key.key_id: key}, known)
    reader.sequences[source, golden.record.topic] = int(golden.record.sequence) - 1
    [verdict] = reader.admit([Stored(golden.record.topic, 0, 0, NOW_US, golden.record)])
    assert isinstance(verdict, Admitted), verdict
    return verdict


def holds_all(today: object, then: object) -> bool:
    """Whether a value has all that it had then; fields may have been added since."""
    match today, then:
        case dict(), dict():
            return all(name in today and holds_all(today[name], value) for name, value in then.items())
        case list(), list():
            return len(today) == len(then) and all(map(holds_all, today, then))
        case _:
            return today == then


@pytest.mark.parametrize("golden", GOLDENS, ids=[golden.path.stem for golden in GOLDENS])
def test_a_record_of_another_day_is_read_by_todays_code(golden: Golden) -> None:
    read = admitted(golden)
    assert read.digest.hex() == golden.digest
    assert holds_all(shown(read.event), golden.event)


@pytest.mark.parametrize("golden", GOLDENS, ids=[golden.path.stem for golden in GOLDENS])
def test_the_device_of_a_record_is_found_without_decoding_it(golden: Golden) -> None:
    assert devices_of([golden.record.value[5:]], golden.schema) == {golden.event.get("device", "")}


def test_every_event_has_a_golden_file_of_its_present_schema() -> None:
    kept = {(golden.schema.event_type, golden.schema.text) for golden in GOLDENS}
    missing = [schema.event_type for schema in own_schemas() if (schema.event_type, schema.text) not in kept]
    assert not missing, f"run `python -m tests.support.golden`; it writes golden files of {missing}"


def test_every_event_type_has_golden_files_numbered_by_its_versions() -> None:
    numbers: dict[str, set[int]] = {}
    for golden in GOLDENS:
        name, number, _ = golden.path.name.split(".")
        assert golden.schema.event_type == f"qpubus.{name}", golden.path
        numbers.setdefault(name, set()).add(int(number))
    assert set(numbers) >= {event_type.__name__ for event_type in Event.types.values()}
    assert [name for name, found in numbers.items() if found != set(range(1, len(found) + 1))] == []


def test_the_schema_files_are_what_the_classes_give() -> None:
    given = {f"{event_type.__name__}.avsc": avro_text(event_type) for event_type in Event.types.values()}
    files = {path.name: path.read_text() for path in AVRO.glob("*.avsc")}
    assert files == given, "run `python -m schemas`; it writes schemas/avro"
