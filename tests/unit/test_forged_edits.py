"""Records are dropped, swapped, doubled, moved or put together anew, and all hashes made to fit: no such log is sound.

Sound is a log only if what its last round covers is as it was, and of what came after that round nothing but an end is
missing: who cuts that off too is found by a witness alone. Append times are the operator's word and are not compared.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from replay.audit import verify
from replay.verdict import Verdict
from schemas.admission import Stored
from schemas.envelope import Record
from schemas.topics import TOPICS
from streams.log.lines import Export
from streams.log.making import new_log
from tests.support.attacked import Records, placed, rounds_of, truth
from tests.support.bundled import HOME
from tests.support.golden_log import golden_logs

FIELDS = tuple(name for name in Record._fields if name != "topic")


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("edits", [150, pytest.param(10_000, marks=pytest.mark.long)])
def test_an_edited_log_whose_hashes_fit_is_not_sound(edits: int, tmp_path: Path) -> None:
    rng, verdicts = Random(edits), set[Verdict]()  # noqa: S311 (seeded on purpose)
    with golden_logs()[0].open("rb") as file:
        settings = Export(file).settings
    for number in range(edits):
        records = placed(rng.choice(EDITS)(list(truth()), rng))
        directory = tmp_path / str(number)
        with new_log(directory, settings) as new:
            for stored in records:
                new.take(stored)
        audit = asyncio.run(verify(directory, root=HOME[1]))
        for path in directory.iterdir():
            path.unlink()
        assert (audit.verdict is Verdict.SOUND) <= is_as_it_was(records), (number, audit.findings[:1])
        verdicts.add(audit.verdict)
    assert verdicts >= {Verdict.TAMPERED, Verdict.INCOMPLETE}


def is_as_it_was(records: Records) -> bool:
    """Whether what the last round covers is there, and of the rest of each author all up to some place."""
    sealed = {head.topic: head.size for last in rounds_of(records)[-1:] for head in last.heads}
    for topic in TOPICS:
        now, before = ([stored.record for stored in side if stored.topic == topic] for side in (records, truth()))
        if now[: sealed.get(topic, 0)] != before[: sealed.get(topic, 0)]:
            return False
        for source in {source_of(record) for record in now}:
            said = [record for record in now if source_of(record) == source]
            if said != [record for record in before if source_of(record) == source][: len(said)]:
                return False
    return True


def source_of(record: object) -> str:
    return record.source if isinstance(record, Record) else ""


def _drop(records: Records, rng: Random) -> Records:
    del records[rng.randrange(len(records))]
    return records


def _drop_many(records: Records, rng: Random) -> Records:
    one, other = sorted(rng.sample(range(len(records)), 2))
    return records[:one] + records[other:]


def _swap(records: Records, rng: Random) -> Records:
    one, other = _two_of_a_topic(records, rng)
    records[one], records[other] = records[other], records[one]
    return records


def _double(records: Records, rng: Random) -> Records:
    one, other = _two_of_a_topic(records, rng)
    records.insert(one, records[other])
    return records


def _move(records: Records, rng: Random) -> Records:
    one, other = _two_of_a_topic(records, rng)
    records.insert(one, records.pop(other))
    return records


def _put_field(records: Records, rng: Random) -> Records:
    one, other = _two_of_a_topic(records, rng)
    name = rng.choice(FIELDS)
    theirs = getattr(records[other].record, name)
    records[one] = records[one]._replace(record=records[one].record._replace(**{name: theirs}))
    return records


def _put_time(records: Records, rng: Random) -> Records:
    one, other = _two_of_a_topic(records, rng)
    records[one] = records[one]._replace(append_time_us=records[other].append_time_us)
    return records


def _two_of_a_topic(records: Sequence[Stored], rng: Random) -> tuple[int, int]:
    topic = rng.choice([stored.topic for stored in records])
    places = [place for place, stored in enumerate(records) if stored.topic == topic]
    return rng.choice(places), rng.choice(places)


EDITS = (_drop, _drop_many, _swap, _double, _move, _put_field, _put_time)
