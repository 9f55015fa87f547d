"""A bundle with a changed byte, or with edited members: the stand-alone verifier finds each, and breaks at none.

A sample runs for each change; the long tests change every byte and make 10,000 edits.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

import orjson
import pytest

from replay import standalone
from tests.support.bundled import HOME, bundled, changed, sealed
from tests.support.golden_log import REFUSED

SHARDS = 16
ODD: tuple[Any, ...] = (
    None, True, -1, 2**53 - 1, 1e300, "", "0", "x" * 5_000, "\x00", "🙂", [], {}, [[[[]]]], {"a": {"b": []}}, "A" * 44,
)  # fmt: skip


def verified(data: bytes) -> standalone.Report:
    return standalone.verify(data, HOME[1])


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_flipped_byte_of_a_bundle_goes_unseen(shard: int) -> None:
    rng, data = Random(shard), bundled(REFUSED)  # noqa: S311 (seeded on purpose)
    for at in range(shard, len(data), SHARDS):
        flipped = data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :]
        assert verified(flipped).verdict in {standalone.TAMPERED, standalone.UNREADABLE}, at


def test_no_flipped_bit_of_a_bundle_goes_unseen() -> None:
    rng, data = Random(1), bundled(REFUSED)  # noqa: S311 (seeded on purpose)
    verdicts = set()
    for _ in range(250):
        at = rng.randrange(len(data))
        report = verified(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        verdicts.add(report.verdict)
    assert standalone.SOUND not in verdicts
    assert {standalone.TAMPERED, standalone.UNREADABLE} <= verdicts


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("edits", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_no_odd_value_anywhere_in_a_bundle_breaks_the_verifier_or_deceives_it(edits: int) -> None:
    rng, verdicts = Random(edits), list[int]()  # noqa: S311 (seeded on purpose)
    for _ in range(edits):
        said = orjson.loads(bundled(REFUSED))
        path = edit(said, rng)
        if path[0] == "dsse":
            continue
        report = verified(sealed(said))
        verdicts.append(report.verdict)
        may_be_so = path[-1] in {"append_time_us", "artifacts"} or is_left_out(said, path)
        assert report.verdict != standalone.SOUND or may_be_so, path
    assert {standalone.TAMPERED, standalone.UNREADABLE} <= set(verdicts)


def is_left_out(said: Any, path: Sequence[Any]) -> bool:
    """Whether the one thing changed is that a record is gone that no event hangs on.

    A bundle is a choice out of a log, and whoever signs it has the choice.
    """
    whole = orjson.loads(bundled(REFUSED))["records"]
    if path[0] != "records" or len(path) != 2 or len(said["records"]) == len(whole):
        return False
    gone = whole[path[1]]
    name = "{topic}/{source}/{sequence}/".format(topic=gone["topic"], **gone["record"])
    return gone["topic"] != "governance" and not any(name in each["record"]["causes"] for each in whole)


def test_no_odd_value_in_the_envelope_breaks_the_verifier_or_deceives_it() -> None:
    rng = Random(3)  # noqa: S311 (seeded on purpose)
    for _ in range(60):
        said = orjson.loads(bundled(REFUSED))
        edit(said["dsse"], rng)
        assert verified(changed(orjson.dumps(said), lambda _: None, signs=False)).verdict != standalone.SOUND


def edit(said: Any, rng: Random) -> list[Any]:
    """Put an odd value at a random place, or take something away there; the path to it."""
    path: list[Any] = []
    inner = said
    while True:
        name = rng.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        path.append(name)
        if not isinstance(inner[name], dict | list) or not inner[name] or rng.random() < 0.1:
            break
        inner = inner[name]
    odd = rng.choice([each for each in ODD if each != inner[name]])
    if rng.random() < 0.2:
        del inner[name]
    else:
        inner[name] = odd
    return path
