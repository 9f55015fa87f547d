"""`audit verify` takes no more memory for what somebody made plenty of, and its report is complete all the same."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qpubus.bench.memory import peak_mb
from replay.verdict import FINDINGS_KEPT, Finding, Found
from schemas.admission import Stored
from schemas.envelope import Stray
from streams.log.lines import Export
from streams.log.making import new_log
from tests.support.attacked import placed, truth
from tests.support.bundled import HOME
from tests.support.commands import QPUBUS, qpubus
from tests.support.golden_log import golden_logs

FEW, MANY = 300, 12_000
GROWTH_MB_MAX = 13.0
"""Six megabytes are what the temporary index may hold in memory; without it 12,000 refused records took 20."""


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def junk(number: int) -> Stored:
    return Stored("intents", 0, 0, truth()[-1].append_time_us, Stray("intents", b"site-a", b"junk %d" % number, ()))


def junk_or_replayed(number: int) -> Stored:
    return junk(number) if number % 2 else next(each for each in truth() if each.topic == "intents")


def with_more(directory: Path, more: Callable[[int], Stored], count: int) -> Path:
    with golden_logs()[0].open("rb") as file:
        settings = Export(file).settings
    with new_log(directory, settings) as new:
        for stored in placed([*truth(), *map(more, range(count))]):
            new.take(stored)
    return directory


def test_many_refused_records_take_no_more_memory_than_few(tmp_path: Path) -> None:
    peaks = []
    for count in (FEW, MANY):
        data = with_more(tmp_path / str(count), junk_or_replayed, count)
        asked = ("audit", "verify", "--data", str(data), "--root", HOME[1].hex(), "--all", "--json")
        code, peak = peak_mb([*QPUBUS, *asked])
        assert code == 2
        peaks.append(peak)
    assert peaks[1] - peaks[0] < GROWTH_MB_MAX


def test_an_audit_loads_no_simulator() -> None:
    asked = "import sys, qpubus.commands.audit; print(*sorted({'braket', 'numpy', 'scipy'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True).stdout == "\n"


def test_without_all_the_first_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    count = FINDINGS_KEPT + 5
    data = with_more(tmp_path / "data", junk, count)
    first, every = (
        qpubus("audit", "verify", "--data", data, "--root", HOME[1].hex(), "--json", *more).json
        for more in ((), ["--all"])
    )
    assert (first["found"], every["found"]) == (count, count)
    assert first["findings"] == every["findings"][:FINDINGS_KEPT]
    offsets = [each["offset"] for each in every["findings"]]
    assert offsets == sorted(offsets)
    assert len(offsets) == count
    shown = qpubus("audit", "verify", "--data", data, "--root", HOME[1].hex()).out
    assert shown.count("found: ") == 20
    assert f"and {count - 20:,} more places; all of them with --all" in shown


def test_of_two_findings_at_a_place_the_likelier_cause_is_told() -> None:
    consequence = Finding(1, "intents", 0, 3, "", "cause_absent", "c", is_missing=True)
    cause = Finding(0, "intents", 0, 3, "", "seal_broken", "s")
    repeated = cause._replace(reason="tombstone")
    for found in (Found((), [consequence, cause, repeated]), Found((), [cause, repeated, consequence])):
        assert list(found) == [cause]


def test_findings_come_in_the_order_of_topics_partitions_and_offsets() -> None:
    places = [("b", 0, 9), ("a", 1, 0), ("a", 0, 7), ("b", 0, 2), ("", 0, 0)]
    found = Found(("b", "a"), [Finding(0, *place, "", "r", "d") for place in places])
    assert [each[1:4] for each in found] == [("", 0, 0), ("b", 0, 2), ("b", 0, 9), ("a", 0, 7), ("a", 1, 0)]


def test_what_a_stranger_wrote_is_told_even_if_it_is_no_text() -> None:
    [found] = Found((), [Finding(0, "intents", 0, 0, "\udcff", "header_unknown", "the header caf\udce9")])
    assert (found.event_id, found.detail) == ("\\udcff", "the header caf\\udce9")
